//! `older(DepositV1, reply, send)`: the version before a message, and how far it goes.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Meta, Path, Token, Type, punctuated::Punctuated, spanned::Spanned};

use crate::{
    attribute::{self, Remote},
    errors::Errors,
};

/// The words that may follow the older version.
const REPLY: &str = "reply";
const SEND: &str = "send";

/// The version before a message.
pub(crate) struct Older {
    message: Path,
    /// Whether the user writes the conversions of the result.
    converts_reply: bool,
    /// Whether the message is sent as the older version to nodes that know no newer one.
    is_sent: bool,
}

impl Older {
    /// Reads the key of a message of this version, if it is stated.
    pub(crate) fn read(remote: &Remote<'_>, version: Option<u32>) -> syn::Result<Option<Self>> {
        let Some(meta) = remote.key("older") else { return Ok(None) };
        if version == Some(1) {
            let text = "version 1 is the first: nothing is older";
            return Err(syn::Error::new_spanned(meta, text));
        }
        let form = "write the version before in parentheses: `older(DepositV1)`";
        let Meta::List(list) = meta else { return Err(syn::Error::new_spanned(meta, form)) };
        let parts = list.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?;
        let mut parts = parts.into_iter();
        let message = parts.next().ok_or_else(|| syn::Error::new_spanned(meta, form))?;
        let mut older = Self { message, converts_reply: false, is_sent: false };
        let mut errors = Errors::default();
        for word in parts {
            errors.ok(older.note(&word));
        }
        errors.finish(Some(Some(older)))
    }

    fn note(&mut self, word: &Path) -> syn::Result<()> {
        let said = match word {
            _ if word.is_ident(REPLY) => &mut self.converts_reply,
            _ if word.is_ident(SEND) => &mut self.is_sent,
            _ => {
                let text = format!(
                    "after the version before there may be {}; a version before that one is named \
                     by it, with an `older` of its own",
                    attribute::listed(&[REPLY, SEND])
                );
                return Err(syn::Error::new_spanned(word, text));
            }
        };
        if std::mem::replace(said, true) {
            return Err(syn::Error::new_spanned(word, "this word is said twice"));
        }
        Ok(())
    }

    /// The associated type.
    pub(crate) fn implement_type(older: Option<&Self>) -> TokenStream {
        let root = quote!(::actix_cluster::message);
        match older {
            None => quote!(#root::NoOlder),
            Some(Self { message, is_sent, .. }) => {
                let way = if *is_sent { quote!(#root::Sent) } else { quote!(#root::Received) };
                let span = Span::call_site().located_at(message.span());
                quote_spanned!(span=> #root::Older<#message, #way>)
            }
        }
    }

    /// What stands beside the message's own impl, with spans in `older(..)`: the compiler shows there
    /// what is missing.
    pub(crate) fn implement(&self, ident: &Ident, result: &Type) -> TokenStream {
        let Self { message, converts_reply, is_sent } = self;
        let span = Span::call_site().located_at(message.span());
        let ident = Ident::new(&ident.to_string(), ident.span().located_at(message.span()));
        let check = quote_spanned! {span=>
            const _: () = if let ::core::option::Option::Some(fault) =
                ::actix_cluster::message::older_fault::<#ident, #message>()
            {
                ::core::panic!("{}", fault)
            };
        };
        if *converts_reply {
            return check;
        }
        let root = quote_spanned!(span=> ::actix_cluster::message);
        let older_result = quote_spanned!(span=> #root::ResultOf<#message>);
        let newer = is_sent.then(|| {
            quote_spanned! {span=>
                #[automatically_derived]
                impl #root::NewerReply<#message> for #ident {
                    fn newer_reply(result: #older_result) -> #result {
                        <#older_result as #root::SameReply<#result>>::same_reply(result)
                    }
                }
            }
        });
        quote_spanned! {span=>
            #check
            #[automatically_derived]
            impl #root::OlderReply<#message> for #ident {
                fn older_reply(result: #result) -> #older_result {
                    <#result as #root::SameReply<#older_result>>::same_reply(result)
                }
            }
            #newer
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::DeriveInput;

    use crate::{message, text};

    fn expand(keys: &str) -> Result<String, Vec<String>> {
        let message = format!("#[rtype(u8)] #[remote(name = \"a\", {keys})] struct A;");
        let input: DeriveInput = syn::parse_str(&message).expect("a struct");
        match message::expand(&input) {
            Ok(code) => {
                syn::parse2::<syn::File>(code.clone()).expect("items");
                Ok(text::of_tokens(&code))
            }
            Err(errors) => Err(errors.into_iter().map(|error| error.to_string()).collect()),
        }
    }

    #[track_caller]
    fn holds(keys: &str, expected: &[&str], absent: &[&str]) {
        let code = expand(keys).expect("derives");
        for expected in expected {
            assert!(code.contains(expected), "{code} lacks {expected}");
        }
        for absent in absent {
            assert!(!code.contains(absent), "{code} has {absent}");
        }
    }

    #[track_caller]
    fn refused(keys: &str, expected: &[&str]) {
        let found = expand(keys).expect_err("refused");
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }

    #[test]
    fn the_words_say_how_far_it_goes() {
        let (older, newer) = ("OlderReply<b::B>for A", "NewerReply<b::B>for A");
        let (received, sent) = ("Older<b::B,::actix_cluster::message::Received>", "message::Sent>");
        holds("version = 2", &["type Older=::actix_cluster::message::NoOlder;"], &["older_fault"]);
        holds("version = 2, older(b::B)", &[received, older, "older_fault::<A,b::B>"], &[newer]);
        holds("version = 2, older(b::B, send)", &[sent, older, newer], &[]);
        holds("version = 2, older(b::B, reply)", &[received, "older_fault"], &[older, newer]);
        holds("version = 2, older(b::B, send, reply,)", &[sent, "older_fault"], &[older, newer]);
    }

    #[test]
    fn what_is_not_one_version_and_its_words_is_refused() {
        refused("version = 1, older(B)", &["nothing is older"]);
        refused("version = 2, older", &["in parentheses"]);
        refused("version = 2, older = B", &["in parentheses"]);
        refused("version = 2, older()", &["in parentheses"]);
        refused(
            "version = 2, older(B, C, send, send)",
            &["there may be `reply` and", "said twice"],
        );
        refused("version = 0, older(B, C)", &["an integer from 1", "there may be `reply` and"]);
    }
}
