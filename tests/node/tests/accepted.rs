//! The forms that the derive macros accept.

#![expect(unreachable_pub, reason = "they are written as a library writes them")]

#[path = "accepted/actors.rs"]
mod actors;
#[path = "accepted/messages.rs"]
mod messages;
