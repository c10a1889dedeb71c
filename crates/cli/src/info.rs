//! `sterna info`: the contents of a model, without loading it.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};
use sterna::checkpoint::{Checkpoint, Outline};
use sterna::engine::DEFAULT_CONTEXT;
use sterna::kernels::Pool;
use sterna::model::{KvCache, KvType};
use sterna::text::{ChatTemplate, Tokenizer};

use crate::model::Source;
use crate::output;

const EXAMPLES: &str = "\
Reads headers, the tokenizer and one scale, and loads no weights.

Examples:
  sterna info
  sterna info model.gguf
  sterna info bitnet-2b4t/ --json | jq .memory_bytes";

/// Show the contents of a model
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Info {
    /// A .gguf file or a Hugging Face directory, as with -m
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    path: Option<PathBuf>,
    #[command(flatten)]
    model: Source,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> anyhow::Result<()> {
        let model = Source { model: self.path.or(self.model.model), ..self.model };
        let print = |facts: &Value, page: fn(&Value) -> String| {
            if self.json { output::json(facts) } else { output::text(&output::printable(&page(facts))) }
        };
        match model.open() {
            Ok(checkpoint) => {
                let facts = facts(&checkpoint)?;
                print(&facts, page)?;
                facts["problem"].as_str().map_or(Ok(()), |problem| bail!("{problem}"))
            }
            Err(refused) => {
                if let Some(outline) = model.outline() {
                    print(&outlined(&model, &outline, &refused), outline_page)?;
                }
                Err(refused)
            }
        }
    }
}

/// The facts about a model that does not run.
fn outlined(model: &Source, outline: &Outline, refused: &anyhow::Error) -> Value {
    let encodings = outline
        .types
        .iter()
        .map(|(kind, (tensors, parameters))| (kind.clone(), json!({ "tensors": tensors, "parameters": parameters })));
    let mut facts = json!({
        "path": model.model.as_deref().map(|path| path.display().to_string()),
        "format": outline.format,
        "architecture": outline.architecture,
        "encodings": encodings.collect::<serde_json::Map<_, _>>(),
        "problem": output::message(refused),
    });
    for (name, size) in &outline.sizes {
        facts[*name] = json!(size);
    }
    facts
}

/// The facts about a model that does not run, as lines of text; the reasons follow as an error.
fn outline_page(facts: &Value) -> String {
    const SIZES: [&str; 9] =
        ["layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab", "context", "experts"];
    let mut page = String::new();
    let texts = ["path", "format", "architecture"].map(|name| (name, facts[name].as_str().map(str::to_owned)));
    let sizes = SIZES.map(|name| (name, facts[name].as_u64().map(|size| size.to_string())));
    for (name, text) in texts.into_iter().chain(sizes) {
        if let Some(text) = text {
            let _ = writeln!(page, "{:<14}{text}", name.replace('_', " "));
        }
    }
    for (name, stored) in facts["encodings"].as_object().into_iter().flatten() {
        let count = output::count(stored["tensors"].as_u64().unwrap_or(0) as usize, "tensor");
        let _ = writeln!(page, "{:<14}{name}: {count}", "stored as");
    }
    page
}

fn facts(checkpoint: &Checkpoint) -> anyhow::Result<Value> {
    let config = checkpoint.config();
    let summary = checkpoint.summary();
    let (activations, problem) = activations(checkpoint)?;
    let encodings = summary.groups.iter().map(|group| {
        let facts = json!({ "tensors": group.tensors, "parameters": group.parameters, "bytes": group.bytes });
        (group.encoding.to_owned(), facts)
    });
    Ok(json!({
        "path": checkpoint.path().display().to_string(),
        "format": checkpoint.format(),
        "architecture": config.architecture.title,
        "parameters": summary.parameters,
        "layers": config.layers,
        "hidden": config.hidden,
        "intermediate": config.intermediate,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab": config.vocab,
        "context": config.context,
        "rope_theta": config.rope_theta,
        "rms_eps": config.rms_eps.to_string().parse::<f64>().ok(),
        "tied": config.tied,
        "eos": config.eos,
        "encodings": encodings.collect::<serde_json::Map<_, _>>(),
        "activations": activations,
        "problem": problem,
        "remarks": checkpoint.remarks(),
        "tokenizer": tokenizer(checkpoint),
        "chat_template": chat_template(checkpoint),
        "kv_bytes_per_token": KvCache::bytes_per_position(config, KvType::F16),
        "memory_bytes": checkpoint.memory_needed(checkpoint.config().context.min(DEFAULT_CONTEXT), KvType::F16),
    }))
}

