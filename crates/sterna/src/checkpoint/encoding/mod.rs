//! Ternary encodings: one file and one row of [`ENCODINGS`] each. Bytes in, rows of −1, 0, +1 and one scale a tensor out.

pub mod hf_packed;
pub mod i2_s;
pub mod master;
pub mod tq1_0;
pub mod tq2_0;

use std::path::Path;

use sterna_kernels::math::f16_to_f32;
use sterna_kernels::{Bytes, Pool};

use crate::Error;

/// Every encoding that Sterna decodes. A new one is a file and a line here.
pub static ENCODINGS: &[&Encoding] =
    &[&hf_packed::HF_PACKED, &i2_s::I2_S, &tq1_0::TQ1_0, &tq2_0::TQ2_0, &master::F32, &master::F16, &master::BF16];

/// One way to store a ternary matrix.
pub struct Encoding {
    /// Name for reports and messages.
    pub name: &'static str,
    /// Type id in GGUF files, if it occurs there.
    pub ggml_type: Option<u32>,
    /// Bytes of a `(rows, cols)` matrix; `None` if the layout does not allow the shape.
    pub(crate) bytes: fn(usize, usize) -> Option<usize>,
    /// The scale of the whole matrix, which decoding a row may need.
    pub(crate) scale: fn(&Trits, &Pool) -> Result<Scale, Problem>,
    /// Writes row `r` as −1, 0, +1.
    pub(crate) row: fn(&Trits, Scale, usize, &mut [i8]) -> Result<(), Problem>,
    /// The way back, for encodings that Sterna writes.
    pub(crate) writer: Option<Writer>,
}

/// How an encoding is written.
#[derive(Clone, Copy)]
pub(crate) struct Writer {
    /// The scale as it will be read.
    pub rounded: fn(f32) -> f32,
    /// Appends the blocks of whole rows of trits.
    pub blocks: fn(&[i8], f32, &mut Vec<u8>),
    /// What follows the last row.
    pub tail: fn(f32) -> Vec<u8>,
}

/// Appends `len` bytes of four 2-bit codes each; `trit(byte, plane)` is the trit of plane 0 (lowest bits) to 3.
fn pack_planes(len: usize, trit: impl Fn(usize, usize) -> i8, out: &mut Vec<u8>) {
    let code = |byte, plane| (trit(byte, plane) + 1).cast_unsigned() << (2 * plane);
    out.extend((0..len).map(|byte| (0..4).fold(0, |packed, plane| packed | code(byte, plane))));
}

impl std::fmt::Debug for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The encoding that GGUF files call `id`.
pub fn by_ggml_type(id: u32) -> Option<&'static Encoding> {
    ENCODINGS.iter().copied().find(|encoding| encoding.ggml_type == Some(id))
}

/// A ternary matrix as stored.
#[derive(Clone, Debug)]
pub struct Trits {
    encoding: &'static Encoding,
    bytes: Bytes,
    rows: usize,
    cols: usize,
    factor: f32,
    quantize: bool,
}

/// The scale of a matrix: a weight is `value · trit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// What trits are multiplied with.
    pub value: f32,
    /// What full-precision weights are multiplied with before rounding; 1 for packed encodings.
    pub(crate) inverse: f32,
}

/// What is wrong with stored weights; whoever knows the file and the tensor makes it an [`Error`].
#[derive(Debug)]
pub enum Problem {
    /// The bytes contradict the format.
    Damaged(String),
    /// Well-formed, but not of a kind that Sterna runs: what, and the remedy.
    Unsupported(String, &'static str),
}

impl Problem {
    /// The problem of the tensor `name` in the file `path`.
    pub fn at(self, path: &Path, name: &str) -> Error {
        match self {
            Self::Damaged(problem) => super::malformed(path, format!("tensor `{name}`"), problem, super::DAMAGED),
            Self::Unsupported(what, remedy) => super::unsupported(path, format!("tensor `{name}`: {what}"), remedy),
        }
    }
}

/// Why models with several scales in a tensor do not run yet.
pub(crate) const SEVERAL_SCALES: &str =
    "Sterna runs models with one scale per tensor; kernels for weight-only models with several are planned";

impl Trits {
    /// A `(rows, cols)` matrix over `bytes`.
    pub fn new(encoding: &'static Encoding, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, Problem> {
        let wanted = (encoding.bytes)(rows, cols).ok_or_else(|| {
            Problem::Damaged(format!("a {rows} × {cols} matrix cannot be stored as {}", encoding.name))
        })?;
        if bytes.len() != wanted {
            let have = bytes.len();
            return Err(Problem::Damaged(format!(
                "{have} bytes, but {rows} × {cols} as {} takes {wanted}",
                encoding.name
            )));
        }
        Ok(Self { encoding, bytes, rows, cols, factor: 1.0, quantize: false })
    }

