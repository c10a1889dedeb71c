//! `sterna`: ternary language models from the terminal.
#![forbid(unsafe_code)]
fn main() {}
