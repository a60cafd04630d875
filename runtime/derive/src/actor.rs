//! `#[derive(RemoteActor)]`.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{DeriveInput, Expr, LitStr, Meta, Token, punctuated::Punctuated, spanned::Spanned};

use crate::{
    attribute::{self, Kind, Remote},
    errors::Errors,
    handled::Handled,
    text,
};

const KIND: Kind = Kind {
    noun: "actor",
    form: "#[remote(name = \"..\", handles(..))]",
    keys: &[
        "name",
        "handles",
        "placement",
        "state",
        "role",
        "zone",
        "strategy",
        "pinned",
        "minority",
        "mailbox",
        "overflow",
        "stash",
    ],
};

/// A word of `placement`, `state`, `overflow`, `strategy` or `minority`.
struct Word {
    /// As the user writes it.
    written: &'static str,
    /// The variant of the enum it becomes; `None` while the release doesn't have it.
    variant: Option<&'static str>,
}

/// A key whose value is one of a few words.
struct Choice {
    key: &'static str,
    words: &'static [Word],
    /// When the words without a variant come; empty if there are none.
    later: &'static str,
}

const PLACEMENT: Choice = Choice {
    key: "placement",
    words: &[
        Word { written: "Eventual", variant: Some("Eventual") },
        Word { written: "Leased", variant: None },
    ],
    later: "comes with the control group",
};

const STATE: Choice = Choice {
    key: "state",
    words: &[
        Word { written: "volatile", variant: Some("Volatile") },
        Word { written: "moved", variant: Some("Moved") },
        Word { written: "loaded", variant: Some("Loaded") },
    ],
    later: "",
};

const OVERFLOW: Choice = Choice {
    key: "overflow",
    words: &[
        Word { written: "Wait", variant: Some("Wait") },
        Word { written: "RejectNewest", variant: Some("RejectNewest") },
        Word { written: "DropOldest", variant: Some("DropOldest") },
    ],
    later: "",
};

const STRATEGY: Choice = Choice {
    key: "strategy",
    words: &[
        Word { written: "Hash", variant: Some("Hash") },
        Word { written: "LocalFirst", variant: Some("LocalFirst") },
    ],
    later: "",
};

const MINORITY: Choice = Choice {
    key: "minority",
    words: &[
        Word { written: "Stop", variant: Some("Stop") },
        Word { written: "Continue", variant: Some("Continue") },
    ],
    later: "",
};

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    Ok(RemoteActor::read(input)?.implement(&input.ident))
}

/// What the attributes of one actor type state.
struct RemoteActor {
    name: LitStr,
    handles: Vec<Handled>,
    entity: Option<Entity>,
    bounds: Bounds,
    site: Site,
}

/// What is said about where entities of the type may be, as calls on `Site::ANYWHERE`.
struct Site(Vec<TokenStream>);

/// What is said about the actor's mailbox and stash, as far as something is.
struct Bounds {
    mailbox: Option<u32>,
    overflow: Option<Ident>,
    stash: Option<u32>,
}

/// Variants of `Placement` and `EntityState`.
struct Entity {
    placement: Ident,
    state: Ident,
}

impl RemoteActor {
    fn read(input: &DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        if !input.generics.params.is_empty() {
            let text =
                "a remote actor is not generic: one lasting name cannot stand for many types";
            errors.push(syn::Error::new_spanned(&input.generics.params, text));
        }
        let actor = Remote::read(input, &KIND, &mut errors).and_then(|remote| {
            let name = errors.ok(remote.name());
            let handles = handles(&remote, &mut errors);
            let entity = entity(&remote, &mut errors);
            let bounds = Bounds::read(&remote, &mut errors);
            let site = Site::read(&remote, &mut errors);
            let moves = entity.as_ref().is_some_and(|entity| entity.state == "Moved");
            if let Some(meta) = remote.key(STRATEGY.key).filter(|_| moves)
                && STRATEGY.read(meta).is_ok_and(|strategy| strategy == "LocalFirst")
            {
                let text = "entities with `strategy = LocalFirst` are on each node and never move: \
                            state `volatile` or `loaded`";
                errors.push(syn::Error::new_spanned(meta, text));
            }
            Some(Self { name: name?, handles: handles?, entity, bounds, site })
        });
        errors.finish(actor)
    }

