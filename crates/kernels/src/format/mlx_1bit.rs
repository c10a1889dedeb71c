//! MLX's binary weights: codes of 1 bit, eight neighbours in each byte, as [`super::q1_0`] describes them.
//!
//! Scales and biases are tensors of their own ([`super::affine`]).

use super::affine;
use super::q1_0::unpack;
use super::stored::{Format, Ternary, unused_code};

/// The format described in the module documentation.
pub static MLX_1BIT: Format = Format::of_tensors(
    "mlx-1bit",
    |rows, cols| if cols.is_multiple_of(32) { (cols / 8).checked_mul(rows) } else { None },
    Ternary {
        scales: |trits, _| affine::scales(trits, 1.0),
        row: |decoder, r, out| affine::row(decoder, r, out, unpack, unused_code),
        writer: None,
    },
);
