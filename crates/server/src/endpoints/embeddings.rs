//! `/v1/embeddings`: vectors of texts.
//!
//! Source: <https://platform.openai.com/docs/api-reference/embeddings>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Endpoint;
use crate::app::App;
use crate::body::Body;
use crate::embedding::{Embedding, Embeddings, Input};
use crate::error::ApiError;

pub static ENDPOINTS: &[Endpoint] =
    &[Endpoint::post::<EmbeddingRequest>("/v1/embeddings", "Turns texts into vectors", || post(embed))];

/// Texts, and what their vectors look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingRequest {
    /// The texts: one or a list, each as text or as token ids; at most 2048. Token ids are taken as given.
    input: Input,
    /// Name of the model. Default: the default model.
    model: Option<String>,
    /// Numbers of each vector, from the front; the vector then has length 1 again. At most the model's own number.
    /// Default: all.
    dimensions: Option<usize>,
    /// Form of each vector: a list of numbers, or base64 of the bytes of 32-bit numbers, little-endian. Default: "float".
    encoding_format: Option<Encoding>,
}

/// The form of a vector.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Base64 of the bytes of 32-bit numbers, little-endian.
    Base64,
}

/// The answer.
#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Value,
}

/// One vector.
#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

async fn embed(State(app): State<Arc<App>>, Body(request): Body<EmbeddingRequest>) -> Result<Response, ApiError> {
    let EmbeddingRequest { input, model, dimensions, encoding_format } = request;
    let model = app.model(model.as_deref()).await?;
    let embedding = Embedding { model: model.clone(), input, field: "input", dimensions, truncate: false };
    let Embeddings { vectors, tokens } = embedding.compute(&app).await?;
    let vector = |values: Vec<f32>| match encoding_format.unwrap_or_default() {
        Encoding::Float => Vector::Floats(values),
        Encoding::Base64 => Vector::Base64(base64(&values)),
    };
    let item = |(index, values)| Item { object: "embedding", index, embedding: vector(values) };
    let list = List {
        object: "list",
        data: vectors.into_iter().enumerate().map(item).collect(),
        model: model.name(),
        usage: json!({ "prompt_tokens": tokens, "total_tokens": tokens }),
    };
    Ok(Json(list).into_response())
}

/// The bytes of numbers in base64 with padding (RFC 4648, section 4).
fn base64(values: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, i| group << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let letter = char::from(LETTERS[(group >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= three.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python: base64.b64encode(struct.pack("<2f", 1.5, -2.0)).
    #[test]
    fn numbers_become_base64() {
        assert_eq!(base64(&[1.5, -2.0]), "AADAPwAAAMA=");
        assert_eq!(base64(&[1.5, -2.0, f32::from_bits(0xfffe_fdfc)]), "AADAPwAAAMD8/f7/");
        assert_eq!(base64(&[1.5]), "AADAPw==");
    }
}
