//! Fields of requests: what is taken, what is mapped, what is refused, and what nobody knows.

mod running;

use serde_json::{Value, json};
use sterna_server::Settings;

use running::{Answer, Running, chat};

const HEADER: &str = "x-sterna-ignored-fields";

/// The greeting of a short conversation, with additional fields.
fn asked(server: &Running, path: &str, more: &Value) -> Answer {
    let mut request = match path {
        "/v1/chat/completions" => chat(json!({ "max_tokens": 3 })),
        "/v1/completions" => json!({ "prompt": "Hi", "max_tokens": 3, "temperature": 0 }),
        "/v1/responses" => json!({ "input": "Hi", "max_output_tokens": 3, "temperature": 0 }),
        "/api/generate" => {
            json!({ "model": "sterna", "prompt": "Hi", "stream": false, "options": { "num_predict": 3 } })
        }
        "/api/chat" => {
            json!({ "model": "sterna", "messages": [{ "role": "user", "content": "Hi" }], "stream": false, "options": { "num_predict": 3 } })
        }
        _ => json!({}),
    };
    for (name, value) in more.as_object().unwrap() {
        match (request.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
            (Some(before), Some(more)) => before.extend(more.clone()),
            _ => request[name] = value.clone(),
        }
    }
    server.post(path, &request)
}

#[test]
fn harmless_values_are_taken_and_others_refused() {
    let server = Running::embedded(Settings::default());
    let options = |value: Value| json!({ "options": value });
    for (path, taken, refused) in [
        ("/v1/chat/completions", json!({ "service_tier": "auto" }), None),
        ("/v1/chat/completions", json!({ "modalities": ["text"] }), Some(json!({ "modalities": ["text", "audio"] }))),
        ("/v1/chat/completions", json!({ "reasoning_effort": "none" }), Some(json!({ "reasoning_effort": "high" }))),
        ("/v1/chat/completions", json!({ "verbosity": "medium" }), Some(json!({ "verbosity": "low" }))),
        ("/v1/chat/completions", json!({ "prompt_cache_retention": "24h", "cache_prompt": true, "user": "x" }), None),
        ("/v1/chat/completions", json!({ "stream_options": { "include_obfuscation": false } }), None),
        ("/v1/chat/completions", json!({ "max_tokens": -1 }), Some(json!({ "max_tokens": -7 }))),
        (
            "/v1/chat/completions",
            json!({ "max_tokens": 4.0, "n": 1.0, "top_k": 40.0 }),
            Some(json!({ "max_tokens": 4.5 })),
        ),
        ("/v1/chat/completions", json!({ "top_k": -1, "seed": u64::MAX }), Some(json!({ "top_k": -2 }))),
        ("/v1/chat/completions", json!({ "mirostat": 0, "mirostat_tau": 5.0 }), Some(json!({ "mirostat": 2 }))),
        (
            "/v1/chat/completions",
            json!({ "think": false, "audio": {}, "tools": [], "stop": [], "functions": [] }),
            None,
        ),
        (
            "/v1/chat/completions",
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            Some(json!({ "chat_template_kwargs": { "enable_thinking": true } })),
        ),
        (
            "/v1/chat/completions",
            json!({ "thinking": { "type": "disabled" } }),
            Some(json!({ "thinking": { "type": "enabled" } })),
        ),
        (
            "/v1/chat/completions",
            json!({ "repeat_penalty": 1.1, "repeat_last_n": -1 }),
            Some(json!({ "repeat_penalty": 1.1, "repeat_last_n": 8 })),
        ),
        (
            "/v1/chat/completions",
            json!({ "stop": ["", "x"], "logit_bias": {}, "metadata": {}, "response_format": {} }),
            None,
        ),
        (
            "/v1/completions",
            json!({ "best_of": 1, "suffix": "", "store": false, "metadata": {} }),
            Some(json!({ "best_of": 3 })),
        ),
        ("/v1/completions", json!({ "n": 2, "best_of": 2, "logprobs": false }), Some(json!({ "suffix": "end" }))),
        ("/v1/completions", json!({ "n_predict": 2, "max_tokens": null }), Some(json!({ "grammar": "root ::= x" }))),
        (
            "/v1/chat/completions",
            json!({ "tools": [{ "function": { "name": "now" } }, { "type": null, "function": { "name": "then" } }] }),
            Some(json!({ "tools": [{ "type": "file_search" }] })),
        ),
        (
            "/v1/responses",
            json!({ "tools": [{ "name": "now" }] }),
            Some(json!({ "tools": [{ "type": "web_search" }] })),
        ),
        (
            "/v1/responses",
            json!({ "reasoning": { "effort": null, "summary": "auto" } }),
            Some(json!({ "reasoning": { "effort": "low" } })),
        ),
        (
            "/v1/responses",
            json!({ "reasoning": { "effort": "none" }, "text": { "verbosity": "medium" } }),
            Some(json!({ "text": { "verbosity": "high" } })),
        ),
        (
            "/v1/responses",
            json!({ "include": ["reasoning.encrypted_content", "file_search_call.results"] }),
            Some(json!({ "include": ["message.output_text.logprobs"] })),
        ),
        (
            "/v1/responses",
            json!({ "background": false, "conversation": null, "top_logprobs": 0 }),
            Some(json!({ "previous_response_id": "resp_1" })),
        ),
        (
            "/api/generate",
            json!({ "suffix": "", "system": "", "template": "", "context": [], "format": "", "images": [] }),
            Some(json!({ "template": "{{ .Prompt }}" })),
        ),
        ("/api/generate", json!({ "think": false, "keep_alive": "5m" }), Some(json!({ "think": "high" }))),
        (
            "/api/generate",
            options(json!({ "mirostat": 0, "tfs_z": 1.0, "num_ctx": 4096.0, "repeat_last_n": 64 })),
            Some(options(json!({ "mirostat": 1 }))),
        ),
        ("/api/chat", json!({ "think": "none", "tools": null, "logprobs": false }), Some(json!({ "think": true }))),
        (
            "/api/chat",
            options(json!({ "num_predict": -2, "top_k": 0, "typical_p": 1, "stop": null })),
            Some(options(json!({ "rope_frequency_base": 1000 }))),
        ),
        ("/api/show", json!({ "model": "", "name": "sterna", "system": "", "template": "", "options": null }), None),
    ] {
        let answer = asked(&server, path, &taken);
        assert_eq!((answer.status, answer.headers.get(HEADER)), (200, None), "{path} {taken}: {answer:?}");
        if let Some(refused) = refused {
            assert_eq!(asked(&server, path, &refused).status, 400, "{path} {refused}");
        }
    }
    let (_, message, param) = server.chat(json!({ "modalities": ["audio"] })).refusal();
    assert_eq!(
        (&*message, param.as_str()),
        ("modalities cannot be [\"audio\"]; these models write text only", Some("modalities"))
    );
}

