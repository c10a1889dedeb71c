//! `bench --save`: the random model as a file, for a race with other engines.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sterna::checkpoint::encoding::{i2_s::I2_S, tq2_0::TQ2_0};
use sterna::checkpoint::write::{WriteOptions, synthetic_vocabulary, write_gguf};
use sterna::checkpoint::{Checkpoint, Config};
use sterna::kernels::{Cpu, DenseType};

use super::{Bench, stored_head};
use crate::output;

/// Merges that a vocabulary of Llama 3's size comes with; other vocabularies get two for each token.
const LLAMA3: (usize, usize) = (128_256, 280_147);

/// Writes the model that `args` describe to `file`.
pub fn save(args: &Bench, config: &Config, file: &std::path::Path) -> Result<()> {
    let encoding = if args.r#type == "tq2_0" { &TQ2_0 } else { &I2_S };
    let merges = if config.vocab == LLAMA3.0 { LLAMA3.1 } else { 2 * config.vocab };
    let vocabulary = synthetic_vocabulary(config.vocab, merges)?;
    let checkpoint = Checkpoint::synthetic(config.clone(), DenseType::F16, 1)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("writing {bar:30} {bytes}/{total_bytes}  {eta} left")?);
    let options = WriteOptions {
        encoding,
        arch: &args.arch,
        head: stored_head(&args.stored_head),
        vocabulary: Some(&vocabulary),
        progress: &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    };
    write_gguf(&checkpoint, &Cpu::new(0)?, file, options)?;
    bar.finish_and_clear();
    let bytes = std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    if args.json {
        return output::json(&json!({ "out": file.display().to_string(), "bytes": bytes }));
    }
    output::text(&format!("wrote {} ({:.0} MiB)\n", file.display(), bytes as f64 / 1048576.0))
}
