//! Headers: names and values that travel.
//!
//! Invariant: sorted by name, each name once, within both limits.

use std::{fmt, sync::Arc};

use crate::cluster::wire::PayloadError;

/// How many headers a call may have.
pub(crate) const COUNT_LIMIT: usize = 64;

/// How many bytes its names and values may have in all.
pub(crate) const BYTES_LIMIT: usize = 8 * 1024;

/// A name and a value.
type Header = (Box<str>, Box<str>);

/// The headers of a [`Call`](super::Call).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<[Header]>>);

/// A header that a call can't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty.
    NoName,
    /// There are 64 already.
    TooMany,
    /// All names and values together would be longer than 8 KiB.
    TooLong,
}

impl Headers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|headers| headers.iter()).map(|(name, value)| (&**name, &**value))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Result<Self, HeaderError> {
        let others = self.iter().filter(|(other, _)| *other != name);
        Self::checked(others.chain([(name, value)]).collect())
    }

    fn checked(mut headers: Vec<(&str, &str)>) -> Result<Self, HeaderError> {
        headers.sort_unstable();
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.iter().any(|(name, _)| name.is_empty()) {
            return Err(HeaderError::NoName);
        }
        if headers.len() > COUNT_LIMIT {
            return Err(HeaderError::TooMany);
        }
        if bytes > BYTES_LIMIT {
            return Err(HeaderError::TooLong);
        }
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into()));
        Ok(Self(Some(headers.collect())))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let headers: Vec<_> = self.iter().collect();
        postcard::to_extend(&headers, Vec::new()).expect("text is no value that serde refuses")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) of another node wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let headers: Vec<(&str, &str)> =
            postcard::from_bytes(bytes).map_err(|_| PayloadError::Malformed)?;
        let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        if headers.is_empty() || names.len() != headers.len() {
            return Err(PayloadError::Malformed);
        }
        Self::checked(headers).map_err(|_| PayloadError::Malformed)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("a header has a name"),
            Self::TooMany => write!(f, "a call has at most {COUNT_LIMIT} headers"),
            Self::TooLong => write!(f, "the headers of a call have at most {BYTES_LIMIT} bytes"),
        }
    }
}

impl std::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(count: usize, value: &str) -> Result<Headers, HeaderError> {
        (0..count)
            .try_fold(Headers::default(), |headers, n| headers.with(&format!("{n:02}"), value))
    }

    #[test]
    fn a_header_has_one_value_the_last_one() {
        let headers = headers(2, "a").and_then(|it| it.with("01", "b")).expect("within the limits");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("00", "a"), ("01", "b")]);
        assert_eq!((headers.find("01"), headers.find("02")), (Some("b"), None));
    }

    #[test]
    fn headers_are_bounded_in_number_and_in_bytes() {
        let most = headers(COUNT_LIMIT, "a").expect("as many as there may be");
        assert_eq!(most.with("more", "a"), Err(HeaderError::TooMany));
        assert!(most.with("00", "b").is_ok(), "another value of one that is there");
        let longest = "a".repeat(BYTES_LIMIT - 1);
        assert!(Headers::default().with("n", &longest).is_ok());
        assert_eq!(Headers::default().with("nn", &longest), Err(HeaderError::TooLong));
        assert_eq!(Headers::default().with("", "a"), Err(HeaderError::NoName));
    }

    #[test]
    fn headers_have_golden_bytes() {
        let one = Headers::default().with("tenant", "acme").expect("within the limits");
        let bytes = one.to_bytes();
        assert_eq!(bytes, b"\x01\x06tenant\x04acme");
        assert_eq!(Headers::read(&bytes), Ok(one));
        assert_eq!(Headers::read(&[]), Ok(Headers::default()));
        super::super::chain::tests::is_on_the_page(&bytes);
    }

    #[test]
    fn headers_beyond_the_limits_are_no_headers() {
        let bytes =
            |headers: &[(&str, &str)]| postcard::to_extend(&headers, Vec::new()).expect("bytes");
        let names: Vec<String> = (0..=COUNT_LIMIT).map(|n| n.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let long = "a".repeat(BYTES_LIMIT);
        for wrong in [
            bytes(&many),
            bytes(&[("n", &long)]),
            bytes(&[("n", "a"), ("n", "b")]),
            bytes(&[("", "")]),
        ] {
            assert_eq!(Headers::read(&wrong), Err(PayloadError::Malformed));
        }
        assert!(Headers::read(&bytes(&many[1..])).is_ok());
    }
}
