//! What is kept of a failure: a text of bounded length, since it is kept as long as anybody may ask.

use std::error::Error;

/// How long the text of a failure may be, in bytes; the rest is cut off.
pub(crate) const TEXT_LIMIT: usize = 4_096;

/// What an error says, and what its causes say.
pub(crate) fn text_of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if text.len() > TEXT_LIMIT {
            break;
        }
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    shortened(text)
}

/// As much of a text as is kept.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        let whole = (0..=TEXT_LIMIT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(whole.unwrap_or(0));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Deep(u32);

    impl fmt::Display for Deep {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "level {}", self.0)
        }
    }

    impl Error for Deep {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            // An error that is its own cause, as none should be.
            match self.0 {
                0 => None,
                1 => Some(&Deep(0)),
                _ => Some(&Deep(2)),
            }
        }
    }

    #[test]
    fn causes_are_told_and_however_many_there_are_the_text_is_bounded() {
        assert_eq!(text_of(&Deep(1)), "level 1: level 0");
        assert!(text_of(&Deep(2)).len() <= TEXT_LIMIT + '…'.len_utf8());
    }

    #[test]
    fn a_text_is_cut_between_characters_beyond_its_limit() {
        let fits = "ä".repeat(TEXT_LIMIT / 2);
        assert_eq!(shortened(fits.clone()), fits);
        let cut = shortened(format!("a{fits}"));
        assert_eq!(cut.len(), TEXT_LIMIT - 1 + '…'.len_utf8());
        assert!(cut.ends_with("ä…"));
    }
}
