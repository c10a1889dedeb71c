//! Tokenizers from `tokenizer.json` or from the vocabulary of a GGUF file.

use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, DecoderWrapper, Model, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PostProcessorWrapper, PreTokenizer, Token, TokenizerImpl,
};

use crate::checkpoint::{Config, TextFiles};
use crate::{Error, Result};

use super::parts::{Options, Parts, malformed};
use super::pre_tokens::PreTokens;
use super::special::{Marks, SpecialTokens};
use super::{gguf_vocabulary, huggingface};

/// Tokens that end an answer in the chat formats of the models Sterna runs.
const ENDERS: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<|eom_id|>", "<end_of_turn>"];

/// Converts text to token ids and back.
pub struct Tokenizer {
    pipeline: Pipeline,
    /// Tokens that text of messages cannot spell.
    special: SpecialTokens,
    /// Whether added tokens are searched in normalized text.
    normalized_tokens: bool,
    size: usize,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
}

type Pipeline = TokenizerImpl<BPE, NormalizerWrapper, PreTokens, PostProcessorWrapper, DecoderWrapper>;

impl Tokenizer {
    /// Builds the tokenizer of a checkpoint. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file and for ids beyond `config.vocab`; [`Error::Unsupported`] for a
    /// tokenizer that is not byte-pair encoding and for a checkpoint without a tokenizer.
    pub fn new(path: &Path, text: &TextFiles, config: &Config) -> Result<Self> {
        match text {
            TextFiles::HuggingFace { tokenizer, config: settings, .. } => {
                let mut parts = huggingface::parts(&path.join("tokenizer.json"), tokenizer, settings)?;
                parts.end_texts(config);
                Self::build(parts, config)
            }
            TextFiles::Gguf(vocabulary) => Self::build(gguf_vocabulary::parts(path, vocabulary, config)?, config),
            TextFiles::None => Err(Error::Unsupported {
                path: path.to_owned(),
                what: "text without a tokenizer".into(),
                remedy: "put tokenizer.json and tokenizer_config.json beside the model, or use token ids".into(),
            }),
        }
    }

    /// Checks the parts and puts them together.
    fn build(mut parts: Parts, config: &Config) -> Result<Self> {
        let size = parts.check_ids(config.vocab)?;
        let crosses_words = parts.check_merges()?;
        if parts.pre_tokens.is_empty() && !crosses_words && parts.vocabulary.contains_key("▁") {
            parts.pre_tokens.push_pieces();
        }
        let Options { ignore_merges, byte_fallback, fuse_unk } = parts.options;
        let mut model = BPE::builder().ignore_merges(ignore_merges).byte_fallback(byte_fallback).fuse_unk(fuse_unk);
        if let Some(unknown) = &parts.unknown {
            if !parts.vocabulary.contains_key(unknown) {
                return Err(malformed(
                    &parts.path,
                    parts.places[0],
                    format!("the unknown token {unknown:?} is missing"),
                ));
            }
            model = model.unk_token(unknown.clone());
        }
        let special = special_tokens(&parts);
        let model = model.vocab_and_merges(parts.vocabulary, parts.merges).build();
        let model = model.map_err(|error| malformed(&parts.path, parts.places[1], error.to_string()))?;
        let mut pipeline = Pipeline::new(model);
        let added = |error: tokenizers::Error| malformed(&parts.path, "added tokens", error.to_string());
        if let Some(normalizer) = &parts.normalizer {
            parts.added.iter_mut().for_each(|token| search_before(normalizer, token));
        }
        let normalized_tokens = parts.normalizer.is_some() && parts.added.iter().any(|token| token.normalized);
        pipeline.with_normalizer(parts.normalizer).map_err(added)?;
        pipeline.with_pre_tokenizer(Some(parts.pre_tokens)).with_decoder(parts.decoder);
        pipeline.add_tokens(parts.added).map_err(added)?;
        let (prefix, suffix) = (parts.prefix, parts.suffix);
        Ok(Self { pipeline, special, normalized_tokens, size, prefix, suffix, bos: parts.bos, eos: parts.eos })
    }

