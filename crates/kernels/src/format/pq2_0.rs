//! PrismML's PQ2_0: blocks of 128 weights in 34 bytes, as [`super::pairs`] describes them.
//!
//! Ternary Bonsai's first files have it under the type id of Q2_0. Source: PrismML's fork of llama.cpp.

use super::pairs::Pairs;
use super::scaled;
use super::stored::Format;

/// The format described in the module documentation.
pub static PQ2_0: Format = scaled::written::<Blocks>("pq2_0", &[142, 42]);

pub(super) type Blocks = Pairs<128>;
