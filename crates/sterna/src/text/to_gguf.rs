//! Converts the vocabulary of a `tokenizer.json` to the form that GGUF files store.
//!
//! GGUF names the common pre-tokenizers, and cannot store many other settings of `tokenizer.json`. So the converted
//! vocabulary is read back and compared. If the two tokenizers differ in any part, the conversion is refused, never
//! approximated.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::{Config, GgufVocabulary, TextFiles};
use crate::{Error, Result};

use super::gguf_vocabulary::{self, BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, WORDS};
use super::parts::{Options, Parts};
use super::{huggingface, template};

/// Converts the vocabulary and chat template of a checkpoint to the form that GGUF files store, with one token for each
/// of the model's `vocab` rows. `None` if the checkpoint has no tokenizer. `path` is the checkpoint, for error
/// messages.
///
/// # Errors
/// [`Error::Malformed`] for a damaged file; [`Error::Unsupported`] if GGUF cannot store some part of the tokenizer;
/// [`Error::Template`] if there are several chat templates and none is named "default".
pub fn to_gguf(path: &Path, text: &TextFiles, config: &Config) -> Result<Option<GgufVocabulary>> {
    let (tokenizer, settings) = match text {
        TextFiles::HuggingFace { tokenizer, config, .. } => (tokenizer, config),
        TextFiles::Gguf(vocabulary) => return Ok(Some(vocabulary.clone())),
        TextFiles::None => return Ok(None),
    };
    let path = path.join("tokenizer.json");
    let mut wanted = huggingface::parts(&path, tokenizer, settings)?;
    wanted.end_texts(config);
    wanted.check_ids(config.vocab)?;
    let id = |key: &str| wanted.vocabulary.get(huggingface::special_token(settings, key)?).copied();
    let mut vocabulary = GgufVocabulary {
        types: types(&wanted, config.vocab),
        tokens: tokens(&wanted, config.vocab),
        add_bos: Some(wanted.bos.is_some()),
        add_eos: (!config.architecture.head).then_some(!wanted.suffix.is_empty()),
        bos: wanted.bos.or_else(|| id("bos_token")),
        eos: wanted.eos,
        unknown: id("unk_token"),
        padding: id("pad_token"),
        chat_template: template::source(text)?.map(str::to_owned),
        ..GgufVocabulary::default()
    };
    if wanted.options.byte_fallback {
        vocabulary.model = "llama".into();
        vocabulary.scores = scores(&wanted, &vocabulary.tokens);
        let normalizers = steps(wanted.normalizer.as_ref());
        vocabulary.add_space_prefix = Some(normalizers.iter().any(|step| step["type"] == "Prepend"));
    } else {
        vocabulary.model = "gpt2".into();
        vocabulary.pre = Some(pre(&path, &wanted)?.to_owned());
        vocabulary.merges = wanted.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    }
    let found = gguf_vocabulary::parts(&path, &vocabulary, config)?;
    match difference(&wanted, &found) {
        Some(part) => Err(unsupported(&path, format!("a tokenizer whose {part} GGUF files cannot hold"))),
        None => Ok(Some(vocabulary)),
    }
}

fn unsupported(path: &Path, what: String) -> Error {
    let remedy = "keep the model as a Hugging Face directory, which Sterna runs as it is";
    Error::Unsupported { path: path.to_owned(), what, remedy: remedy.into() }
}

/// Token text by id. Embedding rows that no text encodes to get the names that llama.cpp's converter gives them.
fn tokens(parts: &Parts, vocab: usize) -> Vec<String> {
    let mut tokens: Vec<String> = (0..vocab).map(|id| format!("[PAD{id}]")).collect();
    for (text, id) in &parts.vocabulary {
        tokens[*id as usize].clone_from(text);
    }
    tokens
}

