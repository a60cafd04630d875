//! Panics in an actor's code: caught, with what they said and where they were.
//!
//! A panic that is caught has its payload, but not its place: only the process's panic hook is told
//! that. So the first node of a process puts a hook in front of the one it finds, which notes the
//! place for [`catch`].
//! Invariant: the hook notes nothing outside of `catch`, and always goes on to the one it found.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::OnceLock,
};

use super::failure::shortened;
use crate::node::NodeId;

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Panic {
    /// What it said, within bounds.
    pub(crate) message: String,
    /// File, line and column; `None` where no hook was told.
    pub(crate) location: Option<String>,
    /// The node whose message was being handled, if another one sent it.
    pub(crate) sender: Option<NodeId>,
}

thread_local! {
    /// Whether this thread is inside of a `catch`.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic inside of a `catch` was.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whose message was in hand then.
    static SENDER: RefCell<Option<NodeId>> = const { RefCell::new(None) };
}

/// Runs code of a user's, and catches its panic.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    let is_nested = CATCHING.replace(true);
    let caught = panic::catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(is_nested);
    caught.map_err(take_note)
}

/// What is known of a panic that was caught just now.
#[cold]
fn take_note(payload: Box<dyn Any + Send>) -> Panic {
    // Taken first: the payload's own `drop` may panic.
    let (message, location) = (shortened(message_of(payload.as_ref())), LOCATION.take());
    discard(payload);
    Panic { message, location, sender: SENDER.take() }
}

/// The panic that unwinds now cuts the turn of a message of that node short.
pub(crate) fn note_sender(node: NodeId) {
    if CATCHING.get() {
        SENDER.set(Some(node));
    }
}

impl Panic {
    /// Reports a panic that changes nothing, since what it was in was ending anyway.
    pub(crate) fn report(self, at: &'static str) {
        tracing::warn!(at, panic = self.message, location = self.location, "a panic was caught");
    }
}

/// Drops values whose `drop` may panic, each for itself, so that one panic is never met by another.
#[derive(Debug, Default)]
pub(crate) struct Disposal {
    first: Option<Panic>,
}

impl Disposal {
    pub(crate) fn drop<T>(&mut self, value: T) {
        catch(|| drop(value)).unwrap_or_else(|panic| self.note(panic));
    }

    /// Notes a panic that was caught while something was dropped.
    pub(crate) fn note(&mut self, panic: Panic) {
        match self.first {
            None => self.first = Some(panic),
            Some(_) => panic.report("drop"),
        }
    }

    pub(crate) fn drop_all<T>(&mut self, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.drop(value));
    }

    /// The first panic, if there was one.
    pub(crate) fn end(self) -> Option<Panic> {
        self.first
    }
}

/// Has the places of panics noted from now on, in the whole process.
pub(crate) fn install_hook() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    // The hook can't be changed by a thread that panics; a later node will do it.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.get_or_init(|| {
        let found = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            found(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    if CATCHING.get() {
        let location = info.location().map(ToString::to_string);
        // A thread that is about to end has nothing to note it in.
        let _ = LOCATION.try_with(|noted| noted.replace(location));
    }
}

/// Says what is lost in a program whose panics abort; `None` in any other.
pub(crate) const fn warning(unwinds: bool) -> Option<&'static str> {
    if unwinds {
        return None;
    }
    Some(
        "this program is built with `panic = \"abort\"`: a panic in one actor ends the process, and \
         nothing is restarted",
    )
}

/// Whether panics of this program can be caught.
pub(crate) const UNWINDS: bool = cfg!(panic = "unwind");

/// What a panic said.
fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// Drops a panic's payload, which may itself panic when dropped; that one is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics, and tells the line of it.
    fn fail(line: &Cell<u32>) {
        line.set(line!() + 1);
        panic!("on purpose, {}", 1);
    }

    #[test]
    fn a_caught_panic_has_its_message_and_its_place() {
        install_hook();
        let line = Cell::new(0);
        let Panic { message, location, .. } = catch(|| fail(&line)).expect_err("it panics");
        assert_eq!(message, "on purpose, 1");
        let location = location.expect("it was noted");
        assert!(location.starts_with(&format!("{}:{}:", file!(), line.get())), "{location}");
    }

    #[test]
    fn nothing_is_noted_outside_and_a_nested_one_leaves_the_outer_its_own() {
        install_hook();
        let outside = panic::catch_unwind(|| panic!("not an actor's"));
        assert!(outside.is_err());
        assert!(LOCATION.take().is_none());
        let line = Cell::new(0);
        let outer = catch(|| {
            assert!(catch(|| panic!("inner")).is_err());
            fail(&line);
        });
        let location = outer.expect_err("it panics").location.expect("it was noted");
        assert!(location.contains(&format!(":{}:", line.get())), "{location}");
    }

    #[test]
    fn a_payload_may_be_anything_and_may_panic_when_it_is_dropped() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("payload panics on purpose");
            }
        }
        let caught = catch(|| panic::panic_any(Bomb)).expect_err("it panics");
        assert_eq!(caught.message, "a panic without a text");
    }

    #[test]
    fn a_program_whose_panics_abort_is_warned() {
        assert_eq!(warning(true), None);
        assert!(warning(false).is_some_and(|text| text.contains("panic = \"abort\"")));
        assert_eq!(UNWINDS, catch(|| panic!("on purpose")).is_err());
    }
}
