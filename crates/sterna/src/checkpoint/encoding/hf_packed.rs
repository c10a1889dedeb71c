//! Hugging Face's packed weights (`U8 [rows/4, cols]`): the four 2-bit planes are four quarters of the rows.
//!
//! ```text
//! byte (p, c), p < rows/4:   bits 7…6             5…4               3…2               1…0
//!                            row p + 3·rows/4   p + 2·rows/4      p + rows/4           p       column c, code = trit + 1
//! ```
//!
//! The scale is a tensor of its own (`weight_scale`). Source: `transformers`, `integrations/bitnet.py`.

use sterna_kernels::Pool;

use super::{Encoding, Problem, Scale, Trits, plane, unused_code};

/// See the module.
pub static HF_PACKED: Encoding = Encoding { name: "hf-packed", ggml_type: None, bytes, scale, row, writer: None };

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    if rows.is_multiple_of(4) { (rows / 4).checked_mul(cols) } else { None }
}

fn scale(_: &Trits, _: &Pool) -> Result<Scale, Problem> {
    Ok(Scale { value: 1.0, inverse: 1.0 })
}

fn row(trits: &Trits, _: Scale, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let quarter = trits.rows / 4;
    let bytes = &trits.bytes[r % quarter * trits.cols..][..trits.cols];
    if plane(2 * (r / quarter), bytes, out) { Err(unused_code(r)) } else { Ok(()) }
}
