//! What can go wrong, in words that say where and what to do.

use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library that runs models refuses something.
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
    /// A data file of a kind that cannot be read.
    #[error("{}: no kind of data file by its name; use .txt (one document) or .jsonl (one JSON object a line)", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// A data file has nothing to learn.
    #[error("{}: {problem}; {remedy}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A data file is no text.
    #[error("{}: line {line}, byte {byte} of the file: {problem}; save the file as UTF-8 text", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// Offset in the file, counted from 0.
        byte: u64,
        /// What stands there.
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
    /// The model's chat template cannot write a conversation, or not so that its answers can be found again.
    #[error("{}: line {line}: chat template: {problem}", path.display())]
    Template {
        /// The data file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The tokenizer has ids that the model has no embedding for.
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
    /// A checkpoint without what training needs.
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
    /// A checkpoint of a run cannot be gone on from.
    #[error("{}: {problem}; remove it to begin the run again", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The numbers of a run left what can be computed with.
    #[error(
        "training diverged: {what}; the last checkpoint is good: begin another run --from its model and lower --rate and \
             --other-rate, or raise --warm-up"
    )]
    Diverged {
        /// What is no number any more.
        what: String,
    },
    /// A recipe asks for something impossible.
    #[error("{0}")]
    Recipe(String),
    /// A saved position belongs to other data.
    #[error("the data changed since the run began: {0}; start a new run, or put the old files back")]
    Changed(String),
}

impl Error {
    /// Wraps the system's reason: `map_err(Error::io(path))`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
