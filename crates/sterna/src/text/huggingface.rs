//! Tokenizers from `tokenizer.json`.
//!
//! The tokenizers crate could read the whole file, but does not check it: some merges, decoders and post-processors
//! make it panic, it silently replaces wrong ids, and it applies truncation and padding settings left over from
//! training. So the file is parsed here, and only the components that byte-pair vocabularies use are passed on.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::Vocab;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper};

use crate::{Error, Result};

use super::parts::{Options, Parts, malformed};
use super::pre_tokens::PreTokens;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocab,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

/// `["a", "b"]`, or `"a b"` in older files.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair of tokens")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                let (left, right) = text.split_once(' ').ok_or_else(|| E::custom(format!("{text:?} is not a pair")))?;
                Ok(Merge(left.to_owned(), right.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
                let missing = || serde::de::Error::custom("a merge needs two tokens");
                let left = pair.next_element()?.ok_or_else(missing)?;
                Ok(Merge(left, pair.next_element()?.ok_or_else(missing)?))
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

/// Reads the tokenizer from `tokenizer.json` and `tokenizer_config.json`. `path` is the path of `tokenizer.json`, for
/// error messages.
///
/// # Errors
/// [`Error::Malformed`] for a damaged file; [`Error::Unsupported`] for components that byte-pair vocabularies do not use.
pub fn parts(path: &Path, tokenizer: &[u8], settings: &Value) -> Result<Parts> {
    let file: File = serde_json::from_slice(tokenizer).map_err(|error| explain(path, tokenizer, &error))?;
    let unsupported = |what: &str| unsupported(path, what);
    let affix = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if affix(&file.model.continuing_subword_prefix) || affix(&file.model.end_of_word_suffix) {
        return Err(unsupported("a vocabulary with prefixes or suffixes of words"));
    }
    let mut vocabulary = file.model.vocab;
    let mut added: Vec<AddedToken> = Vec::with_capacity(file.added_tokens.len());
    for Added { id, token } in file.added_tokens {
        // As in the tokenizers crate, the id in the vocabulary wins if the two differ.
        vocabulary.entry(token.content.clone()).or_insert(id);
        added.push(token);
    }
    add_settings(settings, &mut vocabulary, &mut added);
    let known =
        ["Sequence", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Prepend", "Replace", "Lowercase", "Strip", "ByteLevel"];
    let normalizer: Option<NormalizerWrapper> = part(path, "normalizer", file.normalizer, &known)?;
    let known =
        ["Sequence", "Split", "ByteLevel", "Metaspace", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit"];
    let mut pre_tokens = PreTokens::default();
    if let Some(step) = part::<PreTokenizerWrapper>(path, "pre_tokenizer", file.pre_tokenizer, &known)? {
        pre_tokens.push(step);
    }
    let known = ["Sequence", "ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
    let decoder: Option<DecoderWrapper> = part(path, "decoder", file.decoder, &known)?;
    let (prefix, suffix) = file.post_processor.map_or(Ok(Default::default()), |value| affixes(path, &value))?;
    let id = |key: &str| vocabulary.get(special_token(settings, key)?).copied();
    let bos = prefix.first().copied().or_else(|| {
        let add = settings.get("add_bos_token").and_then(Value::as_bool).unwrap_or(false);
        if add { id("bos_token") } else { None }
    });
    Ok(Parts {
        path: path.to_owned(),
        places: ["model.vocab", "model.merges"],
        eos: id("eos_token"),
        vocabulary,
        merges: file.model.merges.into_iter().map(|Merge(left, right)| (left, right)).collect(),
        options: Options {
            ignore_merges: file.model.ignore_merges.unwrap_or(false),
            byte_fallback: file.model.byte_fallback.unwrap_or(false),
            fuse_unk: file.model.fuse_unk.unwrap_or(false),
        },
        unknown: file.model.unk_token,
        added,
        normalizer,
        pre_tokens,
        decoder,
        prefix,
        suffix,
        bos,
    })
}

/// The text of a special token in `tokenizer_config.json`: a string, or an object with a `content`.
pub fn special_token<'a>(settings: &'a Value, key: &str) -> Option<&'a str> {
    let token = settings.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Adds the tokens of `added_tokens_decoder` that `tokenizer.json` lacks.
fn add_settings(settings: &Value, vocabulary: &mut Vocab, added: &mut Vec<AddedToken>) {
    let Some(tokens) = settings.get("added_tokens_decoder").and_then(Value::as_object) else { return };
    for (id, token) in tokens {
        let (Ok(id), Ok(token)) = (id.parse(), AddedToken::deserialize(token)) else { continue };
        if !added.iter().any(|known| known.content == token.content) {
            vocabulary.entry(token.content.clone()).or_insert(id);
            added.push(token);
        }
    }
}

/// Explains why the file could not be parsed: another kind of tokenizer, or damaged JSON.
fn explain(path: &Path, tokenizer: &[u8], error: &serde_json::Error) -> Error {
    #[derive(Deserialize)]
    struct Probe {
        model: Kind,
    }
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
        #[serde(flatten)]
        _rest: IgnoredAny,
    }
    match serde_json::from_slice::<Probe>(tokenizer) {
        Ok(probe) if probe.model.kind != "BPE" => {
            unsupported(path, &format!("a tokenizer of kind {}", probe.model.kind))
        }
        _ => malformed(path, format!("line {} column {}", error.line(), error.column()), error.to_string()),
    }
}

fn unsupported(path: &Path, what: &str) -> Error {
    Error::Unsupported {
        path: path.to_owned(),
        what: what.to_owned(),
        remedy: "use a model with a byte-pair tokenizer (Llama, Qwen, Falcon, BitNet)".into(),
    }
}

/// Reads a component of the pipeline if it and its members are of known kinds.
fn part<T: DeserializeOwned>(path: &Path, place: &str, value: Option<Value>, known: &[&str]) -> Result<Option<T>> {
    let Some(value) = value else { return Ok(None) };
    check_kinds(path, place, &value, known)?;
    let part = serde_json::from_value(value).map_err(|error| malformed(path, place, error.to_string()))?;
    Ok(Some(part))
}

fn check_kinds(path: &Path, place: &str, value: &Value, known: &[&str]) -> Result<()> {
    let kind = value.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| malformed(path, place, "an object with a \"type\" is expected"))?;
    // The crate's Strip underflows on a text shorter than the number of characters to strip from its end.
    let strips_end = place == "decoder" && kind == "Strip" && value.get("stop").and_then(Value::as_u64) != Some(0);
    if !known.contains(&kind) || strips_end {
        return Err(unsupported(path, &format!("the {place} {kind:?}")));
    }
    let members = ["normalizers", "pretokenizers", "decoders"].iter().filter_map(|key| value.get(key)?.as_array());
    members.flatten().try_for_each(|member| check_kinds(path, place, member, known))
}

/// Ids that a post-processor adds before and after a single text.
fn affixes(path: &Path, value: &Value) -> Result<(Vec<u32>, Vec<u32>)> {
    let wrong = |problem: &str| malformed(path, "post_processor", problem);
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    match value.get("type").and_then(Value::as_str) {
        Some("ByteLevel") => {}
        Some("Sequence") => {
            let members = value.get("processors").and_then(Value::as_array);
            for member in members.ok_or_else(|| wrong("a Sequence needs \"processors\""))? {
                let (before, after) = affixes(path, member)?;
                prefix.splice(0..0, before);
                suffix.extend(after);
            }
        }
        Some("TemplateProcessing") => {
            let pieces = value.get("single").and_then(Value::as_array).ok_or_else(|| wrong("\"single\" is missing"))?;
            let mut side = &mut prefix;
            for piece in pieces {
                let Some(token) = piece.get("SpecialToken") else {
                    side = &mut suffix;
                    continue;
                };
                let token = token.get("id").and_then(Value::as_str).unwrap_or_default();
                let ids = value.get("special_tokens").and_then(|tokens| tokens.get(token)?.get("ids"));
                let ids = ids.and_then(|ids| Vec::<u32>::deserialize(ids).ok());
                side.extend(ids.ok_or_else(|| wrong(&format!("special_tokens has no ids for {token:?}")))?);
            }
        }
        Some("BertProcessing" | "RobertaProcessing") => {
            let id = |key: &str| value.get(key).and_then(|pair| u32::try_from(pair.get(1)?.as_u64()?).ok());
            prefix.push(id("cls").ok_or_else(|| wrong("\"cls\" has no id"))?);
            suffix.push(id("sep").ok_or_else(|| wrong("\"sep\" has no id"))?);
        }
        other => return Err(unsupported(path, &format!("the post_processor {:?}", other.unwrap_or("without a type")))),
    }
    Ok((prefix, suffix))
}
