//! Who a node is: its name, its incarnation and its cluster.
//!
//! Invariant: a name that exists is a valid one, however it came in. A node name is a DNS name that
//! a certificate can carry, so that the certificate and the name compare without translation.
//! Knows no certificate, address or connection.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a node, unique among the live nodes of its cluster: a DNS name in lower case.
///
/// The certificate of the node has to be valid for it.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::NodeName;
///
/// let name = NodeName::new("carts-2.shop.internal")?;
/// assert_eq!(name.as_str(), "carts-2.shop.internal");
/// assert!(NodeName::new("Carts_2").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name, if it keeps the rules: labels of 1 to 63 lower-case ASCII letters, digits and `-`,
    /// separated by dots; no `-` at either end of a label; not only digits in the last one, lest it
    /// look like an IP address; 200 bytes at most.
    ///
    /// # Errors
    ///
    /// [`NameError`], which names the value and the broken rule.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match broken_node_rule(name) {
            Some(rule) => Err(NameError::new("node name", name, rule)),
            None => Ok(Self(name.into())),
        }
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest node name, in bytes.
const NODE_LIMIT: usize = 200;
/// The longest label of a DNS name, in bytes.
const LABEL_LIMIT: usize = 63;

fn broken_node_rule(name: &str) -> Option<&'static str> {
    if name.len() > NODE_LIMIT {
        return Some("has to be at most 200 bytes");
    }
    let labels = || name.split('.');
    if labels().any(|label| label.is_empty() || label.len() > LABEL_LIMIT) {
        return Some("has to be of labels of 1 to 63 characters, separated by dots");
    }
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if !name.bytes().all(allowed) {
        return Some("may hold lower-case ascii letters, digits, `-` and dots only");
    }
    if labels().any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Some("may not have a `-` at either end of a label");
    }
    let last_is_number = labels().next_back()?.bytes().all(|byte| byte.is_ascii_digit());
    last_is_number.then_some("may not end in a label of digits only, as an ip address does")
}

/// The name of a cluster: nodes of different ones refuse each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(Arc<str>);

impl ClusterName {
    /// The name, if it is 1 to 100 ASCII letters, digits, `-`, `_` and dots.
    ///
    /// # Errors
    ///
    /// [`NameError`], which names the value and the broken rule.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let rule = if name.is_empty() || name.len() > CLUSTER_LIMIT {
            "has to be 1 to 100 characters"
        } else if !name.bytes().all(allowed) {
            "may hold ascii letters, digits, `-`, `_` and dots only"
        } else {
            return Ok(Self(name.into()));
        };
        Err(NameError::new("cluster name", name, rule))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest cluster name, in bytes.
const CLUSTER_LIMIT: usize = 100;

/// One run of a node's process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId {
    /// The node.
    pub name: NodeName,
    /// Which run of it: a later one is higher.
    pub incarnation: u64,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.incarnation)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What all names can do: show themselves, be parsed, and travel as checked text.
macro_rules! checked_text {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    )*};
}

checked_text!(NodeName ClusterName);

/// A name that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameError {
    /// What was to be named.
    pub subject: &'static str,
    /// The name given; its start, if it is long.
    pub value: String,
    /// What it may be.
    pub rule: &'static str,
}

impl NameError {
    fn new(subject: &'static str, value: &str, rule: &'static str) -> Self {
        Self { subject, value: value.chars().take(SHOWN).collect(), rule }
    }
}

/// How much of a wrong name is shown, in characters: it may come from a peer.
const SHOWN: usize = 256;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {:?} {}", self.subject, self.value, self.rule)
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::DnsName;

    use super::*;

    #[test]
    fn node_names_keep_the_rules_of_certificates() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(8));
        assert_eq!(longest.len(), 200);
        let right = ["a", "1a", "a1", "n-1", "x--y", "n1.shop.internal", "1.2.a", &label, &longest];
        for name in right {
            assert_eq!(NodeName::new(name).expect(name).as_str(), name);
        }
        let long_label = format!("{label}a");
        let too_long = format!("{longest}a");
        let wrong = [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a-.b",
            "A",
            "a_b",
            "a b",
            "ä",
            "*.a",
            "1",
            "10.0.0.1",
            "a.7",
            "a\n",
            "a/b",
            &long_label,
            &too_long,
        ];
        for name in wrong {
            assert!(NodeName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn cluster_names_keep_their_rules() {
        let longest = "x".repeat(100);
        for name in ["shop", "Shop_2.eu-west", "1", &longest] {
            assert_eq!(ClusterName::new(name).expect(name).to_string(), name);
        }
        let too_long = "x".repeat(101);
        for name in ["", "a b", "ä", "a/b", "a\0", &too_long] {
            assert!(ClusterName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_wrong_name_is_shown_with_its_rule() {
        let error = NodeName::new("Carts\n").expect_err("wrong").to_string();
        let rule = "may hold lower-case ascii letters, digits, `-` and dots only";
        assert_eq!(error, format!("the node name \"Carts\\n\" {rule}"));
        let error = NodeName::new(&"A".repeat(100_000)).expect_err("wrong").to_string();
        assert!(error.len() < 400, "{}", error.len());
    }

    #[test]
    fn names_are_checked_when_they_arrive() {
        let peer = PeerId { name: NodeName::new("n1").expect("a name"), incarnation: 7 };
        assert_eq!((peer.to_string().as_str(), format!("{peer:?}").as_str()), ("n1/7", "n1/7"));
        let bytes = postcard::to_stdvec(&peer).expect("encoded");
        assert_eq!(bytes, [2, b'n', b'1', 7]);
        assert_eq!(postcard::from_bytes::<PeerId>(&bytes).expect("decoded"), peer);
        assert!(postcard::from_bytes::<PeerId>(&[2, b'N', b'1', 7]).is_err());
        assert!(postcard::from_bytes::<ClusterName>(&[1, b'/']).is_err());
        assert!(postcard::from_bytes::<NodeName>(&[255, 255, 255, 255, 15, b'a']).is_err());
    }

    proptest! {
        #[test]
        fn every_node_name_is_a_dns_name(text in "[a-zA-Z0-9_.-]{0,12}") {
            let dns = DnsName::try_from(text.as_str()).is_ok();
            let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_');
            let relative = !text.ends_with('.');
            prop_assert_eq!(NodeName::new(&text).is_ok(), dns && lower && relative);
        }
    }
}
