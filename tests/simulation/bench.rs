//! Many seeds, on many threads.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use actix_cluster::transport::sabotage::Bug;

use super::{Report, play};

/// Which seeds are played, and how.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// On how many threads.
    pub threads: usize,
    /// A bug that is put in.
    pub bug: Option<Bug>,
    /// Whether to stop at the first seed that violates something.
    pub stops: bool,
}

/// Reports as they come, in no order.
#[derive(Debug)]
pub struct Batch(mpsc::Receiver<Report>);

impl Seeds {
    /// Plays them.
    pub fn play(self) -> Batch {
        let (sender, reports) = mpsc::channel();
        let next = std::sync::Arc::new((AtomicU64::new(0), AtomicBool::new(false)));
        for _ in 0..self.threads.max(1) {
            let (sender, next) = (sender.clone(), std::sync::Arc::clone(&next));
            thread::spawn(move || {
                let (next, has_stopped) = &*next;
                while !has_stopped.load(Ordering::Acquire) {
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    if number >= self.count {
                        break;
                    }
                    let report = play(self.from.wrapping_add(number), self.bug);
                    if self.stops && !report.violations.is_empty() {
                        has_stopped.store(true, Ordering::Release);
                    }
                    if sender.send(report).is_err() {
                        break;
                    }
                }
            });
        }
        Batch(reports)
    }
}

impl Iterator for Batch {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        self.0.recv().ok()
    }
}
