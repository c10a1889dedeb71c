//! Constraints on the form of an answer: `--schema`, `--regex` and `--grammar`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna::engine::{Engine, Grammar};
use sterna_grammar::{Form, Grammars, listed_only};

use crate::output::Misuse;
use crate::{headings, input};

/// The form of an answer; at most one of the options.
#[derive(clap::Args)]
#[command(next_help_heading = headings::FORM)]
#[group(multiple = false)]
pub struct FormArgs {
    /// Answer with JSON that is valid by the JSON schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Answer with text that matches this regular expression
    #[arg(long, value_name = "PATTERN")]
    regex: Option<String>,
    /// Answer with text that follows the Lark grammar in this file
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
}

impl FormArgs {
    /// Reads the files.
    pub fn read(&self) -> anyhow::Result<Option<Form>> {
        let file = |path: &Path| input::file(path);
        Ok(match (&self.schema, &self.regex, &self.grammar) {
            (Some(path), ..) => {
                let schema = serde_json::from_str(&file(path)?);
                let schema = schema.map_err(|error| anyhow::anyhow!("{}: not valid JSON: {error}", path.display()))?;
                Some(Form::Schema(listed_only(schema)))
            }
            (_, Some(regex), _) => Some(Form::Regex(regex.clone())),
            (_, _, Some(path)) => Some(Form::Lark(file(path)?)),
            _ => None,
        })
    }
}

/// The grammar of a form, over a model's vocabulary.
pub fn compile(engine: &Engine, form: Option<&Form>) -> anyhow::Result<Option<Arc<dyn Grammar>>> {
    let Some(form) = form else { return Ok(None) };
    let compiled = Grammars::new(engine)?.compile(form);
    Ok(Some(compiled.map_err(|error| Misuse(error.to_string()))?))
}
