//! A loaded model that answers requests.

use std::sync::Arc;

use sterna::engine::{Engine, Grammar};
use sterna_grammar::{Form, Grammars};

use crate::description::Description;
use crate::error::ApiError;
use crate::residents::Lease;
use crate::tools::Toolbox;

/// A loaded model in use by a request.
pub struct Model {
    pub description: Arc<Description>,
    pub engine: Engine,
    grammars: Arc<Grammars>,
    /// Ends after the engine was dropped: the model may then be unloaded.
    _lease: Lease,
}

impl Model {
    /// A model in use.
    pub fn new(description: Arc<Description>, engine: Engine, grammars: Arc<Grammars>, lease: Lease) -> Self {
        Self { description, engine, grammars, _lease: lease }
    }

    /// The name in the API.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Runs work that may take long, such as encoding a long text, on a thread that serves no connections.
    ///
    /// # Errors
    /// Those of `work`; 500 if it panics.
    pub async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let model = self.clone();
        tokio::task::spawn_blocking(move || work(&model)).await.map_err(|_| ApiError::internal())?
    }

    /// The grammar of an answer: that of `form`, or of the function calls that a request requires.
    ///
    /// # Errors
    /// 400 for a form that cannot be compiled, or that comes together with tools.
    pub async fn grammar(
        self: &Arc<Self>,
        form: Option<Form>,
        tools: &Toolbox,
    ) -> Result<Option<Arc<dyn Grammar>>, ApiError> {
        let form = match form {
            Some(_) if !tools.is_empty() => {
                return Err(ApiError::unsupported("grammar", "together with tools: leave one of them out"));
            }
            None if tools.required => Form::LarkOfJson(tools.lark()),
            None => return Ok(None),
            Some(form) => form,
        };
        self.run_blocking(move |model| Ok(Some(model.grammars.compile(&form)?))).await
    }

    /// The bytes of a token; `None` for a special token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.engine.tokenizer().ok()?.token_bytes(id)
    }

    /// The text of a token, with U+FFFD for an incomplete character, or a special token's name.
    pub fn token_text(&self, id: u32) -> String {
        match self.token_bytes(id) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => self.engine.tokenizer().ok().and_then(|tokenizer| tokenizer.token(id)).unwrap_or_default(),
        }
    }
}
