//! The perplexity of a text, with the cost of each mode of the head.

use serde_json::json;
use sterna::engine::Evaluate;
use sterna::model::HeadMode;

use super::task::Task;
use crate::model::Loading;
use crate::output;

pub fn run(task: &Task, loading: &Loading, json: bool) -> anyhow::Result<()> {
    let Task { engine, tokens, bos, stride } = task;
    let context = engine.context();
    let bar = task.bar();
    // Exact logits are those of the full product by construction, so mode f16 would give the same figures.
    let modes = [HeadMode::Exact, HeadMode::TwoPlane, HeadMode::Int8];
    let own = modes.iter().position(|mode| *mode == loading.head).unwrap_or(0);
    let heads = modes.map(|mode| engine.head(mode)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let windows = Evaluate::new(context).stride(*stride).heads(&heads).progress(|so_far| {
        bar.set_position(so_far[own].tokens as u64);
        bar.set_message(format!("perplexity {:.3}", so_far[own].perplexity));
    });
    let results = windows.compare(engine, tokens)?;
    bar.finish_and_clear();
    let result = &results[own];
    if json {
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
            "head": loading.head.name(),
            "heads": by_mode.collect::<serde_json::Map<_, _>>(),
            "kv": loading.kv.kv,
            "isa": engine.isa(),
            "threads": engine.threads(),
        }));
    }
    let by_mode = modes.iter().zip(&results).map(|(mode, result)| {
        let name = if *mode == HeadMode::Exact { "exact, f16" } else { mode.name() };
        format!("{name:<12} {:>12.4}   {:>16}\n", result.perplexity, result.disagreements)
    });
    output::text(&format!(
        "perplexity {:.4} ± {:.4} (standard error), {:.4} nats per token\n{}\n\
         head           perplexity   other likeliest\n{}",
        result.perplexity,
        result.standard_error,
        result.nll,
        task.described(result.tokens),
        by_mode.collect::<String>(),
    ))
}
