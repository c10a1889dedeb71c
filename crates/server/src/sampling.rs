//! The fields of a request that say how tokens are drawn.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use sterna::engine::Sampling;

use crate::app::App;
use crate::error::Refusal;

/// Texts that end an answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Most texts that end an answer.
const STOPS: usize = 16;

impl Stop {
    /// The texts; an error if there are too many, or one is empty.
    pub fn texts(stop: Option<Self>) -> Result<Vec<String>, Refusal> {
        let texts = match stop {
            None => Vec::new(),
            Some(Self::One(text)) => vec![text],
            Some(Self::Several(texts)) => texts,
        };
        if texts.len() > STOPS || texts.iter().any(String::is_empty) {
            return Err(Refusal::field("stop", format!("stop takes at most {STOPS} texts, none of them empty")));
        }
        Ok(texts)
    }
}

/// How tokens are drawn, in OpenAI's words, and `top_k`, `min_p` and `repetition_penalty` as other servers have them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drawing {
    /// 0: always the likeliest token. 1 if not given.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f32>,
    /// Draw from the likeliest tokens that have this probability together.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f32>,
    /// Draw from so many of the likeliest tokens; 0: all. 40 if not given.
    pub top_k: Option<u32>,
    /// Draw from tokens at least this share as likely as the likeliest.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that were seen, prompt included.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens of the answer.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: Option<f32>,
    /// Subtracted each time that a token was written.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of tokens, by id.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// The same seed and request give the same answer.
    pub seed: Option<i64>,
}

impl Drawing {
    /// The names of its fields.
    pub const FIELDS: [&str; 9] = [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
    ];

    /// The engine's words for it.
    pub fn sampling(&self, app: &App) -> Result<Sampling, Refusal> {
        let usual = app.sampling();
        let within = |name: &str, value: Option<f32>, least: f32, most: f32| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(Refusal::field(name, format!("{name} is {value}; it must be from {least} to {most}")))
            }
            value => Ok(value),
        };
        let bias = self.logit_bias.iter().flatten().map(|(id, bias)| {
            let name = || format!("logit_bias.{id}");
            let token = id.parse().map_err(|_| Refusal::field(name(), format!("logit_bias: {id:?} is no token id")))?;
            Ok((token, within(&name(), Some(*bias), -100.0, 100.0)?.unwrap_or_default()))
        });
        let sampling = Sampling {
            temperature: within("temperature", self.temperature, 0.0, 2.0)?.unwrap_or(usual.temperature),
            // A share of nothing leaves the likeliest, as with OpenAI.
            top_p: within("top_p", self.top_p, 0.0, 1.0)?.map_or(usual.top_p, |top_p| top_p.max(f32::MIN_POSITIVE)),
            top_k: self.top_k.map_or(usual.top_k, |top_k| top_k as usize),
            min_p: within("min_p", self.min_p, 0.0, 0.999)?.unwrap_or(usual.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?.unwrap_or_default(),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?.unwrap_or_default(),
            bias: bias.collect::<Result<_, Refusal>>()?,
            seed: self.seed.map_or(usual.seed, |seed| seed as u64),
            ..usual
        };
        sampling.check()?;
        Ok(sampling)
    }
}
