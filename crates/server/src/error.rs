//! What can go wrong: before the server runs ([`Error`]), and with a request ([`Refusal`]).

use std::path::PathBuf;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be served.
    #[error(transparent)]
    Sterna(#[from] sterna::Error),
    /// A setting that cannot be.
    #[error("{0}")]
    Settings(String),
    /// The address cannot be listened on.
    #[error("{address}: {source}; choose another --port or --host, or stop the program that uses it")]
    Listen {
        /// Address and port.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The system refuses something else.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a client is told, in OpenAI's words: <https://platform.openai.com/docs/guides/error-codes>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// "invalid_request_error", ….
    pub kind: &'static str,
    pub code: Option<&'static str>,
    /// The field of the request that is wrong.
    pub param: Option<String>,
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into() }
    }

    /// The request is wrong, and another one like it will be too.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The same, and which field it is.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// A field that this server does not have.
    pub fn unsupported(param: impl Into<String>, remedy: &str) -> Self {
        let param = param.into();
        let message = format!("{param} is not supported; {remedy}");
        Self { code: Some("unsupported_parameter"), ..Self::field(param, message) }
    }

    pub fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    pub fn model(name: &str, served: &str) -> Self {
        let message = format!("the model {name:?} does not exist here; this server has {served:?}");
        let refusal = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { code: Some("model_not_found"), param: Some("model".into()), ..refusal }
    }

    pub fn key() -> Self {
        let message = "a valid API key is needed: send it as \"Authorization: Bearer KEY\"";
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    pub fn full() -> Self {
        let message = "too many requests are waiting; try again later";
        Self {
            code: Some("rate_limit_exceeded"),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        }
    }

    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server is stopping")
    }

    pub fn late(seconds: u64) -> Self {
        let message = format!("the request took longer than {seconds} s, which is the server's limit");
        Self { code: Some("timeout"), ..Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message) }
    }

    /// OpenAI's shape, as it stands in a body or in an event.
    pub fn json(&self) -> serde_json::Value {
        let Self { kind, code, param, message, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

/// 400 for what is wrong in the request, 503 while the engine or the machine cannot serve it, otherwise 500.
impl From<sterna::Error> for Refusal {
    fn from(error: sterna::Error) -> Self {
        match error {
            sterna::Error::PromptTooLong { tokens, context } => {
                let message = format!(
                    "the prompt has {tokens} tokens, but this server's context holds {context} and the answer needs at \
                     least one; shorten it"
                );
                Self { code: Some("context_length_exceeded"), ..Self::invalid(message) }
            }
            sterna::Error::Request { problem, .. } | sterna::Error::Option { problem, .. } => Self::invalid(problem),
            error @ (sterna::Error::EngineFailed | sterna::Error::EngineStopped | sterna::Error::Resources { .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", error.to_string())
            }
            sterna::Error::Template(problem) => Self::field("messages", format!("chat template: {problem}")),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", other.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
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
        // Ollama's endpoints say it in their own way.
        response.extensions_mut().insert(self);
        response
    }
}
