//! What follows the heads of frames about watches.
//!
//! ```text
//!  Watch        1 for a link, else 0; then the hashes of the watcher's lanes
//!  Unwatch      nothing; or, if a link is broken, the reason why its watcher has failed
//!  Terminated   nothing
//! ```
//!
//! Invariant: frozen. What is no such body is refused.

use serde::{Deserialize, Serialize};

use super::{
    lanes::{LANES_LIMIT, Lanes},
    reason::TerminatedReason,
    table::Back,
};

/// What a watcher says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchBody {
    pub(super) is_link: bool,
    pub(super) lanes: Lanes,
}

#[derive(Serialize, Deserialize)]
struct WireWatch {
    is_link: bool,
    lanes: Vec<u64>,
}

/// The longest body of a watch, in bytes.
const LONGEST: usize = 2 + 10 * LANES_LIMIT;

impl WatchBody {
    pub(super) fn put(self, out: Vec<u8>) -> Vec<u8> {
        let Self { is_link, lanes } = self;
        let wire = WireWatch { is_link, lanes: lanes.hashes().to_vec() };
        postcard::to_extend(&wire, out).expect("it has no value that serde refuses")
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let (WireWatch { is_link, lanes }, []) = postcard::take_from_bytes(bytes).ok()? else {
            return None;
        };
        Some(Self { is_link, lanes: Lanes::of(&lanes)? })
    }
}

/// How a watch was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnwatchBody(pub(super) Back);

impl UnwatchBody {
    pub(super) fn put(self, mut out: Vec<u8>) -> Vec<u8> {
        if let Back::Broken(reason) = self.0 {
            out.push(reason as u8);
        }
        out
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => Some(Self(Back::Quietly)),
            [reason] => Some(Self(Back::Broken(TerminatedReason::from_wire(*reason)))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The row of a body on the page on the wire.
    fn is_on_the_page(name: &str, bytes: &[u8]) -> bool {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
        let page = std::fs::read_to_string(page).expect("the page on the wire");
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let row = format!("| `{}` |", hex.join(" "));
        let is_row = |line: &str| line.starts_with(&format!("| {name} |")) && line.ends_with(&row);
        page.lines().any(is_row)
    }

    #[test]
    fn golden_bytes_hold_both_ways() {
        let watches = [
            (
                "body of Watch",
                WatchBody { is_link: false, lanes: Lanes::one(300) },
                &[0, 1, 0xac, 2][..],
            ),
            (
                "body of Watch, a link",
                WatchBody { is_link: true, lanes: Lanes::two(1, 2) },
                &[1, 2, 1, 2],
            ),
        ];
        for (name, body, bytes) in watches {
            assert_eq!(body.put(Vec::new()), bytes, "{name}");
            assert_eq!(WatchBody::read(bytes), Some(body), "{name}");
            assert!(is_on_the_page(name, bytes), "docs/wire.md has no such row of the {name}");
        }
        let broken = UnwatchBody(Back::Broken(TerminatedReason::Panicked));
        assert_eq!(broken.put(Vec::new()), [1]);
        assert_eq!(UnwatchBody::read(&[1]), Some(broken));
        assert!(is_on_the_page("body of Unwatch, a broken link", &[1]), "docs/wire.md lacks it");
        let quietly = UnwatchBody(Back::Quietly);
        assert_eq!((quietly.put(Vec::new()), UnwatchBody::read(&[])), (vec![], Some(quietly)));
    }

    #[test]
    fn what_is_no_such_body_is_refused() {
        for bytes in [&[][..], &[0], &[0, 0], &[0, 1, 7, 7], &[2, 1, 7], &[0, 3, 1, 2, 3]] {
            assert_eq!(WatchBody::read(bytes), None, "{bytes:?}");
        }
        let longest = WatchBody { is_link: true, lanes: Lanes::two(u64::MAX, u64::MAX - 1) };
        let mut bytes = longest.put(Vec::new());
        assert_eq!((bytes.len(), WatchBody::read(&bytes)), (LONGEST, Some(longest)));
        bytes.push(0);
        assert_eq!(WatchBody::read(&bytes), None, "one byte more");
        assert_eq!(UnwatchBody::read(&[1, 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = (WatchBody::read(&bytes), UnwatchBody::read(&bytes));
        }
    }
}