    fn implement(&self, ident: &Ident) -> TokenStream {
        let Self { name, handles, entity, bounds, site } = self;
        let state = entity.as_ref().filter(|entity| entity.state == "Moved");
        let state = state.map(|entity| {
            let span = entity.state.span();
            quote_spanned!(span=> table.add_state();)
        });
        let table = match handles.is_empty() && state.is_none() {
            true => quote!(_),
            false => quote!(table),
        };
        let add = handles.iter().map(|Handled { message, .. }| quote!(table.add::<#message>();));
        let handles = handles.iter().map(|handled| handles_impl(ident, handled));
        let entity = entity.as_ref().map(|entity| entity.implement(ident));
        let (bounds, site) = (bounds.constants(), site.constant());
        quote! {
            #[automatically_derived]
            impl ::actix_cluster::RemoteActor for #ident {
                const NAME: &'static str = #name;
                #bounds
                #site

                fn messages(#table: &mut ::actix_cluster::MessageTable<Self>) {
                    #(#add)*
                    #state
                }
            }
            #(#handles)*
            #entity
        }
    }
}

impl Bounds {
    fn read(remote: &Remote<'_>, errors: &mut Errors) -> Self {
        let mut number = |key, what| {
            remote.key(key).and_then(|meta| errors.ok(attribute::number(meta, key, what)))
        };
        let mailbox = number("mailbox", "a mailbox's capacity");
        let stash = number("stash", "a stash's capacity");
        let overflow = remote.key("overflow").and_then(|meta| errors.ok(OVERFLOW.read(meta)));
        Self { mailbox, overflow, stash }
    }

