//! What a server knows of a model without its weights.

use sterna::checkpoint::{Checkpoint, Config, TextFiles};
use sterna::engine::{Engine, EngineBuilder};
use sterna::text::ChatTemplate;

/// A model's name, dimensions and sizes, known whether or not it is in memory.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name in the API.
    pub name: String,
    /// Dimensions.
    pub config: Config,
    /// Format of the checkpoint; `None` for an engine made from parts.
    pub format: Option<&'static str>,
    /// Context length in use, in positions.
    pub context: usize,
    /// Whether the model has a chat template.
    pub chats: bool,
    /// Bytes of the weights.
    pub weights: u64,
    /// About how many bytes of memory the loaded model takes, with its key/value cache.
    pub memory: u64,
}

impl Description {
    /// The description of a loaded model.
    pub fn of_engine(name: String, engine: &Engine) -> Self {
        let weights = engine.network().weights();
        let weights = (weights.body_bytes + weights.head_bytes) as u64;
        Self {
            name,
            config: engine.config().clone(),
            format: engine.format(),
            context: engine.context(),
            chats: engine.template().is_ok(),
            weights,
            memory: engine.memory_needed().unwrap_or(weights),
        }
    }

    /// The description of a checkpoint, for an engine with these options.
    ///
    /// # Errors
    /// For a context that the model does not support, and a checkpoint without a tokenizer.
    pub fn of_checkpoint(name: String, checkpoint: &Checkpoint, builder: &EngineBuilder) -> sterna::Result<Self> {
        let config = checkpoint.config().clone();
        let context = builder.positions(&config)?;
        if matches!(checkpoint.text(), TextFiles::None) {
            return Err(sterna::Error::Unsupported {
                path: checkpoint.path().into(),
                what: "a model without a tokenizer".into(),
                remedy: "put its tokenizer.json into the directory".into(),
            });
        }
        let weights = checkpoint.summary().groups.iter().map(|group| group.bytes).sum();
        Ok(Self {
            name,
            format: Some(checkpoint.format()),
            context,
            chats: matches!(ChatTemplate::new(checkpoint.text()), Ok(Some(_))),
            weights,
            memory: checkpoint.memory_needed(context.saturating_mul(builder.sequences.max(1)), builder.kv),
            config,
        })
    }
}
