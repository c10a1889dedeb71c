//! Errors of this crate: whose they are, where the problem is, and what to do about it.
//!
//! | variants | who can mend it |
//! |---|---|
//! | [`Error::Request`], [`Error::PromptTooLong`], [`Error::Template`] | the author of the request |
//! | [`Error::Option`], [`Error::InstructionSet`] | the program that set the option, or its user |
//! | [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`] | the owner of the file |
//! | [`Error::OutOfMemory`], [`Error::Resources`] | the owner of the machine |
//! | [`Error::EngineFailed`], [`Error::EngineStopped`] | nobody outside: a bug of Sterna or of a network |

use std::path::PathBuf;
use std::sync::Arc;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<std::io::Error>,
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
    /// A field of a request asks for something impossible.
    #[error("{problem}")]
    Request {
        /// The field, by its name in [`engine::Request`](crate::engine::Request) or
        /// [`engine::Sampling`](crate::engine::Sampling), or the argument of the function that was called.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An option of loading, evaluating or converting does not suit the model.
    #[error("{problem}")]
    Option {
        /// The option, by its name in the struct of options.
        option: &'static str,
        /// What is wrong with it, and what can be chosen instead.
        problem: String,
    },
    /// The operating system refused something that the work needs, such as a thread.
    #[error("{problem}")]
    Resources {
        /// What was refused, and why.
        problem: String,
    },
    /// The engine panicked while it computed this request. It drops what was running, starts anew and serves on.
    #[error(
        "the engine failed while it computed this request, for a reason that it wrote to stderr; it has started anew, \
             so the request can be sent again"
    )]
    EngineFailed,
    /// The engine has ended for good: it panicked, and could not start anew.
    #[error("the engine stopped after an internal error, which it wrote to stderr; load the model again")]
    EngineStopped,
    /// `STERNA_ISA` names no usable instruction set.
    #[error("STERNA_ISA: {0}")]
    InstructionSet(#[from] sterna_kernels::sets::UnknownSet),
}

impl Error {
    /// An error of the file or directory `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }

    /// An error of the field `field` of a request.
    pub fn request(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Request { field, problem: problem.into() }
    }

    /// An error of the option `option`.
    pub fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}
