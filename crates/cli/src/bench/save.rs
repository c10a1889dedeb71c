//! `bench --save`: the random model as a file, for a race with other engines.

use anyhow::Result;
use serde_json::json;
use sterna::checkpoint::encoding::{i2_s::I2_S, tq2_0::TQ2_0};
use sterna::checkpoint::write::synthetic_vocabulary;
use sterna::checkpoint::{Checkpoint, Config};
use sterna::kernels::DenseType;

use super::{Bench, stored_head};
use crate::{convert, output};

/// Merges that a vocabulary of Llama 3's size comes with; other vocabularies get two for each token.
const LLAMA3: (usize, usize) = (128_256, 280_147);

/// Writes the model that `args` describe to `file`.
pub fn save(args: &Bench, config: &Config, file: &std::path::Path) -> Result<()> {
    let encoding = if args.r#type == "tq2_0" { &TQ2_0 } else { &I2_S };
    let merges = if config.vocab == LLAMA3.0 { LLAMA3.1 } else { 2 * config.vocab };
    let vocabulary = synthetic_vocabulary(config.vocab, merges)?;
    let checkpoint = Checkpoint::synthetic(config.clone(), DenseType::F16, 1)?;
    let stored = (encoding, args.arch, stored_head(&args.stored_head));
    let bytes = convert::save(&checkpoint, file, stored, Some(&vocabulary))?;
    if args.json {
        return output::json(&json!({ "out": file.display().to_string(), "bytes": bytes }));
    }
    output::text(&format!("wrote {} ({:.0} MiB)\n", file.display(), bytes as f64 / 1048576.0))
}
