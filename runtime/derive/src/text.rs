//! Tokens and types as text in one fixed spelling.
//!
//! Invariant: how the source is laid out doesn't show: white space, trailing commas, brackets that
//! a `macro_rules!` macro adds. Schema keys hash this text, so every change of a spelling here
//! makes nodes of different releases refuse each other's messages.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, Path, PathArguments, Type, ext::IdentExt};

/// The text of a type.
pub(crate) fn of_type(ty: &Type) -> String {
    match ty {
        Type::Group(group) => of_type(&group.elem),
        Type::Paren(paren) => of_type(&paren.elem),
        Type::Array(array) => format!("[{};{}]", of_type(&array.elem), of_tokens(&array.len)),
        Type::Tuple(tuple) if tuple.elems.len() == 1 => format!("({},)", of_type(&tuple.elems[0])),
        Type::Tuple(tuple) => format!("({})", joined(tuple.elems.iter().map(of_type))),
        Type::Path(path) if path.qself.is_none() => of_path(&path.path),
        other => of_tokens(other),
    }
}

/// The text of a path; `Vec::<u8>` is `Vec<u8>`.
pub(crate) fn of_path(path: &Path) -> String {
    let mut text = String::new();
    for (i, segment) in path.segments.iter().enumerate() {
        if i > 0 || path.leading_colon.is_some() {
            text.push_str("::");
        }
        text.push_str(&segment.ident.unraw().to_string());
        match &segment.arguments {
            PathArguments::None => {}
            PathArguments::AngleBracketed(list) => {
                text.push_str(&format!("<{}>", joined(list.args.iter().map(of_argument))));
            }
            PathArguments::Parenthesized(list) => text.push_str(&of_tokens(list)),
        }
    }
    text
}

/// The text of any tokens: words are parted by one space, nothing else is.
pub(crate) fn of_tokens(tokens: &impl ToTokens) -> String {
    let mut text = String::new();
    let mut after_word = false;
    append(&mut text, &mut after_word, tokens.to_token_stream());
    text
}

/// Parts joined by a comma.
pub(crate) fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn of_argument(argument: &GenericArgument) -> String {
    match argument {
        GenericArgument::Type(ty) => of_type(ty),
        other => of_tokens(other),
    }
}

fn append(text: &mut String, after_word: &mut bool, tokens: TokenStream) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => {
                        append(text, after_word, group.stream());
                        continue;
                    }
                };
                text.push_str(open);
                *after_word = false;
                append(text, after_word, group.stream());
                text.push_str(close);
                *after_word = false;
            }
            TokenTree::Punct(punct) => {
                text.push(punct.as_char());
                *after_word = false;
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                if *after_word {
                    text.push(' ');
                }
                text.push_str(&token.to_string());
                *after_word = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::Group;
    use syn::parse_quote;

    use super::*;

    #[track_caller]
    fn check(ty: &str, expected: &str) {
        let ty: Type = syn::parse_str(ty).expect("a type");
        assert_eq!(of_type(&ty), expected);
    }

    #[test]
    fn layout_does_not_show() {
        check("Vec < u8 >", "Vec<u8>");
        check("Vec::<u8,>", "Vec<u8>");
        check("HashMap<String,\n    Vec<Vec<u8> >,\n>", "HashMap<String,Vec<Vec<u8>>>");
        check("::std :: string::String", "::std::string::String");
        check("(u8, (u16 , u32,),)", "(u8,(u16,u32))");
        check("[ Option<(u8,)> ; 4 + N ]", "[Option<(u8,)>;4+N]");
        check("&'static   str", "&'static str");
        check("<A as  B>::C", "<A as B>::C");
        check("()", "()");
    }

    #[test]
    fn what_means_another_type_shows() {
        check("(u8)", "u8");
        check("(u8,)", "(u8,)");
        check("r#u8", "u8");
    }

    #[test]
    fn brackets_of_a_macro_do_not_show() {
        let inner = TokenTree::Group(Group::new(Delimiter::None, quote::quote!(Vec<u8>)));
        assert_eq!(of_type(&parse_quote!(#inner)), "Vec<u8>");
        assert_eq!(of_tokens(&quote::quote!(dyn #inner)), "dyn Vec<u8>");
    }
}
