//! What can go wrong, in words that say where and what to do.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is damaged or contradicts itself.
    #[error("{}: {place}: {problem}; {remedy}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it: a key, a tensor, an offset.
        place: String,
        /// What is wrong.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The file is well-formed, but Sterna does not run this.
    #[error("{}: {what} is not supported; {remedy}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format, architecture or option, by name.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// The model does not fit into memory.
    #[error("{}: needs about {need_mib} MiB of memory, but {available_mib} MiB are available; {remedy}", path.display())]
    OutOfMemory {
        /// The model.
        path: PathBuf,
        /// What loading it would take.
        need_mib: u64,
        /// What the machine has left.
        available_mib: u64,
        /// What the user can do.
        remedy: String,
    },
    /// The prompt does not fit into the context.
    #[error(
        "the prompt has {tokens} tokens, but the context holds {context} and the answer needs at least one; \
             shorten it, raise --ctx, or pass --truncate to drop the oldest tokens"
    )]
    PromptTooLong {
        /// Tokens in the prompt.
        tokens: usize,
        /// Tokens the context holds.
        context: usize,
    },
    /// A chat template could not be rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// A request asks for something impossible.
    #[error("{0}")]
    Request(String),
    /// `STERNA_ISA` names no usable instruction set.
    #[error("STERNA_ISA: {0}")]
    InstructionSet(#[from] sterna_kernels::sets::UnknownSet),
}
