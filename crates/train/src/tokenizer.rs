//! Trains the tokenizer of a new model: byte-level byte-pair encoding.
//!
//! ```text
//! 0, 1, 2     <|begin_of_text|>  <|end_of_text|>  <|eot_id|>
//! 3 … 258     the 256 bytes
//! 259 …       merges, most frequent first
//! ```

use std::path::Path;

use serde_json::{Value, json};
use sterna::checkpoint::TextFiles;
use sterna::checkpoint::whole::write_whole;
use sterna::text::ChatTemplate;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
    TokenizerImpl,
};

use crate::{Error, Result};

/// Begins every sequence; id 0.
pub const BEGIN: &str = "<|begin_of_text|>";
/// Ends a document; id 1.
pub const END: &str = "<|end_of_text|>";
/// Ends a turn of a conversation; id 2.
pub const END_OF_TURN: &str = "<|eot_id|>";
/// Smallest vocabulary: the special tokens and the bytes, without merges.
pub const FEWEST: usize = 3 + 256;

/// The word pattern of Qwen 2, for which GGUF has a name. Digits are separate tokens: this makes sums easier for a
/// small model.
const WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Roles and turns as in BitNet b1.58 2B4T's template, with two differences. BOS is part of it. A line break follows
/// the role: it forms one word with the colon, so an earlier answer in a prompt has the same tokens that the model
/// generated and learned. After "Assistant: " the model would generate "Hello", but read " Hello" later.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}\
    {{ m['role'] | capitalize + ':\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}";

type Pipeline = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The files of a new model's tokenizer.
#[derive(Clone, Debug)]
pub struct Files {
    /// `tokenizer.json`
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`, with the chat template.
    pub settings: Value,
}

impl Files {
    /// The files in the form in which a checkpoint holds them.
    pub fn text(&self) -> TextFiles {
        let (tokenizer, config) = (self.tokenizer.clone().into(), self.settings.clone());
        TextFiles::HuggingFace { tokenizer, config, chat_template: None }
    }

    /// Writes both files into a model's directory, each atomically. Creates the directory if necessary.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be made, [`Error::Sterna`] if a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(Error::io(directory))?;
        let settings = format!("{:#}\n", self.settings);
        // The tokenizer is written last: if it exists, both files exist.
        let files = [("tokenizer_config.json", settings.as_bytes()), ("tokenizer.json", &self.tokenizer[..])];
        for (name, bytes) in files {
            write_whole(&directory.join(name), &[bytes])?;
        }
        Ok(())
    }
}

/// `tokenizer_config.json` of a new model with a context of `context` tokens.
pub fn settings(context: usize) -> Value {
    json!({
        "bos_token": BEGIN,
        "eos_token": END,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": false,
        "chat_template": TEMPLATE,
    })
}

/// The chat template of a new model.
///
/// # Errors
/// [`Error::Sterna`] if the template cannot be compiled, which a test rules out.
pub fn template(context: usize) -> Result<ChatTemplate> {
    let text = Files { tokenizer: Vec::new(), settings: settings(context) }.text();
    ChatTemplate::new(&text)?.ok_or_else(|| Error::Recipe("a new model has no chat template".into()))
}

/// Trains a vocabulary of at most `vocab` tokens on texts. It has fewer tokens if the texts have fewer pairs that occur
/// twice. The result does not depend on the number of threads. 20 MB of text take about 6 s of one core.
///
/// # Errors
/// [`Error::Recipe`] if `vocab` has no room for the bytes.
pub fn train(texts: &[String], vocab: usize, context: usize) -> Result<Files> {
    if vocab < FEWEST {
        let problem = format!("a vocabulary of {vocab} tokens cannot hold the 256 bytes and 3 special tokens");
        return Err(Error::Recipe(format!("{problem}; use {FEWEST} or more")));
    }
    let tokenizer = learn(texts, vocab).and_then(|pipeline| pipeline.to_string(false));
    let tokenizer = tokenizer.map_err(|error| Error::Recipe(format!("the tokenizer cannot be trained: {error}")))?;
    Ok(Files { tokenizer: tokenizer.into_bytes(), settings: settings(context) })
}

fn learn(texts: &[String], vocab: usize) -> tokenizers::Result<Pipeline> {
    let isolated = |pattern| Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    let bytes = ByteLevel::new(false, true, false);
    let steps = [isolated(SplitPattern::Regex(WORDS.into()))?.into(), PreTokenizerWrapper::ByteLevel(bytes)];
    let processor = TemplateProcessing::builder()
        .try_single(format!("{BEGIN} $A"))?
        .try_pair(format!("{BEGIN} $A $B:0"))?
        .special_tokens(vec![(BEGIN, 0)])
        .build()?;
    let mut pipeline = Pipeline::new(BPE::default());
    pipeline.with_pre_tokenizer(Some(Sequence::new(steps.into())));
    pipeline.with_post_processor(Some(processor)).with_decoder(Some(bytes));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens([BEGIN, END, END_OF_TURN].map(|token| AddedToken::from(token, true)).into())
        .build();
    pipeline.train(&mut trainer, texts.iter().flat_map(|text| plain(text)))?;
    Ok(pipeline)
}

/// Splits text at special tokens, which the trainer would treat as words.
fn plain(text: &str) -> impl Iterator<Item = &str> {
    let texts = text.split(BEGIN).flat_map(|text| text.split(END));
    texts.flat_map(|text| text.split(END_OF_TURN)).filter(|text| !text.is_empty())
}
