//! How far the job is: a bar on a terminal, a line now and then elsewhere. All on stderr.

use std::{cell::Cell, io::IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// How many lines stand for the whole job where there is no terminal.
const LINES: usize = 10;

#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    done: Cell<usize>,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{wide_bar} {human_pos} of {human_len} rows, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is correct");
            ProgressBar::new(total as u64).with_style(style)
        });
        Self { bar, total, done: Cell::new(0) }
    }

    /// So many more rows are fed.
    pub(crate) fn advance(&self, rows: usize) {
        let before = self.done.get();
        let done = (before + rows).min(self.total);
        self.done.set(done);
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if done * LINES / self.total > before * LINES / self.total => {
                eprintln!("fed {done} of {} rows", self.total);
            }
            None => {}
        }
    }

    /// Tells of something that happened.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// The job is done.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
