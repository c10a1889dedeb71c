//! Ternary encodings: one file and one row of the table each.

/// Placeholder for the checkpoint author.
#[derive(Clone, Debug)]
pub struct Trits {}
