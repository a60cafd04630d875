//! The contract: a file of the messages that a program has published, checked by its own tests.
//!
//! A published message is frozen, since nodes of the release before send it and read it. A
//! [`Contract`] lists a program's messages; its [`check`](Contract::check) compares them with a file
//! that is committed beside the tests, and fails when one has changed, is gone, or is new.
//!
//! # The file
//!
//! ```text
//! # Comments and empty lines may stand anywhere.
//! message bank.Balance 1 struct->i64
//! message bank.Deposit 1 struct(i64)->Result<i64,BankError>
//! message bank.Deposit 2 struct{amount:i64,memo:Option<Memo>}->Result<i64,BankError>
//! sample bank.Deposit 2 with_memo 0a010474686178
//! reply bank.Deposit 2 closed 0100
//! retired bank.Freeze 1 struct->()
//! ```
//!
//! One line for each message, sorted by name and version: a word, the name, the version, and the
//! [shape](crate::RemoteMessage::SHAPE) to the end of the line. A message that no node of the
//! cluster knows any more is *retired*: write that word in place of `message`; its line stays, so that
//! nobody gives the same name and version to something else.
//!
//! # What it sees
//!
//! The shape is what the message's own definition says: its fields by name and type, its variants in
//! their order, serde's attributes, reply and error. The types of its fields are names there. What
//! changes inside of such a type shows in the bytes of a *sample*: a value whose bytes the file holds
//! ([`Contract::sample`], [`Contract::reply_sample`]). A sample should set every field, hold an element
//! in every list, and numbers too large for a smaller type; an enum wants one for each variant.
//!
//! # Examples
//!
//! ```
//! use actix_cluster::{contract::{Contract, ContractError}, prelude::*};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, RemoteMessage, Serialize, Deserialize)]
//! #[rtype(result = "i64")]
//! #[remote(name = "bank.Deposit", version = 1)]
//! struct Deposit(i64);
//!
//! // A `#[test]` of the program; the path is below its package.
//! fn published_messages_are_frozen() -> Result<(), ContractError> {
//!     Contract::new().message::<Deposit>().check("tests/messages.contract")
//! }
//! ```

mod breach;
mod file;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::Path,
};

pub use self::breach::{Breach, ContractError, Fault, Item, Part};
use self::file::File;
use crate::{
    message::{self, MessageFacts, RemoteMessage, version},
    remote_actor::{MessageTable, RemoteActor},
};

/// The environment variable that says what a check is to do: `write` adds what is new to the file.
pub const MODE_VARIABLE: &str = "ACTIX_CLUSTER_CONTRACT";

/// The messages of a program, to be compared with those that it has published.
#[derive(Clone, Debug, Default)]
#[must_use = "a contract does nothing until it is checked"]
pub struct Contract {
    found: BTreeMap<Item, String>,
    /// What is wrong whatever the file says.
    breaches: Vec<Breach>,
    collision: Option<crate::Collision>,
}

/// What a check does with what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Check,
    Write,
}

impl Contract {
    /// Of no messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists all messages of an actor type, with their older versions.
    pub fn actor<A: RemoteActor>(mut self) -> Self {
        match MessageTable::<A>::collect() {
            Ok(table) => table.facts().for_each(|facts| self.list(facts)),
            Err(collision) => self.collision = Some(collision),
        }
        self
    }

    /// Lists one message, with its older versions.
    pub fn message<M: RemoteMessage>(mut self) -> Self {
        self.list(MessageFacts::of::<M>());
        version::older::<M>().into_iter().for_each(|older| self.list(older.facts));
        self
    }

    /// Lists the bytes of a value of a message, which is to be read back as the same bytes.
    ///
    /// A value that holds references to actors is read inside of a node
    /// ([`Node::scope`](crate::Node::scope)).
    ///
    /// # Panics
    ///
    /// When `label` is not one word, which has to name the sample.
    pub fn sample<M: RemoteMessage>(self, label: &str, value: &M) -> Self {
        let bytes = message::encode(value, Vec::new());
        let again = |bytes: &[u8]| message::encode(&message::decode::<M>(bytes)?, Vec::new());
        let item = Item::of::<M>(Part::Sample(word(label)));
        self.bytes(item, bytes.and_then(|bytes| Ok((again(&bytes)?, bytes))))
    }

