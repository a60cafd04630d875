//! What the benches share.

pub mod machine;
pub mod report;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether `cargo bench` runs this; otherwise it is a test that the bench still works.
pub fn is_bench() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// A bar of so many steps on standard error, if that is a terminal.
pub fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
    ProgressBar::new(steps).with_style(style.expect("the template is right"))
}
