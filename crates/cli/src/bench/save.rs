//! `bench --save`: the random model as a file, to compare with other engines.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sterna::checkpoint::format::Format;
use sterna::checkpoint::write::synthetic_vocabulary;
use sterna::checkpoint::{Arch, Checkpoint};

use crate::{convert, output};

/// Tokens and merges of Llama 3's vocabulary; other vocabularies get two merges for each token.
const LLAMA3: (usize, usize) = (128_256, 280_147);

/// Writes a random model to `file`: encoding of the ternary layers, architecture, and type of the head.
pub fn save(
    checkpoint: &Checkpoint,
    file: &Path,
    stored: (&'static Format, &'static Arch, &'static Format),
    json: bool,
) -> Result<()> {
    let vocab = checkpoint.config().vocab;
    let merges = if vocab == LLAMA3.0 { LLAMA3.1 } else { 2 * vocab };
    let vocabulary = synthetic_vocabulary(vocab, merges)?;
    let bytes = convert::size_of(&convert::save(checkpoint, file, stored, Some(&vocabulary), None)?)?;
    if json {
        return output::json(&json!({ "out": file.display().to_string(), "bytes": bytes }));
    }
    output::text(&format!("wrote {} ({:.0} MiB)\n", file.display(), bytes as f64 / 1048576.0))
}
