//! A format, and a ternary matrix that is stored in one: how it becomes rows of −1, 0, +1 and scales.

use crate::memory::Bytes;
use crate::pool::Pool;
use crate::scales::Scales;

/// Plain numbers as `f32`.
type Numbers = fn(&[u8]) -> Vec<f32>;
/// Encodes whole blocks.
type Encode = fn(&[f32], &mut [u8]);
/// The scales of a matrix, and what full-precision weights are multiplied with before they are rounded (1 for formats
/// that store trits).
type ReadScales = fn(&Trits, &Pool) -> Result<(Scales, f32), Problem>;

/// A way to store weights.
pub struct Format {
    /// Name in lower case, for options, reports and messages.
    pub name: &'static str,
    /// Type id in GGUF files, if it occurs there.
    pub ggml: Option<u32>,
    /// Name in safetensors files, if it is a number format there.
    pub safetensors: Option<&'static str>,
    pub(super) layout: Layout,
    /// For plain numbers: all of them as `f32`.
    pub(super) numbers: Option<Numbers>,
    /// Encodes whole blocks.
    pub(super) encode: Option<Encode>,
    /// How the format stores trits, if a ternary layer may have it.
    pub(super) ternary: Option<Ternary>,
}

/// How the bytes of a matrix lie.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Row after row, each of whole blocks of so many weights and bytes.
    Rows(usize, usize),
    /// In another way: the bytes of a `(rows, cols)` matrix, `None` if the shape is not possible.
    Tensor(fn(usize, usize) -> Option<usize>),
}

impl Format {
    /// A format of rows of blocks that nothing else is known of.
    pub(super) const fn of_rows(name: &'static str, ggml: u32, (weights, bytes): (usize, usize)) -> Self {
        let layout = Layout::Rows(weights, bytes);
        Self { name, ggml: Some(ggml), safetensors: None, layout, numbers: None, encode: None, ternary: None }
    }

    /// A format of ternary matrices that are stored as a whole.
    pub(super) const fn of_tensors(
        name: &'static str,
        bytes: fn(usize, usize) -> Option<usize>,
        ternary: Ternary,
    ) -> Self {
        let layout = Layout::Tensor(bytes);
        Self { name, ggml: None, safetensors: None, layout, numbers: None, encode: None, ternary: Some(ternary) }
    }

    /// Bytes of a `(rows, cols)` matrix; `None` if the format does not allow the shape.
    pub fn bytes(&self, rows: usize, cols: usize) -> Option<usize> {
        match self.layout {
            Layout::Rows(..) => self.row_bytes(cols)?.checked_mul(rows),
            Layout::Tensor(bytes) => bytes(rows, cols),
        }
    }

    /// (weights, bytes) of a block, if matrices are stored row by row.
    pub fn block(&self) -> Option<(usize, usize)> {
        match self.layout {
            Layout::Rows(weights, bytes) => Some((weights, bytes)),
            Layout::Tensor(_) => None,
        }
    }

    /// Bytes of a row of `cols` weights; `None` if they are not whole blocks, or matrices are not stored row by row.
    pub fn row_bytes(&self, cols: usize) -> Option<usize> {
        let (weights, bytes) = self.block()?;
        if cols.is_multiple_of(weights) { (cols / weights).checked_mul(bytes) } else { None }
    }

    /// Whether an embedding or a head may have this format.
    pub fn is_dense(&self) -> bool {
        self.block().is_some()
    }

    /// Whether a ternary layer may have this format.
    pub fn is_ternary(&self) -> bool {
        self.ternary.is_some()
    }

    /// Plain numbers as `f32`; what is no finite number becomes one that is not finite either. `None` for blocks.
    pub fn numbers(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        self.numbers.map(|numbers| numbers(bytes))
    }

    /// Whether [`Format::encode`] can write it.
    pub fn encodes(&self) -> bool {
        self.encode.is_some()
    }

    /// Encodes whole blocks of finite values, no larger than a half can be unless the format is `f32` or `bf16`. Returns
    /// whether the format is one that is written.
    ///
    /// # Panics
    ///
    /// If `values` are not whole blocks, or `out` has not their size.
    pub fn encode(&self, values: &[f32], out: &mut [u8]) -> bool {
        let Some(encode) = self.encode else { return false };
        assert_eq!(self.row_bytes(values.len()), Some(out.len()), "whole blocks and their bytes");
        encode(values, out);
        true
    }

