//! A format, and a ternary matrix stored in one: decoding it to rows of −1, 0, +1 and scales.

use super::writer::Writer;
use crate::memory::Bytes;
use crate::op::grouped::COLUMNS;
use crate::pool::Pool;
use crate::scales::Scales;

/// Converts plain numbers to `f32`.
type Numbers = fn(&[u8]) -> Vec<f32>;
/// Encodes whole blocks.
type Encode = fn(&[f32], &mut [u8]);
/// Reads the scales of a matrix, and the factor of full-precision weights before they are rounded (1 for formats that
/// store trits).
type ReadScales = fn(&Trits, &Pool) -> Result<(Scales, f32), Problem>;

/// A storage format of weights.
pub struct Format {
    /// Lower-case name for options, reports and messages.
    pub name: &'static str,
    /// Type ids in GGUF files; the first one is written. Forks use some ids for two types.
    pub ggml: &'static [u32],
    /// Name in safetensors files, if the format occurs there.
    pub safetensors: Option<&'static str>,
    pub(super) layout: Layout,
    /// For plain number formats: converts all numbers to `f32`.
    pub(super) numbers: Option<Numbers>,
    /// Encodes whole blocks.
    pub(super) encode: Option<Encode>,
    /// The ternary operations, if a ternary layer may have this format.
    pub(super) ternary: Option<Ternary>,
}

/// The layout of a matrix.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Row by row, in whole blocks: weights and bytes in a block.
    Rows(usize, usize),
    /// Another layout: the bytes of a `(rows, cols)` matrix, or `None` if the shape is impossible.
    Tensor(fn(usize, usize) -> Option<usize>),
}

impl Format {
    /// A row-wise format that can only be decoded.
    pub(super) const fn of_rows(name: &'static str, ggml: &'static [u32], (weights, bytes): (usize, usize)) -> Self {
        let layout = Layout::Rows(weights, bytes);
        Self { name, ggml, safetensors: None, layout, numbers: None, encode: None, ternary: None }
    }

    /// A ternary format that stores the matrix as a whole.
    pub(super) const fn of_tensors(
        name: &'static str,
        bytes: fn(usize, usize) -> Option<usize>,
        ternary: Ternary,
    ) -> Self {
        let layout = Layout::Tensor(bytes);
        Self { name, ggml: &[], safetensors: None, layout, numbers: None, encode: None, ternary: Some(ternary) }
    }

    /// Bytes of a `(rows, cols)` matrix; `None` if the format does not allow the shape.
    pub fn bytes(&self, rows: usize, cols: usize) -> Option<usize> {
        match self.layout {
            Layout::Rows(..) => self.row_bytes(cols)?.checked_mul(rows),
            Layout::Tensor(bytes) => bytes(rows, cols),
        }
    }

    /// (weights, bytes) of a block, if the format is row-wise.
    pub fn block(&self) -> Option<(usize, usize)> {
        match self.layout {
            Layout::Rows(weights, bytes) => Some((weights, bytes)),
            Layout::Tensor(_) => None,
        }
    }

    /// Bytes of a row of `cols` weights; `None` if they are not whole blocks, or the format is not row-wise.
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

    /// Whether the format stores trits. (Linears in a number format are rounded to trits.)
    pub fn stores_trits(&self) -> bool {
        self.is_ternary() && self.numbers.is_none()
    }

    /// All numbers as `f32`; values that are not finite stay not finite. `None` for formats of blocks.
    pub fn numbers(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        self.numbers.map(|numbers| numbers(bytes))
    }

    /// Whether [`Format::encode`] supports the format.
    pub fn encodes(&self) -> bool {
        self.encode.is_some()
    }

    /// Encodes whole blocks of finite values. Unless the format is `f32` or `bf16`, values must be in f16's range.
    /// `false` if the format cannot be encoded.
    ///
    /// # Panics
    ///
    /// If `values` are not whole blocks, or `out` does not have their size.
    pub fn encode(&self, values: &[f32], out: &mut [u8]) -> bool {
        let Some(encode) = self.encode else { return false };
        assert_eq!(self.row_bytes(values.len()), Some(out.len()), "whole blocks and their bytes");
        encode(values, out);
        true
    }

