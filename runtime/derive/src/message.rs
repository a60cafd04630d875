//! `#[derive(RemoteMessage)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, LitStr, Meta, Type, spanned::Spanned};

use crate::{
    attribute::{self, Kind, Remote},
    errors::Errors,
    message::{
        older::Older,
        rtype::{ResultTypes, Rtype},
    },
};

mod older;
mod rtype;
mod shape;

const KIND: Kind = Kind {
    noun: "message",
    form: "#[remote(name = \"..\", version = 1)]",
    keys: &["name", "version", "older", "items"],
};

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    Ok(Message::read(input)?.implement(input))
}

/// What the attributes of one message state.
struct Message {
    name: LitStr,
    version: u32,
    older: Option<Older>,
    items: Option<Type>,
    rtype: Rtype,
}

impl Message {
    fn read(input: &DeriveInput) -> syn::Result<Self> {
        let mut errors = Errors::default();
        errors.ok(check_kind(input));
        let rtype = errors.ok(Rtype::read(&input.attrs));
        let message = Remote::read(input, &KIND, &mut errors).and_then(|remote| {
            let (name, version) = (errors.ok(remote.name()), errors.ok(version(&remote)));
            let older = errors.ok(Older::read(&remote, version));
            let items = errors.ok(items(&remote));
            let (name, version, older) = (name?, version?, older?);
            Some(Self { name, version, older, items: items?, rtype: rtype? })
        });
        errors.finish(message)
    }

