//! Options that select a model and control how it is loaded.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use sterna::checkpoint::{Checkpoint, I2sLayout, OpenOptions, Outline};
use sterna::engine::{Engine, EngineBuilder};
use sterna::kernels::Bytes;
use sterna::model::{FfnMode, HeadMode, KvType, Precision, Settings};

use crate::{headings, output};

/// The model that is part of the program; docs/model.md describes it.
const EMBEDDED: &[u8] = include_bytes!("../embedded/sterna.gguf");

/// The `-m` option.
#[derive(clap::Args)]
#[command(next_help_heading = headings::MODEL)]
pub struct Source {
    /// A .gguf file or a Hugging Face directory [default: the built-in model]
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Layout of I2_S weights in GGUF files, which files do not name: that of x86 machines, or that of files written on
    /// Arm machines [default: found by the weights' statistics, in case of doubt x86]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub i2s_layout: Option<I2s>,
}

/// Layout of I2_S weights.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum I2s {
    X86,
    Arm,
}

impl From<I2s> for I2sLayout {
    fn from(layout: I2s) -> Self {
        match layout {
            I2s::X86 => Self::X86,
            I2s::Arm => Self::Arm,
        }
    }
}

/// How a model is loaded.
#[derive(clap::Args)]
#[command(next_help_heading = headings::COMPUTING)]
pub struct Loading {
    /// A directory with a low-rank adapter (LoRA) for the model, as PEFT saves them
    #[arg(long, value_name = "DIR", help_heading = headings::MODEL)]
    pub adapter: Option<PathBuf>,
    /// Read the model's files into memory instead of mapping them, so that they may change while the model is in use
    #[arg(long, help_heading = headings::MODEL)]
    pub no_mmap: bool,
    /// Threads for computing [default: all that this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Activations of ternary layers: int8 (as BitNet models are trained), f32, or auto (as this model was trained)
    #[arg(long, value_enum, value_name = "TYPE", default_value = "auto")]
    pub activations: Activations,
    /// How logits are computed: exact skips only rows that provably cannot be drawn, two-plane also rows that are very
    /// unlikely to matter, int8 rounds all rows to 8 bits, f16 reads all rows as stored
    #[arg(long, value_name = "MODE", default_value = "exact", value_parser = head_mode())]
    pub head: HeadMode,
    #[command(flatten)]
    pub kv: KvArg,
    #[command(flatten)]
    pub ffn: FfnArg,
}

/// Parses the name of a mode, and shows all names.
pub fn head_mode() -> impl TypedValueParser<Value = HeadMode> {
    let named = |name: &str| HeadMode::ALL.into_iter().find(|mode| mode.name() == name);
    PossibleValuesParser::new(HeadMode::ALL.map(HeadMode::name)).map(move |name| named(&name).unwrap_or_default())
}

/// The `--kv` option.
#[derive(clap::Args)]
#[command(next_help_heading = headings::COMPUTING)]
pub struct KvArg {
    /// Type of the key/value cache: f16, int8 (half the memory, faster in long contexts, slightly less exact), or f32
    /// (twice the memory, not rounded)
    #[arg(long, value_enum, value_name = "TYPE", default_value_t)]
    pub kv: Kv,
}

/// Type of the key/value cache.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kv {
    #[default]
    F16,
    F32,
    Int8,
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => Self::F16,
            Kv::F32 => Self::F32,
            Kv::Int8 => Self::Int8,
        }
    }
}

/// The `--ffn` option.
#[derive(clap::Args)]
#[command(next_help_heading = headings::COMPUTING)]
pub struct FfnArg {
    /// Feed-forward weights that a zero activation multiplies: auto skips them if the gate is ReLU², sparse insists on
    /// skipping, dense reads all weights; the results are the same bytes
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub ffn: Ffn,
}

/// Whether feed-forward weights that a zero activation multiplies are read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ffn {
    #[default]
    Auto,
    Dense,
    Sparse,
}

impl From<Ffn> for FfnMode {
    fn from(ffn: Ffn) -> Self {
        match ffn {
            Ffn::Auto => Self::Auto,
            Ffn::Dense => Self::Dense,
            Ffn::Sparse => Self::Sparse,
        }
    }
}

/// The `--ctx` option.
#[derive(clap::Args)]
#[command(next_help_heading = headings::COMPUTING)]
pub struct ContextArg {
    /// Length of the context in tokens [default: the model's own, at most 4096]
    #[arg(long, value_name = "N")]
    pub ctx: Option<usize>,
}

/// Number format of the activations of ternary layers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    Auto,
    Int8,
    Int14,
    F32,
}

/// How a model that generates is loaded.
#[derive(clap::Args)]
#[command(next_help_heading = headings::COMPUTING)]
pub struct Generating {
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    context: ContextArg,
    /// Compute one token at a time, instead of drafting tokens from the text so far and checking them together; the
    /// answer is the same
    #[arg(long)]
    no_speculation: bool,
}

