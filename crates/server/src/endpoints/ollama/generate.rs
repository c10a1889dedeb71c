//! `/api/generate`: an answer to a text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Ollama, Options, form, refuse_images};
use crate::app::App;
use crate::body::Body;
use crate::conversation::Generate;
use crate::error::ApiError;
use crate::prompt::{Content, Message, Prompts, Role};
use crate::think::Think;
use crate::tools::{Call, Toolbox};

/// A text, and how its answer is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// Name of the model, which must be the served one.
    model: String,
    /// The text. Without one the answer only says that the model is loaded. Default: empty.
    #[serde(default)]
    prompt: String,
    /// A system message that goes before the text; not used with `raw`. Default: none.
    #[serde(default)]
    system: String,
    /// Continue the text as it is, instead of answering it by the chat template. Default: false.
    raw: Option<bool>,
    /// Form that the answer must have: "json", or a JSON schema. Default: any text.
    #[serde(default)]
    format: Option<Value>,
    /// Sampling parameters and limits. Default: those of its fields.
    #[serde(default)]
    options: Option<Options>,
    /// Let the model think before it answers, with an effort if the template tells efforts apart; both need a template
    /// with a switch. Default: the template's.
    think: Option<Think>,
    /// Send the answer as lines of JSON while it is generated. Default: true.
    stream: Option<bool>,
    /// Images; only an empty list is supported. Default: none.
    #[serde(default)]
    images: Vec<String>,
}

/// Puts text into an object's `response`.
fn content(object: &mut Value, text: &str, _: &[&Call]) {
    object["response"] = text.into();
}

pub async fn generate(State(app): State<Arc<App>>, Body(request): Body<GenerateRequest>) -> Result<Response, ApiError> {
    let model = app.model(Some(&request.model)).await?;
    refuse_images("images", &request.images)?;
    let dialect = Ollama { model: model.clone(), content };
    if request.prompt.is_empty() {
        return Ok(dialect.loaded());
    }
    let prompts = if request.raw == Some(true) {
        Prompts::Text(request.prompt)
    } else if model.engine.template().is_err() {
        Prompts::Plain(request.prompt)
    } else {
        let message = |role, text| Message::text(role, Content::Text(text));
        let system = Some(request.system).filter(|system| !system.is_empty());
        let system = system.map(|system| message(Role::System, system));
        let messages = system.into_iter().chain([message(Role::User, request.prompt)]).collect();
        Prompts::Chat { messages, think: request.think, prefill: String::new() }
    };
    let generate = Generate {
        model,
        prompts,
        count: 1,
        tools: Toolbox::default(),
        form: form(request.format)?,
        stream: request.stream.unwrap_or(true),
        request: request.options.unwrap_or_default().request(&app)?,
    };
    generate.respond(&app, dialect).await
}
