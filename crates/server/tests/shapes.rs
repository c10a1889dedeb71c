//! What clients of other servers rely on besides the fields of bodies: headers, keys, the shapes of Ollama's API.

mod running;

use serde_json::{Value, json};
use sterna_server::Settings;

use running::Running;

/// Sends a body, with these headers.
fn send(server: &Running, path: &str, headers: &str, body: &Value) -> running::Answer {
    let body = body.to_string();
    let length = body.len();
    server.raw(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ))
}

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[test]
fn the_scheme_of_a_key_has_any_case() {
    let server = Running::embedded(Settings { api_keys: vec!["k1".into()], ..Settings::default() });
    let status = |value: &str| server.get("/v1/models", &format!("Authorization: {value}\r\n")).status;
    for value in ["Bearer k1", "bearer k1", "BEARER   k1", "bEaReR k1 "] {
        assert_eq!(status(value), 200, "{value}");
    }
    for value in ["Bearer k2", "Bearerk1", "k1", "Basic k1", "Bearer", "bearer "] {
        assert_eq!(status(value), 401, "{value}");
    }
}

#[test]
fn streams_are_not_collected_by_proxies() {
    let server = Running::embedded(Settings::default());
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    for (path, body) in [
        ("/v1/chat/completions", json!({ "messages": messages, "stream": true, "max_tokens": 2 })),
        ("/v1/completions", json!({ "prompt": "Hi", "stream": true, "max_tokens": 2 })),
        ("/v1/responses", json!({ "input": "Hi", "stream": true, "max_output_tokens": 2 })),
        ("/api/chat", json!({ "model": "sterna", "messages": messages, "options": { "num_predict": 2 } })),
        ("/api/generate", json!({ "model": "sterna", "prompt": "Hi", "options": { "num_predict": 2 } })),
    ] {
        let answer = send(&server, path, JSON, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.headers.get("x-accel-buffering").map(|value| &**value), Some("no"), "{path}");
    }
}

#[test]
fn programs_may_call_a_body_a_form_on_ollamas_paths() {
    let server = Running::embedded(Settings::default());
    let body = json!({ "model": "sterna", "prompt": "Hi", "stream": false, "options": { "num_predict": 1 } });
    let show = json!({ "model": "sterna" });
    for kind in ["", FORM, JSON, "Content-Type: text/plain\r\n"] {
        assert_eq!(send(&server, "/api/generate", kind, &body).status, 200, "{kind}");
        assert_eq!(send(&server, "/api/show", kind, &show).status, 200, "{kind}");
    }
    for page in ["Origin: http://localhost\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(send(&server, "/api/generate", &format!("{FORM}{page}"), &body).status, 415, "{page}");
        assert_eq!(send(&server, "/api/generate", page, &body).status, 415, "{page}: no type");
    }
    assert_eq!(send(&server, "/v1/completions", FORM, &json!({ "prompt": "Hi" })).status, 415);
}

#[test]
fn ollamas_clients_find_what_they_read() {
    let server = Running::embedded(Settings::default());
    let tags = server.get("/api/tags", "").json();
    let model = &tags["models"][0];
    let digest = model["digest"].as_str().expect("a digest");
    assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
    assert_eq!(server.get("/api/ps", "").json()["models"][0]["digest"], digest);
    for key in ["parent_model", "format", "family", "families", "parameter_size", "quantization_level"] {
        assert!(!model["details"][key].is_null(), "{key}");
    }
    let show = send(&server, "/api/show", JSON, &json!({ "model": "sterna" })).json();
    let architecture = show["model_info"]["general.architecture"].as_str().expect("a name");
    let info = |key: &str| show["model_info"][format!("{architecture}.{key}")].as_u64();
    assert_eq!(
        (info("context_length"), info("block_count"), info("embedding_length")),
        (Some(2048), Some(8), Some(256))
    );
    assert_eq!(show["capabilities"][0], "completion");
    let version = server.get("/api/version", "").json()["version"].as_str().expect("a version").to_owned();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(parts >= vec![0, 14, 0], "{version}");
}

#[test]
fn errors_below_api_have_ollamas_shape() {
    let server = Running::embedded(Settings { api_keys: vec!["k1".into()], ..Settings::default() });
    let key = "Authorization: Bearer k1\r\n";
    for (path, headers, status) in
        [("/api/nothing", key, 404), ("/api/generate", key, 405), ("/api/tags", "", 401), ("/v1/models", "", 401)]
    {
        let answer = server.get(path, headers);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()["error"].is_string(), path.starts_with("/api/"), "{path}: {}", answer.body);
    }
}