impl Generating {
    /// The engine's builder.
    pub fn builder(&self) -> EngineBuilder {
        self.loading.builder(self.context.ctx).speculation(!self.no_speculation)
    }
}

impl Loading {
    /// The engine's builder.
    pub fn builder(&self, context: Option<usize>) -> EngineBuilder {
        let precision = match self.activations {
            Activations::Auto => None,
            Activations::Int8 => Some(Precision::Int8),
            Activations::Int14 => Some(Precision::Int14),
            Activations::F32 => Some(Precision::Float32),
        };
        let settings = Settings { precision, head: self.head, ffn: self.ffn.ffn.into() };
        Engine::builder()
            .threads(self.threads.unwrap_or(0) as usize)
            .context(context)
            .kv(self.kv.kv.into())
            .settings(settings)
            .adapter(self.adapter.clone())
            .mmap(!self.no_mmap)
    }
}

impl Source {
    /// Opens the checkpoint: reads headers, loads no weights. Remarks about its files go to stderr.
    pub fn checkpoint(&self) -> anyhow::Result<Checkpoint> {
        let checkpoint = self.open()?;
        output::remarks(checkpoint.remarks());
        Ok(checkpoint)
    }

    /// Opens the checkpoint. The caller shows its remarks.
    pub fn open(&self) -> anyhow::Result<Checkpoint> {
        match &self.model {
            Some(path) => {
                look_for(path)?;
                let options = OpenOptions::default().i2s_layout(self.i2s_layout.map(I2sLayout::from));
                Ok(Checkpoint::open_with(path, &options)?)
            }
            None => Ok(embedded()?),
        }
    }

    /// What the model's headers say, for one that cannot be opened; `None` if they cannot be read.
    pub fn outline(&self) -> Option<Outline> {
        Outline::read(self.model.as_deref()?).ok()
    }

    /// Loads the model. Remarks about its files go to stderr.
    pub fn load(&self, builder: &EngineBuilder) -> anyhow::Result<Engine> {
        let engine = self.engine(builder)?;
        output::remarks(engine.remarks());
        Ok(engine)
    }

    /// Loads the model. The caller shows its remarks.
    pub fn engine(&self, builder: &EngineBuilder) -> anyhow::Result<Engine> {
        let spinner = output::spinner("loading");
        let engine = match &self.model {
            Some(path) => {
                look_for(path)?;
                builder.clone().i2s_layout(self.i2s_layout.map(I2sLayout::from)).open(path)?
            }
            None => builder.load(embedded()?)?,
        };
        spinner.finish_and_clear();
        Ok(engine)
    }
}

fn embedded() -> sterna::Result<Checkpoint> {
    Checkpoint::from_files("built-in model", &[("sterna.gguf", Bytes::from(EMBEDDED))])
}

/// Recognises common mistakes in a path, and suggests what to type instead.
fn look_for(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if !path.exists() {
        if let Some(name) = hub_name(path) {
            bail!(
                "{shown}: no such file or directory. It looks like the name of a model on Hugging Face, and \
                 downloading is not part of sterna yet. Fetch it with\n  \
                 hf download {shown} --local-dir {name}\nand then pass -m {name}"
            );
        }
        bail!("{shown}: no such file or directory; -m takes a .gguf file or a directory with config.json");
    }
    if path.is_dir() && !path.join("config.json").exists() {
        let entries = path.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries.filter(|file| has_end(file, "gguf")).collect();
        files.sort();
        match files.first() {
            Some(file) => bail!("{shown}: a directory without config.json; pass one file: -m {}", file.display()),
            None => bail!(
                "{shown}: a directory without config.json and without .gguf files; -m takes a .gguf file \
                           or a directory with config.json, model.safetensors and tokenizer.json"
            ),
        }
    }
    if let (true, Some(parent)) = (has_end(path, "safetensors") || has_end(path, "json"), path.parent())
        && parent.join("config.json").exists()
    {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        bail!("{shown}: one file of a model; pass the directory: -m {}", parent.display());
    }
    Ok(())
}

/// Whether a file's name ends so, in letters of either case.
pub fn has_end(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end))
}

/// The name in a path that looks like "organisation/name", the name of a model on Hugging Face.
fn hub_name(path: &Path) -> Option<&str> {
    let (organisation, name) = path.to_str()?.split_once('/')?;
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (plain(organisation) && plain(name) && !has_end(path, "gguf")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names() {
        assert_eq!(hub_name(Path::new("microsoft/bitnet-b1.58-2B-4T")), Some("bitnet-b1.58-2B-4T"));
        for other in ["model.gguf", "./a/b", "a/b/c", "/a/b", "../b", "a/", "models/x.gguf", "~/x"] {
            assert_eq!(hub_name(Path::new(other)), None, "{other}");
        }
    }
}
