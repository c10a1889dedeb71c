//! Converts the vocabulary of a GGUF file to the files of a Hugging Face directory.
//!
//! The converted tokenizer is read back and compared. If the two differ in any part, the conversion is refused.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::parts::Parts;
use super::to_gguf::difference;
use super::{gguf_vocabulary, huggingface};
use crate::checkpoint::{Config, GgufVocabulary, TextFiles};
use crate::{Error, Result};

/// The tokenizer and chat template of a checkpoint as files of a directory; `path` is the checkpoint, for error messages.
///
/// # Errors
/// [`Error::Malformed`] for a damaged vocabulary; [`Error::Unsupported`] if `tokenizer.json` cannot hold some part of it.
pub fn to_huggingface(path: &Path, text: &TextFiles, config: &Config) -> Result<TextFiles> {
    let TextFiles::Gguf(vocabulary) = text else { return Ok(text.clone()) };
    let wanted = gguf_vocabulary::parts(path, vocabulary, config)?;
    let settings = settings(vocabulary, &wanted);
    let tokenizer = tokenizer(&wanted).to_string().into_bytes();
    let found = huggingface::parts(path, &tokenizer, &settings)?;
    match difference(&wanted, &found) {
        Some(part) => Err(Error::Unsupported {
            path: path.to_owned(),
            what: format!("a tokenizer whose {part} tokenizer.json cannot hold"),
            remedy: "convert the model to a GGUF file, which keeps the vocabulary".into(),
        }),
        None => Ok(TextFiles::HuggingFace {
            tokenizer: tokenizer.into(),
            config: settings,
            chat_template: vocabulary.chat_template.clone(),
        }),
    }
}

/// `tokenizer.json`
fn tokenizer(parts: &Parts) -> Value {
    let added: Vec<Value> = parts
        .added
        .iter()
        .filter_map(|token| {
            let mut value = serde_json::to_value(token).ok()?;
            value.as_object_mut()?.insert("id".into(), (*parts.vocabulary.get(&token.content)?).into());
            Some(value)
        })
        .collect();
    let options = parts.options;
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokens.to_json(),
        "post_processor": post_processor(parts),
        "decoder": parts.decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": parts.unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": options.fuse_unk,
            "byte_fallback": options.byte_fallback,
            "ignore_merges": options.ignore_merges,
            "vocab": parts.vocabulary,
            "merges": parts.merges,
        },
    })
}

/// The tokens before and after a raw prompt.
fn post_processor(parts: &Parts) -> Value {
    let text = |id: u32| parts.vocabulary.iter().find(|(_, other)| **other == id).map(|(text, _)| text.clone());
    let named = |ids: &[u32]| ids.iter().filter_map(|&id| Some((text(id)?, id))).collect::<Vec<(String, u32)>>();
    let (before, after) = (named(&parts.prefix), named(&parts.suffix));
    if before.is_empty() && after.is_empty() {
        return Value::Null;
    }
    let piece = |kind: &str, id: &str, side: u32| json!({ kind: { "id": id, "type_id": side } });
    let side = |sequence: &str, side: u32| {
        let special = |(text, _): &(String, u32)| piece("SpecialToken", text, side);
        let first = before.iter().map(special).chain([piece("Sequence", sequence, side)]);
        first.chain(after.iter().map(special)).collect::<Vec<Value>>()
    };
    let (single, second) = (side("A", 0), side("B", 1));
    let specials = before.iter().chain(&after);
    let tokens = specials.map(|(text, id)| (text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] })));
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": single.iter().chain(&second).collect::<Vec<_>>(),
        "special_tokens": tokens.collect::<Map<_, _>>(),
    })
}

/// `tokenizer_config.json`
fn settings(vocabulary: &GgufVocabulary, parts: &Parts) -> Value {
    let mut settings = Map::new();
    settings.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    settings.insert("clean_up_tokenization_spaces".into(), false.into());
    settings.insert("add_bos_token".into(), parts.bos.is_some().into());
    let tokens = [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("unk_token", vocabulary.unknown),
        ("pad_token", vocabulary.padding),
    ];
    for (key, id) in tokens {
        if let Some(text) = id.and_then(|id| vocabulary.tokens.get(id as usize)) {
            settings.insert(key.into(), text.clone().into());
        }
    }
    Value::Object(settings)
}