fn types(parts: &Parts, vocab: usize) -> Vec<i32> {
    let mut types = vec![UNUSED; vocab];
    let is_byte = |text: &str| parts.options.byte_fallback && text.len() == 6 && text.starts_with("<0x");
    for (text, id) in &parts.vocabulary {
        types[*id as usize] = if is_byte(text) { BYTE } else { NORMAL };
    }
    for token in &parts.added {
        if let Some(id) = parts.vocabulary.get(&token.content) {
            let unknown = parts.unknown.as_ref() == Some(&token.content);
            types[*id as usize] = match token.special {
                true if unknown => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
        }
    }
    types
}

/// SentencePiece merges the pair with the best score first, so a token's score is the negative rank of the merge that
/// makes it.
fn scores(parts: &Parts, tokens: &[String]) -> Vec<f32> {
    let mut ranks = HashMap::new();
    for (rank, (left, right)) in parts.merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    tokens.iter().map(|token| -(*ranks.get(token).unwrap_or(&parts.merges.len()) as f32)).collect()
}

/// The GGUF name of a byte-level tokenizer's pre-tokenizer.
fn pre(path: &Path, parts: &Parts) -> Result<&'static str> {
    let split: Vec<_> = WORDS.iter().filter(|words| words.pre_tokens() == parts.pre_tokens).collect();
    if split.is_empty() {
        let what =
            "a tokenizer that splits words in a way for which GGUF files have no name (pre_tokenizer)".to_owned();
        return Err(unsupported(path, what));
    }
    let normalizers = steps(parts.normalizer.as_ref());
    let fits = split.iter().find(|words| {
        words.options().ignore_merges == parts.options.ignore_merges
            && steps(words.normalizer().as_ref()) == normalizers
    });
    let name = fits.and_then(|words| words.names.first()).copied();
    name.ok_or_else(|| {
        let what = format!(
            "a tokenizer that splits words as {:?}, but with another normalizer or ignore_merges: GGUF files have no name \
             for that",
            split[0].names[0]
        );
        unsupported(path, what)
    })
}

/// Names the first part in which two tokenizers differ.
pub(super) fn difference(a: &Parts, b: &Parts) -> Option<&'static str> {
    let normalizes = a.normalizer.is_some();
    let added = |parts: &Parts| {
        let describe = |token: &tokenizers::AddedToken| {
            let matches = (token.single_word, token.lstrip, token.rstrip, token.normalized && normalizes);
            (token.content.clone(), token.special, matches)
        };
        let mut added: Vec<_> = parts.added.iter().map(describe).collect();
        added.sort_unstable();
        added
    };
    let options = |parts: &Parts| match parts.unknown {
        Some(_) => parts.options,
        None => Options { fuse_unk: false, ..parts.options },
    };
    let parts = [
        ("tokens", a.vocabulary == b.vocabulary),
        ("merges", merges(a) == merges(b)),
        ("options of the model", options(a) == options(b)),
        ("unknown token", a.unknown == b.unknown),
        ("added tokens", added(a) == added(b)),
        ("normalizer", steps(a.normalizer.as_ref()) == steps(b.normalizer.as_ref())),
        ("pre_tokenizer", a.pre_tokens == b.pre_tokens),
        ("decoder", steps(a.decoder.as_ref()) == steps(b.decoder.as_ref())),
        ("post_processor", (prefix(a), &a.suffix, a.bos) == (prefix(b), &b.suffix, b.bos)),
        ("eos_token", a.eos == b.eos),
    ];
    parts.iter().find(|(_, same)| !same).map(|(part, _)| *part)
}

/// The merges, best first. SentencePiece gives all pairs of a token one score, so their order among themselves is left out.
fn merges(parts: &Parts) -> Vec<(&str, &str)> {
    let mut merges: Vec<(&str, &str)> = parts.merges.iter().map(|(left, right)| (&**left, &**right)).collect();
    if parts.options.byte_fallback {
        let token = |pair: &(&str, &str)| [pair.0, pair.1].concat();
        merges.chunk_by_mut(|a, b| token(a) == token(b)).for_each(<[_]>::sort_unstable);
    }
    merges
}

/// Ids before a raw prompt other than BOS, which is there once however it is asked for.
fn prefix(parts: &Parts) -> &[u32] {
    parts.bos.and_then(|bos| parts.prefix.strip_prefix(&[bos])).unwrap_or(&parts.prefix)
}

/// The steps of a normalizer or decoder, with sequences flattened. The options of `ByteLevel` are dropped: neither
/// decoding nor normalizing uses them.
fn steps(part: Option<&impl Serialize>) -> Vec<Value> {
    fn flatten(value: Value, steps: &mut Vec<Value>) {
        match ["normalizers", "decoders"].iter().find_map(|key| value.get(key)?.as_array()) {
            Some(members) => members.iter().for_each(|member| flatten(member.clone(), steps)),
            None if value["type"] == "ByteLevel" => steps.push(value["type"].clone()),
            None => steps.push(value),
        }
    }
    let mut found = Vec::new();
    if let Some(value) = part.and_then(|part| serde_json::to_value(part).ok()) {
        flatten(value, &mut found);
    }
    found
}