#[test]
fn unknown_fields_are_ignored_named_and_refused_only_if_strict() {
    let odd = json!({
        "max_tokens": 3,
        "frobnicate": 1,
        "na, me\r\n": {},
        "messages": [{ "role": "user", "content": "Hi", "mood": "good" }, { "role": "user", "content": [{ "type": "text", "text": "x", "tone": 1 }] }],
    });
    let server = Running::embedded(Settings::default());
    let answer = server.chat(odd.clone());
    assert_eq!(answer.status, 200, "{answer:?}");
    let names: Vec<&str> = answer.headers[HEADER].split(", ").collect();
    let nested = ["messages[].mood", "messages[].content[].tone"];
    assert_eq!(names, [nested[0], nested[1], "frobnicate", "na\\u{2c}\\u{20}me\\u{d}\\u{a}"]);
    let many = Value::Object((0..100).map(|i| (format!("{i}{}", "x".repeat(100)), json!(1))).collect());
    let many = server.chat(many);
    assert_eq!((many.status, many.headers[HEADER].split(", ").map(str::len).collect::<Vec<_>>()), (200, vec![64; 8]));
    let plain = server.chat(json!({ "max_tokens": 3, "user": "x" }));
    assert_eq!(plain.headers.get(HEADER), None);

    let strict = Running::embedded(Settings { strict: true, ..Settings::default() });
    let (status, message, param) = strict.chat(json!({ "frobnicate": 1 })).refusal();
    assert_eq!((status, param.as_str()), (400, Some("frobnicate")));
    assert!(message.starts_with("unknown field `frobnicate`, expected one of `messages`"), "{message}");
    let nested = json!({ "messages": [{ "role": "user", "content": "Hi", "mood": "good" }] });
    assert_eq!(strict.chat(nested).refusal().2, "messages[0].mood");
    let same = strict.chat(json!({ "max_tokens": 3, "user": "x", "service_tier": "auto" }));
    assert_eq!(same.text(), plain.text());
}

