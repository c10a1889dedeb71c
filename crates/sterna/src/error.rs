//! Errors of this crate. Each names the cause, the place and the remedy.
//!
//! | variants | responsible |
//! |---|---|
//! | [`Error::Request`], [`Error::PromptTooLong`], [`Error::Template`] | the author of the request |
//! | [`Error::Option`], [`Error::InstructionSet`] | the program that set the option, or its user |
//! | [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`], [`Error::Refused`] | the owner of the file |
//! | [`Error::OutOfMemory`], [`Error::Resources`] | the owner of the machine |
//! | [`Error::EngineFailed`], [`Error::EngineStopped`] | Sterna or the network: a bug |

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
    /// A file is damaged.
    #[error("{}: {place}: {problem}; {remedy}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Place in the file: a key, a tensor, an offset.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The file is well-formed, but Sterna does not support its contents.
    #[error("{}: {what} is not supported; {remedy}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format, architecture or option, by name.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// The file is well-formed, but Sterna does not support its contents, for several reasons.
    #[error("{}: does not run, for {} reasons:{}", path.display(), reasons.len(), listed(reasons))]
    Refused {
        /// The file.
        path: PathBuf,
        /// All reasons.
        reasons: Vec<Reason>,
    },
    /// The model does not fit into memory.
    #[error("{}: needs about {need_mib} MiB of memory, but {available_mib} MiB are available; {remedy}", path.display())]
    OutOfMemory {
        /// The model's file.
        path: PathBuf,
        /// Memory needed for loading.
        need_mib: u64,
        /// Memory available on the machine.
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
    /// A field of a request has an impossible value.
    #[error("{problem}")]
    Request {
        /// Name of the field in [`engine::Request`](crate::engine::Request) or
        /// [`engine::Sampling`](crate::engine::Sampling), or of the function's argument.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An option for loading, evaluating or converting does not fit the model.
    #[error("{problem}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with it, and the possible values.
        problem: String,
    },
    /// The operating system refused a resource, such as a thread.
    #[error("{problem}")]
    Resources {
        /// What was refused, and why.
        problem: String,
    },
    /// The engine panicked while it computed this request. The running requests fail, and the engine restarts.
    #[error(
        "the engine failed while it computed this request, for a reason that it wrote to stderr; it has started anew, \
             so the request can be sent again"
    )]
    EngineFailed,
    /// The engine has stopped permanently: it panicked and could not restart.
    #[error("the engine stopped after an internal error, which it wrote to stderr; load the model again")]
    EngineStopped,
    /// `STERNA_ISA` does not name a usable instruction set.
    #[error("STERNA_ISA: {0}")]
    InstructionSet(#[from] sterna_kernels::sets::UnknownSet),
}

/// One of several reasons why a file is not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The format, architecture or option, by name.
    pub what: String,
    /// What the user can do.
    pub remedy: String,
}

/// The reasons, each as a line.
fn listed(reasons: &[Reason]) -> String {
    reasons.iter().map(|Reason { what, remedy }| format!("\n- {what} is not supported; {remedy}")).collect()
}

impl Error {
    /// An error about the file or directory `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source: sterna_kernels::limits::explained(source).into() }
    }

    /// An error about the field `field` of a request.
    pub fn request(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Request { field, problem: problem.into() }
    }

    /// An error about the option `option`.
    pub fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}
