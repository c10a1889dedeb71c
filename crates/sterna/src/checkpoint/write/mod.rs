//! Writes a checkpoint in another form, with the same trits and scales.
//!
//! Tensors are written one after another, some rows at a time.

mod config_json;
mod directory;
mod gguf;
mod keys;
mod rows;
mod verify;
mod vocabulary;

use sterna_kernels::format::{F16, FORMATS, Format, I2_S};

pub use directory::{Form, write_directory};
pub use gguf::write_gguf;
pub use verify::{Verified, verify};
pub use vocabulary::synthetic as synthetic_vocabulary;

use super::{Checkpoint, Config, Data, GgufVocabulary, Tensor};
use crate::arch::{Arch, decoder, hybrid};
use crate::setters::setters;
use crate::{Error, Result};

/// How to write a checkpoint: `WriteOptions::default().head(&F32)`.
#[non_exhaustive]
pub struct WriteOptions<'a> {
    /// Encoding of ternary matrices, one of [`encodings`]. [`I2_S`] stores one scale as it is; formats of blocks round
    /// one scale to f16, and store several only if f16 represents them.
    pub encoding: &'static Format,
    /// Architecture named in the file, which determines the activation function. `None` uses the checkpoint's own.
    pub arch: Option<&'static Arch>,
    /// Format of the embedding and the head: one of [`heads`].
    pub head: &'static Format,
    /// Tokenizer and chat template to write ([`to_gguf`](crate::text::to_gguf)), if any.
    pub vocabulary: Option<&'a GgufVocabulary>,
    /// Most bytes of data in one file; larger models are written in several, as llama.cpp splits them. A tensor is not
    /// divided.
    pub part_bytes: Option<u64>,
    /// Called repeatedly with (bytes written, bytes in total).
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self { encoding: &I2_S, arch: None, head: &F16, vocabulary: None, part_bytes: None, progress: None }
    }
}

setters!(WriteOptions<'a> {
    encoding: &'static Format,
    arch: &'static Arch,
    head: &'static Format,
    vocabulary: impl Into<Option<&'a GgufVocabulary>>,
    part_bytes: impl Into<Option<u64>>,
    progress: &'a mut dyn FnMut(u64, u64),
});

/// Formats in which ternary matrices can be written.
pub fn encodings() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(|format| format.writer().is_some())
}

/// The format of embedding and head that suits linears in `encoding`: the same if the checkpoint stores them as trits too,
/// otherwise f16.
pub fn default_head(checkpoint: &Checkpoint, encoding: &'static Format) -> &'static Format {
    let packed = |tensor: &Tensor| match &tensor.data {
        Data::Ternary(_) => true,
        Data::Dense { format, .. } => format.stores_trits(),
    };
    let embedding = checkpoint.tensors.get(&decoder::embedding(&checkpoint.config).name);
    if encoding.is_dense() && embedding.is_some_and(packed) { encoding } else { &F16 }
}

/// Formats in which embeddings and heads can be written.
///
/// In formats of trits only if they are ternary.
pub fn heads() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(|format| format.encodes() || format.is_dense() && format.writer().is_some())
}

/// Refuses hybrids in forms other than `form`: containers store some of their tensors in different ways.
///
/// # Errors
///
/// [`Error::Option`] for such a hybrid.
fn check_form(config: &Config, form: Option<hybrid::Form>) -> Result<()> {
    match &config.hybrid {
        Some(hybrid) if Some(hybrid.form) != form => {
            let problem =
                "hybrids of DeltaNet and attention are converted from GGUF to GGUF only; use the file as it is";
            Err(Error::option("to", problem))
        }
        _ => Ok(()),
    }
}
