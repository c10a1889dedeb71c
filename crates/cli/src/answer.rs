//! One answer: streamed to stdout, or collected for JSON.

use std::time::Duration;

use serde_json::{Value, json};
use sterna::engine::{Engine, Event, FinishReason, Generation, Logprob, Request, Usage};

use crate::{density, output};

/// How often an unfinished answer checks for Ctrl-C.
const LISTEN: Duration = Duration::from_millis(50);

/// An answer, finished or interrupted.
pub struct Answer {
    /// Ids drawn.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Why it ended; `None`: it was interrupted.
    pub reason: Option<FinishReason>,
    usage: Usage,
    logprobs: Vec<Value>,
}

impl Answer {
    /// Runs a generation to its end, or until `interrupted`; shows pieces of text as they become final.
    pub fn collect(
        mut generation: Generation,
        mut show: impl FnMut(&str) -> anyhow::Result<()>,
        interrupted: impl Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let mut answer =
            Self { tokens: vec![], text: String::new(), reason: None, usage: Usage::default(), logprobs: vec![] };
        loop {
            // Prefill of a long prompt takes long: Ctrl-C must work meanwhile.
            if interrupted() {
                break;
            }
            if !generation.ready(LISTEN) {
                continue;
            }
            let Some(event) = generation.next() else { break };
            let piece = match event? {
                Event::Token { id, text, logprobs, .. } => {
                    answer.tokens.push(id);
                    answer.logprobs.extend(logprobs.map(|(own, top)| logprob(&own, &top)));
                    text
                }
                Event::Finished { reason, text, usage, .. } => {
                    (answer.reason, answer.usage) = (Some(reason), usage);
                    text
                }
                _ => continue,
            };
            if !piece.is_empty() {
                show(&piece)?;
                answer.text.push_str(&piece);
            }
        }
        Ok(answer)
    }

    /// Answers a request: as text while it is generated, or as one JSON object at the end.
    ///
    /// With `stats` it also prints the share of feed-forward weights that was read, and how many draft tokens were
    /// accepted.
    pub fn print(engine: &Engine, request: Request, json: bool, stats: bool) -> anyhow::Result<()> {
        let asked = request.clone();
        let generation = engine.generate(request)?;
        if json {
            let answer = Self::collect(generation, |_| Ok(()), || false)?;
            let mut object = answer.json(engine, asked);
            if stats {
                object["ffn"] = density::report(engine.network());
            }
            return output::json(&object);
        }
        let answer = Self::collect(generation, output::text, || false)?;
        if !answer.text.ends_with('\n') {
            output::text("\n")?;
        }
        output::note(&answer.speed(engine));
        if stats {
            output::remark(&density::lines(&density::report(engine.network())));
            if engine.speculation() {
                let Usage { drafted, accepted, .. } = answer.usage;
                output::remark(&format!("speculation: {accepted} of {drafted} draft tokens accepted\n"));
            }
        }
        Ok(())
    }

    /// One line with the number of tokens and their speed.
    pub fn speed(&self, engine: &Engine) -> String {
        if self.reason.is_none() {
            return format!("(stopped after {} tokens)", self.tokens.len());
        }
        let cached = match self.usage.cached_tokens {
            0 => String::new(),
            cached => format!(" ({cached} cached)"),
        };
        format!(
            "{} tokens, {:.1}/s · prompt {} tokens{cached}, {:.1}/s · {}, {} threads",
            self.tokens.len(),
            self.usage.decode_tokens_per_s(),
            self.usage.prompt_tokens,
            self.usage.prefill_tokens_per_s(),
            engine.isa(),
            engine.threads(),
        )
    }

    /// The object that `--json` prints.
    fn json(&self, engine: &Engine, asked: Request) -> Value {
        let mut object = json!({
            "isa": engine.isa(),
            "threads": engine.threads(),
            "prompt_tokens": prompt_used(engine, asked.prompt, self.usage.prompt_tokens),
            "tokens": self.tokens,
            "text": self.text,
            "finish_reason": self.reason.map(FinishReason::as_str),
            "seed": asked.sampling.seed,
            "speculation": { "drafted": self.usage.drafted, "accepted": self.usage.accepted },
            "timings": {
                "load_s": engine.load_seconds(),
                "prefill_tokens_per_s": self.usage.prefill_tokens_per_s(),
                "decode_tokens_per_s": self.usage.decode_tokens_per_s(),
            },
        });
        if asked.logprobs.is_some() {
            object["logprobs"] = Value::Array(self.logprobs.clone());
        }
        object
    }
}

/// The prompt tokens in use: `--truncate` keeps BOS and the newest, and an empty prompt becomes BOS.
fn prompt_used(engine: &Engine, mut prompt: Vec<u32>, used: usize) -> Vec<u32> {
    let bos = engine.tokenizer().ok().and_then(|tokenizer| tokenizer.bos());
    if prompt.is_empty() {
        prompt.extend(bos);
    }
    let kept = usize::from(prompt.first().copied() == bos);
    let excess = prompt.len().saturating_sub(used);
    prompt.drain(kept..kept + excess);
    prompt
}

fn logprob(own: &Logprob, top: &[Logprob]) -> Value {
    let pair = |item: &Logprob| json!({ "id": item.id, "logprob": item.logprob });
    let mut object = pair(own);
    object["top"] = top.iter().map(pair).collect();
    object
}
