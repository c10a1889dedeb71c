//! Schemas without properties that they do not list.

use serde_json::{Map, Value};

/// Keywords by which more than one schema speaks of a value. What one of them does not list another may require, or allow
/// where it must not.
const JOINING: [&str; 8] =
    ["allOf", "oneOf", "not", "if", "dependentSchemas", "unevaluatedProperties", "patternProperties", "$dynamicRef"];
/// Keywords that do so beside those that say something of an object themselves.
const JOINING_BESIDE: [&str; 2] = ["$ref", "anyOf"];
const OF_OBJECTS: [&str; 4] = ["properties", "required", "additionalProperties", "minProperties"];

/// A schema whose objects have no properties but those that it lists, unless it says that they may
/// (`"additionalProperties": true`). What is valid by it is valid by the given one.
///
/// Schemas seldom say that there are no other properties, and by JSON Schema there may then be any number of them. Models
/// invent them, small ones until nothing more fits.
pub fn listed_only(mut schema: Value) -> Value {
    if !joins(&schema) {
        close(&mut schema);
    }
    schema
}

/// Whether schemas of one value are joined anywhere.
fn joins(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let has = |keywords: &[&str]| keywords.iter().any(|keyword| object.contains_key(*keyword));
            has(&JOINING) || has(&JOINING_BESIDE) && has(&OF_OBJECTS) || object.values().any(joins)
        }
        Value::Array(list) => list.iter().any(joins),
        _ => false,
    }
}

/// Closes all objects that list their properties and leave open whether there are more.
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
