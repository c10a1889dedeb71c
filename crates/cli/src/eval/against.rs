//! The predictions of a model beside those of a reference.

use std::path::Path;

use anyhow::bail;
use serde_json::json;
use sterna::engine::{Engine, Evaluate};
use sterna::text::Tokenizer;

use super::task::Task;
use crate::model::Source;
use crate::output;

pub fn run(task: &Task, text: &str, path: &Path, threads: Option<u32>, json: bool) -> anyhow::Result<()> {
    let Task { engine, tokens, bos, stride } = task;
    let (context, name) = (engine.context(), path.display());
    let source = Source { model: Some(path.into()), i2s_layout: None };
    let (most, theirs) = described(&source, text)?;
    if theirs != *tokens {
        bail!(
            "{name}: its tokenizer gives other tokens for the text; only models with the same tokenizer can be compared"
        );
    }
    if context > most {
        bail!("{name}: it reads at most {most} tokens, and the context is {context}; set --ctx {most}");
    }
    let builder = Engine::builder().threads(threads.unwrap_or(0) as usize).context(context);
    let reference = source.load(&builder)?;
    let bar = task.bar();
    let windows = Evaluate::new(context).stride(*stride).progress(|so_far| bar.set_position(so_far[0].tokens as u64));
    let found = windows.against(engine, &reference, tokens)?;
    bar.finish_and_clear();
    let (model, same) = (found.model, found.agreement());
    if json {
        return output::json(&json!({
            "kl": { "mean": found.mean_kl, "max": found.max_kl, "max_at": found.max_at },
            "agreement": same,
            "perplexity": model.perplexity,
            "reference": { "model": name.to_string(), "perplexity": found.reference.perplexity },
            "tokens": model.tokens,
            "context": context,
            "stride": stride,
            "bos": bos,
            "isa": engine.isa(),
            "threads": engine.threads(),
        }));
    }
    output::text(&format!(
        "KL divergence from the reference: mean {:.6}, greatest {:.6} (token {}) nats per token\n\
         same likeliest token: {:.2} %, all but {}\n\
         perplexity {:.4}, of the reference {:.4}\n{}",
        found.mean_kl,
        found.max_kl,
        found.max_at,
        100.0 * same,
        model.disagreements,
        model.perplexity,
        found.reference.perplexity,
        task.described(model.tokens),
    ))
}

/// The longest context of a model, and its token ids of a text.
fn described(source: &Source, text: &str) -> anyhow::Result<(usize, Vec<u32>)> {
    let checkpoint = source.open()?;
    let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
    Ok((checkpoint.config().context, tokenizer.encode_prompt(text)?))
}
