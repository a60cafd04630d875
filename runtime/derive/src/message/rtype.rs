//! `#[rtype(..)]`: what a handler returns, read as actix's own derive reads it.
//!
//! Invariant: for every form that `actix_derive` accepts, the type is the one it makes
//! `Message::Result`. Where the two disagreed, the impls would not fit together, which is a compile
//! error and never a wrong reply.

use quote::ToTokens;
use syn::{
    Attribute, Expr, ExprLit, GenericArgument, Lit, LitStr, Meta, PathArguments, Token, Type,
    parse_quote, punctuated::Punctuated,
};

/// What a handler returns.
pub(crate) struct Rtype {
    /// The type as a whole.
    pub(crate) whole: Type,
    /// Its parts when it is a `Result`; otherwise it is the reply as a whole.
    pub(crate) result: Option<ResultTypes>,
}

/// The arguments of `Result<T, E>`.
pub(crate) struct ResultTypes {
    pub(crate) reply: Type,
    pub(crate) error: Type,
}

impl Rtype {
    /// Reads the attributes of a message; without an `rtype`, a handler returns `()`.
    pub(crate) fn read(attrs: &[Attribute]) -> syn::Result<Self> {
        let attrs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("rtype")).collect();
        match attrs.first() {
            Some(first) => Self::split(written_type(first, &attrs)?),
            None => Ok(Self { whole: parse_quote!(()), result: None }),
        }
    }

    fn split(whole: Type) -> syn::Result<Self> {
        let last = match bare(&whole) {
            Type::Path(path) => path.path.segments.last(),
            _ => None,
        };
        let result = match last {
            Some(last) if last.ident == "Result" => Some(result_types(&whole, &last.arguments)?),
            _ => None,
        };
        Ok(Self { whole, result })
    }
}

fn result_types(whole: &Type, arguments: &PathArguments) -> syn::Result<ResultTypes> {
    let types = match arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().collect(),
        _ => Vec::new(),
    };
    match types[..] {
        [GenericArgument::Type(reply), GenericArgument::Type(error)] => {
            Ok(ResultTypes { reply: reply.clone(), error: error.clone() })
        }
        _ => {
            let text = "write both types in full, `Result<T, E>`: \
                        what an alias of `Result` stands for cannot be seen here";
            Err(syn::Error::new_spanned(whole, text))
        }
    }
}

/// The type without parentheses and without the brackets that a macro adds.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Paren(paren) => bare(&paren.elem),
        Type::Group(group) => bare(&group.elem),
        other => other,
    }
}

/// The type in the attributes, of which there is at least one, in actix's order: text first.
fn written_type(first: &Attribute, attrs: &[&Attribute]) -> syn::Result<Type> {
    let text = attrs.iter().find_map(|attr| attr.parse_args::<LitStr>().ok());
    if let Some(Ok(ty)) = text.map(|text| text.parse()) {
        return Ok(ty);
    }
    match attrs.iter().find_map(|attr| attr.parse_args().ok()) {
        Some(Meta::Path(path)) => ident_type(&path),
        Some(Meta::NameValue(pair)) if pair.path.is_ident("result") => value_type(&pair.value),
        Some(Meta::List(list)) => {
            let items = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
            match items.len() {
                // actix takes an item that it can't read as `()`.
                1 => Ok(item_type(&items[0]).unwrap_or_else(|_| parse_quote!(()))),
                _ => Err(unreadable(&list)),
            }
        }
        Some(other) => Err(unreadable(&other)),
        None => Err(unreadable(first)),
    }
}

/// `#[rtype(result = "T")]` or `#[rtype(result = T)]`.
fn value_type(value: &Expr) -> syn::Result<Type> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            text.parse().map_err(|_| unreadable(text))
        }
        Expr::Path(path) => syn::parse2(path.to_token_stream()).map_err(|_| unreadable(path)),
        other => Err(unreadable(other)),
    }
}

