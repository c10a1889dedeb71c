//! A loaded model that answers requests.

use std::sync::Arc;

use sterna::engine::{Engine, Grammar};
use sterna_grammar::{Form, Grammars};

use crate::error::ApiError;
use crate::tools::Toolbox;

/// A loaded model with its name in the API.
pub struct Model {
    pub name: String,
    pub engine: Engine,
    pub grammars: Grammars,
}

impl Model {
    /// The model of an engine.
    ///
    /// # Errors
    /// For models without a tokenizer.
    pub fn new(name: String, engine: Engine) -> sterna::Result<Self> {
        let grammars = Grammars::new(&engine)?;
        Ok(Self { name, engine, grammars })
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