    /// The same with the scale multiplied by `factor`: for formats that keep it (or part of it) in another tensor.
    pub fn scaled(self, factor: f32) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// The same, and full-precision weights may be rounded to trits: the checkpoint says it was trained for that.
    pub fn quantized_at_load(self) -> Self {
        Self { quantize: true, ..self }
    }

    /// How the matrix is stored.
    pub fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The scale, a normal positive number. For some encodings this reads the whole matrix.
    pub fn scale(&self, pool: &Pool) -> Result<Scale, Problem> {
        let scale = (self.encoding.scale)(self, pool)?;
        let value = scale.value * self.factor;
        if !value.is_normal() || value < 0.0 {
            return Err(Problem::Damaged(format!("the scale is {value}, not a normal positive number")));
        }
        Ok(Scale { value, ..scale })
    }

    /// Writes row `r` as −1, 0, +1; `out` has one place a column.
    pub fn row(&self, scale: Scale, r: usize, out: &mut [i8]) -> Result<(), Problem> {
        assert!(r < self.rows && out.len() == self.cols, "a row of the matrix");
        (self.encoding.row)(self, scale, r, out)
    }

    /// The bytes of row `r`, for layouts in which rows are whole.
    fn stored_row(&self, r: usize) -> &[u8] {
        let len = self.bytes.len() / self.rows;
        &self.bytes[r * len..][..len]
    }
}

/// Decodes one 2-bit plane: code `(byte >> shift) & 3`, trit = code − 1. The unused code 3 becomes 0 and makes the
/// result true.
#[must_use]
fn plane(shift: usize, bytes: &[u8], out: &mut [i8]) -> bool {
    // The shift is a constant in each copy: SSE2 has no byte shift, but a constant one becomes a word shift and a mask.
    match shift {
        0 => plane_at::<0>(bytes, out),
        2 => plane_at::<2>(bytes, out),
        4 => plane_at::<4>(bytes, out),
        _ => plane_at::<6>(bytes, out),
    }
}

#[inline(always)]
fn plane_at<const SHIFT: usize>(bytes: &[u8], out: &mut [i8]) -> bool {
    let mut unused = 0;
    for (out, byte) in out.iter_mut().zip(bytes) {
        let code = byte >> SHIFT & 3;
        let three = code & code >> 1;
        unused |= three;
        *out = code.wrapping_sub(1).wrapping_sub(three << 1) as i8;
    }
    unused != 0
}

/// Decodes the four planes of 32 bytes, one behind the other, the lowest bits first or last; as [`plane`], but with
/// its length known a block is a few vector instructions.
#[must_use]
#[inline(always)]
fn planes<const LOWEST_FIRST: bool>(bytes: &[u8; 32], out: &mut [i8; 128]) -> bool {
    let [a, b, c, d] = out.as_chunks_mut::<32>().0 else { return false };
    let [a, b, c, d] = if LOWEST_FIRST { [a, b, c, d] } else { [d, c, b, a] };
    plane_at::<0>(bytes, a) | plane_at::<2>(bytes, b) | plane_at::<4>(bytes, c) | plane_at::<6>(bytes, d)
}

/// The scale of layouts whose blocks of `block` bytes end with an f16 scale: the same in all blocks but all-zero ones.
fn block_scale(trits: &Trits, pool: &Pool, block: usize) -> Result<Scale, Problem> {
    let of_row = |r: usize| {
        let scales = trits.stored_row(r).chunks_exact(block).map(block_scale_bits);
        let mut nonzero = scales.filter(|bits| bits & 0x7fff != 0);
        let first = nonzero.next().unwrap_or(0);
        (first, nonzero.all(|bits| bits == first))
    };
    let mut rows = vec![(0u16, true); trits.rows];
    pool.pieces(&mut rows, 1, |r, out| out[0] = of_row(r));
    let mut nonzero = rows.iter().map(|(first, _)| *first).filter(|bits| *bits != 0);
    // An all-zero matrix: any scale is right.
    let Some(bits) = nonzero.next() else { return Ok(Scale { value: 1.0, inverse: 1.0 }) };
    if bits & 0x7c00 == 0x7c00 {
        return Err(Problem::Damaged("the scale is not finite".into()));
    }
    if rows.iter().any(|(_, same)| !same) || nonzero.any(|other| other != bits) {
        let what = format!("{} with several scales in one tensor", trits.encoding.name);
        return Err(Problem::Unsupported(what, SEVERAL_SCALES));
    }
    Ok(Scale { value: f16_to_f32(bits), inverse: 1.0 })
}

fn block_scale_bits(block: &[u8]) -> u16 {
    let [.., low, high] = *block else { return 0 };
    u16::from_le_bytes([low, high])
}

/// A code that the format does not use.
fn unused_code(r: usize) -> Problem {
    Problem::Damaged(format!("row {r} holds a code that is none of −1, 0, +1"))
}