/// `#[rtype(T)]`, with a single word.
fn ident_type(path: &syn::Path) -> syn::Result<Type> {
    match path.get_ident() {
        Some(ident) => Ok(parse_quote!(#ident)),
        None => Err(unreadable(path)),
    }
}

/// The one item of `#[rtype(any(..))]`, a form that actix takes too.
fn item_type(item: &Meta) -> syn::Result<Type> {
    match item {
        Meta::Path(path) => ident_type(path),
        Meta::NameValue(pair) if pair.path.is_ident("result") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.parse(),
            other => Err(unreadable(other)),
        },
        Meta::NameValue(pair) => Err(unreadable(pair)),
        Meta::List(list) => list.parse_args::<LitStr>()?.parse(),
    }
}

fn unreadable(tokens: &impl ToTokens) -> syn::Error {
    syn::Error::new_spanned(tokens, "expected the handler's result: `#[rtype(result = \"T\")]`")
}

#[cfg(test)]
mod tests {
    use syn::DeriveInput;

    use super::*;
    use crate::text;

    fn read(attrs: &str) -> syn::Result<Rtype> {
        let input: DeriveInput = syn::parse_str(&format!("{attrs} struct S;")).expect("a struct");
        Rtype::read(&input.attrs)
    }

    #[track_caller]
    fn value(attrs: &str, expected: &str) {
        match read(attrs) {
            Ok(rtype) => {
                assert_eq!(text::of_type(&rtype.whole), expected, "{attrs}");
                assert!(rtype.result.is_none(), "{attrs}");
            }
            Err(error) => panic!("{attrs}: {error}"),
        }
    }

    #[track_caller]
    fn outcome(attrs: &str, reply: &str, error: &str) {
        let found = match read(attrs) {
            Ok(rtype) => rtype.result.expect("a result"),
            Err(error) => panic!("{attrs}: {error}"),
        };
        assert_eq!(text::of_type(&found.reply), reply);
        assert_eq!(text::of_type(&found.error), error);
    }

    #[track_caller]
    fn refused(attrs: &str, expected: &str) {
        match read(attrs) {
            Ok(_) => panic!("{attrs} is accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{attrs}: {error}"),
        }
    }

    #[test]
    fn the_forms_of_actix_are_read() {
        value("", "()");
        value(r#"#[rtype(result = "()")]"#, "()");
        value(r#"#[rtype(result = "Vec<Option<u8>>")]"#, "Vec<Option<u8>>");
        value("#[rtype(result = u8)]", "u8");
        value("#[rtype(result = a::B)]", "a::B");
        value("#[rtype(result = Vec::<u8>)]", "Vec<u8>");
        value("#[rtype(u8)]", "u8");
        value(r#"#[rtype("Vec<u8>")]"#, "Vec<u8>");
        value(r#"#[rtype(u8)] #[rtype("u16")]"#, "u16");
        value("#[rtype(any(u8))]", "u8");
        value(r#"#[rtype(any(result = "u8"))]"#, "u8");
        value(r#"#[rtype(any(any("Vec<u8>")))]"#, "Vec<u8>");
        value("#[rtype(any(a::B))]", "()");
    }

    #[test]
    fn what_actix_refuses_is_refused() {
        for attrs in [
            "#[rtype]",
            "#[rtype()]",
            "#[rtype(a::B)]",
            "#[rtype(Vec<u8>)]",
            "#[rtype(result = 1)]",
            r#"#[rtype(result = "u8 u8")]"#,
            r#"#[rtype(reply = "u8")]"#,
            "#[rtype(any(u8, u16))]",
        ] {
            refused(attrs, "expected the handler's result");
        }
    }

    #[test]
    fn a_result_is_split_into_reply_and_error() {
        outcome(r#"#[rtype(result = "Result<i64, BankError>")]"#, "i64", "BankError");
        outcome(r#"#[rtype(result = "(Result<(), bank::Error>)")]"#, "()", "bank::Error");
        outcome(r#"#[rtype(result = "::std::result::Result<u8, u16,>")]"#, "u8", "u16");
        outcome("#[rtype(result = Result::<u8, Result<u8, u16>>)]", "u8", "Result<u8,u16>");
    }

    #[test]
    fn an_alias_of_result_is_refused() {
        for ty in ["Result<u8>", "io::Result<u8>", "Result", "bank::Result", "Result<'a, u8>"] {
            refused(&format!("#[rtype(result = \"{ty}\")]"), "write both types in full");
        }
    }

    #[test]
    fn a_result_inside_another_type_is_part_of_the_reply() {
        value(r#"#[rtype(result = "Option<Result<u8>>")]"#, "Option<Result<u8>>");
        value(r#"#[rtype(result = "Vec<Result<u8, u16>>")]"#, "Vec<Result<u8,u16>>");
    }
}
