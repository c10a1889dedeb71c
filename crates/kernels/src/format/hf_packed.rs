//! Hugging Face's packed weights (`U8 [rows/4, cols]`): the four 2-bit planes are four quarters of the rows.
//!
//! ```text
//! byte (p, c), p < rows/4:   bits 7…6             5…4               3…2               1…0
//!                            row p + 3·rows/4   p + 2·rows/4      p + rows/4           p       column c, code = trit + 1
//! ```
//!
//! The scale is a tensor of its own (`weight_scale`). Source: `transformers`, `integrations/bitnet.py`.

use super::planes;
use super::stored::{Decoder, Format, Problem, Ternary, unused_code};
use crate::scales::Scales;

/// The format described in the module documentation.
pub static HF_PACKED: Format = Format::of_tensors(
    "hf-packed",
    |rows, cols| if rows.is_multiple_of(4) { (rows / 4).checked_mul(cols) } else { None },
    Ternary { scales: |_, _| Ok((Scales::One(1.0), 1.0)), row, writer: None },
);

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let trits = decoder.trits();
    let quarter = trits.rows() / 4;
    let bytes = &trits.bytes()[r % quarter * trits.cols()..][..trits.cols()];
    if planes::unpack(2 * (r / quarter), bytes, out) { Err(unused_code(r)) } else { Ok(()) }
}
