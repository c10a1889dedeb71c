//! Fields of other servers' APIs that mean something here under another name: forms of answers, penalties, choices.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::{Field, Object};
use crate::shape::is_empty;
use crate::think::Effort;

/// Parts of answers that `include` may ask for, and that answers here never have.
const ABSENT: [&str; 7] = [
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

fn refused(field: &Field, problem: &str) -> ApiError {
    let message = format!("{}: {problem}", field.path);
    ApiError { code: Some("unsupported_parameter"), ..ApiError::field(field.path, message) }
}

/// `best_of`: as many as are answered are generated.
pub fn best_of(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let n = object.get("n").and_then(Value::as_f64).unwrap_or(1.0);
    match value.as_f64() {
        None if value.is_null() => Ok(()),
        Some(count) if count == 1.0 || count == n => Ok(()),
        _ => Err(refused(&field, "answers are not compared; use n")),
    }
}

/// `seed`: of a number beyond 63 bits, the same bits.
pub fn seed(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let value = value.as_u64().map_or(value, |seed| (seed as i64).into());
    object.insert(field.name.into(), value);
    Ok(())
}

/// `include`: lists parts of the answer.
pub fn include(_: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let mut parts = value.as_array().into_iter().flatten();
    let present = parts.find(|part| !part.as_str().is_some_and(|part| ABSENT.contains(&part)));
    present.map_or(Ok(()), |part| Err(refused(&field, &format!("answers cannot include {part}; leave it out"))))
}

/// `repeat_last_n`: how many tokens a penalty looks at. Here it looks at all of them.
pub fn last_n(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let penalties = ["repeat_penalty", "repetition_penalty"];
    let active = penalties.iter().any(|name| object.get(*name).and_then(Value::as_f64).is_some_and(|by| by != 1.0));
    match value.as_f64().map(|count| count as i64) {
        Some(0) => penalties.iter().for_each(|name| drop(object.shift_remove(*name))),
        Some(-1 | 64) => {}
        _ if active && !value.is_null() => {
            return Err(refused(&field, "a penalty looks at the prompt and the whole answer; leave it out or say -1"));
        }
        _ => {}
    }
    Ok(())
}

/// `response_format`: llama.cpp and others have the schema beside the type.
pub fn response_format(object: &mut Object, field: Field, mut value: Value) -> Result<(), ApiError> {
    let json = matches!(value["type"].as_str(), Some("json_object" | "json_schema"));
    if let (true, true, Some(format)) = (json, value.get("json_schema").is_none(), value.as_object_mut())
        && let Some(schema) = format.shift_remove("schema").filter(|schema| !schema.is_null())
    {
        value = with_schema(schema);
    }
    object.insert(field.name.into(), value);
    Ok(())
}

fn with_schema(schema: Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "schema", "schema": schema } })
}

/// Puts a form where `response_format` stands; a request has one form.
fn form(object: &mut Object, field: &Field, form: Value) -> Result<(), ApiError> {
    let before = object.get("response_format").filter(|before| !before.is_null() && !is_empty(before));
    if before.is_some_and(|before| before["type"] != "text" && *before != form) {
        return Err(refused(field, "the request already has a form for its answer; leave one of them out"));
    }
    object.insert("response_format".into(), form);
    Ok(())
}

/// vLLM's `structured_outputs`: an object with one form.
pub fn structured_outputs(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let forms = value.as_object().cloned().unwrap_or_default();
    for (name, value) in forms {
        let path = format!("{}.{name}", field.path);
        let inner = Field { name: &name, path: &path };
        match name.as_str() {
            "json" => json(object, inner, value)?,
            "regex" => regex(object, inner, value)?,
            "choice" => choice(object, inner, value)?,
            "grammar" => grammar(object, inner, value)?,
            "json_object" if value == true => form(object, &inner, json!({ "type": "json_object" }))?,
            "structural_tag" if !value.is_null() && !is_empty(&value) => {
                return Err(refused(&inner, "use tools, or another form"));
            }
            // Settings of vLLM's backends, and forms that are not given.
            _ => {}
        }
    }
    Ok(())
}

/// A JSON schema, which may be written as text.
pub fn json(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let schema = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(()),
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| refused(&field, &format!("the schema is not valid JSON: {error}")))?,
        schema => schema,
    };
    if schema.is_null() || is_empty(&schema) { Ok(()) } else { form(object, &field, with_schema(schema)) }
}

/// A regular expression.
pub fn regex(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    match value {
        value if value.is_null() || is_empty(&value) => Ok(()),
        Value::String(pattern) => form(object, &field, json!({ "type": "regex", "pattern": pattern })),
        _ => Err(refused(&field, "expected a string")),
    }
}

