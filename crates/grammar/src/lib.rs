//! Grammars for answers that follow a JSON schema, a regular expression or Lark rules, by [llguidance].
//!
//! ```text
//! Grammars (for one vocabulary) ──compile(Form)──► Arc<dyn Grammar> ──► Request::grammar
//! ```
//!
//! JSON has fixed white space, `{"a": 1, "b": [1, 2]}`: a model that may choose white space may also write it without
//! end. For the same reason its numbers have at most 19 digits, and 17 if they have a fraction.
//!
//! [llguidance]: https://github.com/guidance-ai/llguidance
#![forbid(unsafe_code)]

mod digits;
mod formats;
mod listed;
mod patterns;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use sterna::engine::{Engine, Grammar, Reader, TokenSet};
use sterna::{Error, Result};

use crate::digits::Digits;

pub use formats::known_formats;
pub use listed::listed_only;

/// Limit for the states of a lexer, which take one to two kilobytes each.
const MAX_LEXER_STATES: usize = 50_000;

/// The form that an answer must have.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON value that is valid by this JSON schema (<https://json-schema.org>, drafts up to 2020-12).
    Schema(Value),
    /// Any JSON object.
    Object,
    /// A text that this regular expression matches as a whole. Look-around and back-references are not supported.
    Regex(String),
    /// A text that follows these rules in llguidance's dialect of Lark.
    Lark(String),
    /// The same, of rules whose numbers are those of JSON, as in function calls.
    LarkOfJson(String),
}

/// Compiles grammars for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
}

/// The tokens of a model.
struct Vocabulary {
    environment: TokEnv,
    /// Tokens that end an answer. llguidance knows only the first one.
    ends: Vec<u32>,
}

impl Grammars {
    /// A compiler for the vocabulary of a loaded model.
    ///
    /// # Errors
    /// For a model without a tokenizer, or without a token that ends an answer.
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
        limits.max_lexer_states = MAX_LEXER_STATES;
        limits.verbose_errors = false;
        Ok(Self { factory, vocabulary: Arc::new(Vocabulary { environment, ends }) })
    }

    /// Compiles a form. A large schema takes some tens of milliseconds.
    ///
    /// # Errors
    /// For a form that is malformed, cannot be enforced, or needs too many lexer states.
    pub fn compile(&self, form: &Form) -> Result<Arc<dyn Grammar>> {
        let grammar = match form {
            Form::Schema(schema) => {
                patterns::check_schema(schema)?;
                TopLevelGrammar::from_json_schema(with_fixed_white_space(&known_formats(schema.clone())))
            }
            Form::Object => TopLevelGrammar::from_json_schema(with_fixed_white_space(&json!({ "type": "object" }))),
            Form::Regex(regex) => {
                patterns::check(regex)?;
                TopLevelGrammar::from_regex(regex)
            }
            Form::Lark(lark) | Form::LarkOfJson(lark) => TopLevelGrammar::from_lark(lark.clone()),
        };
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        matcher.compute_mask().map_err(|error| match form {
            Form::Regex(regex) => patterns::refused(regex, error),
            _ => refused(error),
        })?;
        let digits = match form {
            Form::Schema(_) | Form::Object | Form::LarkOfJson(_) => Some(Digits::default()),
            Form::Regex(_) | Form::Lark(_) => None,
        };
        Ok(Arc::new(Compiled { start: Mutex::new(matcher), digits, vocabulary: self.vocabulary.clone() }))
    }
}

/// The bytes of a special token for llguidance: a marker byte that no text has, and a name.
fn special(id: u32) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER][..], format!("<|{id}|>").as_bytes()].concat()
}

fn with_fixed_white_space(schema: &Value) -> Value {
    let options = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
    match schema {
        Value::Object(object) => {
            let mut object = object.clone();
            object.insert("x-guidance".into(), options);
            object.into()
        }
        // The schema `true` allows every value, `false` none.
        other => json!({ "allOf": [other], "x-guidance": options }),
    }
}

fn refused(error: impl fmt::Display) -> Error {
    Error::request("grammar", format!("the grammar of the answer: {error}"))
}

struct Compiled {
    start: Mutex<Matcher>,
    /// The beginning of an answer, if the digits of its numbers are limited.
    digits: Option<Digits>,
    vocabulary: Arc<Vocabulary>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Grammar for Compiled {
    fn start(&self) -> Result<Box<dyn Reader>> {
        let matcher = self.start.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        Ok(Box::new(Follower { matcher, digits: self.digits, vocabulary: self.vocabulary.clone() }))
    }
}

/// Follows one answer.
struct Follower {
    matcher: Matcher,
    digits: Option<Digits>,
    vocabulary: Arc<Vocabulary>,
}

impl Follower {
    /// The tokens of a set that give no number too many digits; all of them if there are no others.
    fn limited(&self, digits: Digits, allowed: TokenSet) -> TokenSet {
        let trie = self.vocabulary.environment.tok_trie();
        let few: TokenSet = allowed.iter().filter(|id| digits.after(trie.token(*id)).is_some()).collect();
        if few.is_empty() { allowed } else { few }
    }
}

impl Reader for Follower {
    fn allowed(&mut self) -> Result<TokenSet> {
        let mask = self.matcher.compute_mask_or_eos().map_err(refused)?;
        let mut allowed = TokenSet::from_words(mask.as_slice().to_vec());
        if let Some(digits) = self.digits.filter(|digits| digits.in_number()) {
            allowed = self.limited(digits, allowed);
        }
        let ends = &self.vocabulary.ends;
        if ends.iter().any(|end| allowed.contains(*end)) {
            ends.iter().for_each(|end| allowed.insert(*end));
        }
        Ok(allowed)
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        // llguidance supports only one token that ends an answer: the others are mapped to it.
        let Vocabulary { environment, ends } = &*self.vocabulary;
        let token = if ends.contains(&token) { ends[0] } else { token };
        if let Some(digits) = &mut self.digits {
            *digits = digits.passed(environment.tok_trie().token(token));
        }
        self.matcher.consume_token(token).map_err(refused)
    }
}
