//! Checkpoints: read the configuration, ternary matrices, dense matrices and text files of a model.
//!
//! All formats are converted to the same form. Tensors have the names of Microsoft's Hugging Face checkpoints
//! (`model.layers.N.self_attn.q_proj.weight`, …), shapes are `(rows, cols)`, and query and key rows are in rotate-half
//! order.

pub mod adapter;
mod collect;
pub mod gguf;
pub mod huggingface;
mod outline;
mod packed;
mod placeholder;
mod reasons;
pub mod safetensors;
mod set_aside;
mod source;
mod stored;
mod summary;
mod synthetic;
mod ternary_rows;
pub mod whole;
pub mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use sterna_kernels::format;
use sterna_kernels::format::{Format, Problem, Trits};
use sterna_kernels::layout::LayoutKind;
use sterna_kernels::{Bytes, Cpu, DenseMatrix, GroupedMatrix, Matrix, Pool, Scales};

pub use adapter::Adapter;
pub use summary::{Group, Summary};

pub use crate::arch::{Arch, Config, RopeScaling};
use crate::arch::{Container, Precision, Refusal, what_runs};
use crate::{Error, Result};
pub use gguf::I2sLayout;
pub use outline::Outline;
use reasons::Reasons;
pub use source::OpenOptions;
pub(crate) use source::Source;
pub use stored::Files;
use stored::{StoredFile, WatchedFile};
use ternary_rows::TernaryRows;

/// A kind of checkpoint files. A new one is a folder and a line in [`CONTAINERS`].
struct ContainerFormat {
    detect: fn(&Source<'_>) -> bool,
    /// Opens the files of a model with one of the given architectures.
    open: fn(&Source<'_>, &[&'static Arch]) -> Result<Checkpoint>,
}

/// All kinds that Sterna opens. The first kind that recognises the files opens them.
static CONTAINERS: &[ContainerFormat] = &[
    ContainerFormat {
        detect: |source| source.single().is_some_and(|file| gguf::Header::detect(&file)),
        open: |source, known| match source.single() {
            Some(file) => gguf::open(&file, known),
            None => Err(unsupported(source.path(), "a GGUF file in several parts", "pass one file")),
        },
    },
    ContainerFormat { detect: |source| !matches!(source, Source::File(_)), open: huggingface::open },
];

/// Remedy for damaged files.
const DAMAGED: &str = "the file is damaged or incomplete: download or convert it again";

fn malformed(path: &Path, place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    let (place, problem) = (printable(place.into()), printable(problem.into()));
    Error::Malformed { path: path.into(), place, problem, remedy: remedy.into() }
}

fn unsupported(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Unsupported { path: path.into(), what: printable(what.into()), remedy: remedy.into() }
}

/// The error that a file holds more than is read: it need not be damaged.
fn over_limit(path: &Path, what: impl std::fmt::Display, limit: impl std::fmt::Display) -> Error {
    let remedy = "the file need not be damaged; if it belongs to a published model, report that the limit is too low";
    unsupported(path, format!("{what}, over the limit of {limit},"), remedy)
}

/// Turns a network's refusal into an error about the file; `known` are the architectures that run.
fn refused(path: &Path, refusal: Refusal, known: &[&Arch], container: Container) -> Error {
    match refusal {
        Refusal::Several(several) => {
            let mut reasons = Reasons::default();
            for refusal in several {
                if let Err(damage) = reasons.keep(Err::<(), _>(refused(path, refusal, known, container))) {
                    return damage;
                }
            }
            reasons.check().err().unwrap_or_else(|| unsupported(path, "the network", what_runs(known, container)))
        }
        Refusal::Malformed { key, problem } => malformed(path, format!("key `{key}`"), problem, DAMAGED),
        Refusal::Unsupported { what, remedy: Some(remedy) } => unsupported(path, what, remedy),
        Refusal::Unsupported { what, remedy: None } => unsupported(path, what, what_runs(known, container)),
    }
}

/// The error for a problem of the tensor `name` in the file `path`.
fn problem_at(path: &Path, name: &str, problem: Problem) -> Error {
    match problem {
        Problem::Damaged(problem) => malformed(path, format!("tensor `{name}`"), problem, DAMAGED),
        Problem::Unsupported(what, remedy) => unsupported(path, format!("tensor `{name}`: {what}"), remedy),
    }
}

