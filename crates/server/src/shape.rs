//! The shape that an endpoint's type gives its JSON: a request is brought into it before it is read, and a mismatch is named.
//!
//! The shape is the type's JSON schema, so that nested types and their variants need no lists of their own.

use serde_json::{Map, Value, json};

/// Brings a value into the shape of its type. A field that is null counts as left out, and so does an optional field that is
/// empty, unless the type takes its empty value. Whole numbers may be written as 4096.0. Fields that the type does not have
/// are removed, and returned with their paths.
pub fn reshape(value: &mut Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    fields(value, schema, "", &mut unknown);
    unknown
}

fn fields(value: &mut Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            let Some(shape) = object_shape(object, schema) else { return };
            let open = shape.get("additionalProperties").is_some_and(|more| *more != json!(false));
            let required = |name: &str| names(&shape["required"]).any(|each| each == name);
            object.retain(|name, field| match shape["properties"].get(name) {
                Some(schema) => {
                    let left_out = field.is_null() || is_empty(field) && !required(name) && !takes_empty(schema, field);
                    if !left_out {
                        fields(field, schema, &inside(path, name), unknown);
                    }
                    !left_out
                }
                None if open => true,
                None => {
                    if !field.is_null() {
                        unknown.push(inside(path, name));
                    }
                    false
                }
            });
        }
        Value::Array(items) => {
            let Some(shape) = branches(schema).into_iter().find(|shape| is_kind(shape, "array")) else { return };
            for (at, item) in items.iter_mut().enumerate() {
                fields(item, &shape["items"], &format!("{path}[{at}]"), unknown);
            }
        }
        Value::Number(number) => {
            let branches = branches(schema);
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15);
            let integer = branches.iter().any(|shape| is_kind(shape, "integer"));
            if let (true, true, Some(whole)) = (number.is_f64(), integer, whole) {
                *value = (whole as i64).into();
            }
        }
        _ => {}
    }
}

/// The first place where a value differs from the schema, and what is expected there.
pub fn mismatch(value: &Value, schema: &Value, path: &str) -> Option<(String, String)> {
    let branches = branches(schema);
    let open =
        branches.is_empty() || branches.iter().any(|shape| shape.get("type").is_none() && fixed(shape).is_none());
    let fits = |shape: &&&Value| fixed(shape).is_some_and(|values| values.contains(&value)) || of_kind(shape, value);
    let Some(shape) = branches.iter().find(fits) else {
        return (!open).then(|| (path.into(), format!("expected {}", expected(&branches))));
    };
    match value {
        Value::Object(object) => {
            let Some(shape) = object_shape(object, schema) else {
                // No variant has this tag.
                let tag = branches.iter().find_map(|shape| tags(shape).next().map(|(name, _)| name.clone()))?;
                let values: Vec<&str> =
                    branches.iter().filter_map(|shape| shape["properties"][&tag]["const"].as_str()).collect();
                return Some((inside(path, &tag), format!("expected one of `{}`", values.join("`, `"))));
            };
            if let Some(missing) = names(&shape["required"]).find(|name| !object.contains_key(*name)) {
                return Some((path.into(), format!("missing field `{missing}`")));
            }
            let properties = shape["properties"].as_object()?;
            object.iter().find_map(|(name, field)| mismatch(field, properties.get(name)?, &inside(path, name)))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| mismatch(item, &shape["items"], &format!("{path}[{at}]")))
        }
        _ => None,
    }
}

/// What a schema's alternatives expect, for an error.
fn expected(branches: &[&Value]) -> String {
    let mut words: Vec<String> = Vec::new();
    for shape in branches {
        let values = fixed(shape).into_iter().flatten().map(Value::to_string);
        let kinds = kinds(shape).filter(|kind| *kind != "null" && fixed(shape).is_none()).map(|kind| match kind {
            "array" | "integer" | "object" => format!("an {kind}"),
            _ => format!("a {kind}"),
        });
        words.extend(values.chain(kinds));
    }
    words.dedup();
    words.join(" or ")
}

/// The alternatives of a schema.
fn branches(schema: &Value) -> Vec<&Value> {
    let several = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    match several {
        Some(several) => several.iter().flat_map(branches).collect(),
        None if schema.is_object() => vec![schema],
        None => Vec::new(),
    }
}

