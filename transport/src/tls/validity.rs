//! What a certificate says of itself: when it holds, and which one it is.
//!
//! webpki checks validity without telling it, so the two times are read here, from certificates
//! that webpki has parsed. Reads no clock.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use webpki::EndEntityCert;

use super::{CredentialsError, Field, Problem, certificates};

/// A certificate as far as an operator asks about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateDetails {
    /// Its DNS names; none if it is an authority's.
    pub names: Vec<String>,
    /// Its number with its authority, as bytes with the highest first.
    pub serial: Vec<u8>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// From when it holds.
    pub not_before: SystemTime,
    /// Until when it holds.
    pub not_after: SystemTime,
}

impl CertificateDetails {
    /// Reads each certificate of PEM text, without judging any.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] of [`Field::Chain`]: the text holds no certificate, or a malformed one.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, CredentialsError> {
        certificates(Field::Chain, pem)?.iter().map(Self::of).collect()
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Self, CredentialsError> {
        let malformed = |error| Field::Chain.error(Problem::Malformed(error));
        let (not_before, not_after) =
            validity(certificate).ok_or(malformed(webpki::Error::BadDerTime))?;
        let parsed = EndEntityCert::try_from(certificate).map_err(malformed)?;
        Ok(Self {
            names: parsed.valid_dns_names().map(str::to_owned).collect(),
            serial: parsed.serial().to_vec(),
            fingerprint: Fingerprint::of(certificate),
            not_before,
            not_after,
        })
    }
}

/// Which certificate it is, among all there are: the SHA-256 digest of its DER form.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::{NodeName, development::Authority, tls::Fingerprint};
///
/// let credentials = Authority::new().issue(&NodeName::new("carts-1")?);
/// let text = credentials.fingerprint().to_string();
/// assert_eq!(text.parse::<Fingerprint>()?, credentials.fingerprint());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of the first certificate of PEM text; `None` if there is none.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        CertificateDer::from_pem_slice(pem).ok().map(|certificate| Self::of(&certificate))
    }

    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintError;

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint has to be 64 hexadecimal digits, with or without colons")
    }
}

impl std::error::Error for FingerprintError {}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes 64 hexadecimal digits; colons between them do not matter.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut digits = text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
        let mut digit = || digits.next().flatten().and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let (high, low) = (digit().ok_or(FingerprintError)?, digit().ok_or(FingerprintError)?);
            *byte = high << 4 | low;
        }
        if digits.next().is_some() {
            return Err(FingerprintError);
        }
        Ok(Self(bytes))
    }
}

/// The first moment at which a certificate of a chain holds no longer.
pub(super) fn earliest_end(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    chain.iter().filter_map(|certificate| Some(validity(certificate)?.1)).min()
}

/// From when until when a certificate holds.
fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let mut outer = Der(certificate);
    let mut body = Der(outer.take(SEQUENCE)?);
    let mut body = Der(body.take(SEQUENCE)?);
    if body.next_is(VERSION) {
        body.take(VERSION)?;
    }
    for of_no_interest in [INTEGER, SEQUENCE, SEQUENCE] {
        body.take(of_no_interest)?;
    }
    let mut validity = Der(body.take(SEQUENCE)?);
    Some((time(&mut validity)?, time(&mut validity)?))
}

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

fn time(der: &mut Der<'_>) -> Option<SystemTime> {
    let (year, rest) = if der.next_is(UTC_TIME) {
        let text = der.take(UTC_TIME)?;
        let year = number(text.get(..2)?)?;
        // RFC 5280, section 4.1.2.5.1.
        (if year < 50 { 2_000 + year } else { 1_900 + year }, text.get(2..)?)
    } else {
        let text = der.take(GENERALIZED_TIME)?;
        (number(text.get(..4)?)?, text.get(4..)?)
    };
    let (digits, b"Z") = rest.split_at_checked(10)? else { return None };
    let mut parts = digits.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Days since 1970 in the Gregorian calendar, counted in years that begin with March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// What is left of a DER value.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next element, which has to carry this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.take_whole(tag).map(|(_, content)| content)
    }

    /// The next element as it stands there, and its content.
    pub(super) fn take_whole(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let [found, first, rest @ ..] = self.0 else { return None };
        if *found != tag {
            return None;
        }
        let (length, rest) = match first {
            length @ 0..=0x7f => (usize::from(*length), rest),
            // As many bytes of length as any certificate needs.
            count @ 0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(count & 0x7f))?;
                let length = length.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some((whole, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2020, 1, 1), 18_262),
            ((2119, 1, 1), 54_421),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let read = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).expect("short")];
            der.extend_from_slice(text.as_bytes());
            let at = time(&mut Der(&der))?;
            at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
        };
        assert_eq!(read(UTC_TIME, "200101000001Z"), Some(1_577_836_801));
        assert_eq!(read(GENERALIZED_TIME, "20200101000001Z"), Some(1_577_836_801));
        assert_eq!(read(UTC_TIME, "490101000000Z"), Some(2_493_072_000), "2049");
        assert_eq!(read(UTC_TIME, "500101000000Z"), None, "1950");
        for wrong in ["", "2", "2001010000", "200101000001", "200101000001+", "20010100000xZ"] {
            assert_eq!(read(UTC_TIME, wrong), None, "{wrong:?}");
        }
        assert_eq!(read(UTC_TIME, "201301000001Z"), None, "no such month");
    }

    #[test]
    fn cut_and_overlong_values_are_nothing() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x01",
            b"\x30\x80",
            b"\x30\x85\0\0\0\0\0",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x31\x00",
        ] {
            assert!(Der(bytes).take(SEQUENCE).is_none(), "{bytes:?}");
        }
        assert_eq!(
            Der(b"\x30\x81\x01x").take_whole(SEQUENCE),
            Some((&b"\x30\x81\x01x"[..], &b"x"[..]))
        );
    }

    #[test]
    fn fingerprints_are_read_as_they_are_shown() {
        let fingerprint = Fingerprint([0xa5; 32]);
        let text = fingerprint.to_string();
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(["a5"; 32].join(":").to_uppercase().parse(), Ok(fingerprint));
        for wrong in [&text[1..], &format!("{text}0"), &text.replace('a', "g"), ""] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError), "{wrong}");
        }
    }
}
