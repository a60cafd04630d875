//! `#[cluster_test]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    FnArg, Ident, ItemFn, Meta, ReturnType, Token, ext::IdentExt, parse::Parser,
    punctuated::Punctuated, spanned::Spanned,
};

use crate::{
    attribute::{self, listed},
    errors::Errors,
};

const KEYS: [&str; 2] = ["seeds", "limit_secs"];

const FORM: &str = "`async fn name(cluster: TestCluster)`";

pub(crate) fn expand(keys: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let keys = Keys::read(keys, &mut errors);
    let body = errors.ok(syn::parse2(item)).filter(|body| check(body, &mut errors));
    let test = body.map(|body| implement(&keys, body));
    errors.finish(test)
}

/// What stands in the attribute's brackets.
struct Keys {
    seeds: u32,
    limit_secs: Option<u32>,
}

impl Keys {
    fn read(keys: TokenStream, errors: &mut Errors) -> Self {
        let mut read = Self { seeds: 1, limit_secs: None };
        let metas = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(keys);
        let mut seen = Vec::new();
        for meta in errors.ok(metas).into_iter().flatten() {
            let Some(key) = KEYS.into_iter().find(|key| meta.path().is_ident(key)) else {
                let text = format!("unknown key; a cluster test has {}", listed(&KEYS));
                errors.push(syn::Error::new_spanned(meta.path(), text));
                continue;
            };
            if seen.contains(&key) {
                let text = format!("`{key}` is stated twice");
                errors.push(syn::Error::new_spanned(meta.path(), text));
            }
            seen.push(key);
            let what = match key {
                "seeds" => "the number of a test's seeds",
                _ => "the virtual time of a test, in seconds,",
            };
            let number = errors.ok(attribute::number(&meta, key, what));
            match key {
                "seeds" => read.seeds = number.unwrap_or(1),
                _ => read.limit_secs = number,
            }
        }
        read
    }
}

/// Whether the function can be the body of a test.
fn check(body: &ItemFn, errors: &mut Errors) -> bool {
    let signature = &body.sig;
    let mut refuse = |span, text: &str| {
        errors.push(syn::Error::new(span, format!("{text}: {FORM}")));
        false
    };
    if signature.asyncness.is_none() {
        return refuse(signature.fn_token.span, "a cluster test is async");
    }
    if !signature.generics.params.is_empty() {
        return refuse(signature.generics.params.span(), "a cluster test is not generic");
    }
    match signature.inputs.first() {
        None => refuse(signature.ident.span(), "a cluster test takes its cluster"),
        Some(FnArg::Receiver(this)) => refuse(this.span(), "a cluster test is no method"),
        Some(FnArg::Typed(_)) if signature.inputs.len() > 1 => {
            refuse(signature.inputs[1].span(), "a cluster test takes its cluster and nothing else")
        }
        Some(FnArg::Typed(_)) => true,
    }
}

/// The test, around the function itself. Attributes go to the test, and so do lints, which hold for
/// what is in it.
fn implement(keys: &Keys, mut body: ItemFn) -> TokenStream {
    let attrs = std::mem::take(&mut body.attrs);
    let vis = std::mem::replace(&mut body.vis, syn::Visibility::Inherited);
    let ident = body.sig.ident.clone();
    let name = Ident::unraw(&ident).to_string();
    let Keys { seeds, limit_secs } = keys;
    let limit_secs = match limit_secs {
        Some(secs) => quote!(::core::option::Option::Some(#secs)),
        None => quote!(::core::option::Option::None),
    };
    // So that a result which is none is shown where it stands.
    let returned = match &body.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => ident.span(),
    };
    let run = quote_spanned! {returned=> ::actix_cluster::testkit::run };
    quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #ident() {
            #body
            const TEST: ::actix_cluster::testkit::ClusterTest =
                ::actix_cluster::testkit::ClusterTest {
                    package: ::core::env!("CARGO_PKG_NAME"),
                    target: ::actix_cluster::testkit::Target {
                        crate_name: ::core::env!("CARGO_CRATE_NAME"),
                        binary: ::core::option_env!("CARGO_BIN_NAME"),
                        of_integration_tests: ::core::option_env!("CARGO_TARGET_TMPDIR").is_some(),
                    },
                    module: ::core::module_path!(),
                    name: #name,
                    seeds: #seeds,
                    limit_secs: #limit_secs,
                };
            #run(&TEST, #ident)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(keys: &str, item: &str, expected: &[&str]) {
        let parsed = |text: &str| text.parse().expect("tokens");
        let error = expand(parsed(keys), parsed(item)).expect_err("refused");
        let found: Vec<_> = error.into_iter().map(|error| error.to_string()).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }

    const RIGHT: &str = "async fn name(cluster: TestCluster) {}";

    #[test]
    fn a_right_test_is_a_test() {
        for keys in ["", "seeds = 20", "seeds = 20, limit_secs = 60,"] {
            let test = expand(keys.parse().expect("tokens"), RIGHT.parse().expect("tokens"));
            let test = test.expect("it is right").to_string();
            assert!(test.contains(":: test]"), "{test}");
        }
    }

    #[test]
    fn wrong_keys_are_refused() {
        refused("seeds = 0", RIGHT, &["the number of a test's seeds is an integer from 1"]);
        refused("seeds", RIGHT, &["write the seeds as a number: `seeds = 1`"]);
        refused("sedes = 2", RIGHT, &["unknown key; a cluster test has `seeds` and `limit_secs`"]);
        refused("seeds = 2, seeds = 3", RIGHT, &["`seeds` is stated twice"]);
        refused("limit_secs = 0", RIGHT, &["in seconds, is an integer from 1"]);
    }

    #[test]
    fn what_is_no_body_is_refused() {
        refused("", "fn name(cluster: TestCluster) {}", &["a cluster test is async: `async fn"]);
        refused("", "async fn name() {}", &["takes its cluster: `async fn name(cluster"]);
        refused("", "async fn name(a: A, b: B) {}", &["takes its cluster and nothing else"]);
        refused("", "async fn name(&self) {}", &["is no method"]);
        refused("", "async fn name<T>(cluster: T) {}", &["is not generic"]);
        refused("", "struct Name;", &["expected `fn`"]);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let expected = ["unknown key", "an integer from 1", "a cluster test is async"];
        refused("sedes = 2, seeds = 0", "fn name() {}", &expected);
    }
}
