//! `#[remote(..)]`: its keys, each at most once, and the rules that messages and actors share.

use syn::{
    Attribute, DeriveInput, Expr, ExprLit, Lit, LitStr, Meta, Token, punctuated::Punctuated,
};

use crate::errors::Errors;

/// The longest lasting name in bytes: `WireId::NAME_LIMIT` of actix-cluster.
const NAME_LIMIT: usize = 200;

/// What is derived: the words that its error texts need.
pub(crate) struct Kind {
    /// "message" or "actor".
    pub(crate) noun: &'static str,
    /// The attribute in full, for who has to write it.
    pub(crate) form: &'static str,
    /// The keys there are.
    pub(crate) keys: &'static [&'static str],
}

/// The attributes `#[remote(..)]` of one type.
pub(crate) struct Remote<'a> {
    kind: &'static Kind,
    first: &'a Attribute,
    found: Vec<Meta>,
}

impl<'a> Remote<'a> {
    /// Reads the attributes; keys that are unknown or repeated are noted and left out.
    ///
    /// `None` when there is no attribute, or none that reads; an error says so.
    pub(crate) fn read(
        input: &'a DeriveInput,
        kind: &'static Kind,
        errors: &mut Errors,
    ) -> Option<Self> {
        let mut attrs = input.attrs.iter().filter(|attr| attr.path().is_ident("remote")).peekable();
        let Some(&first) = attrs.peek() else {
            let text = format!("a remote {} states `{}`", kind.noun, kind.form);
            errors.push(syn::Error::new_spanned(&input.ident, text));
            return None;
        };
        let mut remote = Self { kind, first, found: Vec::new() };
        for attr in attrs {
            for meta in errors.ok(keys(attr, kind))? {
                remote.note(meta, errors);
            }
        }
        Some(remote)
    }

    fn note(&mut self, meta: Meta, errors: &mut Errors) {
        let path = meta.path();
        let Some(key) = self.kind.keys.iter().find(|key| path.is_ident(key)) else {
            let text =
                format!("unknown key; a remote {} has {}", self.kind.noun, listed(self.kind.keys));
            errors.push(syn::Error::new_spanned(path, text));
            return;
        };
        if self.found.iter().any(|other| other.path().is_ident(key)) {
            errors.push(syn::Error::new_spanned(path, format!("`{key}` is stated twice")));
            return;
        }
        self.found.push(meta);
    }

    /// What was written for `key`, if it was.
    pub(crate) fn key(&self, key: &str) -> Option<&Meta> {
        self.found.iter().find(|meta| meta.path().is_ident(key))
    }

    /// What was written for a key that is mandatory; `why` finishes the sentence on its absence.
    pub(crate) fn mandatory(&self, key: &str, why: &str) -> syn::Result<&Meta> {
        self.key(key).ok_or_else(|| {
            let text = format!("a remote {} states its `{key}`: {why}", self.kind.noun);
            syn::Error::new_spanned(self.first, text)
        })
    }

    /// The lasting name, checked.
    pub(crate) fn name(&self) -> syn::Result<LitStr> {
        let form = "`name = \"..\"`, unique in the cluster and never changed";
        let meta = self.mandatory("name", form)?;
        match value(meta) {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) => check_name(name),
            _ => Err(syn::Error::new_spanned(meta, "write the name as text: `name = \"..\"`")),
        }
    }
}

/// The value of `key = value`.
pub(crate) fn value(meta: &Meta) -> Option<&Expr> {
    let Meta::NameValue(pair) = meta else { return None };
    let mut value = &pair.value;
    // What a `macro_rules!` macro passes on comes in invisible brackets.
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    Some(value)
}

/// The value of `key = value`, an integer from 1; `what` it is, with its article, begins the error.
pub(crate) fn number(meta: &Meta, key: &str, what: &str) -> syn::Result<u32> {
    let Some(value) = value(meta) else {
        let text = format!("write the {key} as a number: `{key} = 1`");
        return Err(syn::Error::new_spanned(meta, text));
    };
    let number = match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().unwrap_or(0),
        _ => 0,
    };
    match number {
        0 => {
            let text = format!("{what} is an integer from 1 to {}", u32::MAX);
            Err(syn::Error::new_spanned(value, text))
        }
        number => Ok(number),
    }
}

