//! The soak runs, and finds what was put in on purpose. What it finds in the transport takes longer
//! than a test may.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_soak_finds_a_planted_bug() {
    for (plant, found) in [("lose", "lost"), ("repeat", "duplicated"), ("reorder", "reordered")] {
        let soak = Command::new(env!("CARGO_BIN_EXE_soak"))
            .args(["--seconds", "3", "--json", "--plant", plant])
            .output()
            .expect("it runs");
        assert_eq!(soak.status.code(), Some(1), "{plant}");
        let report: Value = serde_json::from_slice(&soak.stdout).expect("a report");
        assert!(report[found].as_u64() >= Some(1), "{plant}: {report}");
        assert!(report["messages"].as_u64() > Some(10_000), "{plant}: {report}");
        assert!(report["cuts"].as_u64() >= Some(1), "{plant}: {report}");
    }
}
