//! What the derive macros and the reference types refuse, and how they say it.
//!
//! The compiler's own words stand in the `.stderr` files too, so a newer compiler may change them:
//! read the difference, then write them anew with `TRYBUILD=overwrite`. Programs that are accepted are no
//! part of it: to run them all that they use would be built once more.

#[test]
fn wrong_programs_are_refused_readably() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_errors/*.rs");
}
