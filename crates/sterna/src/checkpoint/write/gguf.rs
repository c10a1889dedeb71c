//! Writes a checkpoint as a GGUF file.

use std::path::Path;

use sterna_kernels::Cpu;
use sterna_kernels::format::{Format, Writer};

use super::rows::SourceRows;
use super::{WriteOptions, encodings, heads, keys};
use crate::arch::{Arch, Config, Kind, Slot};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::{ALIGNMENT, ENDS};
use crate::checkpoint::whole::WholeFile;
use crate::{Error, Result};

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
    let rows = SourceRows { checkpoint, cpu };
    for tensor in &plan.tensors {
        let name = &tensor.slot.name;
        let mut put = |bytes: &[u8]| target.write(bytes);
        match tensor.slot.kind {
            Kind::Ternary { rotated, .. } => {
                let heads = rotated.filter(|_| plan.arch.interleaved_qk);
                rows.ternary(&tensor.slot, heads, (plan.encoding, plan.writer), &mut put)?;
            }
            Kind::Dense { .. } => match plan.head.writer().filter(|_| plan.head.stores_trits()) {
                Some(writer) => rows.ternary(&tensor.slot, None, (plan.head, writer), &mut put)?,
                None => rows.dense(&tensor.slot, plan.head, &mut put)?,
            },
            Kind::Vector { len } => {
                let values = checkpoint.vector(name, len)?;
                put(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
            }
        }
        target.pad::<ALIGNMENT>()?;
    }
    target.finish()
}

/// Contents and layout of the file.
pub(super) struct Plan {
    pub tensors: Vec<Planned>,
    pub encoding: &'static Format,
    writer: Writer,
    head: &'static Format,
    /// Tokens that end an answer; the tokenizer's own comes first.
    pub ends: Vec<u32>,
    pub arch: &'static Arch,
    data: u64,
}

pub(super) struct Planned {
    pub slot: Slot,
    pub shape: Vec<usize>,
    pub kind: u32,
    pub offset: u64,
}

impl Plan {
    fn new(checkpoint: &Checkpoint, options: &WriteOptions<'_>) -> Result<Self> {
        let refuse = |option, problem: String| Err(Error::option(option, problem));
        let encoding = options.encoding;
        let Some((writer, ternary)) = encoding.writer().zip(encoding.ggml.first().copied()) else {
            let names: Vec<&str> = encodings().map(|format| format.name).collect();
            let problem = format!("GGUF files are written with {} weights, not {}", names.join(", "), encoding.name);
            return refuse("to", problem);
        };
        let Some(head_type) = options.head.ggml.first().filter(|_| heads().any(|head| head == options.head)).copied()
        else {
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
                return refuse("to", problem);
            };
            tensors.push(Planned { slot, shape, kind, offset: data });
            data = (data + size as u64).next_multiple_of(ALIGNMENT as u64);
        }
        Ok(Self { tensors, encoding, writer, head: options.head, ends, arch, data })
    }
}
