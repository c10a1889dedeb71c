//! `sterna eval`: perplexity of a text.

use std::path::PathBuf;

use serde_json::json;
use sterna::engine::Evaluate;
use sterna::model::HeadMode;

use crate::model::{ContextArg, Loading, Source};
use crate::{input, interrupt, output};

const EXAMPLES: &str = "\
Perplexity is e to the mean negative log-likelihood of a token: lower is better, and only \
comparable between models with the same tokenizer. Windows of --ctx tokens begin every --stride \
tokens; each token is scored once, in the first window that holds it. BOS stands at the start of \
the text if the model uses one, and is not scored. The first line is about the mode that --head names; a \
table compares all modes, and counts the positions whose likeliest token is not that of the exact head.

Examples:
  sterna eval --text story.txt
  sterna eval -m model.gguf --text wiki.test.raw --ctx 2048 --stride 1024
  sterna eval -m model.gguf --text wiki.test.raw --kv int8      what an int8 cache costs: compare with f16
  sterna eval -m model.gguf --text wiki.test.raw --json | jq .perplexity";

/// Measure the perplexity of a text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Eval {
    /// The text to predict; `-`: stdin
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    context: ContextArg,
    /// Tokens between the starts of two windows [default: half of the context]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self) -> anyhow::Result<()> {
        let text = input::file(&self.text)?;
        interrupt::ends_program(|| {})?;
        let engine = self.model.load(&self.loading.builder(self.context.ctx))?;
        let tokenizer = engine.tokenizer()?;
        let tokens = tokenizer.encode_prompt(&text)?;
        let bos = tokenizer.bos().is_some_and(|bos| tokens.first() == Some(&bos));
        let context = engine.context();
        let stride = self.stride.unwrap_or(context / 2);
        let bar = output::bar("scoring", tokens.len().saturating_sub(1) as u64);
        // Exact logits are those of the full product by construction, so mode f16 would give the same figures.
        let modes = [HeadMode::Exact, HeadMode::TwoPlane, HeadMode::Int8];
        let own = modes.iter().position(|mode| *mode == self.loading.head).unwrap_or(0);
        let heads = modes.map(|mode| engine.head(mode)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let windows = Evaluate::new(context).stride(stride).heads(&heads).progress(|so_far| {
            bar.set_position(so_far[own].tokens as u64);
            bar.set_message(format!("perplexity {:.3}", so_far[own].perplexity));
        });
        let results = windows.compare(&engine, &tokens)?;
        bar.finish_and_clear();
        let result = &results[own];
        if self.json {
            let by_mode = modes.iter().zip(&results).map(|(mode, result)| {
                let figures = json!({ "perplexity": result.perplexity, "disagreements": result.disagreements });
                (mode.name().to_owned(), figures)
            });
            return output::json(&json!({
                "perplexity": result.perplexity,
                "standard_error": result.standard_error,
                "nll": result.nll,
                "tokens": result.tokens,
                "context": context,
                "stride": stride,
                "bos": bos,
                "head": self.loading.head.name(),
                "heads": by_mode.collect::<serde_json::Map<_, _>>(),
                "kv": self.loading.kv.kv,
                "isa": engine.isa(),
                "threads": engine.threads(),
            }));
        }
        let by_mode = modes.iter().zip(&results).map(|(mode, result)| {
            let name = if *mode == HeadMode::Exact { "exact, f16" } else { mode.name() };
            format!("{name:<12} {:>12.4}   {:>16}\n", result.perplexity, result.disagreements)
        });
        output::text(&format!(
            "perplexity {:.4} ± {:.4} (standard error), {:.4} nats per token\n\
             {} tokens scored, context {context}, stride {stride}, BOS {}\n\n\
             head           perplexity   other likeliest\n{}",
            result.perplexity,
            result.standard_error,
            result.nll,
            result.tokens,
            if bos { "at the start of the text" } else { "not used" },
            by_mode.collect::<String>(),
        ))
    }
}
