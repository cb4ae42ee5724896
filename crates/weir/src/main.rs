//! The `weir` binary: everything lives in the library.
fn main() {}
