//! Unsigned LEB128: seven bits a byte, the lowest first, the top bit set on all but the last.

use super::WireError;

/// The most bytes of a 64-bit number.
pub(crate) const LONGEST: usize = 10;

pub(crate) fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number from the front; `None` while bytes are missing. Gives its length too.
pub(crate) fn take(bytes: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
    let mut value = 0u64;
    for (n, byte) in bytes.iter().take(LONGEST).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if n == LONGEST - 1 && bits > 1 {
            return Err(WireError::Malformed);
        }
        value |= bits << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((value, n + 1)));
        }
    }
    if bytes.len() < LONGEST { Ok(None) } else { Err(WireError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn numbers_come_back(value: u64) {
            let mut bytes = Vec::new();
            put(value, &mut bytes);
            proptest::prop_assert!(bytes.len() <= LONGEST);
            proptest::prop_assert_eq!(take(&bytes), Ok(Some((value, bytes.len()))));
            proptest::prop_assert_eq!(take(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn a_number_that_does_not_end_is_refused() {
        assert_eq!(take(&[0xff; 12]), Err(WireError::Malformed));
    }
}
