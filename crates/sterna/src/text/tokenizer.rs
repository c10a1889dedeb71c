//! Tokenizers from `tokenizer.json` or from the vocabulary of a GGUF file.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

use crate::checkpoint::{Config, TextFiles};
use crate::{Error, Result};

use super::pre_tokens::PreTokens;
use super::{gguf_vocabulary, huggingface};

/// Tokens that end an answer in the chat formats of the models Sterna runs.
const ENDERS: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<|eom_id|>", "<end_of_turn>"];

/// Converts text to token ids and back.
pub struct Tokenizer {
    pipeline: Pipeline,
    size: usize,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
}

type Pipeline = TokenizerImpl<BPE, NormalizerWrapper, PreTokens, PostProcessorWrapper, DecoderWrapper>;

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

impl Tokenizer {
    /// Builds the tokenizer of a checkpoint. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file and for ids beyond `config.vocab`; [`Error::Unsupported`] for a
    /// tokenizer that is not byte-pair encoding and for a checkpoint without a tokenizer.
    pub fn new(path: &Path, text: &TextFiles, config: &Config) -> Result<Self> {
        match text {
            TextFiles::HuggingFace { tokenizer, config: settings, .. } => {
                huggingface::parts(&path.join("tokenizer.json"), tokenizer, settings)?.build(config)
            }
            TextFiles::Gguf(vocabulary) => gguf_vocabulary::parts(path, vocabulary, config)?.build(config),
            TextFiles::None => Err(Error::Unsupported {
                path: path.to_owned(),
                what: "text without a tokenizer".into(),
                remedy: "put tokenizer.json and tokenizer_config.json beside the model, or use token ids".into(),
            }),
        }
    }

    /// Encodes text. With `special`, adds the model's special tokens for a raw prompt (BOS exactly once).
    ///
    /// Special tokens written in the text (`<|eot_id|>`) are recognised in both cases, as in Hugging Face. Remove them
    /// from untrusted text before encoding it.
    ///
    /// # Errors
    /// [`Error::Request`] if the text cannot be encoded.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self.pipeline.encode_fast(text, false);
        let encoding =
            encoding.map_err(|error| Error::request("text", format!("the text cannot be encoded: {error}")))?;
        if !special {
            return Ok(encoding.get_ids().to_vec());
        }
        let mut ids = self.prefix.clone();
        ids.extend_from_slice(encoding.get_ids());
        ids.extend_from_slice(&self.suffix);
        self.begin(&mut ids);
        Ok(ids)
    }

    /// Ensures that BOS stands exactly once at the start, if the model uses it.
    pub(super) fn begin(&self, ids: &mut Vec<u32>) {
        let Some(bos) = self.bos else { return };
        match ids.iter().take_while(|&&id| id == bos).count() {
            0 => ids.insert(0, bos),
            several => drop(ids.drain(1..several)),
        }
    }

    /// Decodes ids; special tokens are kept or skipped. Ids without a token are skipped; bytes that are not valid UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Request`] if the ids cannot be decoded.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let text = self.pipeline.decode(ids, skip_special);
        text.map_err(|error| Error::request("tokens", format!("the tokens cannot be decoded: {error}")))
    }

    /// The id of a token, if the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// The text of a token as spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id)
    }

    /// One more than the highest id; at most the model's `vocab`.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The begin-of-sequence token, if the model uses one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-sequence token, if the tokenizer defines one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Tokens that end an answer according to the tokenizer: its EOS and special tokens such as `<|eot_id|>` and
    /// `<|im_end|>`.
    pub fn stop_tokens(&self) -> Vec<u32> {
        let enders = ENDERS.iter().filter(|token| self.pipeline.get_added_vocabulary().is_special_token(token));
        let mut ids: Vec<u32> = self.eos.into_iter().chain(enders.filter_map(|token| self.id(token))).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The decoder of the pipeline.
    pub(super) fn decoder(&self) -> Option<&DecoderWrapper> {
        self.pipeline.get_decoder()
    }

    /// Whether a token produces no text: it is special, or the vocabulary lacks it.
    pub(super) fn is_silent(&self, id: u32) -> bool {
        self.token(id).is_none_or(|token| self.pipeline.get_added_vocabulary().is_special_token(&token))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}

impl Parts {
    fn build(mut self, config: &Config) -> Result<Tokenizer> {
        let size = self.check_ids(config.vocab)?;
        let crosses_words = self.check_merges()?;
        if self.pre_tokens.is_empty() && !crosses_words && self.vocabulary.contains_key("▁") {
            self.pre_tokens.push_pieces();
        }
        let Options { ignore_merges, byte_fallback, fuse_unk } = self.options;
        let mut model = BPE::builder().ignore_merges(ignore_merges).byte_fallback(byte_fallback).fuse_unk(fuse_unk);
        if let Some(unknown) = self.unknown {
            if !self.vocabulary.contains_key(&unknown) {
                return Err(malformed(&self.path, self.places[0], format!("the unknown token {unknown:?} is missing")));
            }
            model = model.unk_token(unknown);
        }
        let model = model.vocab_and_merges(self.vocabulary, self.merges).build();
        let model = model.map_err(|error| malformed(&self.path, self.places[1], error.to_string()))?;
        let mut pipeline = Pipeline::new(model);
        let added = |error: tokenizers::Error| malformed(&self.path, "added tokens", error.to_string());
        pipeline.with_normalizer(self.normalizer).map_err(added)?;
        pipeline.with_pre_tokenizer(Some(self.pre_tokens)).with_decoder(self.decoder);
        pipeline.add_tokens(self.added).map_err(added)?;
        Ok(Tokenizer { pipeline, size, prefix: self.prefix, suffix: self.suffix, bos: self.bos, eos: self.eos })
    }

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

    /// Checks that both parts and the result of every merge are tokens, because the builder does not. Returns whether
    /// some merge joins another character to a following "▁".
    fn check_merges(&self) -> Result<bool> {
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
