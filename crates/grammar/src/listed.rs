//! Schemas whose objects have no unlisted properties.

use serde_json::{Map, Value};

/// Keywords that apply several schemas to one value. A property that one of them does not list may be required by
/// another, or decide which of them holds.
const COMBINING: [&str; 8] =
    ["allOf", "oneOf", "not", "if", "dependentSchemas", "unevaluatedProperties", "patternProperties", "$dynamicRef"];
/// Keywords that combine schemas only if they occur together with one of [`OBJECT_KEYWORDS`].
const COMBINING_WITH_OBJECT: [&str; 2] = ["$ref", "anyOf"];
const OBJECT_KEYWORDS: [&str; 4] = ["properties", "required", "additionalProperties", "minProperties"];

/// Closes the objects of a schema: they have no other properties than the schema lists, unless it allows them with
/// `"additionalProperties": true`. Every value that is valid by the result is valid by `schema` too. Schemas that
/// combine others (`allOf`, `oneOf` and the like) are returned unchanged.
///
/// By JSON Schema an object may have any number of unlisted properties, and few schemas forbid it. Models would invent
/// properties, small models without end.
pub fn listed_only(mut schema: Value) -> Value {
    if !combines(&schema) {
        close(&mut schema);
    }
    schema
}

/// Whether several schemas apply to one value anywhere.
fn combines(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let has = |keywords: &[&str]| keywords.iter().any(|keyword| object.contains_key(*keyword));
            has(&COMBINING) || has(&COMBINING_WITH_OBJECT) && has(&OBJECT_KEYWORDS) || object.values().any(combines)
        }
        Value::Array(list) => list.iter().any(combines),
        _ => false,
    }
}

/// Adds `"additionalProperties": false` to all objects that list properties and do not mention others.
fn close(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    if let Some(Value::Object(properties)) = object.get("properties") {
        let listed = |name: &Value| name.as_str().is_some_and(|name| properties.contains_key(name));
        let required = object.get("required").and_then(Value::as_array);
        if required.into_iter().flatten().all(listed) && !object.contains_key("minProperties") {
            object.entry("additionalProperties").or_insert(false.into());
        }
    }
    for map in ["properties", "$defs", "definitions"] {
        object.get_mut(map).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).for_each(close);
    }
    for list in ["anyOf", "prefixItems"] {
        object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(close);
    }
    for one in ["items", "additionalProperties"] {
        object.get_mut(one).into_iter().for_each(close);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_that_list_properties_have_no_others() {
        let animal = json!({ "properties": { "legs": { "enum": [2, 4] } }, "required": ["legs"] });
        let mut shut = animal.clone();
        shut["additionalProperties"] = false.into();
        assert_eq!(listed_only(animal.clone()), shut);
        let within = |of: &Value| {
            json!({
                "properties": { "best": { "anyOf": [of, { "type": "null" }] }, "all": { "type": "array", "items": of } },
                "$defs": { "of": of },
                "additionalProperties": of,
            })
        };
        assert_eq!(listed_only(within(&animal)), within(&shut));
    }

    #[test]
    fn what_is_open_on_purpose_or_joined_stays() {
        let animal = json!({ "properties": { "legs": {} } });
        for schema in [
            json!({ "type": "object" }),
            json!({ "additionalProperties": true, "properties": {} }),
            json!({ "properties": { "legs": {} }, "required": ["tail"] }),
            json!({ "properties": { "legs": {} }, "minProperties": 2 }),
            json!({ "properties": { "a": { "allOf": [animal, { "required": ["tail"] }] } } }),
            json!({ "properties": { "a": { "$ref": "#/$defs/a", "properties": {} } }, "$defs": { "a": animal } }),
            json!({ "properties": {}, "anyOf": [animal, { "required": ["tail"] }] }),
            json!({ "required": ["tail"], "anyOf": [animal] }),
            // With both closed, {"legs": 4, "tail": 1} would be of the second only.
            json!({ "oneOf": [animal, { "properties": { "legs": {}, "tail": {} }, "required": ["tail"] }] }),
        ] {
            assert_eq!(listed_only(schema.clone()), schema);
        }
    }
}
