mod credentials;
mod handshake;

use crate::identity::NodeName;

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}
