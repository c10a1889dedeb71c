//! The requests of clients that take long to install, as `crates/server/clients/record.py` has recorded them: the answers
//! must have the kinds of values that the clients need.

mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sterna_server::Settings;

use running::{Answer, Running};

/// The values at a place of an answer, where `*` is each element of a list.
fn values<'a>(answer: &'a Value, place: &str) -> Vec<&'a Value> {
    if place.is_empty() {
        return vec![answer];
    }
    let (head, rest) = place.split_once('.').unwrap_or((place, ""));
    match (head, answer) {
        ("*", Value::Array(items)) => items.iter().flat_map(|item| values(item, rest)).collect(),
        ("*", _) => vec![],
        (name, answer) => answer.get(name).map_or(vec![], |value| values(value, rest)),
    }
}

/// The number of values of each kind at a place of an answer.
fn kinds(answer: &Value, place: &str) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values(answer, place) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        *counts.entry(kind).or_default() += 1;
    }
    json!(counts)
}

/// The answer, or the last object of a stream: of server-sent events or of lines of JSON.
fn last_object(answer: &Answer) -> Value {
    let mut lines = answer.body.lines().rev().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let last = lines.find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no object: {answer:?}"));
    serde_json::from_str(last).unwrap()
}

/// Sends a recorded request, and compares the answer with what the client needs.
fn replay(server: &Running, request: &Value) {
    let path = request["path"].as_str().unwrap();
    let answer = match request["method"].as_str().unwrap() {
        "GET" => server.get(path, ""),
        _ => server.post(path, &request["body"]),
    };
    assert_eq!(u64::from(answer.status), request["status"], "{request}: {}", answer.body);
    let object = last_object(&answer);
    for (place, expected) in request["needs"].as_object().unwrap() {
        assert_eq!(kinds(&object, place), *expected, "{place} of {}\nfor {request}", answer.body);
    }
}

#[test]
fn recorded_clients_get_what_they_need() {
    let server = Running::embedded(Settings { model: "sterna".into(), ..Settings::default() });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/recorded");
    for name in ["lm_eval", "promptfoo"] {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
        let requests: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(requests.len() > 4, "{name}");
        requests.iter().for_each(|request| replay(&server, request));
    }
}
