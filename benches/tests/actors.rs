//! The bench of the actors still measures everything of this project, and says so in both forms. What
//! it is compared with takes minutes to build, and is left to whoever runs it.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_actors"))
        .args(["--who", "actix-cluster"])
        .args(args)
        .output()
        .expect("it runs")
}

#[test]
fn every_case_is_measured() {
    let output = run(&["--quick", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut measured = BTreeSet::new();
    for line in String::from_utf8(output.stdout).expect("it is text").lines() {
        let figure: Value = serde_json::from_str(line).expect("each line is JSON");
        let number = |key: &str| figure[key].as_f64().expect("it is a number");
        assert!(number("min") <= number("median") && number("median") <= number("max"), "{line}");
        assert!(number("min") > 0.0, "{line}");
        let text = |key: &str| figure[key].as_str().expect("it is text").to_owned();
        measured.insert((text("case"), text("who")));
    }
    assert_eq!(measured.len(), 13, "{measured:?}");
}

#[test]
fn one_case_comes_as_a_table_with_its_target() {
    let output = run(&["--quick", "--only", "idle-bytes", "--rounds", "2"]);
    let table = String::from_utf8(output.stdout).expect("it is text");
    assert!(table.contains("(at most 800: "), "{table}");
    assert!(!table.contains("spawn"), "{table}");
    assert!(output.status.success());
}

#[test]
fn a_case_that_does_not_exist_is_answered_with_those_that_do() {
    let output = run(&["--only", "tell-same-2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tell-same-1, tell-same-1000"));
}
