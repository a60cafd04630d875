//! The bench still works; what it finds is for a quiet machine and a release build.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_round_gives_every_figure() {
    let bulk = Command::new(env!("CARGO_BIN_EXE_bulk"))
        .args(["--rounds", "1", "--megabytes", "5", "--rate", "500", "--json"])
        .output()
        .expect("it runs");
    let lines = String::from_utf8(bulk.stdout).expect("text");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a figure")).collect();
    for who in ["transport", "quinn"] {
        let of_it: Vec<_> = lines.iter().filter(|line| line["who"] == who).collect();
        assert_eq!(of_it.len(), 6, "{who}");
        for line in of_it {
            let figure = |name: &str| line[name].as_f64().expect("a number");
            assert!((figure("min")..=figure("max")).contains(&figure("median")), "{line}");
        }
    }
}
