//! `/api/generate`: an answer to a text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Ollama, Options, form, load_or_unload, refuse_images};
use crate::app::App;
use crate::body::Body;
use crate::conversation::Generate;
use crate::error::ApiError;
use crate::keep_alive::KeepAlive;
use crate::prompt::{Content, Message, Prompts, Role};
use crate::think::Think;
use crate::tools::{Call, Toolbox};

/// A text, and how its answer is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// Name of the model.
    model: String,
    /// The text. Without one the model is loaded, or unloaded with a `keep_alive` of 0. Default: empty.
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
    /// How long the model stays in memory after the answer: seconds, or a text like "5m"; negative: without end. At most the
    /// server's own time. Default: the server's own time.
    keep_alive: Option<Value>,
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
    refuse_images("images", &request.images)?;
    let keep_alive = KeepAlive::of_field(request.keep_alive.as_ref())?;
    if request.prompt.is_empty() {
        return load_or_unload(&app, &request.model, keep_alive, content).await;
    }
    let model = app.model_for(Some(&request.model), keep_alive).await?;
    let dialect = Ollama { model: model.clone(), content };
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
