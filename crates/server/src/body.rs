//! Bodies of requests: JSON of the type that the endpoint takes. Errors name the field.

use std::borrow::Cow;
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

/// How long a client may take to send a body.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The body of a request, read as JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let json = may_be_json(request.headers());
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
        parse(&bytes).map(Self)
    }
}

/// Whether the body counts as JSON by its headers. Programs may leave out the content type; web pages, which send an origin,
/// may not.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return !headers.contains_key(header::ORIGIN) };
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
        let Body::<Map<String, Value>>(fields) = Body::from_request(request, state).await?;
        let (sampling, request) =
            fields.into_iter().partition(|(name, _)| SamplingParams::FIELDS.contains(&name.as_str()));
        Ok(Self { request: typed(Value::Object(request))?, sampling: typed(Value::Object(sampling))? })
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

/// Fields whose objects may come from a server's answers, with the nulls that these have.
const HISTORY: [&str; 2] = ["messages", "input"];

/// Parses JSON. A field that is null counts as left out, also in messages.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut value: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(format!("the request is not valid JSON: {error}")))?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
        for name in HISTORY {
            let list = fields.get_mut(name).and_then(Value::as_array_mut);
            for message in list.into_iter().flatten().filter_map(Value::as_object_mut) {
                message.retain(|_, value| !value.is_null());
            }
        }
    }
    typed(value)
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => ApiError::invalid(error.into_inner().to_string()),
            _ => ApiError::field(path.clone(), format!("{path}: {}", error.into_inner())),
        }
    })
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

    #[test]
    fn errors_name_the_field() {
        let error = |text: &str| parse::<Thing>(text.as_bytes()).expect_err("wrong");
        assert!(error("{").message.starts_with("the request is not valid JSON"));
        let wrong = error(r#"{"list": [1, "x"]}"#);
        assert_eq!(wrong.param.as_deref(), Some("list[1]"));
        assert!(wrong.message.starts_with("list[1]: invalid type: string \"x\""), "{}", wrong.message);
        assert!(error(r#"{"lists": []}"#).message.contains("unknown field `lists`"));
        assert!(error(r#"{"list": []} {}"#).message.contains("trailing characters"));
        assert!(parse::<Thing>(br#"{"list": [], "other": null}"#).is_ok());
        let history = parse::<Value>(br#"{"input": "x", "messages": [{"a": null, "b": {"c": null}}, 1]}"#).unwrap();
        assert_eq!(history, serde_json::json!({ "input": "x", "messages": [{ "b": { "c": null } }, 1] }));
    }
}
