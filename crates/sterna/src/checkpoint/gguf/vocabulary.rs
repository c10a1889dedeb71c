//! `tokenizer.ggml.*`: the vocabulary inside a GGUF file.

use super::Header;
use crate::Result;
use crate::arch::{MAX_VOCAB, TemplateCorrection};
use crate::checkpoint::{GgufVocabulary, TextFiles};

/// Most merges: a token can have several.
const MAX_MERGES: usize = 8 * MAX_VOCAB;

/// Reads the vocabulary. The tokenizer checks later whether it is consistent and fits the model.
pub(super) fn read(header: &Header, correction: Option<TemplateCorrection>) -> Result<TextFiles> {
    let id = |key: &str| header.token_id(key);
    let Some(tokens) = header.texts("tokenizer.ggml.tokens", MAX_VOCAB)? else { return Ok(TextFiles::None) };
    let scores = header.words("tokenizer.ggml.scores", &[6], MAX_VOCAB)?.unwrap_or_default();
    let types = header.words("tokenizer.ggml.token_type", &[4, 5], MAX_VOCAB)?.unwrap_or_default();
    for (key, len) in [("tokenizer.ggml.scores", scores.len()), ("tokenizer.ggml.token_type", types.len())] {
        if len != 0 && len != tokens.len() {
            return Err(header.bad(key, format!("{len} values for {} tokens", tokens.len())));
        }
    }
    let template = header.text("tokenizer.chat_template")?;
    let correction = correction.filter(|known| template.is_some_and(|template| template.contains(known.wrong)));
    Ok(TextFiles::Gguf(GgufVocabulary {
        model: header.text("tokenizer.ggml.model")?.unwrap_or_default().to_owned(),
        pre: header.text("tokenizer.ggml.pre")?.map(str::to_owned),
        tokens,
        scores: scores.into_iter().map(f32::from_bits).collect(),
        types: types.into_iter().map(u32::cast_signed).collect(),
        merges: header.texts("tokenizer.ggml.merges", MAX_MERGES)?.unwrap_or_default(),
        add_bos: header.flag("tokenizer.ggml.add_bos_token")?,
        add_eos: header.flag("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: header.flag("tokenizer.ggml.add_space_prefix")?,
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        unknown: id("tokenizer.ggml.unknown_token_id")?,
        padding: id("tokenizer.ggml.padding_token_id")?,
        chat_template: correction.map(|known| known.right).or(template).map(str::to_owned),
    }))
}
