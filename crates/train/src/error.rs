//! Errors of this crate. Each text gives the place and the remedy.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the `sterna` library.
    #[error(transparent)]
    Sterna(#[from] sterna::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A data file with an unknown extension.
    #[error("{}: unknown kind of data file; use .txt (one document) or .jsonl (one JSON object per line)", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// A data file without targets.
    #[error("{}: {problem}; {remedy}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A data file is not text.
    #[error("{}: line {line}, byte {byte} of the file: {problem}; save the file as UTF-8 text", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// Offset in the file, counted from 0.
        byte: u64,
        /// The invalid content.
        problem: String,
    },
    /// A line of a data file cannot be used.
    #[error("{}: line {line}: {problem}; {remedy}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The model's chat template cannot render a conversation, or the answers cannot be found in the rendered text.
    #[error("{}: line {line}: chat template: {problem}", path.display())]
    Template {
        /// The data file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The tokenizer has ids beyond the model's embedding.
    #[error(
        "the tokenizer has {tokens} tokens, but the model's vocabulary has {vocab}; use the model's own tokenizer, \
             or train one for this vocabulary"
    )]
    Vocabulary {
        /// One more than the tokenizer's highest id.
        tokens: usize,
        /// Rows of the model's embedding.
        vocab: usize,
    },
    /// A checkpoint lacks a tensor that training needs.
    #[error(
        "{}: has no full-precision weights for `{name}`, only trits; use the model's master weights (Microsoft's \
             are in bitnet-b1.58-2B-4T-bf16), or train an adapter with --adapter", path.display()
    )]
    Latents {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A matrix with scales per row or group, which the gradient of an adapter does not support.
    #[error(
        "{}: `{name}` has several scales, and adapters are trained on models with one scale per matrix; use such a model",
        path.display()
    )]
    SeveralScales {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A run cannot resume from its checkpoint.
    #[error("{}: {problem}; remove it to restart the run", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Training diverged: a loss, gradient or weight is not finite.
    #[error(
        "training diverged: {what}; the last checkpoint is good: start another run --from its model and lower --rate and \
             --other-rate, or raise --warm-up"
    )]
    Diverged {
        /// The value that is not finite.
        what: String,
    },
    /// A recipe has an invalid value.
    #[error("{0}")]
    Recipe(String),
    /// The data of a run changed since it started.
    #[error("the data changed since the run began: {0}; start a new run, or put the old files back")]
    Changed(String),
}

impl Error {
    /// Wraps an I/O error: `map_err(Error::io(path))`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source: sterna::kernels::limits::explained(source) }
    }
}
