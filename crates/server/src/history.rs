//! Conversations as clients send them back: parts of messages, and what answers of other servers have in them.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::{Field, Object};

/// The text parts of a message's content, each as `{"type": "text", "text": …}` with its other fields. Reasoning is left out.
///
/// # Errors
/// 400 for parts that are not text.
pub fn content(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let value = match value {
        Value::Array(parts) => {
            let parts =
                parts.into_iter().enumerate().map(|(at, part)| text_part(part, &format!("{}[{at}]", field.path)));
            parts.filter_map(Result::transpose).collect::<Result<_, _>>()?
        }
        part @ Value::Object(_) => text_part(part, field.path)?.into_iter().collect(),
        value => value,
    };
    object.insert(field.name.into(), value);
    Ok(())
}

/// The content of a message, or the output of a function, as one text.
///
/// # Errors
/// As [`content`].
pub fn joined(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let name = field.name.to_owned();
    content(object, field, value)?;
    if let Some(Value::Array(parts)) = object.get(&name) {
        let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        object.insert(name, text.into());
    }
    Ok(())
}

/// The blocks of a message in Anthropic's API: texts as [`content`], calls, and results with the text of their content.
/// Reasoning, and what other servers' own tools did, is left out.
///
/// # Errors
/// As [`content`].
pub fn blocks(object: &mut Object, field: Field, value: Value) -> Result<(), ApiError> {
    let value = match value {
        Value::Array(blocks) => {
            let blocks = blocks.into_iter().enumerate().map(|(at, each)| block(each, &format!("{}[{at}]", field.path)));
            blocks.filter_map(Result::transpose).collect::<Result<_, _>>()?
        }
        one @ Value::Object(_) => block(one, field.path)?.into_iter().collect(),
        value => value,
    };
    object.insert(field.name.into(), value);
    Ok(())
}

/// A block; `None` for one that the model does not read.
fn block(block: Value, path: &str) -> Result<Option<Value>, ApiError> {
    match (block["type"].as_str(), block.clone()) {
        (Some("tool_use"), Value::Object(mut fields)) => {
            for unread in ["cache_control", "caller"] {
                fields.shift_remove(unread);
            }
            Ok(Some(fields.into()))
        }
        (Some("tool_result"), Value::Object(mut fields)) => {
            fields.shift_remove("cache_control");
            let content = fields.shift_remove("content").unwrap_or_default();
            joined(&mut fields, Field { name: "content", path: &format!("{path}.content") }, content)?;
            Ok(Some(fields.into()))
        }
        (Some("server_tool_use" | "mcp_tool_use"), _) => Ok(None),
        (Some(kind), _) if kind.ends_with("_tool_result") => Ok(None),
        _ => text_part(block, path),
    }
}

/// A part as text; `None` for a part that the model does not read.
fn text_part(part: Value, path: &str) -> Result<Option<Value>, ApiError> {
    let mut fields = match part {
        Value::String(text) => return Ok(Some(json!({ "type": "text", "text": text }))),
        Value::Object(fields) => fields,
        Value::Null => return Ok(None),
        _ => return Err(ApiError::field(path, format!("{path}: expected a part of a message: an object with text"))),
    };
    let kind = fields.shift_remove("type").unwrap_or_default();
    let text = match kind.as_str().unwrap_or_default() {
        "text" | "input_text" | "output_text" | "summary_text" | "" if fields.contains_key("text") => {
            fields.shift_remove("text")
        }
        "refusal" => fields.shift_remove("refusal"),
        "thinking" | "redacted_thinking" | "reasoning" | "reasoning_text" | "tool_reference" => return Ok(None),
        "document" if fields.get("source").is_some_and(|source| source["type"] == "text") => {
            fields.shift_remove("source").map(|mut source| source["data"].take())
        }
        "" => return Err(no_text(fields.keys().next().map_or("", String::as_str), path)),
        kind => return Err(no_text(kind, path)),
    };
    let text = match text {
        Some(Value::Null) | None => "".into(),
        // Azure's and LangChain's older shape.
        Some(Value::Object(mut text)) if text.contains_key("value") => text.remove("value").unwrap_or_default(),
        Some(text) => text,
    };
    for unread in ["annotations", "cache_control", "citations", "logprobs", "id", "index", "prompt_cache_breakpoint"] {
        fields.shift_remove(unread);
    }
    fields.insert("type".into(), "text".into());
    fields.insert("text".into(), text);
    Ok(Some(Value::Object(fields)))
}

fn no_text(kind: &str, path: &str) -> ApiError {
    let what = ["image", "audio", "video", "file", "document"].into_iter().find(|what| kind.contains(what));
    let message = match (kind, what) {
        ("", _) => format!("{path} has neither type nor text; a part is {{\"type\": \"text\", \"text\": …}}"),
        (_, Some(what)) => {
            let a = if matches!(what, "image" | "audio") { "an" } else { "a" };
            format!("{path} is {a} {what} part ({}); these models read text only", kind.escape_default())
        }
        (_, None) => format!("{path} has the type {kind:?}; these models read text only"),
    };
    ApiError { code: Some("unsupported_parameter"), ..ApiError::field(path, message) }
}

/// The items of a conversation in the API of responses. Reasoning of other servers' models is left out. A part of a message
/// that stands alone is a message of the user.
///
/// # Errors
/// 400 for parts that are not text.
pub fn items(object: &mut Object, field: Field, mut value: Value) -> Result<(), ApiError> {
    for (at, item) in value.as_array_mut().into_iter().flatten().enumerate() {
        match item["type"].as_str().filter(|kind| kind.starts_with("input_")) {
            Some("input_text") => *item = json!({ "role": "user", "content": [item.take()] }),
            Some(kind) => return Err(no_text(kind, &format!("{}[{at}]", field.path))),
            None => {}
        }
    }
    if let Some(items) = value.as_array_mut() {
        items.retain(|item| item["type"] != "reasoning");
    }
    object.insert(field.name.into(), value);
    Ok(())
}

/// Tools: one that does not say its type is a function, the only kind that is called here.
///
/// # Errors
/// None.
pub fn tools(object: &mut Object, field: Field, mut value: Value) -> Result<(), ApiError> {
    for tool in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let functional = tool.contains_key("function") || tool.contains_key("name");
        if functional && tool.get("type").is_none_or(Value::is_null) {
            tool.insert("type".into(), "function".into());
        }
    }
    object.insert(field.name.into(), value);
    Ok(())
}
