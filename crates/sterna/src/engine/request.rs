//! Generation requests, and the checks before they run.

use std::sync::Arc;

use super::Grammar;
use crate::setters::setters;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// A generation request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// Token ids, including BOS if the model uses it. If empty, the prompt is BOS alone.
    pub prompt: Vec<u32>,
    /// Greatest number of generated tokens; `None` generates until the context is full.
    pub max_tokens: Option<usize>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Stop strings: they end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Stop tokens besides the model's own: they end the answer and are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Continue past the model's own stop tokens, for measurements that need a fixed number of tokens.
    pub ignore_eos: bool,
    /// A grammar that the answer must follow.
    pub grammar: Option<Arc<dyn Grammar>>,
    /// Number of alternatives reported with each token (0: only the token's own log-probability). `None` reports no
    /// log-probabilities.
    pub logprobs: Option<usize>,
    /// Drop the oldest prompt tokens (BOS is kept) instead of refusing a prompt that is too long. This leaves room for
    /// `max_tokens`, up to half of the context, or for a quarter of the context without `max_tokens`.
    pub truncate: bool,
}

setters!(Request {
    prompt: Vec<u32>,
    max_tokens: impl Into<Option<usize>>,
    sampling: Sampling,
    stop: Vec<String>,
    stop_tokens: Vec<u32>,
    ignore_eos: bool,
    grammar: impl Into<Option<Arc<dyn Grammar>>>,
    logprobs: impl Into<Option<usize>>,
    truncate: bool,
});

setters!(Sampling {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    typical_p: f32,
    repetition_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    bias: Vec<(u32, f32)>,
    seed: u64,
});

impl Request {
    /// A greedy request: the answer to `prompt` until the model ends it or the context is full.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self { prompt, ..Self::default() }
    }

    /// Checks everything that can be checked before the request reaches the runner, and fills in defaults. Afterwards
    /// the prompt is not empty, and prompt and `max_tokens` together fit into `context`.
    pub(super) fn settle(&mut self, context: usize, vocab: usize, tokenizer: Option<&Tokenizer>) -> Result<usize> {
        self.sampling.check()?;
        let bos = tokenizer.and_then(Tokenizer::bos);
        if self.prompt.is_empty() {
            self.prompt.extend(bos);
        }
        if self.prompt.is_empty() {
            return Err(Error::request("prompt", "the prompt is empty, and the model has no BOS token to start from"));
        }
        check_tokens("prompt", &self.prompt, vocab)?;
        if let Some((id, _)) = self.sampling.bias.iter().find(|(id, _)| *id as usize >= vocab) {
            let problem = format!("logit_bias has the token {id}, but the model's vocabulary ends at {}", vocab - 1);
            return Err(Error::request("logit_bias", problem));
        }
        if self.max_tokens == Some(0) {
            return Err(Error::request("max_tokens", "max_tokens is 0; an answer has at least one token"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::request("stop", "a stop string is empty; leave it out or give it a text"));
        }
        if tokenizer.is_none() && !self.stop.is_empty() {
            let problem = "stop strings need a tokenizer, and this model has none; use stop_tokens";
            return Err(Error::request("stop", problem));
        }
        let tokens = self.prompt.len();
        if tokens >= context {
            if !self.truncate {
                return Err(Error::PromptTooLong { tokens, context });
            }
            self.shorten(context, bos);
        }
        let room = context - self.prompt.len();
        Ok(self.max_tokens.map_or(room, |max| max.min(room)))
    }

    /// Keeps BOS and the newest tokens, to leave room for the answer.
    fn shorten(&mut self, context: usize, bos: Option<u32>) {
        let room = self.max_tokens.map_or(context / 4, |max| max.min(context / 2)).max(1);
        let kept_first = usize::from(self.prompt.first().copied() == bos);
        let excess = self.prompt.len() + room - context;
        self.prompt.drain(kept_first..(kept_first + excess).min(self.prompt.len()));
    }
}

/// Checks that every id is in the vocabulary. An error names the field `field`.
pub(super) fn check_tokens(field: &'static str, tokens: &[u32], vocab: usize) -> Result<()> {
    match tokens.iter().position(|&id| id as usize >= vocab) {
        None => Ok(()),
        Some(place) => {
            let (id, last) = (tokens[place], vocab.saturating_sub(1));
            let problem = format!("token {place} has the id {id}, but the model's vocabulary ends at {last}");
            Err(Error::request(field, problem))
        }
    }
}

