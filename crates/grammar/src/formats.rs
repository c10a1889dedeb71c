//! The keyword `format` of JSON schemas.

use serde_json::Value;

/// Formats of strings that llguidance knows. By JSON Schema, any other is a remark that constrains nothing.
const KNOWN: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Keywords whose values map names to schemas.
const MAPS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords whose values are data.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// The schema without formats that constrain nothing, such as `int32` of OpenAPI.
pub fn known_formats(mut schema: Value) -> Value {
    remove_unknown(&mut schema);
    schema
}

fn remove_unknown(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let unknown = |format: &Value| !format.as_str().is_some_and(|format| KNOWN.contains(&format));
            if fields.get("format").is_some_and(unknown) {
                fields.shift_remove("format");
            }
            for (keyword, value) in fields {
                match value {
                    Value::Object(schemas) if MAPS.contains(&&**keyword) => {
                        schemas.values_mut().for_each(remove_unknown);
                    }
                    value if !DATA.contains(&&**keyword) => remove_unknown(value),
                    _ => {}
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(remove_unknown),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_formats_go_and_names_and_data_stay() {
        let schema = |id: Value, format: Value| {
            json!({
                "properties": { "id": id, "format": format, "when": { "type": "string", "format": "date" } },
                "const": { "format": "int32" },
                "anyOf": [format],
            })
        };
        let given =
            schema(json!({ "type": "integer", "format": "int64" }), json!({ "type": "string", "format": "color" }));
        assert_eq!(known_formats(given), schema(json!({ "type": "integer" }), json!({ "type": "string" })));
        assert_eq!(known_formats(json!({ "type": "string", "format": 7 })), json!({ "type": "string" }));
    }
}
