//! `sterna eval`: how well a model predicts a text, compared with another model, or on multiple choice.

mod against;
mod choices;
mod perplexity;
mod task;

use std::path::PathBuf;

use sterna::engine::Engine;

use crate::model::{ContextArg, Loading, Source};
use crate::{input, interrupt};
use task::Task;

const EXAMPLES: &str = "\
Perplexity is e to the mean negative log-likelihood of a token: lower is better, and only \
comparable between models with the same tokenizer. Windows of --ctx tokens begin every --stride \
tokens; each token is scored once, in the first window that holds it. BOS stands at the start of \
the text if the model uses one, and is not scored. The first line is about the mode that --head names; a \
table compares all modes, and counts the positions whose likeliest token is not that of the exact head.

--against compares the predictions with those of a reference, token by token: the Kullback-Leibler divergence \
from the reference in nats (0 for equal predictions), and the share of tokens where both find the same one the \
likeliest. The reference is loaded with the default options.

--choices asks questions, one in each line of JSON: {\"context\": …, \"choices\": […], \"answer\": number of the right \
one, from 0}. The choice with the greatest log-likelihood after the context and a space counts as chosen (acc), or \
the one with the greatest by character (acc_norm) or byte (acc_bytes), as in lm-evaluation-harness.

Examples:
  sterna eval --text story.txt
  sterna eval -m model.gguf --text wiki.test.raw --ctx 2048 --stride 1024
  sterna eval -m model.gguf --text wiki.test.raw --kv int8      what an int8 cache costs: compare with f16
  sterna eval -m model-tq2_0.gguf --text wiki.test.raw --against model/
  sterna eval -m model.gguf --choices questions.jsonl
  sterna eval -m model.gguf --text wiki.test.raw --json | jq .perplexity";

/// Measure perplexity, divergence from another model, or answers to multiple choice
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Eval {
    /// The text to predict; `-`: stdin
    #[arg(long, value_name = "FILE", required_unless_present = "choices")]
    text: Option<PathBuf>,
    /// The reference that the model is compared with: a .gguf file or a Hugging Face directory with the same tokenizer
    #[arg(long, value_name = "MODEL", requires = "text")]
    against: Option<PathBuf>,
    /// The questions to answer, a line of JSON each; `-`: stdin
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    choices: Option<PathBuf>,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    context: ContextArg,
    /// Tokens between the starts of two windows [default: half of the context]
    #[arg(long, value_name = "N", conflicts_with = "choices")]
    stride: Option<usize>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self) -> anyhow::Result<()> {
        if let Some(path) = &self.choices {
            let questions = choices::read(path)?;
            let engine = self.load()?;
            return choices::run(&engine, &questions, self.json);
        }
        let text = input::file(self.text.as_deref().unwrap_or("-".as_ref()))?;
        let engine = self.load()?;
        let tokenizer = engine.tokenizer()?;
        let tokens = tokenizer.encode_prompt(&text)?;
        let bos = tokenizer.bos().is_some_and(|bos| tokens.first() == Some(&bos));
        let stride = self.stride.unwrap_or(engine.context() / 2);
        let task = Task { engine, tokens, bos, stride };
        match &self.against {
            None => perplexity::run(&task, &self.loading, self.json),
            Some(path) => against::run(&task, &text, path, self.loading.threads, self.json),
        }
    }

    fn load(&self) -> anyhow::Result<Engine> {
        interrupt::ends_program(|| {})?;
        self.model.load(&self.loading.builder(self.context.ctx))
    }
}
