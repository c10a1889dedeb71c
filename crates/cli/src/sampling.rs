//! Options of sampling, which `run` and `chat` share.

use std::hash::{BuildHasher, Hasher, RandomState};

use sterna::engine::{Request, Sampling};

use crate::headings;
use crate::output::Misuse;

/// Options of the sampler, and of where an answer ends.
#[derive(clap::Args)]
#[command(next_help_heading = headings::SAMPLING)]
pub struct SamplingArgs {
    /// Tokens at most [default: 256 for run, until the context is full for chat]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,
    /// Higher is more surprising; 0 always takes the likeliest token
    #[arg(long, value_name = "X", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw only from the N likeliest tokens; 0: off
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw only from the likeliest tokens that together have probability X; 1: off
    #[arg(long, value_name = "X", default_value_t = 0.9, allow_negative_numbers = true)]
    top_p: f32,
    /// Drop tokens less likely than X times the likeliest one; 0: off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Draw only from the tokens closest to the expected surprise that together have probability X; 1: off
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    typical: f32,
    /// Make tokens of the prompt and the answer less likely by this factor; 1: off
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Subtract X from the logits of tokens already in the answer; 0: off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Subtract X for every time that a token is in the answer; 0: off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// The same seed gives the same answer [default: random, shown by --json]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End the answer before this text; can be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Drop the oldest tokens of a prompt that does not fit into the context
    #[arg(long, help_heading = None::<&str>)]
    truncate: bool,
    /// Report the log-probability of every token, and of the N likeliest ones
    #[arg(long, help_heading = None::<&str>, value_name = "N", requires = "json")]
    logprobs: Option<usize>,
    /// Print one JSON object instead of text
    #[arg(long, help_heading = None::<&str>)]
    pub json: bool,
}

impl SamplingArgs {
    /// A request without its prompt; parameters out of range are misuse. `max_tokens` is the default of that option.
    pub fn request(&self, max_tokens: Option<usize>) -> anyhow::Result<Request> {
        let sampling = Sampling::default()
            .temperature(self.temperature)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p)
            .typical_p(self.typical)
            .repetition_penalty(self.repetition_penalty)
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .seed(self.seed.unwrap_or_else(random));
        sampling.check().map_err(|error| Misuse(error.to_string()))?;
        let limit = self.max_tokens.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        Ok(Request::default()
            .max_tokens(limit.or(max_tokens))
            .sampling(sampling)
            .stop(self.stop.clone())
            .logprobs(self.logprobs)
            .truncate(self.truncate))
    }
}

/// 32 random bits: the standard library's hasher is seeded by the system. Every JSON reader keeps so few exact.
fn random() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}