    /// The writer of ternary layers, if the format can be written.
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

/// Operations of a ternary format.
pub(super) struct Ternary {
    /// Reads the scales of the matrix.
    pub scales: ReadScales,
    /// Decodes row `r` to −1, 0, +1.
    pub row: fn(&Decoder<'_>, usize, &mut [i8]) -> Result<(), Problem>,
    /// The encoder, for formats that Sterna writes.
    pub writer: Option<Writer>,
}

/// A problem with stored weights.
#[derive(Debug)]
pub enum Problem {
    /// The bytes do not conform to the format.
    Damaged(String),
    /// The bytes are valid, but Sterna does not support them: description and remedy.
    Unsupported(String, &'static str),
}

/// The scales and biases of a matrix whose file stores them in tensors of their own, `(rows, groups)` each.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Their number format.
    pub format: &'static Format,
    /// The scales.
    pub scales: Bytes,
    /// The biases.
    pub biases: Bytes,
    /// Columns in a group.
    pub columns: usize,
}

impl Affine {
    /// Checks that there is a scale and a bias for each group of a `(rows, cols)` matrix.
    fn check(&self, rows: usize, cols: usize) -> Result<(), Problem> {
        if !COLUMNS.contains(&self.columns) || !cols.is_multiple_of(self.columns) {
            return Err(Problem::Damaged(format!("rows of {cols} weights are not groups of {}", self.columns)));
        }
        let size = rows.checked_mul(cols / self.columns).and_then(|groups| self.format.bytes(1, groups));
        match [&self.scales, &self.biases].into_iter().find(|bytes| Some(bytes.len()) != size) {
            Some(bytes) => Err(Problem::Damaged(format!(
                "{} bytes of scales or biases, but {rows} × {cols} weights in groups of {} need {}",
                bytes.len(),
                self.columns,
                size.unwrap_or(usize::MAX),
            ))),
            None => Ok(()),
        }
    }

    /// Scales or biases as numbers.
    pub(super) fn numbers(&self, bytes: &[u8]) -> Vec<f32> {
        self.format.numbers(bytes).unwrap_or_default()
    }
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
    affine: Option<Affine>,
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
    /// If the format is not ternary ([`Format::is_ternary`]).
    pub fn new(format: &'static Format, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, Problem> {
        assert!(format.is_ternary(), "{} is a ternary format", format.name);
        let Some(size) = format.bytes(rows, cols).filter(|_| rows > 0 && cols > 0) else {
            return Err(Problem::Damaged(format!("a {rows} × {cols} matrix cannot be stored as {}", format.name)));
        };
        if bytes.len() != size {
            let (have, name) = (bytes.len(), format.name);
            return Err(Problem::Damaged(format!("{have} bytes, but {rows} × {cols} weights as {name} need {size}")));
        }
        Ok(Self { format, bytes, rows, cols, factor: 1.0, quantize: false, affine: None })
    }

    /// The same matrix with its scales multiplied by `factor`, for files that store a factor in another tensor.
    pub fn scaled(self, factor: f32) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// The same matrix with the scales and biases that its file stores in other tensors.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if they do not fit the shape.
    pub fn with_affine(self, affine: Affine) -> Result<Self, Problem> {
        affine.check(self.rows, self.cols)?;
        Ok(Self { affine: Some(affine), ..self })
    }

    /// The scales and biases from other tensors.
    pub(super) fn affine(&self) -> Option<&Affine> {
        self.affine.as_ref()
    }

    /// The same bytes as another ternary format that needs as many of them for the shape.
    ///
    /// # Panics
    ///
    /// If `format` is not ternary, or needs another number of bytes.
    pub fn with_format(self, format: &'static Format) -> Self {
        let size = format.bytes(self.rows, self.cols);
        assert!(format.is_ternary() && size == Some(self.bytes.len()), "{} fits the bytes", format.name);
        Self { format, ..self }
    }

    /// The same matrix with permission to round full-precision weights to trits, because the model was trained for
    /// that.
    pub fn quantized_at_load(self) -> Self {
        Self { quantize: true, ..self }
    }

    /// Whether full-precision weights may be rounded to trits.
    pub fn quantizes(&self) -> bool {
        self.quantize
    }

    /// The storage format.
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

    /// The bytes of row `r`, for row-wise formats.
    pub(super) fn stored_row(&self, r: usize) -> &[u8] {
        let len = self.bytes.len() / self.rows;
        &self.bytes[r * len..][..len]
    }

    /// Reads the scales. Some formats require reading the whole matrix.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if a scale is not finite, or the only one is not a normal positive number;
    /// [`Problem::Unsupported`] if full-precision weights may not be rounded.
    pub fn decoder(&self, pool: &Pool) -> Result<Decoder<'_>, Problem> {
        // `new` accepts only ternary formats.
        let Some(ternary) = &self.format.ternary else {
            return Err(Problem::Damaged(format!("{} is not a ternary format", self.format.name)));
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

/// Decodes the rows of a matrix whose scales are known.
pub struct Decoder<'a> {
    trits: &'a Trits,
    scales: Scales,
    /// Factor of full-precision weights before they are rounded.
    pub(super) inverse: f32,
    row: fn(&Decoder<'_>, usize, &mut [i8]) -> Result<(), Problem>,
}

impl Decoder<'_> {
    /// The matrix.
    pub fn trits(&self) -> &Trits {
        self.trits
    }

    /// The factors of the trits.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Decodes row `r` to −1, 0, +1; `out` has one element per column.
    ///
    /// # Errors
    ///
    /// [`Problem::Damaged`] if the row contains a code that does not represent a trit.
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
    Problem::Damaged(format!("row {r} contains a code that is none of −1, 0, +1"))
}