/// Removes control characters, which a terminal would interpret, from a name in a file, and shortens long names for
/// messages.
fn printable(text: String) -> String {
    const MOST: usize = 400;
    if text.len() <= MOST && !text.contains(char::is_control) {
        return text;
    }
    text.chars().take(MOST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// An opened checkpoint. Tensor data is not read yet: tensors are ranges of mapped files.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) path: PathBuf,
    pub(crate) format: &'static str,
    pub(crate) config: Config,
    pub(crate) text: TextFiles,
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// The adapter of the ternary layers, already checked ([`Checkpoint::with_adapter`]).
    adapter: Option<Adapter>,
    /// What users should know about how the files were read ([`Checkpoint::remarks`]).
    pub(crate) remarks: Vec<String>,
    /// The files that it was read from.
    files: Files,
}

/// A tensor as stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name in the file, for error messages.
    pub stored_name: String,
    /// Logical shape: `[rows, cols]` or `[len]`, unpacked.
    pub shape: Vec<usize>,
    /// The values, as stored.
    pub data: Data,
    /// For query and key tensors of GGUF `llama` files: the number of heads whose interleaved rows must be reordered.
    pub interleaved_heads: Option<usize>,
}

/// The values of a tensor.
#[derive(Clone, Debug)]
pub enum Data {
    /// A ternary matrix.
    Ternary(Trits),
    /// A matrix or vector of numbers.
    Dense {
        /// The number format.
        format: &'static Format,
        /// The stored rows.
        bytes: Bytes,
    },
}

impl Data {
    /// The format of the values.
    pub fn format(&self) -> &'static Format {
        match self {
            Self::Ternary(trits) => trits.format(),
            Self::Dense { format, .. } => format,
        }
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Ternary(trits) => trits.bytes(),
            Self::Dense { bytes, .. } => bytes,
        }
    }
}

/// Tokenizer and chat template, as the checkpoint stores them.
#[derive(Clone, Debug)]
pub enum TextFiles {
    /// Files of a Hugging Face directory.
    HuggingFace {
        /// `tokenizer.json`
        tokenizer: Bytes,
        /// `tokenizer_config.json`, an empty object if absent.
        config: serde_json::Value,
        /// `chat_template.jinja`, if there is such a file.
        chat_template: Option<String>,
    },
    /// The vocabulary inside a GGUF file.
    Gguf(GgufVocabulary),
    /// No tokenizer: only token ids can be used.
    None,
}

