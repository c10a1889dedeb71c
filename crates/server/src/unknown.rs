//! Fields of requests that no endpoint knows: they are ignored, named in a header of the response, and logged once each.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The response header that names ignored fields, separated by commas.
const HEADER: HeaderName = HeaderName::from_static("x-sterna-ignored-fields");
/// The most names in the header.
const MAX_NAMES: usize = 8;
/// The most characters of a name.
const MAX_CHARACTERS: usize = 64;
/// The most names that are logged; a client could make up any number.
const MAX_LOGGED: usize = 256;

/// The unknown fields that were logged since the server started.
#[derive(Debug, Default)]
pub struct UnknownFields(Mutex<BTreeSet<String>>);

impl UnknownFields {
    /// Names the fields at these paths in the headers of a response, and logs those that were not logged before.
    pub fn report(&self, endpoint: &str, paths: &[String], headers: &mut HeaderMap) {
        let mut names: Vec<String> = Vec::new();
        for name in paths.iter().map(|path| escaped(path)) {
            if names.len() < MAX_NAMES && !names.contains(&name) {
                names.push(name);
            }
        }
        if let (false, Ok(value)) = (names.is_empty(), HeaderValue::from_str(&names.join(", "))) {
            headers.insert(HEADER, value);
        }
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for field in names {
            if logged.len() < MAX_LOGGED && logged.insert(format!("{endpoint} {field}")) {
                tracing::warn!(endpoint, field, "an unknown field is ignored; this is logged once");
            }
        }
    }
}

/// A path without its indices, in printable ASCII without separators, and cut to [`MAX_CHARACTERS`].
fn escaped(path: &str) -> String {
    let mut name = String::new();
    let mut index = false;
    for character in path.chars() {
        index = character == '[' || index && character.is_ascii_digit();
        let piece = match character {
            _ if index && character != '[' => continue,
            ',' | '"' | '\\' => character.escape_unicode().to_string(),
            _ if character.is_ascii_graphic() => character.to_string(),
            _ => character.escape_unicode().to_string(),
        };
        if name.len() + piece.len() > MAX_CHARACTERS {
            break;
        }
        name.push_str(&piece);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_cut_and_few() {
        let named = |paths: &[&str]| {
            let mut headers = HeaderMap::new();
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            UnknownFields::default().report("/x", &paths, &mut headers);
            headers.get(HEADER).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["a", "b.c", "m[0].x", "m[12].x", "a"]).as_deref(), Some("a, b.c, m[].x"));
        assert_eq!(named(&["é,\r\n\"x\" y"]).as_deref(), Some("\\u{e9}\\u{2c}\\u{d}\\u{a}\\u{22}x\\u{22}\\u{20}y"));
        assert_eq!(named(&[&"é".repeat(100)]).expect("a name").len(), 60, "no escape is cut in two");
        let many: Vec<String> = (0..20).map(|i| format!("{}{i:02}", "x".repeat(60))).collect();
        let named = named(&many.iter().map(String::as_str).collect::<Vec<_>>()).expect("names");
        assert_eq!(named.split(", ").map(str::len).collect::<Vec<_>>(), [62; 8]);
    }

    #[test]
    fn what_is_logged_is_bounded() {
        let fields = UnknownFields::default();
        for i in 0..1000 {
            fields.report("/x", &[format!("field{i}")], &mut HeaderMap::new());
        }
        assert_eq!(fields.0.lock().expect("no panic").len(), MAX_LOGGED);
    }
}
