//! One entry of `handles(..)`: a message, and the word before it that picks its handler's trait.

use syn::{
    Ident, Path, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

use crate::attribute;

/// A message that may reach the actor, and how it is handled.
pub(crate) struct Handled {
    pub(crate) mode: Mode,
    pub(crate) message: Path,
}

/// Which trait handles a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// actix's `Handler`.
    Plain,
    Async,
    Reentrant,
    Responder,
    Stream,
}

/// The words that stand before a message.
const WORDS: [(&str, Mode); 4] = [
    ("async", Mode::Async),
    ("reentrant", Mode::Reentrant),
    ("responder", Mode::Responder),
    ("stream", Mode::Stream),
];

impl Mode {
    /// The function of `handler` that makes the message ready for such a handler.
    pub(crate) fn constructor(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Async => "asynchronous",
            Self::Reentrant => "reentrant",
            Self::Responder => "responding",
            Self::Stream => "streaming",
        }
    }

    fn of(word: &Ident) -> syn::Result<Self> {
        let found = WORDS.iter().find(|(written, _)| word == written);
        found.map(|(_, mode)| *mode).ok_or_else(|| {
            let words: Vec<_> = WORDS.iter().map(|(written, _)| *written).collect();
            let text = format!(
                "unknown word `{word}` before a message; there are {}, and none for actix's `Handler`",
                attribute::listed(&words)
            );
            syn::Error::new(word.span(), text)
        })
    }
}

impl Parse for Handled {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !begins_with_word(input) {
            return Ok(Self { mode: Mode::Plain, message: input.parse()? });
        }
        let word = input.call(Ident::parse_any)?;
        let mode = Mode::of(&word)?;
        if input.is_empty() || input.peek(Token![,]) {
            let text = format!("`{word}` stands before a message: `{word} Deposit`");
            return Err(syn::Error::new(word.span(), text));
        }
        if begins_with_word(input) {
            let text = "a message is handled in one way: one word stands before it, or none";
            return Err(input.error(text));
        }
        Ok(Self { mode, message: input.parse()? })
    }
}

/// Whether the next is no message but a word before one. `reentrant` alone is a message so named.
fn begins_with_word(input: ParseStream<'_>) -> bool {
    let begins_path = input.peek2(Ident)
        || input.peek2(Token![crate])
        || input.peek2(Token![self])
        || input.peek2(Token![super]);
    input.peek(Token![async]) || input.peek(Ident) && begins_path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[track_caller]
    fn check(entry: &str, mode: Mode, message: &str) {
        let found: Handled = syn::parse_str(entry).expect("an entry");
        assert_eq!((found.mode, text::of_path(&found.message)), (mode, message.to_owned()));
    }

    #[track_caller]
    fn refused(entry: &str, expected: &str) {
        let error = syn::parse_str::<Handled>(entry).err().expect("refused").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn a_word_or_none_stands_before_a_message() {
        check("Deposit", Mode::Plain, "Deposit");
        check("async Transfer", Mode::Async, "Transfer");
        check("reentrant bank::Audit", Mode::Reentrant, "bank::Audit");
        check("responder super::Auction", Mode::Responder, "super::Auction");
        check("stream History", Mode::Stream, "History");
    }

    #[test]
    fn a_message_may_be_named_like_a_word() {
        check("reentrant", Mode::Plain, "reentrant");
        check("responder::Auction", Mode::Plain, "responder::Auction");
        check("responder responder", Mode::Responder, "responder");
    }

    #[test]
    fn other_words_are_refused() {
        refused("exclusive B", "unknown word `exclusive` before a message; there are `async`");
        refused("async", "`async` stands before a message: `async Deposit`");
        refused("async reentrant B", "one word stands before it, or none");
    }
}
