//! `tokenizer.ggml.*`: the vocabulary inside a GGUF file.

use super::Header;
use crate::Result;
use crate::checkpoint::config::MAX_VOCAB;
use crate::checkpoint::{GgufVocabulary, TextFiles};

/// Chat format of BitNet b1.58 2B4T. The official GGUF file carries another one ("Human: …BITNETAssistant: ") that the
/// model was not trained with; this one is its Hugging Face repository's, in Sterna's words.
pub(super) const BITNET_TEMPLATE: &str = "{% for message in messages %}\
     {{ message['role'] | capitalize }}: {{ message['content'] | trim }}<|eot_id|>\
     {% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// Reads the vocabulary. Whether it makes a tokenizer that fits the model is for the tokenizer to say.
pub(super) fn read(header: &Header, bitnet_2b4t: bool) -> Result<TextFiles> {
    let id = |key: &str| -> Result<Option<u32>> { Ok(header.uint(key)?.and_then(|id| u32::try_from(id).ok())) };
    let Some(tokens) = header.texts("tokenizer.ggml.tokens", MAX_VOCAB)? else { return Ok(TextFiles::None) };
    let scores = header.words("tokenizer.ggml.scores", &[6], MAX_VOCAB)?.unwrap_or_default();
    let types = header.words("tokenizer.ggml.token_type", &[4, 5], MAX_VOCAB)?.unwrap_or_default();
    for (key, len) in [("tokenizer.ggml.scores", scores.len()), ("tokenizer.ggml.token_type", types.len())] {
        if len != 0 && len != tokens.len() {
            return Err(header.bad(key, format!("{len} values for {} tokens", tokens.len())));
        }
    }
    let template = header.text("tokenizer.chat_template")?;
    let wrong = bitnet_2b4t && template.is_some_and(|template| template.contains("BITNETAssistant"));
    Ok(TextFiles::Gguf(GgufVocabulary {
        model: header.text("tokenizer.ggml.model")?.unwrap_or_default().to_owned(),
        pre: header.text("tokenizer.ggml.pre")?.map(str::to_owned),
        tokens,
        scores: scores.into_iter().map(f32::from_bits).collect(),
        types: types.into_iter().map(u32::cast_signed).collect(),
        merges: header.texts("tokenizer.ggml.merges", MAX_VOCAB)?.unwrap_or_default(),
        add_bos: header.flag("tokenizer.ggml.add_bos_token")?,
        add_space_prefix: header.flag("tokenizer.ggml.add_space_prefix")?,
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        unknown: id("tokenizer.ggml.unknown_token_id")?,
        padding: id("tokenizer.ggml.padding_token_id")?,
        chat_template: if wrong { Some(BITNET_TEMPLATE.to_owned()) } else { template.map(str::to_owned) },
    }))
}
