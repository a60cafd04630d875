//! Futures with a call of their own.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::Call;

/// The future of [`Call::scope`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Scope<F> {
    call: Call,
    future: Pin<Box<F>>,
}

impl<F> Scope<F> {
    pub(super) fn new(call: Call, future: F) -> Self {
        Self { call, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let Self { call, future } = self.get_mut();
        let _entered = call.enter();
        future.as_mut().poll(task)
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("call", &self.call).finish_non_exhaustive()
    }
}
