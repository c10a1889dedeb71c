//! Fields of other servers' APIs: which values are taken and not read, which mean another field, which are refused.
//!
//! The types of the endpoints have the fields that are read. The table has all others that are known, and values of read
//! fields that other servers give a meaning to. `docs/serving.md` shows it. A field in neither is unknown.

mod table;

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::shape::{inside, is_empty};
use Rule::{Counts, Mapped, Means, Only, Unread};
use table::FIELDS;

/// The fields of an object.
pub type Object = Map<String, Value>;

/// What happens to the values of a field. Null and empty values always count as left out.
#[derive(Clone, Copy)]
enum Rule {
    /// All values are taken and not read.
    Unread,
    /// The values of this JSON list are taken and not read; others are refused.
    Only(&'static str),
    /// The value is that of this other field, unless the request has both.
    Means(&'static str),
    /// The values of the first JSON list count as this JSON value; null is left out. Others are read as they are.
    Counts(&'static str, &'static str),
    /// The function puts other fields in its place.
    Mapped(fn(&mut Object, Field, Value) -> Result<(), ApiError>),
}

/// A field of a request: its name, and its path for errors.
pub struct Field<'a> {
    pub name: &'a str,
    pub path: &'a str,
}

/// Fields with the same rule.
struct Row {
    /// The endpoints, without `/v1`.
    on: &'static [&'static str],
    /// The path of the object that holds the fields, with `[]` after lists; empty for the request itself.
    within: &'static str,
    names: &'static [&'static str],
    rule: Rule,
    /// For refused values, what to do instead; for mapped ones, what they mean; otherwise, why the field is not read.
    note: &'static str,
}

const fn row(
    on: &'static [&'static str],
    within: &'static str,
    names: &'static [&'static str],
    rule: Rule,
    note: &'static str,
) -> Row {
    Row { on, within, names, rule, note }
}

/// Takes, maps and refuses the fields of a request to the endpoint at `path`.
///
/// # Errors
/// 400 for a value that would change the answer, and that this server cannot honour.
pub fn apply(path: &str, request: &mut Value) -> Result<(), ApiError> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    for row in FIELDS.iter().filter(|row| row.on.contains(&path)) {
        row.apply(request, row.within, "")?;
    }
    Ok(())
}

impl Row {
    /// Applies the rule to the fields of the objects at `rest` below `value`, whose own path is `at`.
    fn apply(&self, value: &mut Value, rest: &str, at: &str) -> Result<(), ApiError> {
        if rest.is_empty() {
            let Some(object) = value.as_object_mut() else { return Ok(()) };
            return self.names.iter().try_for_each(|name| self.field(object, name, at));
        }
        let (head, rest) = rest.split_once('.').unwrap_or((rest, ""));
        match head.strip_suffix("[]") {
            None => value.get_mut(head).map_or(Ok(()), |value| self.apply(value, rest, &inside(at, head))),
            Some(name) => {
                let items = value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
                items
                    .enumerate()
                    .try_for_each(|(i, item)| self.apply(item, rest, &format!("{}[{i}]", inside(at, name))))
            }
        }
    }

    fn field(&self, object: &mut Object, name: &str, at: &str) -> Result<(), ApiError> {
        let Some(value) = object.shift_remove(name) else { return Ok(()) };
        match self.rule {
            Unread => {}
            Only(values) if value.is_null() || is_empty(&value) || listed(values, &value) => {}
            Only(_) => {
                let field = inside(at, name);
                let message = format!("{field} cannot be {}; {}", shown(&value), self.note);
                return Err(ApiError { code: Some("unsupported_parameter"), ..ApiError::field(field, message) });
            }
            Means(other) => {
                if object.get(other).is_none_or(|other| other.is_null() || is_empty(other)) {
                    object.insert(other.into(), value);
                }
            }
            Counts(values, means) => {
                let means = || serde_json::from_str(means).unwrap_or_default();
                object.insert(name.into(), if listed(values, &value) { means() } else { value });
            }
            Mapped(map) => map(object, Field { name, path: &inside(at, name) }, value)?,
        }
        Ok(())
    }
}

/// Whether a JSON list has a value; the case of texts and the way numbers are written do not matter.
fn listed(values: &str, value: &Value) -> bool {
    let values: Vec<Value> = serde_json::from_str(values).unwrap_or_default();
    values.iter().any(|each| match (each, value) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => a.eq_ignore_ascii_case(b),
        _ => each == value,
    })
}

/// A value for an error, cut if it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as docs/serving.md has it.
    fn documented() -> String {
        let mut lines =
            vec!["| endpoints | fields | taken, or mapped | otherwise |".to_owned(), "|---|---|---|---|".into()];
        for row in FIELDS {
            let within = if row.within.is_empty() { String::new() } else { format!("{}.", row.within) };
            let names: Vec<String> = row.names.iter().map(|name| format!("`{within}{name}`")).collect();
            let values = |list: &str| {
                let values: Vec<Value> = serde_json::from_str(list).expect("a list of values");
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                if values.is_empty() { "empty".into() } else { values.join(", ") }
            };
            let (taken, otherwise) = match row.rule {
                Unread => (format!("any value, not read: {}", row.note), "".into()),
                Only(list) => (values(list), format!("400: {}", row.note)),
                Means(other) => (format!("`{within}{other}`"), "".into()),
                Counts(list, "null") => (format!("{}: left out", values(list)), "read".into()),
                Counts(list, means) => (format!("{}: `{means}`", values(list)), "read".into()),
                Mapped(_) => (row.note.into(), "400".into()),
            };
            lines.push(format!("| {} | {} | {taken} | {otherwise} |", row.on.join(" "), names.join(" ")));
        }
        lines.join("\n") + "\n"
    }

    #[test]
    fn the_guide_has_the_table() {
        let guide = include_str!("../../../../docs/serving.md");
        let written = guide.split_once("<!-- fields -->\n").and_then(|(_, rest)| rest.split_once("<!-- end -->"));
        let expected = documented();
        assert_eq!(written.map(|(table, _)| table), Some(&*expected), "docs/serving.md must have:\n{expected}");
    }
}
