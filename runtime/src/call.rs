//! What travels along with a message, and with all that is sent while it is handled: headers of the
//! user's, and the chain of the actors that wait for it.
//!
//! ```text
//!  edge ──ask {tenant}──> Order ──ask {tenant}──> Stock ──tell {tenant}──> Audit
//!                         waits                   waits
//!                         chain: -                chain: Order             chain: -
//! ```
//!
//! A [`Call`] is current on a thread while a handler runs, and while a future that was begun there is
//! polled. Invariant: where nothing travels, nothing is allocated, and no thread-local is written.

pub(crate) mod chain;
pub(crate) mod current;
pub(crate) mod headers;
mod scope;

use std::{fmt, sync::Arc};

use self::{
    chain::Chain,
    current::{Current, Entered},
};
pub use self::{
    chain::{CallChain, CallLink},
    headers::{HeaderError, Headers},
    scope::Scope,
};
use crate::{
    cluster::wire::{Extensions, PayloadError},
    stream::intake::{Awaiting, Intake},
};

/// What travels with a message; nothing, mostly.
pub(crate) type Travelling = Option<Arc<Travels>>;

/// What a message takes along.
#[derive(Debug, Default)]
pub(crate) struct Travels {
    pub(crate) headers: Headers,
    pub(crate) chain: Chain,
    /// Who awaits the items that answer it.
    pub(crate) items: Option<Awaiting>,
    /// By what an ask is known that may come more than once.
    pub(crate) repeat_key: Option<u128>,
}

impl Travels {
    /// `None` if there is nothing to take along.
    pub(crate) fn of(headers: Headers, chain: Chain) -> Travelling {
        if headers.is_empty() && chain.is_empty() {
            return None;
        }
        Some(Arc::new(Self { headers, chain, ..Self::default() }))
    }

    /// The same, for an ask whose items are awaited. Nobody is said to wait for it: a stream may go on
    /// when the handler that began it has ended.
    pub(crate) fn for_items(travelling: &Travelling, items: Awaiting) -> Travelling {
        let headers = travelling.as_ref().map(|travels| travels.headers.clone());
        let (headers, chain) = (headers.unwrap_or_default(), Chain::default());
        Some(Arc::new(Self { headers, chain, items: Some(items), repeat_key: None }))
    }

    /// The same, for an ask that may come more than once.
    pub(crate) fn repeatable(travelling: &Travelling, key: u128) -> Travelling {
        let (headers, chain) = match travelling {
            Some(travels) => (travels.headers.clone(), travels.chain.clone()),
            None => Default::default(),
        };
        Some(Arc::new(Self { headers, chain, items: None, repeat_key: Some(key) }))
    }

    /// The same, for its one run.
    pub(crate) fn once(travelling: &Travelling) -> Travelling {
        let travels = travelling.as_ref()?;
        Self::of(travels.headers.clone(), travels.chain.clone())
    }

    /// The same, for an answer without items.
    pub(crate) fn without_items(travelling: Travelling) -> Travelling {
        match travelling {
            Some(travels) if travels.items.is_some() => {
                Self::of(travels.headers.clone(), travels.chain.clone())
            }
            other => other,
        }
    }

    /// Where its items arrive, if they are awaited on this node.
    pub(crate) fn intake(&self) -> Option<Arc<dyn Intake>> {
        match &self.items {
            Some(Awaiting::Here(intake)) => Some(Arc::clone(intake)),
            Some(Awaiting::There(_)) | None => None,
        }
    }

    /// What came along with a message of another node, as bytes; empty for nothing.
    pub(crate) fn read(extensions: &Extensions<'_>) -> Result<Travelling, PayloadError> {
        let Extensions { headers, chain, items, repeat_key, .. } = *extensions;
        if headers.is_empty() && chain.is_empty() && items == 0 && repeat_key.is_empty() {
            return Ok(None);
        }
        let travelling = Self::of(Headers::read(headers)?, Chain::read(chain)?);
        if !repeat_key.is_empty() {
            let key = repeat_key.try_into().map_err(|_| PayloadError::Malformed)?;
            return Ok(Self::repeatable(&travelling, u128::from_le_bytes(key)));
        }
        match items {
            0 => Ok(travelling),
            window => Ok(Self::for_items(&travelling, Awaiting::There(window))),
        }
    }
}

/// What travels, as bytes; empty for nothing.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) headers: Vec<u8>,
    pub(crate) chain: Vec<u8>,
    /// For how many items there is room; 0 where none are awaited.
    pub(crate) items: u32,
    /// The key of an ask that may come more than once.
    pub(crate) repeat_key: Option<[u8; 16]>,
}

impl Written {
    pub(crate) fn of(travelling: &Travelling) -> Self {
        let Some(travels) = travelling else { return Self::default() };
        let items = match &travels.items {
            Some(Awaiting::Here(intake)) => intake.window(),
            // Whoever sent it can't be reached through others.
            Some(Awaiting::There(_)) | None => 0,
        };
        let (headers, chain) = (travels.headers.to_bytes(), travels.chain.to_bytes());
        Self { headers, chain, items, repeat_key: travels.repeat_key.map(u128::to_le_bytes) }
    }
}

/// The headers that go along with whatever is sent: a tenant, a trace, the name of a user.
///
/// [`Call::current`] is that of the message whose handler runs. What is sent from there takes its
/// headers along by itself, on this node and to others: from the handler's turn, at whatever it awaits,
/// and from futures, timers and pipes that it gave to its context. Where there is no message, at the
/// edge of the system, a call is made and put around what is sent: [`scope`](Self::scope),
/// [`run`](Self::run).
///
/// Not everything follows: a future that runs elsewhere (`tokio::spawn`, actix's `ResponseFuture`), and
/// what is sent to an actix `Addr`, has no call, unless `scope` gives it one.
///
/// # Examples
///
/// ```
/// # use actix_cluster::{AskError, Handles, ActorRef, RemoteActor, RemoteMessage, call::{Call, HeaderError}};
/// # async fn example<A: Handles<M>, M: RemoteMessage>(
/// #     account: ActorRef<A>, balance: M,
/// # ) -> Result<(), Box<dyn std::error::Error>> where M::Error: std::error::Error + 'static, M: 'static {
/// let call = Call::current().with("tenant", "acme")?;
/// let balance = call.scope(account.ask(balance)).await?;
/// // In the handler, and in those of all that it asks:
/// let tenant = Call::current().header("tenant").map(str::to_owned);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Call {
    headers: Headers,
}

impl Call {
    /// That of the message whose handler runs; without headers where there is none.
    pub fn current() -> Self {
        Self { headers: current::headers() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }

    /// All headers, sorted by their names.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter()
    }

    /// The same with one header more, or with another value of it.
    ///
    /// # Errors
    ///
    /// [`HeaderError`]: there are 64 headers of 8 KiB in all at most.
    pub fn with(self, name: &str, value: &str) -> Result<Self, HeaderError> {
        Ok(Self { headers: self.headers.with(name, value)? })
    }

    /// Makes it current while `run` runs.
    pub fn run<T>(&self, run: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        run()
    }

    /// Makes it current whenever `future` is polled.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope::new(self.clone(), future)
    }

    fn enter(&self) -> Entered {
        Current::enter_headers(&self.headers)
    }
}

impl fmt::Debug for Call {
    /// The names of the headers; what they say may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers().map(|(name, _)| name)).finish()
    }
}
