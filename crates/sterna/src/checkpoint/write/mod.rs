//! Writes a checkpoint as a GGUF file, with its ternary layers in a chosen encoding.
//!
//! Tensors are written one after another, some rows at a time.

mod keys;
mod vocabulary;

use std::path::Path;

use sterna_kernels::format::{BF16, F16, F32, FORMATS, Format, I2_S, Writer};
use sterna_kernels::layout::T16;
use sterna_kernels::{Cpu, DenseMatrix, Matrix, Rows};

pub use vocabulary::synthetic as synthetic_vocabulary;

use super::gguf::{ALIGNMENT, ENDS};
use super::whole::WholeFile;
use super::{Checkpoint, GgufVocabulary};
use crate::arch::{Arch, Config, Kind, Slot};
use crate::setters::setters;
use crate::{Error, Result};

/// How to write a checkpoint: `WriteOptions::default().head(&F32)`.
#[non_exhaustive]
pub struct WriteOptions<'a> {
    /// Encoding of ternary matrices, one of [`encodings`]: [`I2_S`], or [`TQ2_0`](super::format::TQ2_0), which rounds
    /// the scale to f16.
    pub encoding: &'static Format,
    /// Architecture named in the file, which determines the activation function. `None` uses the checkpoint's own.
    pub arch: Option<&'static Arch>,
    /// Format of the embedding and the head: one of [`heads`].
    pub head: &'static Format,
    /// Tokenizer and chat template to write ([`to_gguf`](crate::text::to_gguf)), if any.
    pub vocabulary: Option<&'a GgufVocabulary>,
    /// Called repeatedly with (bytes written, bytes in total).
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self { encoding: &I2_S, arch: None, head: &F16, vocabulary: None, progress: None }
    }
}

setters!(WriteOptions<'a> {
    encoding: &'static Format,
    arch: &'static Arch,
    head: &'static Format,
    vocabulary: impl Into<Option<&'a GgufVocabulary>>,
    progress: &'a mut dyn FnMut(u64, u64),
});

/// Formats in which ternary matrices can be written.
pub fn encodings() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(|format| format.writer().is_some())
}

/// Formats in which embeddings and heads can be written.
pub fn heads() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(|format| format.encodes())
}

/// Rows converted at a time. A multiple of 128, so that I2_S blocks end with them for any row length.
const CHUNK: usize = 128;
/// The largest f16.
const MAX_F16: f32 = 65504.0;