/// `tokenizer.ggml.*` of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: "gpt2" or "llama".
    pub model: String,
    /// `tokenizer.ggml.pre`, if any.
    pub pre: Option<String>,
    /// Text of each token, by id.
    pub tokens: Vec<String>,
    /// SentencePiece scores by id; may be empty.
    pub scores: Vec<f32>,
    /// Token types by id (1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte); may be empty.
    pub types: Vec<i32>,
    /// BPE merges ("a b"), best first; may be empty.
    pub merges: Vec<String>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_eos_token`
    pub add_eos: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
    /// `bos_token_id`
    pub bos: Option<u32>,
    /// `eos_token_id`
    pub eos: Option<u32>,
    /// `unknown_token_id`
    pub unknown: Option<u32>,
    /// `padding_token_id`
    pub padding: Option<u32>,
    /// `tokenizer.chat_template`, with known wrong templates replaced.
    pub chat_template: Option<String>,
}

impl Checkpoint {
    /// Opens a model of one of the architectures `known`.
    pub(crate) fn from_source(source: &Source<'_>, known: &[&'static Arch]) -> Result<Self> {
        match CONTAINERS.iter().find(|format| (format.detect)(source)) {
            Some(format) => (format.open)(source, known),
            None => {
                let remedy = "pass a .gguf file, or the directory that holds config.json and model.safetensors";
                let other = unsupported(source.path(), "a file that does not begin with \"GGUF\"", remedy);
                let start = source.single().map(|file| file.copy(0..file.len().min(placeholder::START)));
                Err(placeholder::instead(source.path(), &start.transpose()?.unwrap_or_default(), other))
            }
        }
    }

    /// Path of the file or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format and its version: "safetensors", "mlx" or "gguf v3".
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// The configuration, in the same form for all formats.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokenizer and chat template, as stored.
    pub fn text(&self) -> &TextFiles {
        &self.text
    }

    /// Tensors by canonical name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// What users should know about how the files were read: parts that were passed over, and what was assumed where the
    /// files do not say. Each is a sentence without a full stop; programs show them once.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The files that the checkpoint was read from.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Decodes a ternary matrix and packs it in a layout. Afterwards the matrix's pages of a mapped file are released.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the tensor is missing, damaged, not ternary or of another shape, and
    /// [`Error::Unsupported`] if it has full-precision weights that must not be rounded.
    ///
    /// # Panics
    ///
    /// If the matrix has more columns than the layout supports.
    pub fn ternary(&self, cpu: &Cpu, name: &str, (rows, cols): (usize, usize), layout: &LayoutKind) -> Result<Matrix> {
        let (tensor, trits) = self.trits(name, (rows, cols))?;
        let problem = |problem| self.problem(tensor, problem);
        let decoded = TernaryRows::new(cpu.pool(), tensor, trits).map_err(problem)?;
        let scales = decoded.scales();
        if let Scales::Groups { .. } = scales {
            let what = format!("tensor `{}` has several scales, unlike the model's first layer,", tensor.stored_name);
            return Err(unsupported(&self.path, what, "choose int14 or f32 activations"));
        }
        let packed = Matrix::pack(cpu.pool(), layout, (rows, cols), &scales, |row, out| decoded.row(row, out));
        trits.bytes().release();
        packed.map_err(problem)
    }

    /// Decodes a ternary matrix and packs it with a scale for each group of columns. `unit` is that of
    /// [`GroupedMatrix::pack`].
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::ternary`].
    pub fn grouped(&self, cpu: &Cpu, name: &str, shape: (usize, usize), unit: usize) -> Result<GroupedMatrix> {
        let (tensor, trits) = self.trits(name, shape)?;
        let packed = pack_groups(cpu, tensor, trits, shape, unit);
        trits.bytes().release();
        packed.map_err(|problem| self.problem(tensor, problem))
    }

    /// Packs a head whose weights are trits; `None` if they are not.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the tensor is missing.
    pub fn packed_head(
        &self,
        cpu: &Cpu,
        name: &str,
        shape: (usize, usize),
        unit: usize,
    ) -> Result<Option<GroupedMatrix>> {
        let tensor = self.tensor(name)?;
        let trits = packed::trits(cpu.pool(), tensor, shape);
        Ok(trits.and_then(|trits| pack_groups(cpu, tensor, &trits, shape, unit).ok()))
    }

    /// The checkpoint's adapter, if it has one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The number type of activations that suits the ternary layers, derived from the scales of the first layer's
    /// tensors: int8 for one scale per matrix (BitNet), int14 for several (weight-only quantisation) and for numbers that
    /// are ternary without being rounded.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if a scale is damaged, and [`Error::Unsupported`] for full-precision weights that must not be
    /// rounded.
    pub fn precision(&self, pool: &Pool) -> Result<Precision> {
        /// Ternary tensors of a layer.
        const LAYER: usize = 7;
        let ternary = self.tensors.values().filter_map(|tensor| match &tensor.data {
            Data::Ternary(trits) if trits.format().stores_trits() || !trits.quantizes() => Some((tensor, trits)),
            _ => None,
        });
        for (tensor, trits) in ternary.take(LAYER) {
            let decoder = trits.decoder(pool).map_err(|problem| self.problem(tensor, problem))?;
            if !trits.format().stores_trits() || !matches!(decoder.scales(), Scales::One(_)) {
                return Ok(Precision::Int14);
            }
        }
        Ok(Precision::Int8)
    }

    /// The error for a problem with the values of `tensor`.
    pub fn problem(&self, tensor: &Tensor, problem: Problem) -> Error {
        problem_at(&self.path, &tensor.stored_name, problem)
    }

    /// An embedding or head: in its stored format, or in blocks if its weights are trits that are not stored in blocks.
    /// Padding after the first `rows` rows is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the tensor is missing, damaged or of another shape, and [`Error::Unsupported`] for trits
    /// that no format of blocks holds.
    pub fn table(&self, pool: &Pool, name: &str, (rows, cols): (usize, usize)) -> Result<DenseMatrix> {
        let tensor = self.tensor(name)?;
        self.expect_shape(tensor, &[rows, cols], matches!(tensor.shape[..], [r, c] if r >= rows && c == cols))?;
        let Data::Dense { format, bytes } = &tensor.data else {
            let trits = packed::trits(pool, tensor, (rows, cols));
            let trits = trits.ok_or_else(|| self.damaged(tensor, "has trits of another shape".into()))?;
            return packed::blocks(pool, &trits).map_err(|problem| self.problem(tensor, problem));
        };
        let ternary = (!format.stores_trits()).then(|| packed::trits(pool, tensor, (rows, cols))).flatten();
        if let Some(blocks) = ternary.and_then(|trits| packed::blocks(pool, &trits).ok()) {
            return Ok(blocks);
        }
        let size = format.bytes(rows, cols);
        let matrix = size.and_then(|size| DenseMatrix::new(format, rows, cols, bytes.slice(0..size)?));
        matrix.ok_or_else(|| self.damaged(tensor, format!("{} bytes are too few for its rows", bytes.len())))
    }

    /// [`Checkpoint::table`] on one thread.
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::table`].
    pub fn dense(&self, name: &str, rows: usize, cols: usize) -> Result<DenseMatrix> {
        self.table(&Pool::new(1), name, (rows, cols))
    }

    /// The weights of a norm: finite `f32` values.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the tensor is missing, ternary, of another length or holds a number that is not finite.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        self.expect_shape(tensor, &[len], tensor.shape == [len])?;
        self.values(name, len)
    }

    /// The `len` values of a small array of any shape: finite `f32` values.
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::vector`].
    pub fn values(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        let (format, bytes) = self.numbers(tensor)?;
        let values = format.numbers(bytes).ok_or_else(|| self.wrong_kind(tensor, format.name, "plain numbers"))?;
        if values.len() != len {
            return Err(self.damaged(tensor, format!("{} values instead of {len}", values.len())));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(i) => Err(self.damaged(tensor, format!("value {i} is not finite"))),
            None => Ok(values),
        }
    }

    /// A small matrix of plain numbers, as stored: an array of `rows · cols` values in any shape.
    ///
    /// # Errors
    ///
    /// Those of [`Checkpoint::vector`].
    pub fn small(&self, name: &str, (rows, cols): (usize, usize)) -> Result<DenseMatrix> {
        self.values(name, rows * cols)?;
        let tensor = self.tensor(name)?;
        let (format, bytes) = self.numbers(tensor)?;
        let matrix = DenseMatrix::new(format, rows, cols, bytes.clone());
        matrix.ok_or_else(|| self.damaged(tensor, format!("{} bytes for {rows} rows of {cols}", bytes.len())))
    }

    /// A ternary tensor of this shape.
    fn trits(&self, name: &str, (rows, cols): (usize, usize)) -> Result<(&Tensor, &Trits)> {
        let tensor = self.tensor(name)?;
        self.expect_shape(tensor, &[rows, cols], tensor.shape == [rows, cols])?;
        match &tensor.data {
            Data::Ternary(trits) => Ok((tensor, trits)),
            Data::Dense { format, .. } => Err(self.wrong_kind(tensor, format.name, "ternary")),
        }
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| malformed(&self.path, format!("tensor `{name}`"), "is missing", DAMAGED))
    }

    fn numbers<'a>(&self, tensor: &'a Tensor) -> Result<(&'static Format, &'a Bytes)> {
        match &tensor.data {
            Data::Dense { format, bytes } => Ok((format, bytes)),
            Data::Ternary(_) => Err(self.wrong_kind(tensor, "trits", "numbers")),
        }
    }

    fn damaged(&self, tensor: &Tensor, problem: String) -> Error {
        malformed(&self.path, format!("tensor `{}`", tensor.stored_name), problem, DAMAGED)
    }

    fn wrong_kind(&self, tensor: &Tensor, have: &str, want: &str) -> Error {
        self.damaged(tensor, format!("stored as {have} instead of {want}"))
    }

    fn expect_shape(&self, tensor: &Tensor, expected: &[usize], ok: bool) -> Result<()> {
        if ok { Ok(()) } else { Err(self.damaged(tensor, format!("shape {:?} instead of {expected:?}", tensor.shape))) }
    }
}

fn pack_groups(
    cpu: &Cpu,
    tensor: &Tensor,
    trits: &Trits,
    shape: (usize, usize),
    unit: usize,
) -> Result<GroupedMatrix, Problem> {
    let decoded = TernaryRows::new(cpu.pool(), tensor, trits)?;
    GroupedMatrix::pack(cpu.pool(), shape, unit, &decoded.scales(), |row, out| decoded.row(row, out))
}

impl Tensor {
    /// The stored row of the matrix's row `row`.
    ///
    /// GGUF `llama` files store the rows of a head as `(d/2, 2)`, to rotate neighbours; Sterna uses `(2, d/2)`.
    fn stored_row(&self, row: usize) -> usize {
        match (self.interleaved_heads, self.shape.first()) {
            (Some(heads), Some(rows)) if heads > 0 && rows / heads >= 2 => {
                let half = rows / heads / 2;
                let (head, within) = (row / (2 * half), row % (2 * half));
                head * 2 * half + 2 * (within % half) + within / half
            }
            _ => row,
        }
    }
}