#[test]
fn conversations_that_come_back_go_on() {
    let server = Running::embedded(Settings::default());
    let tools = json!([{ "type": "function", "function": { "name": "now", "parameters": { "type": "object", "properties": {} } } }]);
    let call = |arguments: Value| json!({ "id": "call_1", "index": 0, "type": "function", "function": { "name": "now", "arguments": arguments } });
    for arguments in [
        json!(""),
        json!(" "),
        json!("null"),
        json!(null),
        json!({}),
        json!({ "zone": "x" }),
        json!("{\"zone\": \"Eu"),
        json!("[1]"),
    ] {
        let messages = json!([
            { "role": "user", "content": "What time is it?" },
            { "role": "assistant", "content": null, "tool_calls": [call(arguments.clone())], "audio": null, "function_call": null },
            { "role": "tool", "tool_call_id": "call_1", "name": "now", "content": [{ "type": "text", "text": "12:00" }] },
        ]);
        let answer = server.chat(json!({ "tools": tools, "messages": messages, "max_tokens": 3 }));
        assert_eq!((answer.status, answer.headers.get(HEADER)), (200, None), "{arguments}: {answer:?}");
        let items = json!([
            { "type": "message", "role": "user", "content": "What time is it?" },
            { "type": "reasoning", "id": "rs_1", "summary": [] },
            { "type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "now", "arguments": arguments },
            { "type": "function_call_output", "call_id": "call_1", "output": [{ "type": "input_text", "text": "12:00" }] },
        ]);
        let answer = server.post("/v1/responses", &json!({ "input": items, "max_output_tokens": 3 }));
        assert_eq!((answer.status, answer.headers.get(HEADER)), (200, None), "{arguments}: {answer:?}");
        let messages = json!([
            { "role": "user", "content": "Time?" },
            { "role": "assistant", "content": "", "thinking": "", "tool_calls": [{ "id": "x", "function": { "index": 0, "name": "now", "arguments": arguments } }] },
            { "role": "tool", "content": "12:00", "tool_name": "now", "tool_call_id": "x" },
        ]);
        let answer = asked(&server, "/api/chat", &json!({ "messages": messages }));
        assert_eq!((answer.status, answer.headers.get(HEADER)), (200, None), "{arguments}: {answer:?}");
    }
    let same = |content: Value, more: Value| {
        let mut message = json!({ "role": "assistant", "content": content });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let messages =
            json!([{ "role": "user", "content": "Hi" }, message, { "role": "user", "content": "Who are you?" }]);
        let answer = server.chat(json!({ "messages": messages, "max_tokens": 5 }));
        assert_eq!(answer.headers.get(HEADER), None);
        (answer.text(), answer.json()["usage"]["prompt_tokens"].clone())
    };
    let plain = same(json!("Hello!"), json!({}));
    for (content, more) in [
        (
            json!("Hello!"),
            json!({ "reasoning_content": "\n", "annotations": [], "index": 0, "thinking": "Hm.", "refusal": null }),
        ),
        (
            json!([{ "type": "text", "text": "Hello!", "cache_control": { "type": "ephemeral" } }]),
            json!({ "tool_calls": [] }),
        ),
        (
            json!([{ "type": "thinking", "thinking": "Hm." }, { "type": "output_text", "text": "Hel", "annotations": [] }, "lo!"]),
            json!({ "id": "msg_1" }),
        ),
        (json!([{ "type": "refusal", "refusal": "Hello!" }]), json!({ "audio": null, "name": "x" })),
    ] {
        assert_eq!(same(content, more), plain);
    }
}

#[test]
fn parts_that_are_no_text_are_named() {
    let server = Running::embedded(Settings::default());
    let image = json!([{ "type": "text", "text": "What?" }, { "type": "image_url", "image_url": { "url": "data:" } }]);
    let (status, message, param) = server.chat(json!({ "messages": [{ "role": "user", "content": image }] })).refusal();
    assert_eq!((status, param.as_str()), (400, Some("messages[0].content[1]")));
    assert_eq!(message, "messages[0].content[1] is an image part (image_url); these models read text only");
    let untyped = json!([{ "image_url": { "url": "data:" } }]);
    let (_, message, _) = server.chat(json!({ "messages": [{ "role": "user", "content": untyped }] })).refusal();
    assert_eq!(message, "messages[0].content[0] is an image part (image_url); these models read text only");
    let input = json!({ "input": [{ "role": "user", "content": [{ "type": "input_file", "file_id": "x" }] }] });
    let (_, message, _) = server.post("/v1/responses", &input).refusal();
    assert_eq!(message, "input[0].content[0] is a file part (input_file); these models read text only");
    for (path, body, words) in [
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": 5 }] }),
            "messages[0].content: expected a string or an array",
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": [5] }] }),
            "messages[0].content[0]: expected a part",
        ),
        ("/v1/completions", json!({ "prompt": [1, "x"] }), "prompt"),
        ("/v1/responses", json!({ "input": 5 }), "input: expected a string or an array"),
        ("/v1/responses", json!({ "input": [{ "type": "function_call", "name": "x" }] }), "input[0]"),
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": "x" }], "tool_choice": "odd" }),
            "tool_choice: expected \"none\"",
        ),
    ] {
        let (status, message, _) = server.post(path, &body).refusal();
        assert!(status == 400 && message.contains(words) && !message.contains("untagged"), "{body}: {message}");
    }
}