/// Writes `checkpoint` to the GGUF file `out`.
///
/// ```
/// use sterna::checkpoint::format::Q6_K;
/// use sterna::checkpoint::write::{WriteOptions, write_gguf};
/// use sterna::text::to_gguf;
/// use sterna::{Checkpoint, Cpu};
///
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/bitnet-packed-offline");
/// # let folder = tempfile::tempdir()?;
/// # let out = &folder.path().join("model.gguf");
/// let source = Checkpoint::open(model.as_ref())?; // a Hugging Face directory, or another GGUF file
/// let vocabulary = to_gguf(source.path(), source.text(), source.config())?;
/// let options = WriteOptions::default().head(&Q6_K).vocabulary(vocabulary.as_ref());
/// write_gguf(&source, &Cpu::new(1)?, out, options)?;
/// assert_eq!(Checkpoint::open(out)?.summary().parameters, source.summary().parameters);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Option`] if the options do not suit the model, [`Error::Malformed`] and [`Error::Unsupported`] if a tensor
/// of the model cannot be read, and [`Error::Io`] if the file cannot be written. After an error no partial file is
/// left, and an existing file is unchanged.
pub fn write_gguf(checkpoint: &Checkpoint, cpu: &Cpu, out: &Path, options: WriteOptions<'_>) -> Result<()> {
    let plan = Plan::new(checkpoint, &options)?;
    let header = keys::header(checkpoint, &options, &plan);
    let mut target = WholeFile::create(out, header.len() as u64 + plan.data, options.progress)?;
    target.write(&header)?;
    for tensor in &plan.tensors {
        let name = &tensor.slot.name;
        match tensor.slot.kind {
            Kind::Ternary { rows, cols, rotated } => {
                let matrix = checkpoint.ternary(cpu, name, (rows, cols), &T16)?;
                let Some(scale) = matrix.scale() else {
                    let problem =
                        format!("`{name}` has several scales, but files are written with one scale per matrix");
                    return Err(Error::option("encoding", problem));
                };
                let rounded = (plan.writer.rounded)(scale);
                if (scale - rounded).abs() > scale / 1024.0 {
                    let problem =
                        format!("the scale {scale} of `{name}` is out of range for f16; write the model as i2_s");
                    return Err(Error::option("encoding", problem));
                }
                let heads = rotated.filter(|_| plan.arch.interleaved_qk);
                ternary(cpu, (&matrix, scale), heads, &plan.writer, &mut target)?;
            }
            Kind::Dense { rows, cols } => dense(cpu, &checkpoint.dense(name, rows, cols)?, plan.head, &mut target)?,
            Kind::Vector { len } => {
                let values = checkpoint.vector(name, len)?;
                target.write(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
            }
        }
        target.pad::<ALIGNMENT>()?;
    }
    target.finish()
}

/// Contents and layout of the file.
struct Plan {
    tensors: Vec<Planned>,
    writer: Writer,
    head: &'static Format,
    /// Tokens that end an answer; the tokenizer's own comes first.
    ends: Vec<u32>,
    arch: &'static Arch,
    data: u64,
}

struct Planned {
    slot: Slot,
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

impl Plan {
    fn new(checkpoint: &Checkpoint, options: &WriteOptions<'_>) -> Result<Self> {
        let refuse = |option, problem: String| Err(Error::option(option, problem));
        let encoding = options.encoding;
        let Some((writer, ternary)) = encoding.writer().zip(encoding.ggml.first().copied()) else {
            let names: Vec<&str> = encodings().map(|format| format.name).collect();
            let problem = format!("GGUF files are written with {} weights, not {}", names.join(", "), encoding.name);
            return refuse("encoding", problem);
        };
        let Some(head_type) = options.head.ggml.first().filter(|_| options.head.encodes()).copied() else {
            let names: Vec<&str> = heads().map(|format| format.name).collect();
            return refuse("head", format!("the head is written as {}, not {}", names.join(", "), options.head.name));
        };
        if !keys::can_be_written(&checkpoint.config.rope_scaling) {
            let problem =
                "the model's scaling of the rotary embedding is not written to GGUF files yet; use the model as it is";
            return refuse("arch", problem.into());
        }
        let mut ends: Vec<u32> = options.vocabulary.and_then(|vocabulary| vocabulary.eos).into_iter().collect();
        ends.extend(checkpoint.config.eos.iter().filter(|id| ends.first() != Some(*id)).copied().collect::<Vec<_>>());
        if ends.len() > ENDS.len() {
            return refuse(
                "vocabulary",
                format!("{} tokens end an answer, but GGUF files name {} at most", ends.len(), ENDS.len()),
            );
        }
        let arch = options.arch.unwrap_or(checkpoint.config.architecture);
        let config = Config { architecture: arch, ..checkpoint.config.clone() };
        let (mut tensors, mut data) = (Vec::new(), 0u64);
        for slot in arch.tensors(&config) {
            if !checkpoint.has(&slot.name) {
                let arch = arch.gguf_name();
                return refuse("arch", format!("the model has no `{}`, which `{arch}` needs", slot.name));
            }
            let (shape, kind, size) = match slot.kind {
                Kind::Ternary { rows, cols, .. } => (vec![rows, cols], ternary, encoding.bytes(rows, cols)),
                Kind::Dense { rows, cols } => (vec![rows, cols], head_type, options.head.bytes(rows, cols)),
                Kind::Vector { len } => (vec![len], 0, len.checked_mul(4)),
            };
            let Some(size) = size else {
                let (name, head) = (encoding.name, options.head.name);
                let problem = format!("`{}` of {shape:?} cannot be stored as {name} or {head}", slot.name);
                return refuse("encoding", problem);
            };
            tensors.push(Planned { slot, shape, kind, offset: data });
            data = (data + size as u64).next_multiple_of(ALIGNMENT as u64);
        }
        Ok(Self { tensors, writer, head: options.head, ends, arch, data })
    }
}

fn ternary(
    cpu: &Cpu,
    (matrix, scale): (&Matrix, f32),
    interleaved_heads: Option<usize>,
    writer: &Writer,
    target: &mut WholeFile<'_>,
) -> Result<()> {
    let (rows, cols) = matrix.shape();
    let (mut trits, mut bytes) = (vec![0; CHUNK * cols], Vec::new());
    for first in (0..rows).step_by(CHUNK) {
        let trits = &mut trits[..CHUNK.min(rows - first) * cols];
        cpu.pool().pieces(trits, cols, |r, out| {
            out.copy_from_slice(&matrix.trits(interleaved(first + r, rows, interleaved_heads)));
        });
        bytes.clear();
        (writer.blocks)(trits, scale, &mut bytes);
        target.write(&bytes)?;
    }
    target.write(&(writer.tail)(scale))
}

/// The row stored at index `stored` in GGUF's `llama` order, in which the halves of a head alternate.
fn interleaved(stored: usize, rows: usize, heads: Option<usize>) -> usize {
    let Some(heads) = heads else { return stored };
    let dim = rows / heads;
    let (head, within) = (stored / dim, stored % dim);
    head * dim + within % 2 * (dim / 2) + within / 2
}

fn dense(cpu: &Cpu, matrix: &DenseMatrix, format: &'static Format, target: &mut WholeFile<'_>) -> Result<()> {
    let row_bytes = format.row_bytes(matrix.cols()).unwrap_or(0);
    let mut bytes = vec![0; CHUNK * row_bytes];
    for first in (0..matrix.rows()).step_by(CHUNK) {
        let ids: Vec<u32> = (first..matrix.rows().min(first + CHUNK)).map(|id| id as u32).collect();
        let values: Rows = matrix.lookup(cpu, &ids);
        let fits = |x: &f32| x.abs() <= MAX_F16 || [&F32, &BF16].contains(&format);
        if let Some(other) = values.data().iter().find(|x| !fits(x)) {
            let problem = format!("the embedding holds {other}, which is out of range for {}", format.name);
            return Err(Error::option("head", problem));
        }
        let bytes = &mut bytes[..ids.len() * row_bytes];
        cpu.pool().pieces(bytes, row_bytes, |r, out| {
            format.encode(values.row(r), out);
        });
        target.write(bytes)?;
    }
    Ok(())
}
