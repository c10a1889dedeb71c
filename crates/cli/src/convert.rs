//! `sterna convert`: writes any model as a GGUF file, a Hugging Face directory or an MLX directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sterna::checkpoint::format::{self, Format};
use sterna::checkpoint::whole;
use sterna::checkpoint::write::{self, Form, WriteOptions, write_directory, write_gguf};
use sterna::checkpoint::{Arch, Checkpoint, GgufVocabulary, TextFiles};
use sterna::kernels::Cpu;
use sterna::model;
use sterna::text::{to_gguf, to_huggingface};

use crate::model::{Source, has_end};
use crate::{interrupt, output, size, verify};

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

/// Write a model in another format
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Convert {
    #[command(flatten)]
    model: Source,
    /// The GGUF file to write, whose name ends with .gguf, or the directory for hf-packed, hf-bf16 and mlx
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How the ternary layers are stored
    #[arg(long, alias = "encoding", value_name = "TYPE", default_value = "i2_s", value_parser = target())]
    to: Target,
    /// How the head and the embedding are stored [default: as the layers if they are ternary too, otherwise f16]
    #[arg(long, alias = "head", value_name = "TYPE", value_parser = head())]
    stored_head: Option<&'static Format>,
    /// Most bytes of weights in one GGUF file, such as 2G; larger models are written in several, as llama.cpp splits them
    #[arg(long, value_name = "SIZE")]
    split_max_size: Option<String>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Read the result, and compare trits, scales and the logits of a prompt with the source
    #[arg(long)]
    verify: bool,
    /// Print a JSON object about the file
    #[arg(long)]
    json: bool,
}

/// What a model is written as.
#[derive(Clone, Copy)]
enum Target {
    /// A GGUF file with this encoding of ternary layers.
    Gguf(&'static Format),
    Directory(Form),
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Gguf(format) => format.name,
            Self::Directory(form) => form.name(),
        }
    }
}

fn target() -> impl TypedValueParser<Value = Target> {
    let formats = write::encodings().map(Target::Gguf);
    let all: Vec<Target> = formats.chain(Form::ALL.map(Target::Directory)).collect();
    let names = PossibleValuesParser::new(all.iter().map(|target| target.name()).collect::<Vec<_>>());
    names.try_map(move |name| all.iter().copied().find(|target| target.name() == name).ok_or("not a format"))
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
        let checkpoint = self.model.checkpoint()?;
        if matches!(checkpoint.text(), TextFiles::None) {
            output::note("the model has no tokenizer, and the result will have none");
        }
        let mut written = vec![self.out.clone()];
        let (head, bytes) = match self.to {
            Target::Gguf(encoding) => {
                check_out(&self.out, self.force)?;
                let head = self.stored_head.unwrap_or_else(|| write::default_head(&checkpoint, encoding));
                let vocabulary = to_gguf(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
                let arch = checkpoint.config().architecture;
                let most =
                    self.split_max_size.as_deref().map(|size| size::bytes("--split-max-size", size)).transpose()?;
                written = save(&checkpoint, &self.out, (encoding, arch, head), vocabulary.as_ref(), most)?;
                (head.name, size_of(&written)?)
            }
            Target::Directory(form) => self.directory(&checkpoint, form)?,
        };
        let verified = self.verify.then(|| verify::Report::new(&checkpoint, &written[0])).transpose()?;
        let out = written[0].display().to_string();
        if self.json {
            let mut report = json!({ "out": out, "bytes": bytes, "encoding": self.to.name(), "head": head });
            if let Some(verified) = verified {
                report["verified"] = verified.json();
            }
            return output::json(&report);
        }
        let files = if written.len() > 1 { format!(" in {} files", written.len()) } else { String::new() };
        output::note(&format!("{out}: {:.1} MiB{files}", bytes as f64 / 1048576.0));
        if let Some(verified) = verified {
            output::note(&verified.sentence());
        }
        Ok(())
    }

    /// Writes a directory; the number format of its plain weights or scales, and the size of its weights in bytes.
    fn directory(&self, checkpoint: &Checkpoint, form: Form) -> anyhow::Result<(&'static str, u64)> {
        let shown = self.out.display();
        if self.stored_head.is_some() || self.split_max_size.is_some() {
            let problem = "--stored-head and --split-max-size are for GGUF files; a directory keeps the head's numbers";
            return Err(output::Misuse(problem.into()).into());
        }
        if fs::read_dir(&self.out).is_ok_and(|mut entries| entries.next().is_some()) && !self.force {
            bail!("{shown}: the directory is not empty; --force writes into it");
        }
        if self.out.exists() && !self.out.is_dir() {
            bail!("{shown}: exists and is not a directory; choose another --out");
        }
        let spinner = output::spinner("writing");
        let text = to_huggingface(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
        let number = write_directory(checkpoint, &Cpu::new(0)?, &self.out, form, &text, &model::known())?;
        spinner.finish_and_clear();
        let weights = self.out.join("model.safetensors");
        Ok((number.name, fs::metadata(&weights).with_context(|| weights.display().to_string())?.len()))
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

/// Writes a model with a progress bar, in files of at most `most` bytes of weights, and returns their paths. Ctrl-C
/// removes the unfinished file.
pub fn save(
    checkpoint: &Checkpoint,
    out: &Path,
    (encoding, arch, head): (&'static Format, &'static Arch, &'static Format),
    vocabulary: Option<&GgufVocabulary>,
    most: Option<u64>,
) -> anyhow::Result<Vec<PathBuf>> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    interrupt::ends_program(move || {
        let all = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(|path| whole::is_partial_of_this_process(path)).for_each(|path| drop(fs::remove_file(path)));
    })?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("writing {bar:30} {bytes}/{total_bytes}  {eta} left")?);
    let mut progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let options =
        WriteOptions::default().encoding(encoding).arch(arch).head(head).vocabulary(vocabulary).part_bytes(most);
    let written = write_gguf(checkpoint, &Cpu::new(0)?, out, options.progress(&mut progress))?;
    bar.finish_and_clear();
    Ok(written)
}

/// The size of files in bytes.
pub fn size_of(files: &[PathBuf]) -> anyhow::Result<u64> {
    files.iter().map(|file| Ok(fs::metadata(file).with_context(|| file.display().to_string())?.len())).sum()
}
