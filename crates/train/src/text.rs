//! Tokenizer and chat template of the trained model: from its checkpoint, from the run's directory, or trained on the
//! data.

use std::path::{Path, PathBuf};

use sterna::checkpoint::{Checkpoint, Config, TextFiles};
use sterna::text::{ChatTemplate, Tokenizer};

use crate::tokenizer::{self, Files};
use crate::{Error, Result, data};

/// Bytes of text that a tokenizer is trained on.
const SAMPLE: u64 = 20 << 20;

/// Tokenizer and template, as files and ready for use.
pub struct Text {
    /// The files to write beside the model; `None` for an adapter.
    pub files: Option<Files>,
    /// The tokenizer built from these files.
    pub tokenizer: Tokenizer,
    /// The chat template, if the model has one.
    pub template: Option<ChatTemplate>,
}

impl Text {
    fn new(path: &Path, files: Files, config: &Config) -> Result<Self> {
        let text = files.text();
        let tokenizer = Tokenizer::new(path, &text, config)?;
        let template = ChatTemplate::new(&text)?;
        Ok(Self { files: Some(files), tokenizer, template })
    }

    /// Reads them from a checkpoint of any format. They will not be written.
    ///
    /// # Errors
    /// [`Error::Sterna`] if the checkpoint's tokenizer or chat template cannot be used.
    pub fn of_base(checkpoint: &Checkpoint) -> Result<Self> {
        let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
        Ok(Self { files: None, tokenizer, template: ChatTemplate::new(checkpoint.text())? })
    }

    /// Reads them from a checkpoint, to be written beside the trained model.
    ///
    /// # Errors
    /// [`Error::Recipe`] if the checkpoint is not a Hugging Face directory, [`Error::Sterna`] if its tokenizer or chat
    /// template cannot be used.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let TextFiles::HuggingFace { tokenizer, config, chat_template } = checkpoint.text() else {
            let remedy = "pass a Hugging Face directory that has tokenizer.json";
            return Err(Error::Recipe(format!(
                "{}: has no Hugging Face tokenizer; {remedy}",
                checkpoint.path().display()
            )));
        };
        let mut settings = config.clone();
        if let (Some(template), Some(settings)) = (chat_template, settings.as_object_mut()) {
            settings.insert("chat_template".into(), template.clone().into());
        }
        Self::new(checkpoint.path(), Files { tokenizer: tokenizer.to_vec(), settings }, checkpoint.config())
    }

    /// Reads them from the directory `model`, or trains a tokenizer on the data if there is none yet. It is written
    /// with the first checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::State`] if the directory's tokenizer cannot be read, [`Error::Sterna`] if it cannot
    /// be used, [`Error::Recipe`] if the vocabulary is too small, and those of reading the data: see [`data::sample`].
    pub fn find_or_train(model: &Path, data: &[(PathBuf, f64)], config: &Config) -> Result<Self> {
        let path = model.join("tokenizer.json");
        if path.exists() {
            let read = |name: &str| std::fs::read(model.join(name)).map_err(Error::io(&path));
            let settings = serde_json::from_slice(&read("tokenizer_config.json")?);
            let settings = settings.map_err(|error| Error::State { path: path.clone(), problem: error.to_string() })?;
            return Self::new(model, Files { tokenizer: read("tokenizer.json")?, settings }, config);
        }
        let sample = data::sample(data, SAMPLE, &tokenizer::template(config.context)?)?;
        let files = tokenizer::train(&sample, config.vocab, config.context)?;
        Self::new(model, files, config)
    }
}
