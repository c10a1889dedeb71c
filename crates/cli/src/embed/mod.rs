//! `sterna embed`: vectors of texts.

mod texts;
mod vectors;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;
use sterna::engine::{Embed as Work, Engine, Pooling, instructed};

use crate::model::{ContextArg, Loading, Source};
use crate::output;
use texts::{Text, Texts};
use vectors::Target;

const EXAMPLES: &str = "\
Prints a line of numbers for each text; their dot product is the cosine of the angle between two texts, since \
every vector has length 1. A line of --jsonl is a text in quotes, {\"text\": …} or {\"tokens\": […]}; other fields are \
not read. --tokens takes ids as given, without BOS or EOS. --json prints one object, {\"embeddings\": [[…], …]}. --out \
writes f32 numbers of shape [texts, dimensions] in NumPy's format to a .npy file, or as the tensor `embeddings` to \
a .safetensors file.

Examples:
  sterna embed 'A fox in the snow.' 'The king and his crown.' --json
  sterna embed -m model.gguf --jsonl texts.jsonl --out texts.npy
  sterna embed -m model.gguf --instruction 'Find the passage that answers the question' 'Who lost his crown?'
  sterna embed -m model.gguf --tokens 1,2,3 --dimensions 128 --json";

/// Turn texts into vectors (embeddings), to search and compare them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Embed {
    #[command(flatten)]
    texts: Texts,
    /// What a search is for: texts become `Instruct: TEXT`, a new line and `Query:` with the text. For queries only
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens")]
    instruction: Option<String>,
    /// Keep this many numbers of each vector, and give it length 1 again [default: all]
    #[arg(long, value_name = "N")]
    dimensions: Option<usize>,
    /// Which hidden states make the vector: that of the last token, or the mean of all [default: as the model was
    /// trained; last for models of text]
    #[arg(long, value_enum, value_name = "MODE")]
    pooling: Option<Pool>,
    /// The file to write, .npy or .safetensors
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    context: ContextArg,
}

/// How hidden states are combined.
#[derive(Clone, Copy, ValueEnum)]
enum Pool {
    Last,
    Mean,
}

impl Pool {
    fn pooling(self) -> Pooling {
        match self {
            Self::Last => Pooling::Last,
            Self::Mean => Pooling::Mean,
        }
    }
}

impl Embed {
    pub fn run(self) -> anyhow::Result<()> {
        let target = Target::new(self.out.as_deref(), self.json)?;
        let texts = self.texts.read()?;
        target.remove_when_interrupted()?;
        let engine = self.model.load(&self.loading.builder(self.context.ctx))?;
        let tokens = texts.iter().zip(1..).map(|(text, number)| {
            let tokens = encode(&engine, text, self.instruction.as_deref());
            tokens.with_context(|| format!("text {number}"))
        });
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        let work = tokens.into_iter().map(|tokens| {
            Work::new(tokens).pooling(self.pooling.map(Pool::pooling)).dimensions(self.dimensions).normalized()
        });
        let bar = output::bar("embedding", texts.len() as u64);
        let vectors = engine.embed_all(work).inspect(|_| bar.inc(1)).collect::<Result<Vec<_>, _>>()?;
        bar.finish_and_clear();
        target.write(&vectors)
    }
}

/// The token ids of a text.
fn encode(engine: &Engine, text: &Text, instruction: Option<&str>) -> anyhow::Result<Vec<u32>> {
    let tokens = match (text, instruction) {
        (Text::Tokens(tokens), _) => tokens.clone(),
        (Text::Text(text), None) => engine.embedding_tokens(text)?,
        (Text::Text(text), Some(instruction)) => engine.embedding_tokens(&instructed(instruction, text))?,
    };
    let (len, context, most) = (tokens.len(), engine.context(), engine.config().context);
    if tokens.is_empty() {
        bail!("it is empty, and the model has no BOS token to stand for it");
    }
    if len > context && len <= most {
        bail!("{len} tokens do not fit into the context of {context}; set --ctx {len}");
    }
    if len > context {
        bail!("{len} tokens do not fit into the context of {context}, and the model reads {most}; split the text");
    }
    Ok(tokens)
}