/// The alternative of a schema that an object has: one with its tags, and with all required fields if there is one.
fn object_shape<'a>(object: &Map<String, Value>, schema: &'a Value) -> Option<&'a Value> {
    let complete = |shape: &&&Value| names(&shape["required"]).all(|name| object.contains_key(name));
    let shapes: Vec<&Value> = branches(schema)
        .into_iter()
        .filter(|shape| shape.get("properties").is_some() && tagged(shape, object))
        .collect();
    shapes.iter().find(complete).or(shapes.first()).copied()
}

/// Whether an object has the tags of a variant.
fn tagged(shape: &Value, object: &Map<String, Value>) -> bool {
    tags(shape).all(|(name, value)| object.get(name) == Some(value))
}

fn tags(shape: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let properties = shape["properties"].as_object();
    properties.into_iter().flatten().filter_map(|(name, schema)| Some((name, schema.get("const")?)))
}

/// The only values that a schema allows, if it lists them.
fn fixed(shape: &Value) -> Option<Vec<&Value>> {
    let several = shape.get("enum").and_then(Value::as_array).map(|values| values.iter().collect());
    several.or_else(|| Some(vec![shape.get("const")?]))
}

fn kinds(shape: &Value) -> impl Iterator<Item = &str> {
    let kind = shape.get("type");
    let several = kind.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    kind.and_then(Value::as_str).into_iter().chain(several)
}

fn is_kind(shape: &Value, kind: &str) -> bool {
    kinds(shape).any(|each| each == kind)
}

fn of_kind(shape: &Value, value: &Value) -> bool {
    fixed(shape).is_none()
        && kinds(shape).any(|kind| match value {
            Value::Null => kind == "null",
            Value::Bool(_) => kind == "boolean",
            Value::Number(number) => kind == "number" || kind == "integer" && !number.is_f64(),
            Value::String(_) => kind == "string",
            Value::Array(_) => kind == "array",
            Value::Object(_) => kind == "object",
        })
}

/// Whether a text, a list or an object is empty.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a schema allows an empty value of this kind.
fn takes_empty(schema: &Value, value: &Value) -> bool {
    let branches = branches(schema);
    let any = branches.iter().any(|shape| shape.get("type").is_none() && fixed(shape).is_none());
    any || branches.iter().any(|shape| of_kind(shape, value) && names(&shape["required"]).next().is_none())
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The path of a field.
pub fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Thing {
        list: Vec<u32>,
        part: Option<Part>,
        stop: Option<Stop>,
        text: Option<String>,
        scale: Option<f32>,
        free: Option<Map<String, Value>>,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Part {
        Text { text: String },
        Rule { rule: Option<u32> },
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Stop {
        One(String),
        Several(Vec<String>),
    }

    fn schema() -> Value {
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<Thing>().to_value()
    }

    #[test]
    fn values_come_into_shape() {
        let shaped = |mut value: Value| {
            let unknown = reshape(&mut value, &schema());
            (value, unknown.join(" "))
        };
        let (value, unknown) = shaped(json!({ "list": [1.0, 2], "text": "", "stop": [], "part": {}, "scale": 1.0 }));
        assert_eq!(value, json!({ "list": [1, 2], "text": "", "stop": [], "scale": 1.0 }));
        assert_eq!(unknown, "");
        let (value, unknown) = shaped(json!({ "part": { "type": "rule", "rule": 3.0, "odd": 1 }, "x": 1, "y": null }));
        assert_eq!((value, &*unknown), (json!({ "part": { "type": "rule", "rule": 3 } }), "part.odd x"));
        let (value, unknown) = shaped(json!({ "list": null, "free": { "a": null, "b": "" }, "scale": "" }));
        assert_eq!((value, &*unknown), (json!({ "free": { "a": null, "b": "" } }), ""));
    }

    #[test]
    fn mismatches_are_named() {
        for (value, path, words) in [
            (json!({ "list": [1, "x"] }), "list[1]", "expected an integer"),
            (json!({ "list": [], "stop": 1 }), "stop", "expected a string or an array"),
            (json!({ "list": [], "stop": ["a", 1] }), "stop[1]", "expected a string"),
            (json!({ "list": [], "part": { "type": "image" } }), "part.type", "expected one of `text`, `rule`"),
            (json!({ "list": [], "part": { "type": "text" } }), "part", "missing field `text`"),
        ] {
            assert_eq!(mismatch(&value, &schema(), ""), Some((path.into(), words.into())), "{value}");
        }
        assert_eq!(mismatch(&json!({ "list": [1], "stop": "x" }), &schema(), ""), None);
    }
}
