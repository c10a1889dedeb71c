//! Answers that follow a JSON schema, a regular expression or a Lark grammar, by [llguidance].
//!
//! ```text
//! Grammars (a vocabulary) ──compile──► Arc<dyn Grammar> ──► Request::grammar
//! ```
//!
//! JSON is written in one way, `{"a": 1, "b": [1, 2]}`: a model that may choose its white space may also never stop
//! writing it.
//!
//! [llguidance]: https://github.com/guidance-ai/llguidance
#![forbid(unsafe_code)]

mod listed;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use sterna::engine::{Engine, Grammar, Reader, TokenSet};
use sterna::{Error, Result};

pub use listed::listed_only;

/// States of a lexer, one to two kilobytes each.
const MOST_STATES: usize = 50_000;

/// What an answer must look like.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON value that is valid by this schema (<https://json-schema.org>, drafts up to 2020-12).
    Schema(Value),
    /// Any JSON object.
    Object,
    /// The whole answer matches this regular expression, without look-around and references.
    Regex(String),
    /// llguidance's dialect of Lark.
    Lark(String),
}

/// Compiles grammars for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    /// Tokens that end an answer; the grammar knows the first.
    ends: Vec<u32>,
}

impl Grammars {
    /// For the vocabulary of a loaded model.
    ///
    /// # Errors
    /// If the model has no tokenizer, or no token that ends an answer.
    pub fn new(engine: &Engine) -> Result<Self> {
        let tokenizer = engine.tokenizer()?;
        let mut ends = tokenizer.stop_tokens();
        ends.extend(engine.config().eos.iter().filter(|id| (**id as usize) < tokenizer.vocab_size()));
        let end = *ends.first().ok_or_else(|| refused("the model has no token that ends an answer"))?;
        let bytes = |id| tokenizer.token_bytes(id).unwrap_or_else(|| special(id));
        let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32).map(bytes).collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(refused)?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.max_lexer_states = MOST_STATES;
        limits.verbose_errors = false;
        Ok(Self { factory, ends })
    }

    /// Compiles a form; a large schema takes some tens of milliseconds.
    ///
    /// # Errors
    /// If the form is malformed, uses something that cannot be enforced, or is too large.
    pub fn compile(&self, form: &Form) -> Result<Arc<dyn Grammar>> {
        let grammar = match form {
            Form::Schema(schema) => TopLevelGrammar::from_json_schema(written_one_way(schema)),
            Form::Object => TopLevelGrammar::from_json_schema(written_one_way(&json!({ "type": "object" }))),
            Form::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Form::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
        };
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        matcher.compute_mask().map_err(refused)?;
        Ok(Arc::new(Compiled { beginning: Mutex::new(matcher), ends: self.ends.clone() }))
    }
}

/// What stands in the vocabulary for a token that writes nothing: no text has the byte 255.
fn special(id: u32) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER][..], format!("<|{id}|>").as_bytes()].concat()
}

fn written_one_way(schema: &Value) -> Value {
    let options = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
    match schema {
        Value::Object(object) => {
            let mut object = object.clone();
            object.insert("x-guidance".into(), options);
            object.into()
        }
        // `true` allows every value, `false` none.
        other => json!({ "allOf": [other], "x-guidance": options }),
    }
}

fn refused(error: impl fmt::Display) -> Error {
    Error::request("grammar", format!("the grammar of the answer: {error}"))
}

struct Compiled {
    beginning: Mutex<Matcher>,
    ends: Vec<u32>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Grammar for Compiled {
    fn start(&self) -> Result<Box<dyn Reader>> {
        let matcher = self.beginning.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        Ok(Box::new(Answer { matcher, ends: self.ends.clone() }))
    }
}

/// An answer that is being written.
struct Answer {
    matcher: Matcher,
    ends: Vec<u32>,
}

impl Reader for Answer {
    fn allowed(&mut self) -> Result<TokenSet> {
        let mask = self.matcher.compute_mask_or_eos().map_err(refused)?;
        let mut allowed = TokenSet::from_words(mask.as_slice().to_vec());
        if self.ends.iter().any(|end| allowed.contains(*end)) {
            self.ends.iter().for_each(|end| allowed.insert(*end));
        }
        Ok(allowed)
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        // Every end is the one that the grammar knows.
        let token = if self.ends.contains(&token) { self.ends[0] } else { token };
        self.matcher.consume_token(token).map_err(refused)
    }
}
