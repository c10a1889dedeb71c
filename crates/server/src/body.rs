//! Bodies of requests: JSON of the type that the endpoint takes. Errors name the field.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::sampling::SamplingParams;
use crate::{fields, shape};

/// How long a client may take to send a body.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The body of a request, read as JSON.
pub struct Body<T>(pub T);

/// What an endpoint expects of its body, and what it ignored of one. A request carries it as an extension.
#[derive(Debug, Default)]
pub struct Expected {
    /// Path of the endpoint.
    pub path: &'static str,
    /// JSON schema of the body, without references.
    pub schema: Arc<Value>,
    /// Whether an unknown field is an error.
    pub strict: bool,
    ignored: Mutex<Vec<String>>,
}

impl Expected {
    /// The expectation of a new request.
    pub fn new(path: &'static str, schema: Arc<Value>, strict: bool) -> Self {
        Self { path, schema, strict, ignored: Mutex::default() }
    }

    /// The paths of the fields that were ignored.
    pub fn ignored(&self) -> Vec<String> {
        std::mem::take(&mut self.ignored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Parses a body, and brings it into the shape of the endpoint's type.
    fn parse(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        // Windows' editors and shells begin a file with a byte order mark.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut value: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::invalid(format!("the request is not valid JSON: {error}")))?;
        fields::apply(self.path, &mut value)?;
        let unknown = shape::reshape(&mut value, &self.schema);
        if let (true, Some(name)) = (self.strict, unknown.first()) {
            let known: Vec<&str> =
                self.schema["properties"].as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
            let message = match name.contains(['.', '[']) {
                true => format!("unknown field `{name}`"),
                false => format!("unknown field `{name}`, expected one of `{}`", known.join("`, `")),
            };
            return Err(ApiError::field(name.clone(), message));
        }
        *self.ignored.lock().unwrap_or_else(PoisonError::into_inner) = unknown;
        Ok(value)
    }

    /// Reads a value, whose shape is that of the endpoint's type or a part of it.
    fn typed<T: DeserializeOwned>(&self, value: Value) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&value).map_err(|error| {
            let (path, message) = (error.path().to_string(), error.into_inner().to_string());
            let place =
                if message.contains("untagged enum") { shape::mismatch(&value, &self.schema, "") } else { None };
            let (path, message) = place.unwrap_or((path, message));
            match path.as_str() {
                "." | "" => ApiError::invalid(message),
                _ => ApiError::field(path.clone(), format!("{path}: {message}")),
            }
        })
    }
}

/// Reads the body of a request as JSON.
async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<(Value, Arc<Expected>), ApiError> {
    let expected = request.extensions().get::<Arc<Expected>>().cloned().unwrap_or_default();
    let json = may_be_json(expected.path, request.headers());
    refuse_encoding(request.headers())?;
    let bytes = timeout(TIMEOUT, Bytes::from_request(request, state))
        .await
        .map_err(|_| ApiError::status(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time"))?;
    let bytes = bytes.map_err(|rejection| {
        let message = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "the request is larger than this server accepts".into(),
            _ => rejection.body_text(),
        };
        ApiError::status(rejection.status(), message)
    })?;
    if !json {
        let message = "send the request as JSON, with the header Content-Type: application/json";
        return Err(ApiError::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let value = expected.parse(&bytes)?;
    Ok((value, expected))
}

/// Refuses compressed bodies: 415, as in RFC 9110, section 15.5.16.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut encodings = encodings.flat_map(|value| value.split(',')).map(str::trim);
    match encodings.find(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(name) => {
            let name = name.escape_default();
            let message =
                format!("the body is compressed (Content-Encoding: {name}); send it without a content encoding");
            Err(ApiError::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (value, expected) = read(request, state).await?;
        expected.typed(value).map(Self)
    }
}

/// Whether the body counts as JSON by its headers. Programs may leave out the content type. On Ollama's paths they may send
/// any: `curl -d` calls every body a form. Web pages may not, which send an origin or say that they are of another site.
fn may_be_json(path: &str, headers: &HeaderMap) -> bool {
    let cross_site =
        headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    let program = !headers.contains_key(header::ORIGIN) && !cross_site;
    let Some(kind) = headers.get(header::CONTENT_TYPE).filter(|_| !(program && path.starts_with("/api/"))) else {
        return program;
    };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The body of a request whose object also holds the sampling parameters.
pub struct SampledBody<T> {
    /// The other fields.
    pub request: T,
    pub sampling: SamplingParams,
}

impl<T: JsonSchema> JsonSchema for SampledBody<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let mut sampling = SamplingParams::json_schema(generator);
        if let (Some(Value::Object(fields)), Some(Value::Object(more))) =
            (schema.get_mut("properties"), sampling.get_mut("properties"))
        {
            fields.append(more);
        }
        schema
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for SampledBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (value, expected) = read(request, state).await?;
        let fields: Map<String, Value> = expected.typed(value)?;
        let (sampling, request) =
            fields.into_iter().partition(|(name, _)| SamplingParams::FIELDS.contains(&name.as_str()));
        Ok(Self {
            request: expected.typed(Value::Object(request))?,
            sampling: expected.typed(Value::Object(sampling))?,
        })
    }
}

/// Checks OpenAI's field `store`.
///
/// # Errors
/// 400 if the answer is to be stored: this server stores none.
pub fn refuse_store(store: Option<bool>) -> Result<(), ApiError> {
    match store {
        Some(true) => Err(ApiError::unsupported("store", "leave it out: answers are never stored")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[allow(dead_code, reason = "only read")]
        list: Vec<u32>,
    }

    fn read(text: &[u8]) -> Result<Thing, ApiError> {
        let expected = Expected::default();
        expected.typed(expected.parse(text)?)
    }

    #[test]
    fn errors_name_the_field() {
        let error = |text: &str| read(text.as_bytes()).expect_err("wrong");
        assert!(error("{").message.starts_with("the request is not valid JSON"));
        let wrong = error(r#"{"list": [1, "x"]}"#);
        assert_eq!(wrong.param.as_deref(), Some("list[1]"));
        assert!(wrong.message.starts_with("list[1]: invalid type: string \"x\""), "{}", wrong.message);
        assert!(error(r#"{"list": []} {}"#).message.contains("trailing characters"));
        assert!(read("\u{feff}{\"list\": []}".as_bytes()).is_ok(), "a byte order mark");
        assert!(error("\u{feff}\u{feff}{}").message.starts_with("the request is not valid JSON"));
    }

    #[test]
    fn compressed_bodies_are_named() {
        let refused = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, header::HeaderValue::from_static(value))]);
            refuse_encoding(&headers).err().map(|error| (error.status.as_u16(), error.message))
        };
        assert_eq!(refused("identity"), None);
        assert_eq!(refused(""), None);
        for name in ["gzip", "zstd", "identity, br"] {
            let (status, message) = refused(name).expect("refused");
            assert!(status == 415 && message.contains(name.rsplit(' ').next().expect("a name")), "{message}");
        }
    }
}
