//! Bodies of requests: JSON, of the type that the endpoint takes, or an error that names the field.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::error::Refusal;
use crate::sampling::Drawing;

/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a request, read as JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let json = may_be_json(request.headers());
        let bytes = timeout(PATIENCE, Bytes::from_request(request, state))
            .await
            .map_err(|_| Refusal::status(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"))?;
        let bytes = bytes.map_err(|rejection| {
            let message = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "the request is larger than this server takes".into(),
                _ => rejection.body_text(),
            };
            Refusal::status(rejection.status(), message)
        })?;
        if !json {
            let message = "send the request as JSON, with the header Content-Type: application/json";
            return Err(Refusal::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        parse(&bytes).map(Self)
    }
}

/// Whether the body is said to be JSON. Some programs say nothing of it; pages, whose requests have an origin, must.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return !headers.contains_key(header::ORIGIN) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The body of a request that also says how tokens are drawn.
pub struct Asked<T> {
    /// What is asked.
    pub request: T,
    /// The fields of [`Drawing`], which may stand beside it.
    pub drawing: Drawing,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Body::<Map<String, Value>>(fields) = Body::from_request(request, state).await?;
        let (drawing, request) = fields.into_iter().partition(|(name, _)| Drawing::FIELDS.contains(&name.as_str()));
        Ok(Self { request: typed(Value::Object(request))?, drawing: typed(Value::Object(drawing))? })
    }
}

/// Lists of objects that clients got from a server and send back.
const SENT_BACK: [&str; 2] = ["messages", "input"];

/// Reads JSON; an error names the field. A field that is null is one that is not given, also in messages.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut value: Value =
        serde_json::from_slice(bytes).map_err(|error| Refusal::invalid(format!("the request is no JSON: {error}")))?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
        for name in SENT_BACK {
            let list = fields.get_mut(name).and_then(Value::as_array_mut);
            for message in list.into_iter().flatten().filter_map(Value::as_object_mut) {
                message.retain(|_, value| !value.is_null());
            }
        }
    }
    typed(value)
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => Refusal::invalid(error.into_inner().to_string()),
            _ => Refusal::field(path.clone(), format!("{path}: {}", error.into_inner())),
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
        let refused = |text: &str| parse::<Thing>(text.as_bytes()).expect_err("wrong");
        assert!(refused("{").message.starts_with("the request is no JSON"));
        let wrong = refused(r#"{"list": [1, "x"]}"#);
        assert_eq!(wrong.param.as_deref(), Some("list[1]"));
        assert!(wrong.message.starts_with("list[1]: invalid type: string \"x\""), "{}", wrong.message);
        assert!(refused(r#"{"lists": []}"#).message.contains("unknown field `lists`"));
        assert!(refused(r#"{"list": []} {}"#).message.contains("trailing characters"));
        assert!(parse::<Thing>(br#"{"list": [], "other": null}"#).is_ok());
        let sent_back = parse::<Value>(br#"{"input": "x", "messages": [{"a": null, "b": {"c": null}}, 1]}"#).unwrap();
        assert_eq!(sent_back, serde_json::json!({ "input": "x", "messages": [{ "b": { "c": null } }, 1] }));
    }
}