    /// Lists the bytes of a result of a message, which is to be read back as the same bytes.
    ///
    /// # Panics
    ///
    /// As [`sample`](Self::sample).
    pub fn reply_sample<M: RemoteMessage>(self, label: &str, result: &M::Result) -> Self {
        let bytes = M::encode_result(result, Vec::new());
        let again = |bytes: &[u8]| M::encode_result(&M::decode_result(bytes)?, Vec::new());
        let item = Item::of::<M>(Part::Reply(word(label)));
        self.bytes(item, bytes.and_then(|bytes| Ok((again(&bytes)?, bytes))))
    }

    /// Compares what is listed with the file at `path`, which is relative to the package's folder in
    /// a test that cargo runs. A file that does not exist has published nothing.
    ///
    /// With the environment variable [`MODE_VARIABLE`] set to `write`, what is new is added to the
    /// file in its place. No line is ever changed or removed. Let one test check one file.
    ///
    /// # Errors
    ///
    /// [`ContractError`], which names every message with its remedy. It shows its text as `Debug` too,
    /// so that a test may return it.
    pub fn check(self, path: impl AsRef<Path>) -> Result<(), ContractError> {
        let writes = std::env::var_os(MODE_VARIABLE).is_some_and(|mode| mode == "write");
        self.check_as(if writes { Mode::Write } else { Mode::Check }, path.as_ref())
    }

    fn check_as(self, mode: Mode, path: &Path) -> Result<(), ContractError> {
        let in_file = |source| ContractError::File { path: path.to_path_buf(), source };
        if let Some(collision) = self.collision {
            return Err(ContractError::Collision(collision));
        }
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(in_file)?,
        };
        let malformed = |line| ContractError::Malformed { path: path.to_path_buf(), line };
        let mut file = File::read(&text).map_err(malformed)?;
        let mut breaches = self.breaches;
        breaches.extend(file.compare(&self.found));
        if mode == Mode::Write {
            breaches.retain(|Breach { item, fault }| match fault {
                Fault::New { found } => {
                    file.add(item.clone(), found.clone());
                    false
                }
                _ => true,
            });
            let written = file.to_text();
            if written != text {
                fs::write(path, written).map_err(in_file)?;
            }
        }
        match breaches.is_empty() {
            true => Ok(()),
            false => Err(ContractError::Broken { path: path.to_path_buf(), breaches }),
        }
    }

    fn list(&mut self, facts: MessageFacts) {
        let MessageFacts { name, version, shape, .. } = facts;
        let item = Item { name: name.to_owned(), version, part: Part::Shape };
        self.add(item, shape.replace(['\n', '\r'], " "));
    }

    fn bytes(mut self, item: Item, bytes: Result<(Vec<u8>, Vec<u8>), crate::CodecError>) -> Self {
        match bytes {
            Ok((again, bytes)) if again == bytes => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                self.add(item, hex);
            }
            _ => self.breaches.push(Breach { item, fault: Fault::NotReadBack }),
        }
        self
    }

    fn add(&mut self, item: Item, text: String) {
        match self.found.entry(item) {
            Entry::Vacant(free) => {
                free.insert(text);
            }
            Entry::Occupied(known) if *known.get() == text => {}
            Entry::Occupied(known) => {
                let (item, first) = (known.key().clone(), known.get().clone());
                let fault = Fault::Ambiguous { first, second: text };
                self.breaches.push(Breach { item, fault });
            }
        }
    }
}

fn word(label: &str) -> String {
    let is_word = !label.is_empty() && !label.contains(char::is_whitespace);
    assert!(is_word, "the label of a sample is one word, not {label:?}");
    label.to_owned()
}

#[cfg(test)]
mod tests;