    /// Encodes text as it is.
    ///
    /// Special tokens written in the text (`<|eot_id|>`) are recognised, as in Hugging Face. For untrusted text there is
    /// [`encode_plain`](Self::encode_plain).
    ///
    /// # Errors
    /// [`Error::Request`] if the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.pipeline.encode_fast(text, false);
        let encoding =
            encoding.map_err(|error| Error::request("text", format!("the text cannot be encoded: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes untrusted text: special tokens written in it are encoded letter by letter, like any other text.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let value = text.into();
        if !self.special.may_be_in(&value) {
            return self.encode(text);
        }
        let marks = self.special.marks("", [&value]);
        self.encode_marked(&marks.mark_tokens(text), &marks)
    }

    /// Encodes text with marks, which are put back after special tokens have been found. Without marks, the ids are those
    /// of [`encode`](Self::encode).
    pub(super) fn encode_marked(&self, text: &str, marks: &Marks<'_>) -> Result<Vec<u32>> {
        let ids = self.unmarked_ids(text, marks);
        ids.map_err(|error| Error::request("text", format!("the text cannot be encoded: {error}")))
    }

    fn unmarked_ids(&self, text: &str, marks: &Marks<'_>) -> tokenizers::Result<Vec<u32>> {
        let (tokens, normalizer) = (self.pipeline.get_added_vocabulary(), self.pipeline.get_normalizer());
        let mut parts = match self.normalized_tokens {
            true => tokens.extract_and_normalize(normalizer, text),
            // Normalized without marks: a normalizer may join the character with the next one.
            false => tokens.extract_and_normalize(None::<&NormalizerWrapper>, text),
        };
        parts.normalize(|part| {
            part.map(|c| marks.unmark(c));
            normalizer.filter(|_| !self.normalized_tokens).map_or(Ok(()), |normalizer| normalizer.normalize(part))
        })?;
        if let Some(words) = self.pipeline.get_pre_tokenizer() {
            words.pre_tokenize(&mut parts)?;
        }
        parts.tokenize(|word| self.plain_tokens(word.get()))?;
        let splits = parts.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(splits.iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id).collect())
    }

    /// The tokens of a word. Some models take a word that is a token as a whole; a special token is not.
    fn plain_tokens(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.pipeline.get_model().tokenize(word)?;
        let second = word.char_indices().nth(1).map(|(at, _)| at);
        match (&tokens[..], second) {
            ([only], Some(at)) if only.value == word && self.special.has(only.id) => {
                let (first, rest) = word.split_at(at);
                Ok([self.plain_tokens(first)?, self.plain_tokens(rest)?].concat())
            }
            _ => Ok(tokens),
        }
    }

    /// The tokens that text of messages cannot spell.
    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Encodes a raw prompt: adds the model's special tokens for one (BOS exactly once).
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.as_prompt(self.encode(text)?))
    }

    /// Encodes a prompt of untrusted text: adds the model's special tokens for one, and reads none in the text.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_plain_prompt(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.as_prompt(self.encode_plain(text)?))
    }

    fn as_prompt(&self, text: Vec<u32>) -> Vec<u32> {
        let mut ids = [&self.prefix[..], &text, &self.suffix].concat();
        self.begin(&mut ids);
        ids
    }

    /// Ensures that BOS stands exactly once at the start, if the model uses it.
    pub(super) fn begin(&self, ids: &mut Vec<u32>) {
        let Some(bos) = self.bos else { return };
        match ids.iter().take_while(|&&id| id == bos).count() {
            0 => ids.insert(0, bos),
            several => drop(ids.drain(1..several)),
        }
    }

    /// Decodes ids, with special tokens as they are spelled. Ids without a token are skipped; bytes that are not valid
    /// UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Request`] if the ids cannot be decoded.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, false)
    }

    /// Decodes ids as [`decode`](Self::decode) does, but skips special tokens.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_without_special(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, true)
    }

    fn decoded(&self, ids: &[u32], skip_special: bool) -> Result<String> {
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

/// A token that the normalizer leaves as it is is searched before normalization. So text that only becomes its spelling by
/// normalization (`＜s＞`) stays text.
fn search_before(normalizer: &NormalizerWrapper, token: &mut AddedToken) {
    let strips = || matches!(serde_json::to_string(normalizer), Ok(steps) if steps.contains("\"Strip\""));
    let mut content = NormalizedString::from(token.content.as_str());
    if token.normalized && token.special && normalizer.normalize(&mut content).is_ok() {
        token.normalized = content.get() != token.content || strips();
    }
}

/// Special tokens, and those that look like one although the file does not call them special (source: `llama-vocab.cpp`).
fn special_tokens(parts: &Parts) -> SpecialTokens {
    let is_special = |token: &&AddedToken| {
        let name = &*token.content;
        token.special || name.starts_with("<|") && name.ends_with("|>") || ENDERS.contains(&name)
    };
    let special = parts.added.iter().filter(is_special);
    SpecialTokens::new(
        special.filter_map(|token| Some((token.content.clone(), *parts.vocabulary.get(&token.content)?))),
    )
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}