#[test]
fn forms_of_other_servers_are_mapped() {
    let server = Running::embedded(Settings::default());
    let schema = json!({ "type": "object", "properties": { "a": { "enum": [7] } }, "required": ["a"] });
    for (more, expected) in [
        (json!({ "structured_outputs": { "choice": ["red", "green"] } }), &["red", "green"][..]),
        (json!({ "guided_choice": ["a \"b\"", "\\"] }), &["a \"b\"", "\\"]),
        (json!({ "structured_outputs": { "regex": "x[12]", "json": null } }), &["x1", "x2"]),
        (json!({ "structured_outputs": { "grammar": "start: \"yes\"" } }), &["yes"]),
        (json!({ "structured_outputs": { "json": schema } }), &["{\"a\": 7}"]),
        (json!({ "guided_json": schema.to_string() }), &["{\"a\": 7}"]),
        (json!({ "response_format": { "type": "json_object", "schema": schema } }), &["{\"a\": 7}"]),
        (json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": schema } } }), &["{\"a\": 7}"]),
    ] {
        let text = server.chat(more.clone()).text();
        assert!(expected.contains(&&*text), "{more}: {text}");
    }
    let both = json!({ "guided_choice": ["a"], "response_format": { "type": "json_object" } });
    assert_eq!(server.chat(both).refusal().2, "guided_choice");
    let limit = |more: Value| {
        server
            .post(
                "/v1/completions",
                &json!({ "prompt": "Once", "temperature": 0 })
                    .as_object()
                    .unwrap()
                    .iter()
                    .chain(more.as_object().unwrap())
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            )
            .json()["usage"]["completion_tokens"]
            .clone()
    };
    assert_eq!((limit(json!({ "n_predict": 2 })), limit(json!({ "max_new_tokens": 3 }))), (2.into(), 3.into()));
}

#[test]
fn bodies_may_begin_with_a_mark_but_not_be_compressed() {
    let server = Running::embedded(Settings::default());
    let path = "/v1/chat/completions";
    let body = format!("\u{feff}{}", chat(json!({ "max_tokens": 3 })));
    assert_eq!(server.raw(&server.posting(path, &body, "")).status, 200);
    let gzip = server.raw(&server.posting(path, "\u{1f}", "Content-Encoding: gzip\r\n"));
    assert_eq!(
        gzip.refusal(),
        (
            415,
            "the body is compressed (Content-Encoding: gzip); send it without a content encoding".into(),
            Value::Null
        )
    );
    assert_eq!(server.raw(&server.posting(path, &body, "Content-Encoding: identity\r\n")).status, 200);
}

#[test]
fn a_completion_without_a_limit_goes_on_to_its_end() {
    let server = Running::embedded(Settings::default());
    let tokens = |more: Value| {
        let mut request = json!({ "prompt": "Once upon a time", "temperature": 0 });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/completions", &request).json()["usage"]["completion_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(json!({})), 16);
    assert!(tokens(json!({ "max_tokens": -1 })) > 50);
    assert_eq!(tokens(json!({ "n_predict": -1 })), tokens(json!({ "max_tokens": -1 })));
}

#[test]
fn parts_that_stand_alone_are_messages_or_named() {
    let server = Running::embedded(Settings::default());
    let whole = json!({ "input": [{ "role": "user", "content": "Hello!" }], "temperature": 0 });
    let part = json!({ "input": [{ "type": "input_text", "text": "Hello!" }], "temperature": 0 });
    let text = |request: &Value| server.post("/v1/responses", request).json()["output"].clone();
    assert_eq!(text(&part)[0]["content"], text(&whole)[0]["content"]);
    let image = json!({ "input": [{ "type": "input_image", "image_url": "data:x" }] });
    let (status, message, param) = server.post("/v1/responses", &image).refusal();
    assert_eq!((status, param), (400, json!("input[0]")));
    assert!(message.starts_with("input[0] is an image part (input_image)"), "{message}");
}

#[test]
fn tools_that_fill_the_context_are_named_with_their_share() {
    let server = Running::embedded(Settings::default());
    let tool = |at: usize| {
        let description = "Looks up something in a long list of things. ".repeat(20);
        json!({ "type": "function", "function": { "name": format!("tool_{at}"), "description": description } })
    };
    let tools: Vec<Value> = (0..36).map(tool).collect();
    let (status, message, param) = server.chat(json!({ "tools": tools })).refusal();
    assert_eq!((status, param), (400, json!("tools")));
    let numbers: Vec<usize> = message.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [36, share, all, _] = numbers[..] else { panic!("{message}") };
    assert!(share < all && share > all / 2, "{message}");
    let long = "word ".repeat(3000);
    let (_, message, _) = server.chat(json!({ "messages": [{ "role": "user", "content": long }] })).refusal();
    assert!(message.starts_with("the prompt has "), "{message}");
}