/// The value of `key = ".."`, which names something of a node: a role, a zone, or the node itself.
pub(crate) fn label(meta: &Meta, key: &str) -> syn::Result<LitStr> {
    let Some(Expr::Lit(ExprLit { lit: Lit::Str(label), .. })) = value(meta) else {
        let text = format!("write the {key} as text: `{key} = \"..\"`");
        return Err(syn::Error::new_spanned(meta, text));
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let text = label.value();
    if (1..=LABEL_LIMIT).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(label.clone());
    }
    let text = "it is 1 to 64 letters, digits, dots, hyphens and underscores";
    Err(syn::Error::new(label.span(), text))
}

/// The longest label, in bytes.
const LABEL_LIMIT: usize = 64;

/// Quotes words for an error text: `` `a`, `b` and `c` ``.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

fn keys(attr: &Attribute, kind: &Kind) -> syn::Result<Punctuated<Meta, Token![,]>> {
    match &attr.meta {
        Meta::List(_) => attr.parse_args_with(Punctuated::parse_terminated),
        other => Err(syn::Error::new_spanned(other, format!("expected `{}`", kind.form))),
    }
}

fn check_name(name: &LitStr) -> syn::Result<LitStr> {
    let text = name.value();
    let refused = |why: String| Err(syn::Error::new(name.span(), why));
    if text.is_empty() {
        return refused("a lasting name is not empty".into());
    }
    if text.len() > NAME_LIMIT {
        let len = text.len();
        return refused(format!("a lasting name has at most {NAME_LIMIT} bytes; this has {len}"));
    }
    let is_bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'));
    match text.chars().find(is_bad) {
        Some(bad) => refused(format!(
            "a lasting name holds ASCII letters, digits, `.`, `_`, `-` and `/` only, not {bad:?}"
        )),
        None => Ok(name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind =
        Kind { noun: "thing", form: "#[remote(name = \"..\")]", keys: &["name", "size"] };

    fn texts(error: syn::Error) -> Vec<String> {
        error.into_iter().map(|error| error.to_string()).collect()
    }

    fn name_of(attrs: &str) -> Result<String, Vec<String>> {
        let input: DeriveInput =
            syn::parse_str(&format!("{attrs} struct S;")).expect("a struct with attributes");
        let mut errors = Errors::default();
        let name = Remote::read(&input, &KIND, &mut errors)
            .and_then(|remote| errors.ok(remote.name()))
            .map(|name| name.value());
        errors.finish(name).map_err(texts)
    }

    #[track_caller]
    fn refused(attrs: &str, expected: &[&str]) {
        let found = name_of(attrs).expect_err("refused");
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_name_may_use_every_allowed_character() {
        let name = "Az09._-/";
        assert_eq!(name_of(&format!("#[remote(name = {name:?})]")), Ok(name.into()));
    }

    #[test]
    fn a_name_ends_at_its_limit() {
        let longest = "n".repeat(NAME_LIMIT);
        assert_eq!(name_of(&format!("#[remote(name = {longest:?})]")), Ok(longest.clone()));
        refused(&format!("#[remote(name = \"{longest}n\")]"), &["at most 200 bytes; this has 201"]);
    }

    #[test]
    fn a_bad_name_is_refused() {
        refused(r#"#[remote(name = "")]"#, &["not empty"]);
        refused(r#"#[remote(name = "a b")]"#, &["not ' '"]);
        refused(r#"#[remote(name = "bänk")]"#, &["not 'ä'"]);
        refused(r#"#[remote(name = NAME)]"#, &["write the name as text"]);
        refused(r#"#[remote(name)]"#, &["write the name as text"]);
        refused(r#"#[remote(name("a"))]"#, &["write the name as text"]);
    }

    #[test]
    fn keys_may_stand_in_several_attributes() {
        assert_eq!(name_of(r#"#[remote(size = 1)] #[remote(name = "a",)]"#), Ok("a".into()));
    }

    #[test]
    fn a_missing_attribute_is_one_error() {
        refused("", &["a remote thing states `#[remote(name = \"..\")]`"]);
        refused("#[remote]", &["expected `#[remote(name"]);
        refused("#[remote = \"a\"]", &["expected `#[remote(name"]);
    }

    #[test]
    fn all_bad_keys_are_reported_at_once() {
        refused(
            r#"#[remote(nmae = "a", size = 1, size = 2, a::b)]"#,
            &[
                "a remote thing has `name` and `size`",
                "`size` is stated twice",
                "unknown",
                "its `name`",
            ],
        );
    }

    #[test]
    fn words_are_listed_as_a_sentence() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
