//! A file that is kept, and each way in which it can be broken.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Contract, ContractError, Fault, File, Item, Mode, Part, file, fs};
use crate::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
enum Reason {
    Closed,
    Frozen { days: u32 },
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
struct DepositV1(i64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<i64, Reason>")]
#[remote(name = "bank.Deposit", version = 2, older(DepositV1, reply))]
struct Deposit {
    amount: i64,
    memo: Option<String>,
}

impl From<DepositV1> for Deposit {
    fn from(DepositV1(amount): DepositV1) -> Self {
        Self { amount, memo: None }
    }
}

impl crate::OlderReply<DepositV1> for Deposit {
    fn older_reply(result: Result<i64, Reason>) -> i64 {
        result.unwrap_or(-1)
    }
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Balance", version = 1)]
struct Balance;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(Deposit))]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Handler<Deposit> for Account {
    type Result = Result<i64, Reason>;

    fn handle(&mut self, msg: Deposit, _: &mut Self::Context) -> Self::Result {
        if msg.amount < 0 { Err(Reason::Closed) } else { Ok(msg.amount) }
    }
}

/// Of the name and version of [`Balance`], and of another shape.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Balance", version = 1)]
struct OtherBalance(u8);

/// Written as a number, read as the next one.
#[derive(Message, RemoteMessage, Serialize)]
#[rtype(result = "()")]
#[remote(name = "bank.Crooked", version = 1)]
struct Crooked(u8);

impl<'de> Deserialize<'de> for Crooked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|number| Self(number + 1))
    }
}

const KEPT: &str = "\
# Of the bank.

message bank.Balance 1 struct->i64
message bank.Deposit 1 struct(i64)->i64
  # With a memo.
message bank.Deposit 2 struct{amount:i64,memo:Option<String>}->Result<i64,Reason>
sample bank.Deposit 2 with_memo d80401026869
reply bank.Deposit 2 closed 0100
reply bank.Deposit 2 frozen 0101ac02
retired bank.Freeze 1 struct->()
";

fn bank() -> Contract {
    Contract::new()
        .message::<Balance>()
        .actor::<Account>()
        .sample("with_memo", &Deposit { amount: 300, memo: Some("hi".to_owned()) })
        .reply_sample::<Deposit>("closed", &Err(Reason::Closed))
        .reply_sample::<Deposit>("frozen", &Err(Reason::Frozen { days: 300 }))
}

/// A file of its own for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, text: Option<&str>) -> Self {
        let folder = format!("actix-cluster-contract-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let folder = Self(folder);
        if let Some(text) = text {
            fs::write(folder.file(), text).expect("it is written");
        }
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.join("messages.contract")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("it is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is there");
    }
}

