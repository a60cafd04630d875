//! Macros of actix-cluster: what a user states once beside a type, checked while compiling; and the
//! attribute of cluster tests.
//!
//! Use them through the crate `actix_cluster`, which re-exports them; the code they write names
//! only paths that start with `::actix_cluster`. Their traits' pages hold the runnable examples.
//!
//! Every rule that can be checked on the tokens is checked here, at the span of the word that breaks
//! it, and all errors of one type are reported together.

use proc_macro::TokenStream;
use syn::DeriveInput;

mod actor;
mod attribute;
mod cluster_test;
mod errors;
mod handled;
mod message;
mod text;

/// Makes a struct or enum a remote message: one with a lasting name, that may travel.
///
/// ```text
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "Result<i64, BankError>")]
/// #[remote(name = "bank.Deposit", version = 1)]
/// struct Deposit(i64);
/// ```
///
/// The keys of `#[remote(..)]`, of which the first two are mandatory:
///
/// - `name`: 1 to 200 bytes, of ASCII letters, digits, `.`, `_`, `-` and `/`. It stands for the
///   message on the wire, so that renaming or moving the Rust type changes nothing.
/// - `version`: an integer from 1. A published message is frozen; a change is a new version.
/// - `older(DepositV1)`: the version before, a message of the same name and a lower version. What comes
///   as that becomes this one by `From`, and is answered in its own version. With the word `reply`
///   behind it, `OlderReply` makes that answer; without it both have one result type. With the word
///   `send` this message goes as the older version to nodes that know no newer one, by `TryFrom` of a
///   reference to it; with both words, `NewerReply` says what the answer means.
///
/// The message's serde impls carry it; they may be derived or written by hand.
///
/// # Reply and error
///
/// They are read from actix's `#[rtype(..)]`, in the forms that actix's derive takes; without it the
/// reply is `()`. A path that ends in `Result<T, E>` gives the reply `T` and the error `E`; both
/// need serde's traits. Any other type is the reply as a whole, and the error is `Infallible`.
/// A macro can't see through an alias. One that is named `Result`, such as `io::Result<T>`, is
/// refused: write both types in full. One with another name is taken as a reply as a whole.
///
/// # Schema key
///
/// The schema key is a hash of the shape *as written*: struct or enum, names and types of the
/// fields, variants in their order, serde attributes, reply and error. White space, trailing commas,
/// comments, visibility, other attributes and the type's own name don't count. The text of a field's type does:
/// `String` and `std::string::String` are two shapes, and so are `Money` and what `Money` is renamed
/// to. What changes inside a field's type is not seen; it is to be frozen like the message.
///
/// # Errors
///
/// Refused, each with its own text: a key that is missing, unknown, repeated or out of range, a
/// generic message (one lasting name can't stand for many types), a union, and an older version that
/// bears another name or no lower version.
#[proc_macro_derive(RemoteMessage, attributes(remote, rtype))]
pub fn remote_message(input: TokenStream) -> TokenStream {
    expand(input, message::expand)
}

/// Makes an actor type one that can be addressed wherever it lives.
///
/// ```text
/// #[derive(RemoteActor)]
/// #[remote(name = "bank.Account", handles(Deposit, Balance), placement = Eventual, state = volatile)]
/// struct Account { balance: i64 }
/// ```
///
/// - `name`, mandatory: as for a message; it names the actor type on the wire.
/// - `handles(..)`, mandatory, may be empty: the remote messages that may reach the actor. Each
///   needs `RemoteMessage`, and the actor a handler for it: actix's `Handler`, or what the word before
///   the message says: `async Transfer` is `AsyncHandler`, `reentrant Audit` is `ReentrantHandler`,
///   `responder Auction` is `RespondingHandler`. To tell or ask a message that is not listed is a
///   compile error; actix's own `Addr` is not restricted by it.
/// - `placement` and `state`, both or neither: with them the actor type is an entity, known by a
///   key and placed by the cluster. `placement` is `Eventual`, `state` is `volatile`: each is a
///   promise to the type's users, so neither has a default.
/// - `role`, `zone`, `strategy`, `pinned` and `minority`, each optional, of an entity: on which nodes
///   it may be, which of them has it (`strategy = Hash`, the default, or `LocalFirst`, or
///   `pinned = "the name of a node"`), and what the smaller side of a partition does: `Stop` (the
///   default) or `Continue`.
/// - `mailbox`, `overflow` and `stash`, each optional: how many accepted messages may wait, from 1
///   (default 1,024); what becomes of one more, `Wait` (the default), `RejectNewest` or `DropOldest`;
///   and how many messages an instance may set aside, from 1 (default 256). Who starts an actor may
///   say otherwise about the first two.
///
/// # Errors
///
/// Refused, each with its own text: a key that is missing, unknown or repeated, a message that is
/// listed twice, an unknown word before a message, one of `placement` and `state` without the other,
/// a guarantee that this release doesn't have, a place for what is no entity, a capacity that is no integer from 1, and a generic
/// actor (one lasting name can't stand for many types).
#[proc_macro_derive(RemoteActor, attributes(remote))]
pub fn remote_actor(input: TokenStream) -> TokenStream {
    expand(input, actor::expand)
}

/// Makes an async function a test that runs in a simulated cluster, under one seed after the other.
///
/// ```text
/// #[cluster_test(seeds = 20)]
/// async fn a_cart_survives_its_node(cluster: TestCluster) -> Result<(), Box<dyn Error>> {
///     cluster.start(3, |node| node.entity(|_key| Cart::default())).await?;
///     ..
/// }
/// ```
///
/// The function takes a new `TestCluster` for each seed, and returns nothing or a `Result<(), E>` whose
/// error has `Debug`. It runs in virtual time, on the test's own thread; when it has ended, the nodes that
/// still run are shut down. Other attributes of a test, such as `#[ignore]`, stand beside it.
///
/// - `seeds`, optional: under how many seeds it runs, from 0 on. Default 1.
/// - `limit_secs`, optional: how many seconds of virtual time each run has before it counts as hung. Default
///   3,600. What never waits for anything passes no time, and is not ended.
///
/// The first seed that fails ends the test, with one line that says how to run it alone:
///
/// ```text
/// replay it: ACTIX_CLUSTER_SEEDS=7 cargo test -p shop --test carts -- --exact a_cart_survives_its_node --nocapture
/// ```
///
/// The environment variable `ACTIX_CLUSTER_SEEDS` has every cluster test run under other seeds than its own:
/// one, or a range such as `100..1000`.
///
/// # Errors
///
/// Refused, each with its own text: a function that is not async, is generic, or takes anything but a
/// cluster; a key that is unknown or repeated, and a number that is no integer from 1.
#[proc_macro_attribute]
pub fn cluster_test(keys: TokenStream, item: TokenStream) -> TokenStream {
    cluster_test::expand(keys.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

type Derive = fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>;

fn expand(input: TokenStream, derive: Derive) -> TokenStream {
    syn::parse(input)
        .and_then(|input| derive(&input))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
