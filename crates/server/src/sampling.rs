//! The fields of a request that control sampling.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use sterna::engine::Sampling;

use crate::app::App;
use crate::error::ApiError;

/// One stop text or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Stop {
    /// One text.
    One(String),
    /// A list of texts.
    Several(Vec<String>),
}

/// The most stop texts of a request.
const MAX_STOPS: usize = 16;

impl Stop {
    /// The stop texts as a list. An empty text asks for nothing.
    ///
    /// # Errors
    /// 400 if there are more than 16.
    pub fn texts(stop: Option<Self>) -> Result<Vec<String>, ApiError> {
        let mut texts = match stop {
            None => Vec::new(),
            Some(Self::One(text)) => vec![text],
            Some(Self::Several(texts)) => texts,
        };
        texts.retain(|text| !text.is_empty());
        if texts.len() > MAX_STOPS {
            return Err(ApiError::field("stop", format!("stop takes at most {MAX_STOPS} texts")));
        }
        Ok(texts)
    }
}

/// Sampling parameters: OpenAI's, and `top_k`, `min_p` and `repetition_penalty` under the names that other servers use.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingParams {
    /// Sampling temperature, 0 to 2; 0 always takes the likeliest token. Default: 1.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f32>,
    /// Nucleus sampling: samples from the fewest likeliest tokens whose probabilities add up to this, 0 to 1. Default: 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f32>,
    /// Samples from this many of the likeliest tokens; 0 samples from all. Default: 40.
    pub top_k: Option<u32>,
    /// Leaves out tokens whose probability is less than this share of the likeliest one's, 0 to 0.999. Default: 0.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub min_p: Option<f32>,
    /// Divides the positive logits of tokens that occur in the prompt or the answer, and multiplies the negative ones; above
    /// 0. Default: 1, no penalty.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens that occur in the answer, -2 to 2. Default: 0.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time it occurs in the answer, -2 to 2. Default: 0.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of tokens: an object of token ids with values of -100 to 100. Default: empty.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Seed of the random numbers. Equal requests with equal seeds get equal answers. Default: another one for each request.
    pub seed: Option<i64>,
}

impl SamplingParams {
    /// The names of the fields.
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

    /// The engine's parameters, with the server's defaults.
    ///
    /// # Errors
    /// 400 for a value outside its range.
    pub fn sampling(&self, app: &App) -> Result<Sampling, ApiError> {
        let default = app.sampling();
        let within = |name: &str, value: Option<f32>, least: f32, most: f32| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(ApiError::field(name, format!("{name} is {value}; it must be from {least} to {most}")))
            }
            value => Ok(value),
        };
        let bias = self.logit_bias.iter().flatten().map(|(id, bias)| {
            let name = || format!("logit_bias.{id}");
            let token =
                id.parse().map_err(|_| ApiError::field(name(), format!("logit_bias: {id:?} is not a token id")))?;
            Ok((token, within(&name(), Some(*bias), -100.0, 100.0)?.unwrap_or_default()))
        });
        let sampling = default
            .clone()
            .temperature(within("temperature", self.temperature, 0.0, 2.0)?.unwrap_or(default.temperature))
            // 0 leaves the likeliest token, as with OpenAI.
            .top_p(within("top_p", self.top_p, 0.0, 1.0)?.map_or(default.top_p, |top_p| top_p.max(f32::MIN_POSITIVE)))
            .top_k(self.top_k.map_or(default.top_k, |top_k| top_k as usize))
            .min_p(within("min_p", self.min_p, 0.0, 0.999)?.unwrap_or(default.min_p))
            .repetition_penalty(self.repetition_penalty.unwrap_or(default.repetition_penalty))
            .presence_penalty(within("presence_penalty", self.presence_penalty, -2.0, 2.0)?.unwrap_or_default())
            .frequency_penalty(within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?.unwrap_or_default())
            .bias(bias.collect::<Result<_, ApiError>>()?)
            .seed(self.seed.map_or(default.seed, |seed| seed as u64));
        sampling.check()?;
        Ok(sampling)
    }
}
