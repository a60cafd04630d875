//! The call that is current on a thread.
//!
//! Invariant: it is set while a message of an actor, or what one left behind, runs, and put back after
//! that, however that ends. What has no call finds none, so nobody needs to clear it.

use std::{cell::RefCell, future::Future, pin::pin, rc::Rc, time::Instant};

use super::{
    Travelling, Travels,
    chain::{CallChain, Chain, Link},
    headers::Headers,
};
use crate::node::NodeCore;

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current { travels: None, waits: None }) };
}

/// What is current.
#[derive(Clone, Default)]
pub(crate) struct Current {
    /// What came along with the message. Its headers go along with whatever is sent.
    travels: Travelling,
    /// Who waits, and until when, if the code that runs is a handler that awaits.
    waits: Option<Rc<Waits>>,
}

/// A handler whose awaits somebody waits for.
pub(crate) struct Waits {
    /// What its asks take along.
    chain: Chain,
    /// Until when somebody waits for it.
    deadline: Option<Instant>,
}

/// Puts back what was current before.
pub(crate) struct Entered(Option<Current>);

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            CURRENT.set(before);
        }
    }
}

impl Current {
    /// What came along with a message is current until the guard is dropped.
    #[inline]
    pub(crate) fn enter(travelling: &Travelling) -> Entered {
        match travelling {
            None => Entered(None),
            some => Self { travels: some.clone(), waits: None }.set(),
        }
    }

    /// What is current where this came along, and nobody waits.
    pub(crate) fn of(travels: Travelling) -> Self {
        Self { travels, waits: None }
    }

    /// As [`enter`](Self::enter), where the actor `own` does nothing else meanwhile.
    pub(crate) fn enter_waiting(&mut self, own: impl FnOnce() -> Link) -> Entered {
        let alone = || Rc::new(Waits { chain: Chain::default().with(own()), deadline: None });
        self.waits.get_or_insert_with(alone);
        self.clone().set()
    }

    /// These headers are current until the guard is dropped; who waits, waits on.
    pub(super) fn enter_headers(headers: &Headers) -> Entered {
        let waits = CURRENT.with_borrow(|current| current.waits.clone());
        Self { travels: Travels::of(headers.clone(), Chain::default()), waits }.set()
    }

    fn set(self) -> Entered {
        Entered(Some(CURRENT.replace(self)))
    }
}

/// A handler that awaits, whose message came with `travels`; `own` is its actor, if that does nothing
/// else meanwhile.
pub(crate) fn awaiting<F: Future>(
    travels: Travelling,
    own: Option<Link>,
    deadline: Option<Instant>,
    handling: F,
) -> impl Future<Output = F::Output> {
    let before = travels.as_ref().map(|travels| travels.chain.clone()).unwrap_or_default();
    let chain = match own {
        Some(own) => before.with(own),
        None => before,
    };
    let current = Current { travels, waits: Some(Rc::new(Waits { chain, deadline })) };
    async move {
        let mut handling = pin!(handling);
        std::future::poll_fn(|task| {
            let _entered = current.clone().set();
            handling.as_mut().poll(task)
        })
        .await
    }
}

/// The headers that are current.
pub(super) fn headers() -> Headers {
    CURRENT.with_borrow(|current| {
        current.travels.as_ref().map(|travels| travels.headers.clone()).unwrap_or_default()
    })
}

/// What goes along with whatever is sent, but for asks that somebody waits for.
pub(crate) fn travelling() -> Travelling {
    CURRENT.with_borrow(|current| match &current.travels {
        Some(travels)
            if !travels.chain.is_empty()
                || travels.items.is_some()
                || travels.repeat_key.is_some() =>
        {
            Travels::of(travels.headers.clone(), Chain::default())
        }
        travels => travels.clone(),
    })
}

/// What goes along with an ask.
pub(crate) fn asking() -> Travelling {
    let with_chain = CURRENT.with_borrow(|Current { travels, waits }| {
        let chain = waits.as_ref()?.chain.clone();
        let headers = travels.as_ref().map(|travels| travels.headers.clone()).unwrap_or_default();
        Some(Travels::of(headers, chain))
    });
    with_chain.unwrap_or_else(travelling)
}

/// Until when an ask may wait that would wait until `deadline`: no longer than whoever waits for its
/// asker.
pub(crate) fn until(deadline: Instant) -> Instant {
    let awaited = CURRENT.with_borrow(|current| current.waits.as_ref()?.deadline);
    awaited.map_or(deadline, |awaited| awaited.min(deadline))
}

/// Actors that would wait for each other if `target` were asked with this.
pub(crate) fn cycle(
    core: &NodeCore,
    travelling: &Travelling,
    target: impl FnOnce() -> Link,
) -> Option<CallChain> {
    let chain = &travelling.as_ref()?.chain;
    if chain.is_empty() { None } else { chain.cycle(core, &target()) }
}
