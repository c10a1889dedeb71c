//! The requests of clients that take long to install, as `crates/server/clients/record.py` has recorded them: the answers
//! must have the kinds of values that the clients need.

mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sterna_server::Settings;

use running::Running;

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

/// Sends the requests of a recording, and returns their number.
fn replay(server: &Running, file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    requests
        .map(|request| {
            let path = request["path"].as_str().unwrap();
            let answer = match request["method"].as_str().unwrap() {
                "GET" => server.get(path, ""),
                _ => server.post(path, &request["body"]),
            };
            assert_eq!(u64::from(answer.status), request["status"], "{request}: {}", answer.body);
            for (place, expected) in request["needs"].as_object().unwrap() {
                assert_eq!(kinds(&answer.json(), place), *expected, "{place} of {}\nfor {request}", answer.body);
            }
        })
        .count()
}

#[test]
fn recorded_clients_get_what_they_need() {
    let server = Running::embedded(Settings { model: "sterna".into(), ..Settings::default() });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/recorded");
    for name in ["lm_eval", "promptfoo"] {
        assert!(replay(&server, &folder.join(format!("{name}.jsonl"))) > 4, "{name}");
    }
}
