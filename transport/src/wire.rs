//! Bytes between nodes: frames on lanes, control frames, and the handshake.
//!
//! Invariant: what is published here is frozen. Enums grow at their end, structs never change; a
//! change of meaning is a new protocol version. `docs/wire.md` describes the same bytes.
//! Knows no session and no connection.

pub(crate) mod control;
pub(crate) mod handshake;
pub(crate) mod lane;
pub(crate) mod varint;

use std::fmt;

/// Bytes that are no frame, or a frame that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// A length beyond its limit.
    TooLong {
        /// The length as announced.
        length: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// A kind of frame that nobody agreed on.
    UnknownKind(u8),
    /// A frame that ends too early or is no such frame.
    Malformed,
    /// A frame out of its order: its lane's sequence has a gap.
    Gap {
        /// The sequence number that was due.
        due: u64,
        /// The one that came.
        came: u64,
    },
    /// More unsettled messages than this end said it would take.
    OverBudget,
    /// Not our protocol at all.
    Magic,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(f, "length {length} is over the limit of {limit}")
            }
            Self::UnknownKind(kind) => write!(f, "unknown kind of frame {kind}"),
            Self::Malformed => f.write_str("malformed frame"),
            Self::Gap { due, came } => write!(f, "frame {came} came where {due} was due"),
            Self::OverBudget => f.write_str("more is unsettled than was allowed"),
            Self::Magic => f.write_str("the peer speaks another protocol"),
        }
    }
}

impl std::error::Error for WireError {}

#[cfg(test)]
mod tests {
    /// The name of a frame's variant.
    pub(super) fn name_of(frame: &impl std::fmt::Debug) -> String {
        format!("{frame:?}").chars().take_while(|char| char.is_alphanumeric()).collect()
    }

    /// Holds a frame's bytes against its row in `docs/wire.md`.
    pub(super) fn assert_documented(frame: &str, bytes: &[u8]) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
        let page = std::fs::read_to_string(page).expect("the page on the wire");
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let row = page.lines().find(|line| line.split('|').nth(2).map(str::trim) == Some(frame));
        let row = row.unwrap_or_else(|| panic!("docs/wire.md has no row for {frame}"));
        assert!(row.ends_with(&format!("| `{}` |", hex.join(" "))), "{row}, and not {hex:?}");
    }
}