/// Number format of the activations of ternary layers, or why the model does not run.
fn activations(checkpoint: &Checkpoint) -> anyhow::Result<(Option<&'static str>, Option<String>)> {
    Ok(match checkpoint.precision(&Pool::new(1)) {
        Ok(precision) => (Some(precision.name()), None),
        Err(problem) => (None, Some(problem.to_string())),
    })
}

fn tokenizer(checkpoint: &Checkpoint) -> Value {
    match Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()) {
        Ok(tokenizer) => json!({
            "tokens": tokenizer.vocab_size(),
            "bos": tokenizer.bos(),
            "stop": tokenizer.stop_tokens(),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn chat_template(checkpoint: &Checkpoint) -> bool {
    matches!(ChatTemplate::new(checkpoint.text()), Ok(Some(_)))
}

/// The facts as lines of text.
fn page(facts: &Value) -> String {
    let number = |name: &str| facts[name].as_u64().unwrap_or(0);
    let mut page = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(page, "{name:<14}{text}");
    };
    line("path", facts["path"].as_str().unwrap_or_default().into());
    line("format", facts["format"].as_str().unwrap_or_default().into());
    line("architecture", facts["architecture"].as_str().unwrap_or_default().into());
    line("parameters", millions(number("parameters")));
    line(
        "layers",
        format!("{} × (hidden {}, feed-forward {})", number("layers"), number("hidden"), number("intermediate")),
    );
    line("heads", format!("{} of {}, {} for keys and values", number("heads"), number("head_dim"), number("kv_heads")));
    line(
        "vocabulary",
        format!("{}{}", number("vocab"), if facts["tied"] == true { ", head tied to the embedding" } else { "" }),
    );
    line("context", number("context").to_string());
    for (name, stored) in facts["encodings"].as_object().into_iter().flatten() {
        let bytes = mib(stored["bytes"].as_u64().unwrap_or(0));
        let (count, plural) = (&stored["tensors"], if stored["tensors"] == 1 { "" } else { "s" });
        line("stored as", format!("{name}: {count} tensor{plural}, {bytes}"));
    }
    match facts["activations"].as_str() {
        Some("int8") => line("activations", "int8, because tensors have one scale".into()),
        Some(kind) => line("activations", format!("{kind}, because only the weights are quantised")),
        None => line("activations", format!("cannot run: {}", facts["problem"].as_str().unwrap_or_default())),
    }
    match facts["tokenizer"]["error"].as_str() {
        Some(error) => line("tokenizer", format!("none: {error}")),
        None => line("tokenizer", format!("{} tokens", facts["tokenizer"]["tokens"])),
    }
    line("chat template", if facts["chat_template"] == true { "yes" } else { "no" }.into());
    line("cache", format!("{:.1} KiB per token", number("kv_bytes_per_token") as f64 / 1024.0));
    line(
        "memory",
        format!(
            "about {}, including a cache of {} tokens",
            mib(number("memory_bytes")),
            number("context").min(DEFAULT_CONTEXT as u64),
        ),
    );
    for remark in facts["remarks"].as_array().into_iter().flatten() {
        line("remark", remark.as_str().unwrap_or_default().into());
    }
    page
}

fn millions(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        n => format!("{:.1} million", n / 1e6),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