    /// How ternary layers are written, if the format is one that is.
    pub fn writer(&self) -> Option<Writer> {
        self.ternary.as_ref()?.writer
    }
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

/// How a format stores trits.
pub(super) struct Ternary {
    /// The scales of the matrix.
    pub scales: ReadScales,
    /// Writes row `r` as −1, 0, +1.
    pub row: fn(&Decoder<'_>, usize, &mut [i8]) -> Result<(), Problem>,
    /// The way back, for formats that Sterna writes.
    pub writer: Option<Writer>,
}

/// How a ternary format is written.
#[derive(Clone, Copy)]
pub struct Writer {
    /// The scale as it will be read.
    pub rounded: fn(f32) -> f32,
    /// Appends the blocks of whole rows of trits.
    pub blocks: fn(&[i8], f32, &mut Vec<u8>),
    /// The bytes after the last row.
    pub tail: fn(f32) -> Vec<u8>,
}

/// What is wrong with stored weights.
#[derive(Debug)]
pub enum Problem {
    /// The bytes contradict the format.
    Damaged(String),
    /// Well-formed, but not of a kind that Sterna runs: what, and the remedy.
    Unsupported(String, &'static str),
}

/// A ternary matrix as stored.
#[derive(Clone, Debug)]
pub struct Trits {
    format: &'static Format,
    bytes: Bytes,
    rows: usize,
    cols: usize,
    factor: f32,
    quantize: bool,
}

impl Trits {
    /// A `(rows, cols)` matrix over `bytes`.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if the format does not allow the shape, or takes another number of bytes for it.
    ///
    /// # Panics
    ///
    /// If the format is not one of ternary layers ([`Format::is_ternary`]).
    pub fn new(format: &'static Format, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, Problem> {
        assert!(format.is_ternary(), "{} is a format of trits", format.name);
        let Some(size) = format.bytes(rows, cols).filter(|_| rows > 0 && cols > 0) else {
            return Err(Problem::Damaged(format!("a {rows} × {cols} matrix cannot be stored as {}", format.name)));
        };
        if bytes.len() != size {
            let (have, name) = (bytes.len(), format.name);
            return Err(Problem::Damaged(format!("{have} bytes, but {rows} × {cols} as {name} takes {size}")));
        }
        Ok(Self { format, bytes, rows, cols, factor: 1.0, quantize: false })
    }

    /// The same matrix with its scales multiplied by `factor`: for files that keep a part of the scale in another tensor.
    pub fn scaled(self, factor: f32) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// The same matrix, and full-precision weights may be rounded to trits: the model was trained for that.
    pub fn quantized_at_load(self) -> Self {
        Self { quantize: true, ..self }
    }

    /// Whether full-precision weights may be rounded to trits.
    pub(super) fn quantizes(&self) -> bool {
        self.quantize
    }

    /// How the matrix is stored.
    pub fn format(&self) -> &'static Format {
        self.format
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

    /// The bytes of row `r`, for formats that store rows as a whole.
    pub(super) fn stored_row(&self, r: usize) -> &[u8] {
        let len = self.bytes.len() / self.rows;
        &self.bytes[r * len..][..len]
    }

    /// Finds the scales, which for some formats reads the whole matrix.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if a scale is no finite number, or the only one is no normal positive number;
    /// [`Problem::Unsupported`] if full-precision weights may not be rounded.
    pub fn decoder(&self, pool: &Pool) -> Result<Decoder<'_>, Problem> {
        // `new` takes ternary formats only.
        let Some(ternary) = &self.format.ternary else {
            return Err(Problem::Damaged(format!("{} holds no trits", self.format.name)));
        };
        let (scales, inverse) = (ternary.scales)(self, pool)?;
        let scales = scales.times(self.factor);
        match &scales {
            Scales::One(value) if !value.is_normal() || *value < 0.0 => {
                Err(Problem::Damaged(format!("the scale is {value}, not a normal positive number")))
            }
            Scales::Rows(values) | Scales::Groups { values, .. } if !values.iter().all(|value| value.is_finite()) => {
                Err(Problem::Damaged("the scales are not finite".into()))
            }
            _ => Ok(Decoder { trits: self, scales, inverse, row: ternary.row }),
        }
    }
}

/// Reads the rows of a matrix whose scales are known.
pub struct Decoder<'a> {
    trits: &'a Trits,
    scales: Scales,
    /// What full-precision weights are multiplied with before they are rounded.
    pub(super) inverse: f32,
    row: fn(&Decoder<'_>, usize, &mut [i8]) -> Result<(), Problem>,
}

impl Decoder<'_> {
    /// The matrix.
    pub fn trits(&self) -> &Trits {
        self.trits
    }

    /// What trits are multiplied with.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Writes row `r` as −1, 0, +1; `out` has one place a column.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if the row holds a code that stands for no trit.
    ///
    /// # Panics
    ///
    /// If the matrix has no row `r`, or `out` has another length.
    pub fn row(&self, r: usize, out: &mut [i8]) -> Result<(), Problem> {
        assert!(r < self.trits.rows && out.len() == self.trits.cols, "a row of the matrix");
        (self.row)(self, r, out)
    }

    pub(super) fn stored_row(&self, r: usize) -> &[u8] {
        self.trits.stored_row(r)
    }
}

/// The error for a code that the format does not use.
pub(super) fn unused_code(r: usize) -> Problem {
    Problem::Damaged(format!("row {r} holds a code that is none of −1, 0, +1"))
}