#[test]
fn a_limit_ends_an_answer_as_length_also_within_a_call() {
    let server = Running::embedded(Settings::default());
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let body = |limit: usize| {
        json!({
            "messages": [{ "role": "user", "content": "Weather in Oslo and Rome?" }],
            "tools": [{ "type": "function", "function": { "name": "weather", "parameters": parameters } }],
            "tool_choice": "required", "parallel_tool_calls": true, "seed": 1, "max_tokens": limit,
        })
    };
    for limit in [4, 12, 25] {
        let answer = send(&server, "/v1/chat/completions", JSON, &body(limit)).json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "length", "{limit}: {answer}");
        assert!(!choice["message"]["content"].as_str().unwrap_or_default().contains('{'), "{limit}: {answer}");
    }
}

#[test]
fn chunks_say_that_usage_comes_last_and_text_may_stay_text() {
    let server = Running::embedded(Settings::default());
    let body = json!({ "prompt": "Hi", "stream": true, "max_tokens": 2, "stream_options": { "include_usage": true } });
    let text = send(&server, "/v1/completions", JSON, &body).body;
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .map(|rest| serde_json::from_str(&format!("{{{rest}")).expect("an object"))
        .collect();
    let (last, others) = chunks.split_last().expect("chunks");
    assert!(last["usage"]["total_tokens"].is_u64(), "{text}");
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)), "{text}");

    let tokens = |body: Value| send(&server, "/tokenize", JSON, &body).json()["tokens"].as_array().map_or(0, Vec::len);
    let spelled = json!({ "content": "<|eot_id|>" });
    assert_eq!(tokens(spelled.clone()), 1);
    assert!(tokens(json!({ "content": "<|eot_id|>", "parse_special": false })) > 1);
}

/// lm-evaluation-harness counts tokens so, and needs no copy of the tokenizer.
#[test]
fn the_tokenizer_answers_to_vllms_names() {
    let server = Running::embedded(Settings::default());
    let tokens = |body: Value| send(&server, "/tokenize", JSON, &body).json()["tokens"].clone();
    let text = "Once upon a time";
    let plain = tokens(json!({ "content": text }));
    assert_eq!(tokens(json!({ "prompt": text, "add_special_tokens": false })), plain);
    let with_bos = tokens(json!({ "prompt": text, "add_special_tokens": true }));
    assert_eq!(with_bos, tokens(json!({ "content": text, "add_special": true })));
    let info = server.get("/tokenizer_info", "").json();
    assert_eq!(tokens(json!({ "prompt": info["bos_token"], "add_special_tokens": false }))[0], with_bos[0]);
    assert_eq!(tokens(json!({ "prompt": info["eos_token"] })).as_array().map(Vec::len), Some(1), "{info}");
    let back = send(&server, "/detokenize", JSON, &json!({ "tokens": plain })).json();
    assert_eq!((&back["prompt"], &back["content"]), (&json!(text), &json!(text)));
}

#[test]
fn the_name_of_a_model_may_have_slashes() {
    let server = Running::embedded(Settings { model: "org/model:1b".into(), ..Settings::default() });
    assert_eq!(server.get("/v1/models/org/model:1b", "").json()["id"], "org/model:1b");
    assert_eq!(server.get("/v1/models/org%2Fmodel:1b", "").json()["id"], "org/model:1b");
    assert_eq!(server.get("/v1/models/other/model", "").status, 404);
}

/// VS Code sends the header of a key that the user left empty, marks messages, and asks for the usage of a stream.
#[test]
fn an_editor_without_a_key_gets_a_stream_with_its_usage() {
    let server = Running::embedded(Settings::default());
    let body = json!({
        "model": "sterna",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Hi", "copilot_cache_control": { "type": "ephemeral" } },
        ],
        "temperature": 0, "top_p": 1, "n": 1, "stream": true, "stream_options": { "include_usage": true },
        "tools": [{ "type": "function", "function": {
            "name": "read_file", "parameters": { "type": "object", "properties": {} } } }],
    });
    let answer = send(&server, "/v1/chat/completions", &format!("{JSON}Authorization: Bearer \r\n"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.headers["x-sterna-ignored-fields"], "messages[].copilot_cache_control");
    let data: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let [.., usage, "[DONE]"] = data[..] else { panic!("{}", answer.body) };
    let usage: Value = serde_json::from_str(usage).expect("an object");
    assert!(usage["usage"]["completion_tokens"].is_u64() && usage["choices"] == json!([]), "{usage}");
}