/// One of several texts.
pub fn choice(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    if value.is_null() || is_empty(&value) {
        return Ok(());
    }
    let texts: Option<Vec<String>> = value.as_array().and_then(|texts| {
        let text = |text: &Value| text.as_str().filter(|text| !text.is_empty()).map(|text| json!(text).to_string());
        texts.iter().map(text).collect()
    });
    let texts = texts.ok_or_else(|| refused(&field, "expected a list of texts, none of them empty"))?;
    form(object, &field, json!({ "type": "lark", "grammar": format!("start: {}", texts.join(" | ")) }))
}

/// A Lark grammar.
pub fn grammar(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    match value {
        value if value.is_null() || is_empty(&value) => Ok(()),
        Value::String(grammar) => form(object, &field, json!({ "type": "lark", "grammar": grammar })),
        _ => Err(refused(&field, "expected a string")),
    }
}

/// Whether the model thinks, and how much: false, "none", "off" and the like are off; null and "adaptive" are left to the
/// template.
pub fn think(object: &mut Object, _: Field, value: Value) -> Result<(), ApiError> {
    let off = |text: &str| ["none", "off", "disabled", "false"].iter().any(|off| text.eq_ignore_ascii_case(off));
    let effort = |text: &str| Effort::named(&text.trim().to_ascii_lowercase());
    let think: Value = match &value {
        Value::Null => return Ok(()),
        empty if is_empty(empty) || empty["type"] == "adaptive" => return Ok(()),
        Value::Bool(on) => (*on).into(),
        Value::String(text) => effort(text).map_or_else(|| (!off(text)).into(), |effort| effort.name().into()),
        other => (!other["type"].as_str().is_some_and(off)).into(),
    };
    object.insert("think".into(), think);
    Ok(())
}

/// `output_format`: Anthropic's older place of `output_config.format`.
pub fn output_format(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    if value.is_null() || is_empty(&value) {
        return Ok(());
    }
    let config = object.entry("output_config").or_insert_with(|| json!({}));
    if config.is_null() {
        *config = json!({});
    }
    match config.as_object_mut() {
        Some(config) if config.get("format").is_none_or(|format| format.is_null() || *format == value) => {
            config.insert("format".into(), value);
            Ok(())
        }
        _ => Err(refused(&field, "the request already has a form for its answer; leave one of them out")),
    }
}

/// Whether the model thinks, from an object of settings; there are no other variables for templates.
pub fn thinking(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    for (name, value) in value.as_object().cloned().unwrap_or_default() {
        let path = format!("{}.{name}", field.path);
        let inner = Field { name: &name, path: &path };
        match name.as_str() {
            "effort" | "enabled" | "enable_thinking" | "thinking" | "reasoning_effort" => think(object, inner, value)?,
            // Answers here have no reasoning apart.
            "summary" | "generate_summary" | "exclude" => {}
            _ if value.is_null() || is_empty(&value) => {}
            _ => return Err(refused(&inner, "templates get no variables of the client; leave it out")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_ask_for_thinking_become_one() {
        for (request, expected) in [
            (json!({ "reasoning_effort": "none" }), json!(false)),
            (json!({ "reasoning_effort": "High" }), json!("high")),
            (json!({ "reasoning_effort": null, "think": "" }), json!(null)),
            (json!({ "think": "Off" }), json!(false)),
            (json!({ "think": "low" }), json!("low")),
            (json!({ "think": "<|im_start|>" }), json!(true)),
            (json!({ "enable_thinking": false }), json!(false)),
            (json!({ "thinking": { "type": "disabled" } }), json!(false)),
            (json!({ "thinking": { "type": "enabled", "budget_tokens": 100 } }), json!(true)),
            (json!({ "chat_template_kwargs": { "enable_thinking": true } }), json!(true)),
            (json!({ "reasoning": { "effort": "none", "summary": "auto" } }), json!(false)),
            (json!({ "reasoning": { "summary": "auto" }, "chat_template_kwargs": {} }), json!(null)),
        ] {
            let mut shaped = request.clone();
            crate::fields::apply("/v1/chat/completions", &mut shaped).expect("taken");
            assert_eq!(shaped["think"], expected, "{request}");
            assert!(shaped.as_object().is_some_and(|fields| fields.keys().all(|name| name == "think")), "{shaped}");
        }
        let mut other = json!({ "chat_template_kwargs": { "mood": "good" } });
        let error = crate::fields::apply("/v1/chat/completions", &mut other).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("chat_template_kwargs.mood"));
    }
}