/// Sampling parameters. They apply in this order: bias, penalties, temperature, top-k, typical, top-p, min-p, draw.
///
/// The default is greedy: temperature 0 and everything else off.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// Temperature; 0 is greedy.
    pub temperature: f32,
    /// Draws from this many of the likeliest tokens; 0 is off.
    pub top_k: usize,
    /// Nucleus sampling: draws from the likeliest tokens with this total probability; 1 is off.
    pub top_p: f32,
    /// Least probability of a token, relative to that of the likeliest; 0 is off.
    pub min_p: f32,
    /// Locally typical sampling: draws from the most typical tokens with this total probability; 1 is off.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the answer; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it occurs in the answer; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; each token occurs at most once.
    pub bias: Vec<(u32, f32)>,
    /// Seed of the random draw; the same seed and request give the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`Error::Request`] names the first parameter that is not.
    pub fn check(&self) -> Result<()> {
        let finite = f32::is_finite;
        let ranges = [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", self.min_p, (0.0..1.0).contains(&self.min_p), "0 or more and below 1"),
            ("typical_p", self.typical_p, self.typical_p > 0.0 && self.typical_p <= 1.0, "above 0 and at most 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                "above 0",
            ),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "a finite number"),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "a finite number"),
        ];
        if let Some((id, bias)) = self.bias.iter().find(|(_, bias)| !bias.is_finite()) {
            let problem = format!("logit_bias of token {id} is {bias}; it must be a finite number");
            return Err(Error::request("logit_bias", problem));
        }
        match ranges.iter().find(|(_, _, good, _)| !good) {
            None => Ok(()),
            Some((name, value, _, range)) => {
                Err(Error::request(name, format!("{name} is {value}; it must be {range}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(request: &mut Request, context: usize) -> Result<usize> {
        request.settle(context, 100, None)
    }

    #[test]
    fn answers_end_with_the_context() {
        assert_eq!(settle(&mut Request::new(vec![1; 5]), 12).unwrap(), 7);
        assert_eq!(settle(&mut Request { max_tokens: Some(3), ..Request::new(vec![1; 5]) }, 12).unwrap(), 3);
        assert_eq!(settle(&mut Request { max_tokens: Some(9), ..Request::new(vec![1; 5]) }, 12).unwrap(), 7);
        let error = settle(&mut Request::new(vec![1; 12]), 12).unwrap_err();
        assert!(matches!(error, Error::PromptTooLong { tokens: 12, context: 12 }), "{error}");
    }

    #[test]
    fn shortened_prompts_keep_bos_and_the_newest_tokens() {
        let prompt: Vec<u32> = (1..=20).collect();
        let shortened = |max_tokens, bos| {
            let mut request = Request { max_tokens, ..Request::new(prompt.clone()) };
            request.shorten(8, bos);
            request.prompt
        };
        assert_eq!(shortened(None, None), [15, 16, 17, 18, 19, 20]);
        assert_eq!(shortened(None, Some(1)), [1, 16, 17, 18, 19, 20]);
        assert_eq!(shortened(Some(3), Some(9)), [16, 17, 18, 19, 20]);
        assert_eq!(shortened(Some(100), Some(1)), [1, 18, 19, 20]);
    }

    #[test]
    fn shortening_leaves_a_prompt_and_an_answer_in_every_context() {
        for (context, bos) in (2..9).flat_map(|context| [(context, None), (context, Some(1))]) {
            for (len, max_tokens) in (context..20).flat_map(|len| [(len, None), (len, Some(1)), (len, Some(7))]) {
                let mut request = Request { truncate: true, max_tokens, ..Request::new(vec![1; len]) };
                request.shorten(context, bos);
                assert!(!request.prompt.is_empty() && request.prompt.len() < context, "{context} {len} {request:?}");
            }
        }
    }

    #[test]
    fn errors_of_impossible_requests_name_the_field() {
        let refused = |request: &Request, words: &str| {
            let error = settle(&mut request.clone(), 64).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let good = Request::new(vec![1, 2]);
        refused(&Request::new(vec![]), "empty");
        refused(&Request::new(vec![1, 100]), "token 1 has the id 100");
        refused(&Request { max_tokens: Some(0), ..good.clone() }, "max_tokens");
        refused(&Request { stop: vec!["x".into()], ..good.clone() }, "tokenizer");
        refused(&Request { stop: vec!["".into()], ..good.clone() }, "empty");
        let sampling = |sampling| Request { sampling, ..good.clone() };
        for temperature in [-0.1, f32::NAN, f32::INFINITY] {
            refused(&sampling(Sampling { temperature, ..Sampling::default() }), "temperature");
        }
        for p in [0.0, 1.1, f32::NAN] {
            refused(&sampling(Sampling { top_p: p, ..Sampling::default() }), "top_p");
            refused(&sampling(Sampling { typical_p: p, ..Sampling::default() }), "typical_p");
        }
        refused(&sampling(Sampling { min_p: 1.0, ..Sampling::default() }), "min_p");
        refused(&sampling(Sampling { repetition_penalty: 0.0, ..Sampling::default() }), "repetition_penalty");
        refused(&sampling(Sampling { presence_penalty: f32::NAN, ..Sampling::default() }), "presence_penalty");
        refused(&sampling(Sampling { frequency_penalty: f32::INFINITY, ..Sampling::default() }), "frequency_penalty");
    }
}
