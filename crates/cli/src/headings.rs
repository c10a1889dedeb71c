//! Headings of `--help`. Every verb shows arguments and its own options first, then these, in this order, then examples.

/// Which model runs, and how its files are read.
pub const MODEL: &str = "Model";
/// Address and names of a server, and HTTPS.
pub const NETWORK: &str = "Network";
/// Clients that may use a server.
pub const ACCESS: &str = "Access";
/// Limits for requests.
pub const LIMITS: &str = "Limits";
/// Threads, context, and how a model is computed.
pub const COMPUTING: &str = "Computing";
/// How the next token is drawn.
pub const SAMPLING: &str = "Sampling";
/// What an answer must look like.
pub const FORM: &str = "Form of the answer";
/// A model that is written to a file.
pub const FILE: &str = "Written file";
/// Size of a model to be trained.
pub const SIZE: &str = "Size of a new model (7.3 million weights by default)";
/// Steps of a training run.
pub const LENGTH: &str = "Length of the run";
/// How a training run learns.
pub const RECIPE: &str = "Recipe (defaults are for new models of some millions of weights)";
