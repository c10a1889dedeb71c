//! `sterna convert`: writes any model as one GGUF file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sterna::checkpoint::format::{self, Format};
use sterna::checkpoint::whole;
use sterna::checkpoint::write::{self, WriteOptions, write_gguf};
use sterna::checkpoint::{Arch, Checkpoint, GgufVocabulary};
use sterna::kernels::Cpu;
use sterna::text::to_gguf;

use crate::model::{Source, has_end};
use crate::{interrupt, output};

const EXAMPLES: &str = "\
The file holds everything: weights, tokenizer and chat template. Trits and scales stay the same; if a type cannot hold \
them, the error says why. Scales: i2_s one per layer, iq2_bn one per row, q2_0 one per 64 columns, pq2_0, ptq1_0 and \
q1_0 (−1 and +1 only) per 128, tq1_0 and tq2_0 per 256; the last six as f16, to which one scale per layer is rounded. \
The head (and the embedding) in bytes a weight: f32 4, f16 2, q8_0 1.06, q6_k 0.82; f32 loses nothing, f16 next to \
nothing of bf16.

Examples:
  sterna convert -m bitnet-2b4t-bf16/ --out bitnet-2b4t.gguf
  sterna convert -m trained/model/ --out small.gguf --stored-head q8_0
  sterna convert -m Ternary-Bonsai-8B-mlx-2bit/ --out bonsai.gguf --to q2_0     for llama.cpp
  sterna convert -m model.gguf --out model-tq2_0.gguf --to tq2_0 --stored-head q6_k --force";

/// Write a model to one GGUF file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Convert {
    #[command(flatten)]
    model: Source,
    /// The file to write; its name ends with .gguf
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How the ternary layers are stored
    #[arg(long, alias = "encoding", value_name = "TYPE", default_value = "i2_s", value_parser = encoding())]
    to: &'static Format,
    /// How the head and the embedding are stored [default: as the layers if they are ternary too, otherwise f16]
    #[arg(long, alias = "head", value_name = "TYPE", value_parser = head())]
    stored_head: Option<&'static Format>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Print a JSON object about the file
    #[arg(long)]
    json: bool,
}

/// Names of the formats that ternary layers are written in.
pub fn encoding() -> impl TypedValueParser<Value = &'static Format> {
    let names = PossibleValuesParser::new(write::encodings().map(|format| format.name));
    names.try_map(|name| format::by_name(&name).ok_or("not a format"))
}

/// Names of the formats that embeddings and heads are written in.
pub fn head() -> impl TypedValueParser<Value = &'static Format> {
    let names = PossibleValuesParser::new(write::heads().map(|format| format.name));
    names.try_map(|name| format::by_name(&name).ok_or("not a format"))
}

impl Convert {
    pub fn run(self) -> anyhow::Result<()> {
        check_out(&self.out, self.force)?;
        let checkpoint = self.model.checkpoint()?;
        let vocabulary = to_gguf(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
        if vocabulary.is_none() {
            output::note("the model has no tokenizer, and the file will have none");
        }
        let arch = checkpoint.config().architecture;
        let head = self.stored_head.unwrap_or_else(|| write::default_head(&checkpoint, self.to));
        let bytes = save(&checkpoint, &self.out, (self.to, arch, head), vocabulary.as_ref())?;
        let out = self.out.display().to_string();
        if self.json {
            let (encoding, head) = (self.to.name, head.name);
            return output::json(&json!({ "out": out, "bytes": bytes, "encoding": encoding, "head": head }));
        }
        output::note(&format!("{out}: {:.1} MiB", bytes as f64 / 1048576.0));
        Ok(())
    }
}

/// Checks that the file can be written, before any work.
fn check_out(out: &Path, force: bool) -> anyhow::Result<()> {
    let shown = out.display();
    if !has_end(out, "gguf") {
        return Err(output::Misuse(format!("{shown}: the name of a GGUF file ends with .gguf")).into());
    }
    match fs::metadata(out) {
        Ok(kind) if !kind.is_file() => bail!("{shown}: exists and is not a regular file; choose another --out"),
        Ok(_) if !force => bail!("{shown}: exists; --force replaces it"),
        _ => Ok(()),
    }
}

/// Writes a model with a progress bar, and returns the size of the file in bytes. Ctrl-C removes the unfinished file.
pub fn save(
    checkpoint: &Checkpoint,
    out: &Path,
    (encoding, arch, head): (&'static Format, &'static Arch, &'static Format),
    vocabulary: Option<&GgufVocabulary>,
) -> anyhow::Result<u64> {
    let partial = whole::partial(out);
    interrupt::ends_program(move || drop(fs::remove_file(&partial)))?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("writing {bar:30} {bytes}/{total_bytes}  {eta} left")?);
    let mut progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let options = WriteOptions::default().encoding(encoding).arch(arch).head(head).vocabulary(vocabulary);
    write_gguf(checkpoint, &Cpu::new(0)?, out, options.progress(&mut progress))?;
    bar.finish_and_clear();
    Ok(fs::metadata(out).with_context(|| out.display().to_string())?.len())
}
