//! Errors: why a server cannot start ([`Error`]), and why a request gets no answer ([`ApiError`]).

use std::path::PathBuf;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be served.
    #[error(transparent)]
    Sterna(#[from] sterna::Error),
    /// A setting has a value that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The server cannot listen on its address.
    #[error("{address}: {source}; choose another --port or --host, or stop the program that uses it")]
    Listen {
        /// Address and port.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The TLS certificate or its key cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what it should hold.
        problem: String,
    },
    /// The folder of models cannot be read.
    #[error("{}: {source}; --models takes a folder with models", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another error of the operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// An error that a client gets, with the fields of OpenAI's errors: <https://platform.openai.com/docs/guides/error-codes>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    /// OpenAI's `type`: "invalid_request_error", "server_error", ….
    pub kind: &'static str,
    pub code: Option<&'static str>,
    /// The field of the request that is wrong.
    pub param: Option<String>,
    pub message: String,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into() }
    }

    /// 400: the request is wrong, and fails again if it is repeated.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400: the field `param` of the request is wrong.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// 400: the field `param` asks for something that this server cannot do.
    pub fn unsupported(param: impl Into<String>, remedy: &str) -> Self {
        let param = param.into();
        let message = format!("{param} is not supported; {remedy}");
        Self { code: Some("unsupported_parameter"), ..Self::field(param, message) }
    }

    /// Another HTTP status that the request causes.
    pub fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// 404: the request names a model that is not among those `served`.
    pub fn model(name: &str, served: &[&str]) -> Self {
        let message = format!("the model {name:?} does not exist here; this server has {}", listed(served));
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { code: Some("model_not_found"), param: Some("model".into()), ..error }
    }

    /// 400: the model `name` has no head, and cannot write text.
    pub fn no_head(name: &str) -> Self {
        let message =
            format!("the model {name:?} only embeds texts and writes none; use /v1/embeddings, or name another model");
        Self::field("model", message)
    }

    /// 400: a prompt of `tokens`, of which the descriptions of `functions` take `share`, does not fit into the context.
    pub fn tools(tokens: usize, share: usize, functions: usize, context: usize) -> Self {
        let (tools, takes) = if functions == 1 { ("tool", "takes") } else { ("tools", "take") };
        let message = format!(
            "{functions} {tools} {takes} {share} of {tokens} tokens of the prompt, but this server's context holds \
             {context} and the answer needs at least one; send fewer tools, or shorter descriptions"
        );
        Self { code: Some("context_length_exceeded"), ..Self::field("tools", message) }
    }

    /// 503: the server shut down before the answer was finished.
    pub fn shut_down() -> Self {
        Self::unavailable("the server shut down before the answer was finished; send the request again")
    }

    /// 400: the request names none of the models `served`, and there is no default.
    pub fn no_model(served: &[&str]) -> Self {
        Self::field("model", format!("model is missing; this server has {}", listed(served)))
    }

    /// 503: a model needs `need` bytes of memory, and models with running requests (`busy`) leave it `free`.
    pub fn no_memory(name: &str, (need, free): (u64, u64), busy: &[&str]) -> Self {
        let (need, free) = (need.div_ceil(1 << 20), free >> 20);
        let needed = format!("the model {name:?} needs about {need} MiB of memory, but {free} MiB are free");
        Self::unavailable(match busy {
            [] => format!("{needed}; free some memory of the machine, or start the server with a larger --memory"),
            _ => format!("{needed} beside the models that answer requests ({}); try again later", listed(busy)),
        })
    }

    /// A model could not be loaded: 503 if the machine lacks something, otherwise 500. The log has the cause with its path.
    pub fn load(name: &str, error: &sterna::Error) -> Self {
        let message = format!("the model {name:?} could not be loaded; the server's log says why");
        match error {
            sterna::Error::Resources { .. } | sterna::Error::OutOfMemory { .. } => Self::unavailable(message),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message),
        }
    }

    /// 401: the API key is missing or wrong.
    pub fn key() -> Self {
        let message = "a valid API key is needed: send it as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\"";
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    /// 429: the queue is full.
    pub fn full() -> Self {
        let message = "too many requests are waiting; try again later";
        Self {
            code: Some("rate_limit_exceeded"),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        }
    }

    /// 503: the server or its engine cannot answer now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    /// 501: no model here ranks texts.
    pub fn no_ranks() -> Self {
        let message = "the models of this server give no ranks; compare embeddings of /v1/embeddings instead";
        let error = Self::new(StatusCode::NOT_IMPLEMENTED, "not_supported_error", message);
        Self { code: Some("not_implemented"), ..error }
    }

    /// 504: the request ran into the time limit.
    pub fn timeout(seconds: u64) -> Self {
        let message = format!("the request took longer than {seconds} s, which is the server's limit");
        Self { code: Some("timeout"), ..Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message) }
    }

    /// 500: a bug of the server.
    pub fn internal() -> Self {
        let message = "the server failed while it handled this request; its stderr says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The error with the client's name of the field: `names` holds pairs of the engine's name and the client's.
    pub fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        if let Some((engine, client)) = names.iter().find(|(engine, _)| self.param.as_deref() == Some(engine)) {
            if let Some(rest) = self.message.strip_prefix(engine) {
                self.message = format!("{client}{rest}");
            }
            self.param = Some((*client).into());
        }
        self
    }

    /// The error in OpenAI's shape, for a body or an event of a stream.
    pub fn json(&self) -> Value {
        let Self { kind, code, param, message, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

/// Names for a message, at most 20.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 20;
    let shown = names.iter().take(MOST).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

/// 400 for what is wrong in the request, 503 while the engine or the machine cannot serve it, 500 for the rest.
impl From<sterna::Error> for ApiError {
    fn from(error: sterna::Error) -> Self {
        match error {
            sterna::Error::PromptTooLong { tokens, context } => {
                let message = format!(
                    "the prompt has {tokens} tokens, but this server's context holds {context} and the answer needs at \
                     least one; shorten it"
                );
                Self { code: Some("context_length_exceeded"), ..Self::invalid(message) }
            }
            // The sink is the server's own.
            sterna::Error::Request { field: "sink", .. } => Self::internal(),
            sterna::Error::Request { field, problem } => Self::field(field, problem),
            sterna::Error::Template(problem) => Self::field("messages", format!("chat template: {problem}")),
            sterna::Error::EngineFailed => Self::unavailable(
                "the engine failed while it computed this request, and has started anew; send it again",
            ),
            sterna::Error::EngineStopped => {
                Self::unavailable("the engine stopped after an internal error; the server must be started again")
            }
            error @ (sterna::Error::Resources { .. } | sterna::Error::OutOfMemory { .. }) => {
                Self::unavailable(error.to_string())
            }
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        // The endpoint replaces the body if its API has errors of another shape.
        response.extensions_mut().insert(self);
        response
    }
}
