//! What the benches share.

/// Whether `cargo bench` runs this; otherwise it is a test that the bench still works.
pub fn is_bench() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}
