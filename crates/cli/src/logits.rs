//! `sterna logits`: the logits after every token, as a safetensors file.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use sterna::checkpoint::safetensors::Writer;
use sterna::checkpoint::whole;
use sterna::kernels::Rows;

use crate::model::{Loading, Source};
use crate::output;
use crate::{headings, interrupt};

const EXAMPLES: &str = "\
The ids are taken as given: no BOS is added. The file holds one tensor, `logits`, f32 of shape \
[tokens, vocabulary]; its bytes do not depend on --threads, --chunk or the instruction set.

Examples:
  sterna logits --tokens 4093,12,87 --out logits.safetensors
  sterna logits -m model.gguf --tokens 1,2,3 --out logits.safetensors --chunk 1 --json";

/// Write the logits after every token to a safetensors file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Logits {
    /// Token ids, with commas between
    #[arg(long, value_name = "IDS", required = true, value_delimiter = ',', value_parser = id)]
    tokens: Vec<u32>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    loading: Loading,
    /// Tokens that one forward pass takes
    #[arg(long, help_heading = headings::COMPUTING, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: u32,
    /// Print a JSON object about the file
    #[arg(long)]
    json: bool,
}

fn id(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a token id"))
}

impl Logits {
    pub fn run(self) -> anyhow::Result<()> {
        let context = self.tokens.len().max(2);
        let builder = self.loading.builder(Some(context)).chunk(self.chunk as usize);
        let engine = self.model.load(&builder)?;
        let shape = [self.tokens.len(), engine.config().vocab];
        let size = shape.iter().product::<usize>() as u64 * 4;
        let partial = whole::partial(&self.out);
        interrupt::ends_program(move || drop(fs::remove_file(&partial)))?;
        let mut file = Writer::create(&self.out, None, &[("logits", "F32", &shape, size)])?;
        for rows in engine.logits(&self.tokens)? {
            file.write(&bytes(&rows?))?;
        }
        file.finish()?;
        if self.json {
            output::json(&json!({
                "out": self.out.display().to_string(),
                "tensor": "logits",
                "dtype": "F32",
                "shape": shape,
                "isa": engine.isa(),
                "threads": engine.threads(),
            }))?;
        } else {
            output::note(&format!("{}: logits, f32 {shape:?}", self.out.display()));
        }
        Ok(())
    }
}

fn bytes(rows: &Rows) -> Vec<u8> {
    rows.data().iter().flat_map(|value| value.to_le_bytes()).collect()
}
