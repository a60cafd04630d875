//! What entities are known by.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

/// What an entity may be known by: text, a whole number, bytes, a UUID (with the feature `uuid`), or a type
/// of the user's.
///
/// A key is what it says: two keys whose texts are the same lead to the same entity, whatever their types,
/// so `7` and `"7"` do. The text decides where the entity is placed, and has to stay what it is for as long
/// as nodes of older releases, or stores, know the entity by it. Inside the entity it is
/// [`ClusterContext::key`](crate::ClusterContext::key), and what its factory is given.
///
/// # Examples
///
/// ```
/// use std::borrow::Cow;
///
/// use actix_cluster::Key;
///
/// struct Order {
///     shop: u32,
///     number: u64,
/// }
///
/// impl Key for Order {
///     fn as_key(&self) -> Cow<'_, str> {
///         format!("{}/{}", self.shop, self.number).into()
///     }
/// }
///
/// assert_eq!(Order { shop: 3, number: 4711 }.as_key(), "3/4711");
/// assert_eq!(4711u64.as_key(), "4711");
/// assert_eq!([0x0f, 0xa0].as_key(), "0fa0");
/// ```
pub trait Key {
    /// The key's text.
    fn as_key(&self) -> Cow<'_, str>;
}

impl<K: Key + ?Sized> Key for &K {
    fn as_key(&self) -> Cow<'_, str> {
        K::as_key(self)
    }
}

impl Key for str {
    fn as_key(&self) -> Cow<'_, str> {
        self.into()
    }
}

macro_rules! texts {
    ($($text:ty),*) => {$(
        impl Key for $text {
            fn as_key(&self) -> Cow<'_, str> {
                Cow::Borrowed(self)
            }
        }
    )*};
}

texts!(String, Box<str>, Arc<str>, Cow<'_, str>);

macro_rules! numbers {
    ($($number:ty),*) => {$(
        /// In decimal.
        impl Key for $number {
            fn as_key(&self) -> Cow<'_, str> {
                self.to_string().into()
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// In hexadecimal, two digits for each byte, in lower case.
impl Key for [u8] {
    fn as_key(&self) -> Cow<'_, str> {
        let mut text = String::with_capacity(2 * self.len());
        for byte in self {
            write!(text, "{byte:02x}").expect("a string takes all that is written to it");
        }
        text.into()
    }
}

/// As a slice of bytes.
impl<const N: usize> Key for [u8; N] {
    fn as_key(&self) -> Cow<'_, str> {
        self[..].as_key()
    }
}

/// As a slice of bytes.
impl Key for Vec<u8> {
    fn as_key(&self) -> Cow<'_, str> {
        self[..].as_key()
    }
}

/// Hyphenated, in lower case: `67e55044-10b1-426f-9247-bb680e5fe0c8`.
#[cfg(feature = "uuid")]
impl Key for uuid::Uuid {
    fn as_key(&self) -> Cow<'_, str> {
        self.hyphenated().to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_golden_texts() {
        let text: (Box<str>, Arc<str>) = ("k".into(), "k".into());
        for key in [&"k" as &dyn Key, &String::from("k"), &text.0, &text.1, &Cow::Borrowed("k")] {
            assert_eq!(key.as_key(), "k");
        }
        assert_eq!(
            (u128::MAX.as_key(), (-7i8).as_key()),
            (u128::MAX.to_string().into(), "-7".into())
        );
        assert_eq!(vec![0u8, 255, 16].as_key(), "00ff10");
        assert_eq!((&&[1u8, 2]).as_key(), "0102");
        assert_eq!([0u8; 0].as_key(), "");
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_has_a_golden_text() {
        let uuid = uuid::Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        assert_eq!(uuid.as_key(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
    }
}
