//! How an instance is made: on the spot, or by a load that takes its time.
//!
//! A load runs on the actor's own arbiter, beside the turns of its other actors; messages wait in the
//! mailbox meanwhile.
//! Knows no mailbox and no supervisor: the activation polls the load, and answers its end.

use std::{error::Error, future::Future, pin::Pin};

use actix::Actor;

use super::{ClusterContext, failure};

/// Makes an instance; called again after each failure.
pub(crate) type Factory<A> = Box<dyn FnMut(&mut ClusterContext<A>) -> Made<A> + Send>;

/// What a factory gives.
pub(crate) enum Made<A> {
    /// An instance.
    Ready(A),
    /// What will give one.
    Loading(Load<A>),
}

/// Gives an instance, or says why there is none.
pub(crate) type Load<A> = Pin<Box<dyn Future<Output = Result<A, String>>>>;

/// A factory that makes its instances on the spot.
pub(crate) fn at_once<A, F>(mut factory: F) -> Factory<A>
where
    A: Actor<Context = ClusterContext<A>>,
    F: FnMut(&mut ClusterContext<A>) -> A + Send + 'static,
{
    Box::new(move |ctx| Made::Ready(factory(ctx)))
}

/// A factory that loads its instances.
pub(crate) fn loading<A, F, L, E>(mut factory: F) -> Factory<A>
where
    A: Actor<Context = ClusterContext<A>>,
    F: FnMut(&mut ClusterContext<A>) -> L + Send + 'static,
    L: Future<Output = Result<A, E>> + 'static,
    E: Into<Box<dyn Error>>,
{
    Box::new(move |ctx| Made::Loading(load(factory(ctx))))
}

/// A load whose error is told as a text.
pub(crate) fn load<A, E>(load: impl Future<Output = Result<A, E>> + 'static) -> Load<A>
where
    A: 'static,
    E: Into<Box<dyn Error>>,
{
    Box::pin(async move { load.await.map_err(|error| failure::text_of(&*error.into())) })
}
