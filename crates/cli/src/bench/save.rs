//! `bench --save`: the random model as a file, to compare with other engines.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sterna::checkpoint::format::{F16, Format};
use sterna::checkpoint::write::synthetic_vocabulary;
use sterna::checkpoint::{Arch, Checkpoint, Config};

use crate::{convert, output};

/// Tokens and merges of Llama 3's vocabulary; other vocabularies get two merges for each token.
const LLAMA3: (usize, usize) = (128_256, 280_147);

/// Writes a model of this shape to `file`: encoding of the ternary layers, architecture, and type of the head.
pub fn save(
    config: &Config,
    file: &Path,
    stored: (&'static Format, &'static Arch, &'static Format),
    json: bool,
) -> Result<()> {
    let merges = if config.vocab == LLAMA3.0 { LLAMA3.1 } else { 2 * config.vocab };
    let vocabulary = synthetic_vocabulary(config.vocab, merges)?;
    let checkpoint = Checkpoint::synthetic(config.clone(), &F16, 1)?;
    let bytes = convert::size_of(&convert::save(&checkpoint, file, stored, Some(&vocabulary), None)?)?;
    if json {
        return output::json(&json!({ "out": file.display().to_string(), "bytes": bytes }));
    }
    output::text(&format!("wrote {} ({:.0} MiB)\n", file.display(), bytes as f64 / 1048576.0))
}
