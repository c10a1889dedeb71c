//! `/api/generate`: one answer to a text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna::engine::Request;

use super::{Options, Shape, form, loaded, no_images, no_thoughts, streamed, whole};
use crate::app::App;
use crate::body::Body;
use crate::endpoints::{Answer, Endpoint};
use crate::error::Refusal;
use crate::prompt::{self, Content, Message, Role};
use crate::tools::{Call, Toolbox};
use crate::turn::Turn;

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/api/generate",
    method: "post",
    summary: "One answer to a text",
    request: Some(|schemas| schemas.subschema_for::<Generate>()),
    answer: Answer::or_events("application/x-ndjson"),
    route: || post(generate),
};

/// A text, and what its answer shall be like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// The server's model.
    model: String,
    /// The text. Without one the model is said to be loaded.
    #[serde(default)]
    prompt: String,
    /// Instructions that stand before it.
    #[serde(default)]
    system: String,
    /// Whether the text goes to the model as it is, without its chat template.
    raw: Option<bool>,
    /// "json", or a JSON schema of the answer.
    #[serde(default)]
    format: Option<Value>,
    /// How tokens are drawn.
    #[serde(default)]
    options: Option<Options>,
    /// Whether the answer comes in pieces; it does if this is not given.
    stream: Option<bool>,
    /// These models see none.
    #[serde(default)]
    images: Vec<String>,
    /// There is nothing but the answer.
    think: Option<bool>,
    /// The model stays.
    #[serde(rename = "keep_alive")]
    _keep_alive: Option<Value>,
}

struct Plain;

impl Shape for Plain {
    fn said(&self, mut object: Value, text: &str, _: &[Call]) -> Value {
        object["response"] = text.into();
        object
    }
}

async fn generate(State(app): State<Arc<App>>, Body(request): Body<Generate>) -> Result<Response, Refusal> {
    app.check_model(Some(&request.model))?;
    no_images("images", &request.images)?;
    no_thoughts(request.think)?;
    if request.prompt.is_empty() {
        return Ok(loaded(&app, Plain));
    }
    let (form, options) = (form(request.format)?, request.options.unwrap_or_default().request(&app)?);
    let tools = Arc::new(Toolbox::default());
    let place = app.enter()?;
    let prompt = if request.raw == Some(true) || app.engine.template().is_err() {
        app.aside(move |app| Ok(app.engine.tokenizer()?.encode(&request.prompt, true)?)).await?
    } else {
        let system = Some(request.system).filter(|system| !system.is_empty());
        let system = system.map(|system| Message::text(Role::System, Content::Text(system)));
        let user = Message::text(Role::User, Content::Text(request.prompt));
        prompt::encode(&app, system.into_iter().chain([user]).collect(), &tools).await?
    };
    let asked = Request { prompt, grammar: app.grammar(form, &tools, "format").await?, ..options };
    let turn = Turn::start(&app, place, asked, tools)?;
    if request.stream == Some(false) { whole(&app, turn, Plain).await } else { Ok(streamed(app, turn, Plain)) }
}
