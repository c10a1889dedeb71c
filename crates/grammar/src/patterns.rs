//! Regular expressions: errors that show the pattern and the place.

use std::fmt;

use regex_syntax::ast::Span;
use serde_json::Value;
use sterna::{Error, Result};

/// Most characters of a pattern that an error shows.
const SHOWN: usize = 200;

/// Checks that a pattern is a regular expression.
///
/// # Errors
/// [`Error::Request`] that names the pattern, what is wrong, and where.
pub fn check(pattern: &str) -> Result<()> {
    match regex_syntax::Parser::new().parse(pattern) {
        Ok(_) => Ok(()),
        Err(regex_syntax::Error::Parse(error)) => Err(refused(pattern, at(pattern, error.kind(), error.span()))),
        Err(regex_syntax::Error::Translate(error)) => Err(refused(pattern, at(pattern, error.kind(), error.span()))),
        Err(error) => Err(refused(pattern, error)),
    }
}

/// Checks the patterns of a JSON schema.
///
/// # Errors
/// As [`check`].
pub fn check_schema(schema: &Value) -> Result<()> {
    match schema {
        Value::Object(fields) => fields.iter().try_for_each(|(keyword, value)| match (&**keyword, value) {
            ("const" | "enum" | "default" | "examples", _) => Ok(()),
            ("pattern", Value::String(pattern)) => check(pattern),
            _ => check_schema(value),
        }),
        Value::Array(list) => list.iter().try_for_each(check_schema),
        _ => Ok(()),
    }
}

/// The error that a pattern cannot be used.
pub fn refused(pattern: &str, problem: impl fmt::Display) -> Error {
    let mut shown: String = pattern.chars().take(SHOWN).collect();
    if shown.len() < pattern.len() {
        shown.push('…');
    }
    Error::request("grammar", format!("the regular expression `{shown}`: {problem}"))
}

/// "unclosed group, at character 3: `(`".
fn at(pattern: &str, kind: impl fmt::Display, span: &Span) -> String {
    let character = pattern.get(..span.start.offset).map_or(0, |before| before.chars().count()) + 1;
    match pattern.get(span.start.offset..span.end.offset).filter(|part| !part.is_empty()) {
        Some(part) => format!("{kind}, at character {character}: `{part}`"),
        None => format!("{kind}, at character {character}"),
    }
}
