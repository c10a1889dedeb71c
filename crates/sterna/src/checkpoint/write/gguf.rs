//! Writes a checkpoint as a GGUF file.

use std::path::{Path, PathBuf};

use sterna_kernels::Cpu;
use sterna_kernels::format::{Format, Writer};

use super::rows::{Put, SourceRows};
use super::{WriteOptions, check_form, encodings, heads, keys};
use crate::arch::rope_scaling::DIVISORS;
use crate::arch::{Arch, Config, Kind, RopeScaling, Slot, hybrid};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::{ALIGNMENT, ENDS};
use crate::checkpoint::whole::WholeFile;
use crate::{Error, Result};

/// Writes `checkpoint` to the GGUF file `out`, or to several files with numbers in their names. Returns their paths.
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
pub fn write_gguf(checkpoint: &Checkpoint, cpu: &Cpu, out: &Path, options: WriteOptions<'_>) -> Result<Vec<PathBuf>> {
    let plan = Plan::new(checkpoint, &options)?;
    let headers: Vec<_> = (0..plan.parts.len()).map(|part| keys::header(checkpoint, &options, &plan, part)).collect();
    let sizes: Vec<u64> = headers.iter().zip(&plan.parts).map(|(header, data)| header.len() as u64 + data).collect();
    let (total, mut progress, mut before) = (sizes.iter().sum(), options.progress, 0);
    let paths: Vec<PathBuf> = (0..sizes.len()).map(|part| part_path(out, part, sizes.len())).collect();
    for (part, path) in paths.iter().enumerate() {
        let mut report = |written, _| {
            if let Some(progress) = &mut progress {
                progress(before + written, total);
            }
        };
        let mut target = WholeFile::create(path, sizes[part], Some(&mut report))?;
        target.write(&headers[part])?;
        for tensor in plan.tensors.iter().filter(|tensor| tensor.part == part) {
            plan.write(tensor, &SourceRows { checkpoint, cpu }, &mut |bytes| target.write(bytes))?;
            target.pad::<ALIGNMENT>()?;
        }
        target.finish()?;
        before += sizes[part];
    }
    Ok(paths)
}

/// The path of a part, numbered from 0: `model.gguf` becomes `model-00001-of-00003.gguf`.
fn part_path(out: &Path, part: usize, count: usize) -> PathBuf {
    if count == 1 {
        return out.to_owned();
    }
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", part + 1))
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
    /// Bytes of data in each part.
    pub parts: Vec<u64>,
}

pub(super) struct Planned {
    pub slot: Slot,
    pub shape: Vec<usize>,
    pub kind: u32,
    /// The part that holds it, and where in the part's data.
    pub part: usize,
    pub offset: u64,
}

impl Plan {
    fn new(checkpoint: &Checkpoint, options: &WriteOptions<'_>) -> Result<Self> {
        let refuse = |option, problem: String| Err(Error::option(option, problem));
        check_form(&checkpoint.config, Some(hybrid::Form::Gguf))?;
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
        let (mut tensors, mut parts) = (Vec::new(), vec![0u64]);
        for slot in arch.tensors(&config).into_iter().chain(keys::divisors(&config.rope_scaling)) {
            let stored = checkpoint.tensors.get(&slot.name);
            if stored.is_none() && slot.name != DIVISORS {
                let arch = arch.gguf_name();
                return refuse("arch", format!("the model has no `{}`, which `{arch}` needs", slot.name));
            }
            let (shape, kind, size) = match slot.kind {
                Kind::Ternary { rows, cols, .. } => (vec![rows, cols], ternary, encoding.bytes(rows, cols)),
                Kind::Dense { rows, cols } => (vec![rows, cols], head_type, options.head.bytes(rows, cols)),
                Kind::Vector { len } => {
                    (stored.map_or(vec![len], |stored| stored.shape.clone()), 0, len.checked_mul(4))
                }
            };
            let Some(size) = size else {
                let (name, head) = (encoding.name, options.head.name);
                let problem = format!("`{}` of {shape:?} cannot be stored as {name} or {head}", slot.name);
                return refuse("to", problem);
            };
            let size = (size as u64).next_multiple_of(ALIGNMENT as u64);
            let last = parts.len() - 1;
            if parts[last] > 0 && options.part_bytes.is_some_and(|most| parts[last] + size > most) {
                parts.push(0);
            }
            let part = parts.len() - 1;
            tensors.push(Planned { slot, shape, kind, part, offset: parts[part] });
            parts[part] += size;
        }
        Ok(Self { tensors, encoding, writer, head: options.head, ends, arch, parts })
    }

    /// Writes the data of a tensor.
    fn write(&self, tensor: &Planned, rows: &SourceRows<'_>, put: &mut Put<'_>) -> Result<()> {
        let slot = &tensor.slot;
        match slot.kind {
            Kind::Ternary { rotated, .. } => {
                let heads = rotated.filter(|_| self.arch.interleaved_qk);
                rows.ternary(slot, heads, (self.encoding, self.writer), put)
            }
            Kind::Dense { .. } => match self.head.writer().filter(|_| self.head.stores_trits()) {
                Some(writer) => rows.ternary(slot, None, (self.head, writer), put),
                None => rows.dense(slot, self.head, put),
            },
            Kind::Vector { len } => {
                let values = match &rows.checkpoint.config.rope_scaling {
                    RopeScaling::Divisors { divisors, .. } if slot.name == DIVISORS => divisors.clone(),
                    _ => rows.checkpoint.values(&slot.name, len)?,
                };
                put(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
            }
        }
    }
}
