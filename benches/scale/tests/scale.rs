//! The bench still measures everything; the figures that count are those of a release build.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scale")).args(args).output().expect("it runs")
}

/// The highest of each figure, by its case, who and metric.
fn figures(args: &[&str]) -> BTreeMap<[String; 3], f64> {
    let output = run(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("it is text");
    let figure = |line: &str| {
        let figure: Value = serde_json::from_str(line).expect("each line is JSON");
        let text = |key: &str| figure[key].as_str().expect("it is text").to_owned();
        let key = [text("case"), text("who"), text("metric")];
        (key, figure["max"].as_f64().expect("it is a number"))
    };
    lines.lines().map(figure).collect()
}

#[test]
fn each_part_gives_its_figures_within_the_bounds_that_are_promised() {
    let figures = figures(&["--members", "3", "--rounds", "2", "--seconds", "2"]);
    let of = |case: &str, metric: &str| {
        let key = [case, "3 members", metric].map(str::to_owned);
        *figures.get(&key).unwrap_or_else(|| panic!("{key:?} is missing in {figures:?}"))
    };
    for case in ["membership", "nodes"] {
        assert!(of(case, "silent_agree_ms") < 4_000.0 && of(case, "killed_agree_ms") < 1_500.0);
        assert!(of(case, "silent_detect_ms") <= of(case, "silent_agree_ms"));
        assert!(of(case, "killed_detect_ms") <= of(case, "killed_agree_ms"));
        assert!(of(case, "bytes_a_second") > 20.0 * of(case, "packets_a_second"));
        assert!(of(case, "memory_kib_a_node") > 0.0);
    }
    assert!(of("membership", "join_ms") < 1_000.0);
    assert_eq!(of("membership", "wrongly_down"), 0.0);
    assert!(of("placement", "table_ms_mixed_weights") > 0.0);
    assert_eq!(figures.len(), 14 + 7 + 2, "{figures:?}");
}

#[test]
fn a_cluster_too_large_to_join_here_is_whole_from_the_start() {
    let args = ["--only", "membership", "--members", "201", "--rounds", "1", "--seconds", "1"];
    let figures = figures(&args);
    let of = |metric: &str| figures[&["membership", "201 members", metric].map(str::to_owned)];
    assert!(of("silent_agree_ms") < 4_000.0 && of("killed_agree_ms") < 1_500.0);
    assert_eq!(of("wrongly_down"), 0.0);
    assert!(!figures.keys().any(|[.., metric]| metric == "join_ms"));
}

#[test]
fn too_few_members_are_answered_with_the_range() {
    let output = run(&["--members", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2..=4000"));
}
