//! What the derive macros and the reference types refuse, and how they say it; and the forms they
//! accept, which run as programs of their own.
//!
//! The compiler's own words stand in the `.stderr` files too, so a newer compiler may change them:
//! read the difference, then write them anew with `TRYBUILD=overwrite`.

#[test]
fn wrong_programs_are_refused_readably() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_errors/*.rs");
}

#[test]
fn right_programs_compile_and_run() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile_passes/*.rs");
}