    /// The constants whose defaults don't hold.
    fn constants(&self) -> TokenStream {
        let capacity = |name: &str, messages: u32| {
            let name = format_ident!("{name}");
            quote!(const #name: usize = #messages as usize;)
        };
        let mailbox = self.mailbox.map(|messages| capacity("MAILBOX_CAPACITY", messages));
        let stash = self.stash.map(|messages| capacity("STASH_CAPACITY", messages));
        let overflow = self.overflow.as_ref().map(|policy| {
            quote! {
                const OVERFLOW: ::actix_cluster::Overflow = ::actix_cluster::Overflow::#policy;
            }
        });
        quote!(#mailbox #overflow #stash)
    }
}

impl Site {
    fn read(remote: &Remote<'_>, errors: &mut Errors) -> Self {
        let mut calls = Vec::new();
        for key in ["role", "zone"] {
            let label = remote.key(key).and_then(|meta| errors.ok(attribute::label(meta, key)));
            let method = format_ident!("{key}");
            calls.extend(label.map(|label| quote!(.#method(#label))));
        }
        let pinned = remote.key("pinned").map(|meta| (meta, attribute::label(meta, "pinned")));
        let strategy = remote.key("strategy").and_then(|meta| errors.ok(STRATEGY.read(meta)));
        match (pinned, strategy) {
            (Some((meta, _)), Some(_)) => {
                let text = "`pinned` is a strategy of its own: state one of the two";
                errors.push(syn::Error::new_spanned(meta, text));
            }
            (Some((_, node)), None) => {
                let node = errors.ok(node);
                calls.extend(node.map(
                    |node| quote!(.strategy(::actix_cluster::PlacementStrategy::Pinned(#node))),
                ));
            }
            (None, strategy) => {
                calls.extend(strategy.map(
                    |strategy| quote!(.strategy(::actix_cluster::PlacementStrategy::#strategy)),
                ))
            }
        }
        let minority = remote.key("minority").and_then(|meta| errors.ok(MINORITY.read(meta)));
        calls.extend(
            minority.map(|minority| quote!(.minority(::actix_cluster::Minority::#minority))),
        );
        let entity_keys = ["role", "zone", "pinned", "strategy", "minority"];
        let stated = entity_keys.iter().find_map(|key| remote.key(key));
        if let Some(meta) = stated.filter(|_| remote.key(PLACEMENT.key).is_none()) {
            let text = "only an entity is placed: state `placement` and `state` too";
            errors.push(syn::Error::new_spanned(meta, text));
        }
        Self(calls)
    }

    /// The constant, unless its default holds.
    fn constant(&self) -> TokenStream {
        let Self(calls) = self;
        if calls.is_empty() {
            return TokenStream::new();
        }
        quote! {
            const SITE: ::actix_cluster::Site = ::actix_cluster::Site::ANYWHERE #(#calls)*;
        }
    }
}

impl Entity {
    fn implement(&self, ident: &Ident) -> TokenStream {
        let Self { placement, state } = self;
        quote! {
            #[automatically_derived]
            impl ::actix_cluster::Entity for #ident {
                const PLACEMENT: ::actix_cluster::Placement =
                    ::actix_cluster::Placement::#placement;
                const STATE: ::actix_cluster::EntityState =
                    ::actix_cluster::EntityState::#state;
            }
        }
    }
}

/// States that the actor handles the message, with all spans in `handles(..)`: the compiler shows
/// there what is missing.
fn handles_impl(ident: &Ident, handled: &Handled) -> TokenStream {
    let Handled { mode, message } = handled;
    let ident = Ident::new(&ident.to_string(), ident.span().located_at(message.span()));
    let span = Span::call_site().located_at(message.span());
    let mode = Ident::new(mode.constructor(), span);
    quote_spanned! {span=>
        #[automatically_derived]
        impl ::actix_cluster::Handles<#message> for #ident {
            fn envelopes() -> ::actix_cluster::remote_actor::Envelopes<Self, #message> {
                ::actix_cluster::handler::#mode::<Self, #message>()
            }
        }
    }
}

/// The messages of `handles(..)`, or `None` with an error.
fn handles(remote: &Remote<'_>, errors: &mut Errors) -> Option<Vec<Handled>> {
    let why = "`handles(A, B)` lists the messages that may reach it, `handles()` is none";
    let list = match errors.ok(remote.mandatory("handles", why))? {
        Meta::List(list) => list,
        other => {
            let text = "write the messages in parentheses: `handles(A, B)`";
            errors.push(syn::Error::new_spanned(other, text));
            return None;
        }
    };
    let entries = list.parse_args_with(Punctuated::<Handled, Token![,]>::parse_terminated);
    let entries: Vec<_> = errors.ok(entries)?.into_iter().collect();
    let mut seen = BTreeSet::new();
    for Handled { message, .. } in &entries {
        if !seen.insert(text::of_path(message)) {
            errors.push(syn::Error::new_spanned(message, "this message is listed twice"));
        }
    }
    Some(entries)
}

/// What makes the actor type an entity; `None` when it is none, or with an error.
fn entity(remote: &Remote<'_>, errors: &mut Errors) -> Option<Entity> {
    let mut stated =
        |choice: &Choice| remote.key(choice.key).map(|meta| (meta, errors.ok(choice.read(meta))));
    let (placement, state) = (stated(&PLACEMENT), stated(&STATE));
    match (placement, state) {
        (Some((_, placement)), Some((_, state))) => {
            Some(Entity { placement: placement?, state: state? })
        }
        (Some((meta, _)), None) => {
            errors.push(STATE.missing(meta));
            None
        }
        (None, Some((meta, _))) => {
            errors.push(PLACEMENT.missing(meta));
            None
        }
        (None, None) => None,
    }
}

impl Choice {
    fn read(&self, meta: &Meta) -> syn::Result<Ident> {
        let there_is = self.there_is();
        let word = match attribute::value(meta) {
            Some(Expr::Path(path)) => path.path.get_ident(),
            _ => None,
        };
        let Some(word) = word else {
            let text = format!("write `{}` as one word; {there_is}", self.key);
            return Err(syn::Error::new_spanned(meta, text));
        };
        let text = match self.words.iter().find(|known| word == known.written) {
            Some(Word { variant: Some(variant), .. }) => {
                return Ok(format_ident!("{variant}", span = word.span()));
            }
            Some(Word { variant: None, .. }) => format!("`{word}` {}; {there_is}", self.later),
            None => format!("unknown {} `{word}`; {there_is}", self.key),
        };
        Err(syn::Error::new_spanned(word, text))
    }

    /// The error for the key that `stated` calls for.
    fn missing(&self, stated: &Meta) -> syn::Error {
        let text = format!(
            "an entity states both `placement` and `state`: `{}` is missing; {}",
            self.key,
            self.there_is()
        );
        syn::Error::new_spanned(stated, text)
    }

    fn there_is(&self) -> String {
        let words: Vec<_> = self
            .words
            .iter()
            .filter(|word| word.variant.is_some())
            .map(|word| word.written)
            .collect();
        format!("this release has {}", attribute::listed(&words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(actor: &str) -> Result<RemoteActor, Vec<String>> {
        let input = syn::parse_str(actor).expect("a type with attributes");
        RemoteActor::read(&input)
            .map_err(|errors| errors.into_iter().map(|error| error.to_string()).collect())
    }

    #[track_caller]
    fn refused(keys: &str, expected: &[&str]) {
        let Err(found) = read(&format!("#[remote({keys})] struct A;")) else { panic!("accepted") };
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }

    fn code(keys: &str) -> String {
        let input = syn::parse_str(&format!("#[remote({keys})] struct A;")).expect("a struct");
        let code = expand(&input).expect("derives");
        syn::parse2::<syn::File>(code.clone()).expect("items");
        text::of_tokens(&code)
    }

    #[test]
    fn every_listed_message_is_added_and_handled() {
        let code = code(r#"name = "a", handles(B, bank::C)"#);
        for expected in [
            "table.add::<B>();table.add::<bank::C>();",
            "impl::actix_cluster::Handles<B>for A{",
            "impl::actix_cluster::Handles<bank::C>for A{",
            "handler::plain::<Self,bank::C>()",
        ] {
            assert!(code.contains(expected), "{code} lacks {expected}");
        }
        assert!(!code.contains("Entity"));
    }

    #[test]
    fn the_word_before_a_message_picks_how_it_is_handled() {
        let code = code(r#"name = "a", handles(async B, reentrant bank::C, responder crate::D)"#);
        for expected in [
            "handler::asynchronous::<Self,B>()",
            "handler::reentrant::<Self,bank::C>()",
            "handler::responding::<Self,crate::D>()",
            "table.add::<B>();table.add::<bank::C>();table.add::<crate::D>();",
        ] {
            assert!(code.contains(expected), "{code} lacks {expected}");
        }
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert!(code(r#"name = "a", handles()"#).contains("messages(_:"));
    }

    #[test]
    fn an_actor_with_placement_and_state_is_an_entity() {
        let code = code(r#"name = "a", handles(), placement = Eventual, state = volatile"#);
        assert!(code.contains("=::actix_cluster::Placement::Eventual;"), "{code}");
        assert!(code.contains("=::actix_cluster::EntityState::Volatile;"), "{code}");
    }

    #[test]
    fn what_is_said_about_the_mailbox_becomes_constants() {
        let code = code(r#"name = "a", handles(), mailbox = 64, overflow = DropOldest, stash = 1"#);
        for expected in [
            "const MAILBOX_CAPACITY:usize=64u32 as usize;",
            "const OVERFLOW:::actix_cluster::Overflow=::actix_cluster::Overflow::DropOldest;",
            "const STASH_CAPACITY:usize=1u32 as usize;",
        ] {
            assert!(code.contains(expected), "{code} lacks {expected}");
        }
    }

    #[test]
    fn a_bound_is_a_number_and_a_policy_is_a_word() {
        let mailbox = |value: &str| format!("name = \"a\", handles(), mailbox = {value}");
        for value in ["0", "4294967296", "-1", "\"64\"", "A_LOT", "1.5"] {
            let text = "a mailbox's capacity is an integer from 1 to 4294967295";
            refused(&mailbox(value), &[text]);
        }
        refused(r#"name = "a", handles(), mailbox"#, &["as a number: `mailbox = 1`"]);
        refused(r#"name = "a", handles(), stash = 0"#, &["a stash's capacity is an integer"]);
        refused(
            r#"name = "a", handles(), overflow = DropNewest"#,
            &["unknown overflow `DropNewest`; this release has `Wait`, `RejectNewest` and"],
        );
    }

    #[test]
    fn what_is_said_about_the_place_becomes_a_constant() {
        const ENTITY: &str = r#"name = "a", handles(), placement = Eventual, state = volatile"#;
        let site = |keys: &str| code(&format!("{ENTITY}, {keys}"));
        for (keys, calls) in [
            (r#"role = "worker", zone = "z-1""#, r#".role("worker").zone("z-1")"#),
            ("strategy = LocalFirst", ".strategy(::actix_cluster::PlacementStrategy::LocalFirst)"),
            (r#"pinned = "n1""#, r#".strategy(::actix_cluster::PlacementStrategy::Pinned("n1"))"#),
            ("minority = Continue", ".minority(::actix_cluster::Minority::Continue)"),
        ] {
            let expected = format!("::actix_cluster::Site::ANYWHERE{calls};");
            assert!(site(keys).contains(&expected), "{} lacks {expected}", site(keys));
        }
        assert!(!code(ENTITY).contains("SITE"));
        let refused = |keys: &str, text| refused(&format!("{ENTITY}, {keys}"), &[text]);
        refused(r#"role = "a b""#, "1 to 64 letters, digits");
        refused(r#"pinned = """#, "1 to 64 letters, digits");
        refused("zone = east", "write the zone as text: `zone = \"..\"`");
        refused("strategy = Random", "unknown strategy `Random`");
        refused("minority = Ask", "unknown minority `Ask`");
        refused(r#"strategy = Hash, pinned = "n1""#, "state one of the two");
    }

    #[test]
    fn state_that_moves_is_added_to_the_table_and_has_somewhere_to_go() {
        let keys =
            |state| format!(r#"name = "a", handles(), placement = Eventual, state = {state}"#);
        let moved = code(&keys("moved"));
        assert!(moved.contains("table.add_state();"), "{moved}");
        assert!(moved.contains("EntityState::Moved"), "{moved}");
        for state in ["volatile", "loaded"] {
            assert!(!code(&keys(state)).contains("add_state"), "{state}");
        }
        let local = format!("{}, strategy = LocalFirst", keys("moved"));
        refused(&local, &["never move: state `volatile` or `loaded`"]);
        code(&format!("{}, strategy = Hash", keys("moved")));
    }

    #[test]
    fn only_an_entity_is_placed() {
        refused(r#"name = "a", handles(), role = "b""#, &["only an entity is placed"]);
    }

    #[test]
    fn placement_and_state_come_together() {
        refused(r#"name = "a", handles(), placement = Eventual"#, &["`state` is missing"]);
        refused(r#"name = "a", handles(), state = volatile"#, &["`placement` is missing"]);
        refused(
            r#"name = "a", handles(), state = lost"#,
            &["unknown state `lost`", "`placement` is missing"],
        );
    }

    #[test]
    fn what_this_release_lacks_is_said() {
        let keys = |placement, state| {
            format!("name = \"a\", handles(), placement = {placement}, state = {state}")
        };
        refused(
            &keys("Leased", "moved"),
            &["`Leased` comes with the control group; this release has `Eventual`"],
        );
        refused(
            &keys("Strict", "kept"),
            &[
                "unknown placement `Strict`; this release has `Eventual`",
                "unknown state `kept`; this release has `volatile`, `moved` and `loaded`",
            ],
        );
        refused(
            &keys("Placement::Eventual", "\"volatile\""),
            &["write `placement` as one word", "write `state` as one word"],
        );
    }

    #[test]
    fn what_is_mandatory_has_no_default() {
        refused("", &["its `name`", "its `handles`"]);
        refused(r#"name = "a", handles"#, &["in parentheses"]);
        refused(r#"name = "a", handles = B"#, &["in parentheses"]);
        refused(r#"name = "a", handles(1)"#, &["expected identifier"]);
    }

    #[test]
    fn a_message_is_listed_once() {
        refused(r#"name = "a", handles(B, C, B, m::B, m :: B)"#, &["twice", "twice"]);
        refused(r#"name = "a", handles(B, async B)"#, &["twice"]);
    }

    #[test]
    fn a_generic_actor_is_refused() {
        let Err(found) = read(r#"#[remote(name = "a", handles())] struct A<T>(T);"#) else {
            panic!("accepted")
        };
        assert!(found[0].contains("not generic"), "{found:?}");
    }
}
