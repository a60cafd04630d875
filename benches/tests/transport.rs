//! The bench of the transport still measures everything, and says so in both forms.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_transport")).args(args).output().expect("it runs")
}

#[test]
fn every_case_is_measured_for_everybody() {
    let output = run(&["--quick", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut measured = BTreeSet::new();
    for line in String::from_utf8(output.stdout).expect("it is text").lines() {
        let figure: Value = serde_json::from_str(line).expect("each line is JSON");
        let number = |key: &str| figure[key].as_f64().expect("it is a number");
        assert!(number("min") <= number("median") && number("median") <= number("max"), "{line}");
        let text = |key: &str| figure[key].as_str().expect("it is text").to_owned();
        let (case, who, metric) = (text("case"), text("who"), text("metric"));
        if metric.ends_with("_per_second") || metric == "p50_us" {
            assert!(number("min") > 0.0, "{line}");
            measured.insert((case, who));
        }
    }
    assert_eq!(measured.len(), 11 * 3, "{measured:?}");
}

#[test]
fn one_case_comes_as_a_table_with_its_target() {
    let output = run(&["--quick", "--only", "in-flight-256", "--rounds", "2"]);
    let table = String::from_utf8(output.stdout).expect("it is text");
    assert!(table.contains("of quinn (at least 0.6, aim 0.8: "), "{table}");
    assert!(!table.contains("one-way"), "{table}");
    assert!(output.status.success());
}

#[test]
fn a_case_that_does_not_exist_is_answered_with_those_that_do() {
    let output = run(&["--only", "one-way-65"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("one-way-64, one-way-256"));
}