    fn implement(&self, input: &DeriveInput) -> TokenStream {
        let Self { name, version, older, items, rtype } = self;
        let ident = &input.ident;
        let shape = shape::of(input, rtype, items.as_ref());
        let outcome = outcome(rtype);
        let older_type = Older::implement_type(older.as_ref());
        let older = older.as_ref().map(|older| older.implement(ident, &rtype.whole));
        let items = items.as_ref().map(|items| {
            let span = Span::call_site().located_at(items.span());
            quote_spanned! {span=>
                #[automatically_derived]
                impl ::actix_cluster::StreamMessage for #ident {
                    type Item = #items;
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl ::actix_cluster::RemoteMessage for #ident {
                const NAME: &'static str = #name;
                const VERSION: u32 = #version;
                const SHAPE: &'static str = #shape;
                type Older = #older_type;
                #outcome
            }
            #older
            #items
        }
    }
}

/// The types of reply and error, and the functions over them.
///
/// Types are written out and calls stand at the span of the `rtype`, so that the compiler shows a
/// reply without serde's traits there, and once.
fn outcome(rtype: &Rtype) -> TokenStream {
    let result = quote!(::core::result::Result);
    let codec = quote!(::actix_cluster::message);
    let codec_error = quote!(::actix_cluster::message::CodecError);
    let ok = quote!(::core::result::Result::Ok);
    let whole = &rtype.whole;
    let span = Span::call_site().located_at(whole.span());

    let (reply, error, into_outcome) = match &rtype.result {
        Some(ResultTypes { reply, error }) => {
            (quote!(#reply), quote!(#error), quote_spanned!(span=> result))
        }
        None => (
            quote!(#whole),
            quote!(::core::convert::Infallible),
            quote_spanned!(span=> #ok(result)),
        ),
    };
    let encode = quote_spanned!(span=> #codec::encode::<#whole>(result, out));
    let decode = quote_spanned!(span=> #codec::decode::<#whole>(bytes));

    quote! {
        type Reply = #reply;
        type Error = #error;

        fn into_outcome(result: #whole) -> #result<#reply, #error> {
            #into_outcome
        }

        fn encode_result(
            result: &#whole,
            out: ::std::vec::Vec<u8>,
        ) -> #result<::std::vec::Vec<u8>, #codec_error> {
            #encode
        }

        fn decode_result(bytes: &[u8]) -> #result<#whole, #codec_error> {
            #decode
        }
    }
}

fn check_kind(input: &DeriveInput) -> syn::Result<()> {
    if let Data::Union(union) = &input.data {
        let text =
            "a remote message is a struct or an enum: nothing tells which field of a union to send";
        return Err(syn::Error::new_spanned(union.union_token, text));
    }
    if input.generics.params.is_empty() {
        return Ok(());
    }
    let text = "a remote message is not generic: one lasting name cannot stand for many types";
    Err(syn::Error::new_spanned(&input.generics.params, text))
}

/// What the message is answered by before its result, if that is stated.
fn items(remote: &Remote<'_>) -> syn::Result<Option<Type>> {
    let Some(meta) = remote.key("items") else { return Ok(None) };
    if remote.key("older").is_some() {
        let text = "a message with items has no older version yet: give the newer one another name";
        return Err(syn::Error::new_spanned(meta, text));
    }
    match meta {
        Meta::List(list) => syn::parse2(list.tokens.clone()).map(Some),
        other => {
            let text = "write the items' type in parentheses: `items(Row)`";
            Err(syn::Error::new_spanned(other, text))
        }
    }
}

fn version(remote: &Remote<'_>) -> syn::Result<u32> {
    let meta = remote.mandatory("version", "`version = 1`, and one more with each new shape")?;
    attribute::number(meta, "version", "a version")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Result<Message, Vec<String>> {
        let input = syn::parse_str(message).expect("a type with attributes");
        Message::read(&input)
            .map_err(|errors| errors.into_iter().map(|error| error.to_string()).collect())
    }

    #[track_caller]
    fn refused(message: &str, expected: &[&str]) {
        let Err(found) = read(message) else { panic!("accepted") };
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }

    #[test]
    fn name_and_version_are_read() {
        let Ok(message) = read(r#"#[remote(name = "a.B", version = 7)] struct B;"#) else {
            panic!("refused")
        };
        assert_eq!((message.name.value().as_str(), message.version), ("a.B", 7));
    }

    #[test]
    fn a_version_ends_at_its_limits() {
        let message = |version| format!("#[remote(name = \"a\", version = {version})] struct B;");
        assert!(read(&message("1")).is_ok());
        assert!(read(&message("4294967295")).is_ok());
        for version in ["0", "4294967296", "-1", "\"1\"", "1.5", "V"] {
            refused(&message(version), &["an integer from 1 to 4294967295"]);
        }
        refused("#[remote(name = \"a\", version)] struct B;", &["write the version as a number"]);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        refused(
            r#"#[rtype(result = "Result<u8>")] #[remote(name = "", size = 1)] struct B<T>(T);"#,
            &["not generic", "both types in full", "unknown key", "not empty", "its `version`"],
        );
    }

    #[test]
    fn items_are_one_type() {
        let message = |keys| format!("#[remote(name = \"a\", version = 2, {keys})] struct B;");
        let read_items = |keys| read(&message(keys)).map(|message| message.items.is_some());
        assert_eq!((read_items("items(Vec<u8>)"), read_items("")), (Ok(true), Ok(false)));
        refused(&message("items = Row"), &["`items(Row)`"]);
        refused(&message("items()"), &["expected one of"]);
        refused(&message("older(A), items(Row)"), &["no older version yet"]);
    }

    #[test]
    fn what_one_name_cannot_stand_for_is_refused() {
        let attr = r#"#[remote(name = "a", version = 1)]"#;
        refused(&format!("{attr} struct B<'a>(&'a str);"), &["not generic"]);
        refused(&format!("{attr} struct B<const N: usize>([u8; N]);"), &["not generic"]);
        refused(&format!("{attr} union B {{ a: u8 }}"), &["a struct or an enum"]);
    }

    #[test]
    fn every_path_is_rooted() {
        let input = syn::parse_str(
            r#"#[rtype(result = "Result<u8, Bad>")] #[remote(name = "a", version = 1)] struct B;"#,
        )
        .expect("a struct");
        let code = expand(&input).expect("derives");
        let file: syn::File = syn::parse2(code.clone()).expect("items");
        assert_eq!(file.items.len(), 1);
        let text = crate::text::of_tokens(&code);
        for rooted in ["::actix_cluster::", "::core::", "::std::"] {
            let bare = rooted.trim_start_matches(':');
            assert_eq!(text.matches(rooted).count(), text.matches(bare).count(), "{text}");
        }
    }
}
