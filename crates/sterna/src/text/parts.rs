//! A tokenizer as its file describes it.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper};

use super::pre_tokens::PreTokens;
use crate::checkpoint::Config;
use crate::{Error, Result};

/// The contents of a tokenizer file, not yet checked.
pub(super) struct Parts {
    /// Path of the file, for error messages.
    pub path: PathBuf,
    /// Names of the file's vocabulary and merges, for error messages.
    pub places: [&'static str; 2],
    /// Ids by text, added tokens included.
    pub vocabulary: Vocab,
    /// Pairs of tokens that are merged into one, best pair first.
    pub merges: Merges,
    /// How merges are applied.
    pub options: Options,
    /// The token for characters that the vocabulary cannot represent.
    pub unknown: Option<String>,
    /// Tokens that are recognised in the text before it is split.
    pub added: Vec<AddedToken>,
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokens: PreTokens,
    pub decoder: Option<DecoderWrapper>,
    /// Ids added before a raw prompt; `suffix` holds those added after it.
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
    /// The token that begins a text, if the model uses one.
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// How merges are applied and how unknown characters are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// A word that is itself a token is not split.
    pub ignore_merges: bool,
    /// Characters missing from the vocabulary become one token per byte.
    pub byte_fallback: bool,
    /// Adjacent unknown characters become one unknown token.
    pub fuse_unk: bool,
}

/// An error about a tokenizer's file.
pub(super) fn malformed(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        place: place.into(),
        problem: problem.into(),
        remedy: "download the file again, or convert the model again".into(),
    }
}

impl Parts {
    /// Checks that every id is below `limit`, the number of embedding rows. Returns the highest id plus one.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an id is too high, or the vocabulary is empty.
    pub fn check_ids(&self, limit: usize) -> Result<usize> {
        let Some((token, &highest)) = self.vocabulary.iter().max_by_key(|(_, id)| **id) else {
            return Err(malformed(&self.path, self.places[0], "the vocabulary is empty"));
        };
        let affixes = self.prefix.iter().chain(&self.suffix).chain(&self.bos).chain(&self.eos);
        let affix = affixes.copied().find(|&id| id as usize >= limit);
        if highest as usize >= limit || affix.is_some() {
            let id = affix.unwrap_or(highest);
            let token = affix.map_or(format!("token {token:?}"), |_| "a special token".into());
            return Err(Error::Malformed {
                path: self.path.clone(),
                place: self.places[0].into(),
                problem: format!("wrong vocabulary: {token} has id {id}, but the model has {limit} tokens"),
                remedy: "use the tokenizer that belongs to this model".into(),
            });
        }
        Ok(highest as usize + 1)
    }

    /// Lets texts end with EOS if a network without a head makes embeddings of them, and the file puts nothing there: such
    /// networks are trained with it. It is the only end token that the model's configuration names, or else the tokenizer's.
    pub fn end_texts(&mut self, config: &Config) {
        if !config.architecture.head && self.suffix.is_empty() {
            self.suffix = match config.eos[..] {
                [only] => vec![only],
                _ => self.eos.into_iter().collect(),
            };
        }
    }

    /// Checks that both parts and the result of every merge are tokens, because the builder does not. Returns whether
    /// some merge joins another character to a following "▁".
    ///
    /// # Errors
    /// [`Error::Malformed`] with the first merge that is not.
    pub fn check_merges(&self) -> Result<bool> {
        let mut whole = String::new();
        let mut crosses = false;
        for (rank, (left, right)) in self.merges.iter().enumerate() {
            whole.clear();
            whole.push_str(left);
            whole.push_str(right);
            let missing = [left, right, &whole].into_iter().find(|token| !self.vocabulary.contains_key(*token));
            if let Some(missing) = missing {
                let place = format!("{}[{rank}]", self.places[1]);
                return Err(malformed(&self.path, place, format!("the vocabulary has no token {missing:?}")));
            }
            crosses |= right.starts_with('▁') && !left.ends_with('▁');
        }
        Ok(crosses)
    }
}