/// The faults of a contract with a file of this text, each with what it is about.
fn faults(test: &str, text: &str, contract: Contract) -> Vec<(String, Fault)> {
    let folder = Folder::new(test, Some(text));
    let checked = contract.check_as(Mode::Check, &folder.file());
    assert_eq!(folder.text(), text, "a check writes nothing");
    match checked {
        Ok(()) => Vec::new(),
        Err(ContractError::Broken { breaches, .. }) => {
            breaches.into_iter().map(|breach| (breach.item.to_string(), breach.fault)).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_published_format_is_read_and_kept() {
    assert_eq!(faults("kept", KEPT, bank()), []);
    let folder = Folder::new("kept_written", Some(KEPT));
    bank().check_as(Mode::Write, &folder.file()).expect("nothing is new");
    assert_eq!(folder.text(), KEPT);
}

#[test]
fn a_changed_message_names_both_shapes_and_the_remedy() {
    let text = KEPT.replace("1 struct(i64)->i64", "1 struct(i32)->i64");
    let folder = Folder::new("changed", Some(&text));
    // Not even to be written.
    for mode in [Mode::Check, Mode::Write] {
        let error = bank().check_as(mode, &folder.file()).expect_err("it has changed");
        let path = folder.file();
        let expected = format!(
            "{} is not kept\n\nbank.Deposit version 1 has changed\n  published: struct(i32)->i64\n  \
             now:       struct(i64)->i64\n  give it version 2, and keep version 1 as `older(..)`",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(format!("{error:?}"), expected, "a test that returns it shows the same");
        assert_eq!(folder.text(), text);
    }
}

#[test]
fn a_removed_message_is_to_be_kept_or_retired() {
    let found = Contract::new().message::<Balance>();
    let faults = faults("removed", KEPT, found);
    let removed: Vec<_> = faults
        .iter()
        .map(|(item, fault)| (item.as_str(), matches!(fault, Fault::Removed { .. })))
        .collect();
    assert_eq!(
        removed,
        [
            ("bank.Deposit version 1", true),
            ("bank.Deposit version 2", true),
            ("the sample with_memo of bank.Deposit version 2", true),
            ("the reply closed of bank.Deposit version 2", true),
            ("the reply frozen of bank.Deposit version 2", true),
        ]
    );
}

#[test]
fn a_retired_message_needs_no_samples_and_stays_away() {
    let text = KEPT.replace("message bank.Deposit", "retired bank.Deposit");
    assert_eq!(faults("retired", &text, Contract::new().message::<Balance>()), []);
    let again = faults("again", &text, Contract::new().message::<Balance>().message::<Deposit>());
    assert_eq!(
        again,
        [
            ("bank.Deposit version 1".to_owned(), Fault::Retired),
            ("bank.Deposit version 2".to_owned(), Fault::Retired),
        ]
    );
}

#[test]
fn what_changes_inside_of_a_type_shows_in_its_samples() {
    let other = bank().reply_sample::<Deposit>("frozen", &Err(Reason::Closed));
    let fault = faults("ambiguous", KEPT, other);
    let (first, second) = ("0101ac02".to_owned(), "0100".to_owned());
    let item = "the reply frozen of bank.Deposit version 2".to_owned();
    assert_eq!(fault, [(item.clone(), Fault::Ambiguous { first, second })]);
    let published = KEPT.replace("0101ac02", "01012c");
    let (published, changed) = ("01012c".to_owned(), faults("inside", &published, bank()));
    let found = "0101ac02".to_owned();
    assert_eq!(changed, [(item, Fault::Changed { published, found })]);
}

#[test]
fn a_value_that_is_not_read_back_is_a_fault() {
    let text = "message bank.Crooked 1 struct(u8)->()\n";
    let found = Contract::new().message::<Crooked>().sample("one", &Crooked(1));
    let item = "the sample one of bank.Crooked version 1".to_owned();
    assert_eq!(faults("crooked", text, found), [(item, Fault::NotReadBack)]);
}

#[test]
fn one_name_and_version_has_one_shape() {
    let both = bank().message::<OtherBalance>();
    let (first, second) = ("struct->i64".to_owned(), "struct(u8)->i64".to_owned());
    let item = "bank.Balance version 1".to_owned();
    assert_eq!(faults("two_shapes", KEPT, both), [(item, Fault::Ambiguous { first, second })]);
}

#[test]
fn what_is_new_is_written_on_request_only_and_in_its_place() {
    let folder = Folder::new("new", None);
    let error = bank().check_as(Mode::Check, &folder.file()).expect_err("nothing is published");
    assert!(error.to_string().contains("run this test with ACTIX_CLUSTER_CONTRACT=write"));
    assert!(!folder.file().exists());
    let bank = || bank().sample("empty", &Balance);
    bank().check_as(Mode::Write, &folder.file()).expect("it is written");
    bank().check_as(Mode::Check, &folder.file()).expect("it is kept");
    let header = KEPT.lines().next().expect("a comment");
    let expected = KEPT
        .replace(header, file::HEADER.trim_end())
        .replace("\n\n", "\n")
        .replace("  # With a memo.\n", "")
        .replace("retired bank.Freeze 1 struct->()\n", "")
        .replace("struct->i64\n", "struct->i64\nsample bank.Balance 1 empty\n");
    assert_eq!(folder.text(), expected);
}

#[test]
fn a_line_is_added_without_touching_the_others() {
    let text = "# First.\nmessage bank.Deposit 2 x\n# Last.\nmessage bank.Deposit 10 y";
    let mut file = File::read(text).expect("it is a file");
    let mut add = |name: &str, version| {
        let item = Item { name: name.to_owned(), version, part: Part::Shape };
        file.add(item, "new".to_owned());
    };
    add("bank.Deposit", 3);
    add("bank.Audit", 1);
    add("bank.Deposit", 11);
    assert_eq!(
        file.to_text(),
        "# First.\nmessage bank.Audit 1 new\nmessage bank.Deposit 2 x\nmessage bank.Deposit 3 new\n\
         # Last.\nmessage bank.Deposit 10 y\nmessage bank.Deposit 11 new\n"
    );
}

#[test]
fn a_line_that_is_none_is_named() {
    for line in [
        "bank.Deposit 1 struct->()",
        "message bank.Deposit",
        "message bank.Deposit one struct->()",
        "message bank.Deposit 1",
        "messages bank.Deposit 1 struct->()",
        "message bank.Balance 1 struct->i64",
        "retired bank.Balance 1 struct->i64",
    ] {
        let text = format!("# One.\nmessage bank.Balance 1 struct->i64\n\n{line}\n");
        let folder = Folder::new("malformed", Some(&text));
        let error = Contract::new().check_as(Mode::Write, &folder.file()).expect_err(line);
        assert!(matches!(error, ContractError::Malformed { line: 4, .. }), "{line}: {error}");
        assert_eq!(folder.text(), text);
    }
}

#[test]
fn a_file_that_can_not_be_read_is_an_error() {
    let folder = Folder::new("unreadable", None);
    let error = bank().check_as(Mode::Check, &folder.0).expect_err("a folder is no file");
    assert!(matches!(&error, ContractError::File { path, .. } if *path == folder.0), "{error}");
}

#[test]
#[should_panic(expected = "one word")]
fn the_label_of_a_sample_is_one_word() {
    let _ = Contract::new().sample("two words", &Balance);
}
