//! llama.cpp's Q2_0: blocks of 64 weights in 18 bytes, as [`super::pairs`] describes them.
//!
//! Source: llama.cpp, `ggml-quants.c`; Ternary Bonsai's files whose names end in `g64`.

use super::pairs::Pairs;
use super::scaled;
use super::stored::Format;

/// The format described in the module documentation.
pub static Q2_0: Format = scaled::written::<Blocks>("q2_0", &[42]);

pub(super) type Blocks = Pairs<64>;
