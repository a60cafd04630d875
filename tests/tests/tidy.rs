//! House rules that no lint covers. Each failure names the file and the remedy.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// All files of ours that end so, with their text.
fn files(ending: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    let of_interest = found.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    let files: Vec<_> = of_interest
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a text");
            let path = path.strip_prefix(root()).expect("below the root");
            (path.to_string_lossy().into_owned(), text)
        })
        .collect();
    assert!(!files.is_empty(), "nothing ends with {ending}: this test looks in the wrong place");
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let sources: String = files(".rs").into_iter().map(|(_, text)| text).collect();
    for page in ["docs/semantics.md", "docs/security.md"] {
        let mut count = 0;
        let text = read(page);
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("Held by: ")) {
            let name = line.trim_matches('`');
            count += 1;
            assert!(
                sources.contains(&format!("fn {name}(")),
                "{page} names the test {name}, which does not exist: correct the name"
            );
        }
        assert!(count > 10, "{page} names only {count} tests");
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read("docs/SUMMARY.md");
    for (path, _) in files(".md") {
        if let Some(page) = path.strip_prefix("docs/").filter(|page| *page != "SUMMARY.md") {
            assert!(summary.contains(page), "{path} is missing in docs/SUMMARY.md: add it");
        }
    }
}

#[test]
fn boundaries_are_held_by_the_manifests() {
    for (manifest, forbidden) in [
        ("transport/Cargo.toml", &["actix.", "actix-rt", "actix-cluster.", "foca", "hashring"][..]),
        ("runtime/Cargo.toml", &["quinn", "rustls", "rcgen", "ring."][..]),
    ] {
        let text = read(manifest);
        let dependencies = text.split("[dependencies]").nth(1).expect("dependencies");
        let dependencies = dependencies.split("\n[").next().expect("a section");
        for line in dependencies.lines() {
            let breach = forbidden.iter().find(|name| line.starts_with(*name));
            assert_eq!(breach, None, "{manifest}: `{line}` crosses the boundary: remove it");
        }
    }
}

#[test]
fn files_stay_small_enough_to_be_read() {
    for (path, text) in files(".rs") {
        let lines = text.lines().count();
        assert!(lines <= 900, "{path} has {lines} lines: split it by the state it owns");
        assert!(!path.ends_with("/mod.rs"), "{path}: name the file after its module");
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let homes = [["/ro", "ot/"].concat(), ["/ho", "me/"].concat(), ["/wo", "rk/"].concat()];
    for ending in [".rs", ".md", ".toml", ".stderr"] {
        for (path, text) in files(ending) {
            for (number, line) in (1..).zip(text.lines()) {
                let named = homes.iter().any(|home| line.contains(home.as_str()));
                assert!(!named, "{path}:{number} names a path of one machine: remove it");
            }
        }
    }
}

#[test]
fn the_readme_holds_the_test_command() {
    assert!(read("README.md").lines().any(|line| line == "cargo test --workspace"));
    assert!(read("CHANGELOG.md").contains("## Unreleased"));
}
