//! MLX's ternary weights: codes of 2 bits, four neighbours in each byte, as [`super::pairs`] describes them.
//!
//! Scales and biases are tensors of their own ([`super::affine`]).

use super::affine;
use super::pairs::{doubled, unpack};
use super::stored::{Format, Ternary};

/// The format described in the module documentation.
pub static MLX_2BIT: Format = Format::of_tensors(
    "mlx-2bit",
    |rows, cols| if cols.is_multiple_of(16) { (cols / 4).checked_mul(rows) } else { None },
    Ternary {
        scales: |trits, _| affine::scales(trits, 2.0),
        row: |decoder, r, out| affine::row(decoder, r, out, unpack, doubled),
        writer: None,
    },
);
