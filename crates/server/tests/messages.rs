//! Anthropic's API: answers, streams, functions, conversations that clients send back, errors.

mod running;

use serde_json::{Value, json};
use sterna::engine::Engine;
use sterna::text::Message;
use sterna_server::Settings;

use running::{Answer, EMBEDDED, Running, gated};

const PATH: &str = "/v1/messages";

/// A short conversation with more fields.
fn request(more: Value) -> Value {
    let mut request = json!({
        "model": "sterna",
        "max_tokens": 12,
        "temperature": 0,
        "messages": [{ "role": "user", "content": "Tell me a story about a fox." }],
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn ask(server: &Running, more: Value) -> Value {
    let answer = server.post(PATH, &request(more));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The events of a stream. Each is named by its type.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, &*answer.headers["content-type"]), (200, "text/event-stream"), "{answer:?}");
    let event = |text: &str| {
        let (name, data) = text.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{text}");
        data
    };
    answer.body.split("\n\n").filter(|text| !text.is_empty()).map(event).collect()
}

/// The message that Anthropic's clients put together from a stream.
fn accumulated(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut json = String::new();
    for event in &events[1..] {
        let block = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(block, Some(blocks.len()), "{event}");
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" if event["delta"]["type"] == "text_delta" => {
                let text = &mut message["content"][block.unwrap()]["text"];
                *text = (text.as_str().unwrap().to_owned() + event["delta"]["text"].as_str().unwrap()).into();
            }
            "content_block_delta" => {
                assert_eq!(event["delta"]["type"], "input_json_delta");
                json += event["delta"]["partial_json"].as_str().unwrap();
            }
            "content_block_stop" if !json.is_empty() => {
                message["content"][block.unwrap()]["input"] = serde_json::from_str(&std::mem::take(&mut json)).unwrap();
            }
            "content_block_stop" => {}
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            other => assert_eq!(other, "message_stop"),
        }
    }
    message
}

/// The message without ids, which always differ.
fn without_ids(mut message: Value) -> Value {
    let id = message.as_object_mut().unwrap().shift_remove("id").unwrap();
    assert!(id.as_str().unwrap().starts_with("msg_"), "{id}");
    for block in message["content"].as_array_mut().unwrap() {
        if let Some(id) = block.as_object_mut().unwrap().shift_remove("id") {
            assert!(id.as_str().unwrap().starts_with("toolu_"), "{id}");
        }
    }
    message
}

fn tools() -> Value {
    json!([{
        "name": "weather", "description": "The weather of a city.", "cache_control": { "type": "ephemeral" },
        "input_schema": {
            "type": "object", "required": ["city"],
            "properties": { "city": { "enum": ["Oslo", "Rome"] } },
        },
    }])
}

#[test]
fn an_answer_has_anthropics_shape_whole_and_streamed() {
    let server = Running::embedded(Settings::default());
    let whole = without_ids(ask(&server, json!({})));
    let chat = server.chat(json!({ "max_tokens": 12 })).json();
    let input = chat["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(
        whole,
        json!({
            "type": "message", "role": "assistant", "model": "sterna",
            "content": [{ "type": "text", "text": chat["choices"][0]["message"]["content"] }],
            "stop_reason": "max_tokens", "stop_sequence": null,
            "usage": {
                "input_tokens": input, "output_tokens": 12,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            },
        })
    );
    let streamed = server.post(PATH, &request(json!({ "stream": true })));
    let events = events(&streamed);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let (first, last) = (&kinds[..2], &kinds[kinds.len() - 3..]);
    assert_eq!(first, ["message_start", "content_block_start"]);
    assert_eq!(last, ["content_block_stop", "message_delta", "message_stop"]);
    assert!(kinds.len() > 8 && kinds[2..kinds.len() - 3].iter().all(|kind| *kind == "content_block_delta"));
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], input);
    assert_eq!(
        events[1],
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } })
    );
    assert_eq!(without_ids(accumulated(&events)), whole);
    let counted = server.post("/v1/messages/count_tokens", &request(json!({ "max_tokens": null })));
    assert_eq!((counted.status, counted.json()), (200, json!({ "input_tokens": input })));
}

#[test]
fn an_answer_says_why_it_ended() {
    let server = Running::embedded(Settings::default());
    let whole = ask(&server, json!({ "max_tokens": 40 }));
    let text = whole["content"][0]["text"].as_str().unwrap();
    let stop: String = text.chars().skip(10).take(6).collect();
    let before = text.split(&stop).next().unwrap();
    let stops = json!({ "max_tokens": 40, "stop_sequences": ["never written", "", stop] });
    let stopped = ask(&server, stops.clone());
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
    assert_eq!(stopped["content"], json!([{ "type": "text", "text": before }]));
    let mut streamed = request(stops);
    streamed["stream"] = true.into();
    assert_eq!(without_ids(accumulated(&events(&server.post(PATH, &streamed)))), without_ids(stopped));

    let ended = ask(&server, json!({ "max_tokens": null, "system": "Be brief." }));
    assert_eq!((&ended["stop_reason"], &ended["stop_sequence"]), (&json!("end_turn"), &Value::Null), "without a limit");
    let nothing = ask(&server, json!({ "stop_sequences": [text.chars().next().unwrap().to_string()] }));
    assert_eq!((&nothing["content"], &nothing["stop_reason"]), (&json!([]), &json!("stop_sequence")));
}

#[test]
fn functions_are_called() {
    let server = Running::embedded(Settings::default());
    for choice in [
        json!({ "type": "any" }),
        json!({ "type": "any", "disable_parallel_tool_use": true }),
        json!({ "type": "tool", "name": "weather", "disable_parallel_tool_use": false }),
    ] {
        let asked = json!({ "tools": tools(), "tool_choice": choice, "max_tokens": 100 });
        let whole = without_ids(ask(&server, asked.clone()));
        let input = &whole["content"][0]["input"];
        assert!(["Oslo", "Rome"].contains(&input["city"].as_str().unwrap()), "{whole}");
        assert_eq!(whole["content"], json!([{ "type": "tool_use", "name": "weather", "input": input }]), "{choice}");
        assert_eq!(whole["stop_reason"], "tool_use");
        let mut streamed = request(asked);
        streamed["stream"] = true.into();
        let events = events(&server.post(PATH, &streamed));
        assert_eq!(events[1]["content_block"]["input"], json!({}), "{choice}");
        assert_eq!(without_ids(accumulated(&events)), whole);
    }
    let several = json!({ "type": "any", "disable_parallel_tool_use": false });
    let ask_several = |seed: u64| {
        let messages = json!([{ "role": "user", "content": format!("Weather in Oslo and Rome? {seed}") }]);
        ask(
            &server,
            json!({ "tools": tools(), "tool_choice": several, "messages": messages, "temperature": 1, "max_tokens": 200 }),
        )
    };
    assert!((0..20).any(|seed| ask_several(seed)["content"].as_array().unwrap().len() > 1));
    let counted = |more: Value| {
        let answer = server.post("/v1/messages/count_tokens", &request(more));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let without = counted(json!({}));
    assert_eq!(counted(json!({ "tools": tools(), "tool_choice": { "type": "none" } })), without);
    assert!(counted(json!({ "tools": tools(), "tool_choice": { "type": "auto" } })) > without + 40);
}

/// What clients send back, and the same conversation in OpenAI's words.
#[test]
fn conversations_go_on() {
    let server = Running::embedded(Settings::default());
    let ephemeral = json!({ "type": "ephemeral" });
    let messages = json!([
        { "role": "user", "content": [
            { "type": "text", "text": "Weather in ", "cache_control": ephemeral },
            { "type": "text", "text": "Oslo?", "citations": null },
            { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": " Now." } },
        ] },
        { "role": "assistant", "id": "msg_1", "stop_reason": "tool_use", "stop_sequence": null, "usage": {}, "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "abc" },
            { "type": "redacted_thinking", "data": "abc" },
            { "type": "text", "text": "I look.", "citations": [] },
            { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "query": "x" } },
            { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [] },
            { "type": "tool_use", "id": "toolu_1", "name": "weather", "input": { "city": "Oslo" }, "cache_control": ephemeral },
            { "type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}, "caller": { "type": "direct" } },
            { "type": "tool_use", "id": "toolu_3", "name": "weather", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": [{ "type": "text", "text": "ra" }, { "type": "text", "text": "in" }], "cache_control": ephemeral },
            { "type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": true },
            { "type": "tool_result", "tool_use_id": "toolu_3" },
            { "type": "text", "text": "And tomorrow?" },
        ] },
    ]);
    let system =
        json!([{ "type": "text", "text": "Be ", "cache_control": ephemeral }, { "type": "text", "text": "brief." }]);
    let answer = server.post(PATH, &request(json!({ "messages": messages, "system": system, "tools": tools() })));
    assert_eq!((answer.status, answer.headers.get("x-sterna-ignored-fields")), (200, None), "{}", answer.body);
    let call = |id: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": "weather", "arguments": arguments } });
    let tool = &tools()[0];
    let function = json!({ "name": "weather", "description": tool["description"], "parameters": tool["input_schema"] });
    let same = server.chat(json!({
        "max_tokens": 12,
        "tools": [{ "type": "function", "function": function }],
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Weather in Oslo? Now." },
            { "role": "assistant", "content": "I look.", "tool_calls": [call("toolu_1", "{\"city\":\"Oslo\"}"), call("toolu_2", "{}"), call("toolu_3", "{}")] },
            { "role": "tool", "tool_call_id": "toolu_1", "content": "rain" },
            { "role": "tool", "tool_call_id": "toolu_2", "content": "Error: no such city" },
            { "role": "tool", "tool_call_id": "toolu_3", "content": "" },
            { "role": "user", "content": "And tomorrow?" },
        ],
    }));
    let (answer, same) = (answer.json(), same.json());
    assert_eq!(answer["usage"]["input_tokens"], same["usage"]["prompt_tokens"]);
    assert_eq!(answer["content"][0]["text"], same["choices"][0]["message"]["content"]);
    // An answer can be sent back as it is.
    let again = json!([
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": ask(&server, json!({ "tools": tools(), "tool_choice": { "type": "any" } , "max_tokens": 100 }))["content"] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_x", "content": [] }] },
    ]);
    ask(&server, json!({ "messages": again, "tools": tools() }));
}

#[test]
fn an_answer_goes_on_with_what_the_assistant_began() {
    let engine = Engine::builder().sequences(4).open(EMBEDDED).unwrap();
    let asked = "Tell me a story about a fox.";
    let begun = "Once upon a <|eot_id|>";
    let tokenizer = engine.tokenizer().unwrap();
    let mut prompt = engine
        .template()
        .unwrap()
        .encode(tokenizer, &[Message { role: "user".into(), content: asked.into() }])
        .unwrap();
    prompt.extend(tokenizer.encode_plain(begun).unwrap());
    let server = Running::start(engine, Settings::default());
    let raw = json!({ "prompt": prompt, "max_tokens": 12, "temperature": 0 });
    let raw = server.post("/v1/completions", &raw).json();
    for content in [json!(begun), json!([{ "type": "text", "text": begun }])] {
        let messages = json!([{ "role": "user", "content": asked }, { "role": "assistant", "content": content }]);
        let answer = ask(&server, json!({ "messages": messages }));
        assert_eq!(answer["content"][0]["text"], raw["choices"][0]["text"]);
        assert_eq!(answer["usage"]["input_tokens"], prompt.len());
    }
}

#[test]
fn neighbours_of_one_author_are_one_turn() {
    let server = Running::embedded(Settings::default());
    let text = |role: &str, text: &str| json!({ "role": role, "content": text });
    let apart = json!([text("user", "One."), text("user", "Two."), text("assistant", "Three."), text("user", "Four.")]);
    let joined = json!([text("user", "One.\n\nTwo."), text("assistant", "Three."), text("user", "Four.")]);
    let [apart, joined] = [apart, joined].map(|messages| without_ids(ask(&server, json!({ "messages": messages }))));
    assert_eq!(apart, joined);
}

#[test]
fn harmless_fields_are_taken_and_others_refused_in_anthropics_shape() {
    let server = Running::embedded(Settings { body_bytes: 100_000, ..Settings::default() });
    for more in [
        json!({ "metadata": { "user_id": "x" }, "service_tier": "auto", "thinking": { "type": "disabled" } }),
        json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" }, "mcp_servers": [], "container": null }),
        json!({ "max_tokens": 12.0, "top_k": -1, "top_p": 1.0, "stop_sequences": [], "tools": [], "tool_choice": { "type": "auto" } }),
        json!({ "tools": [{ "name": "mcp__x".repeat(21), "type": "custom", "strict": true }], "tool_choice": { "type": "none" } }),
        json!({ "system": "", "context_management": { "edits": [] }, "model": null }),
    ] {
        let answer = server.post(PATH, &request(more.clone()));
        assert_eq!(
            (answer.status, answer.headers.get("x-sterna-ignored-fields")),
            (200, None),
            "{more}: {}",
            answer.body
        );
    }
    let schema =
        json!({ "type": "object", "properties": { "colour": { "enum": ["red", "blue"] } }, "required": ["colour"] });
    let format = json!({ "type": "json_schema", "schema": schema });
    for more in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
        let answer = ask(&server, {
            let mut more = more;
            more["max_tokens"] = 40.into();
            more
        });
        let value: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert!(["red", "blue"].contains(&value["colour"].as_str().unwrap()));
    }
    let content =
        |block: Value| json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x" }, block] }] });
    let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "" } });
    for (more, status, kind, words) in [
        (json!({ "model": "claude" }), 404, "not_found_error", "does not exist here"),
        (json!({ "messages": [] }), 400, "invalid_request_error", "messages is empty"),
        (json!({ "max_tokens": 0 }), 400, "invalid_request_error", "max_tokens"),
        (json!({ "temperature": 3 }), 400, "invalid_request_error", "temperature is 3; it must be from 0 to 2"),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
            400,
            "invalid_request_error",
            "thinking is not supported",
        ),
        (json!({ "tool_choice": { "type": "any" } }), 400, "invalid_request_error", "tools does not have"),
        (json!({ "tool_choice": { "type": "some" } }), 400, "invalid_request_error", "tool_choice"),
        (
            json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }),
            400,
            "invalid_request_error",
            "tools[0].type is \"web_search_20250305\"",
        ),
        (json!({ "tools": [{ "name": "x".repeat(129) }] }), 400, "invalid_request_error", "use 1 to 128 letters"),
        (json!({ "stop_sequences": vec!["x"; 17] }), 400, "invalid_request_error", "stop_sequences takes at most 16"),
        (json!({ "mcp_servers": [{ "url": "x" }] }), 400, "invalid_request_error", "mcp_servers"),
        (content(image.clone()), 400, "invalid_request_error", "messages[0].content[1] is an image part"),
        (
            content(json!({ "type": "tool_result", "tool_use_id": "x", "content": [image] })),
            400,
            "invalid_request_error",
            "messages[0].content[1].content[0] is an image part",
        ),
        (
            content(json!({ "type": "tool_use", "id": "x", "name": "weather", "input": {} })),
            400,
            "invalid_request_error",
            "messages[0].content[1] is a tool_use block",
        ),
        (content(json!({ "type": "text", "text": "long ".repeat(5_000) })), 400, "invalid_request_error", "shorten it"),
        (content(json!({ "type": "text", "text": "x".repeat(100_000) })), 413, "request_too_large", "larger"),
    ] {
        let answer = server.post(PATH, &request(more.clone()));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, answer.json()), (status, error(kind, &message)), "{more}");
        assert!(message.contains(words), "{more}: {message}");
    }
    let long = request(content(json!({ "type": "text", "text": "long ".repeat(5_000) })));
    let counted = server.post("/v1/messages/count_tokens", &long);
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 5_000, "a prompt that is too long is counted");
}

fn error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

#[test]
fn errors_before_the_endpoint_have_anthropics_shape_too() {
    let server = Running::embedded(Settings {
        api_keys: vec!["k1".into()],
        origins: vec!["https://ok.example".into()],
        ..Settings::default()
    });
    let post = |path: &str, headers: &str| {
        server.raw(&server.posting(path, &request(json!({ "max_tokens": 1 })).to_string(), headers))
    };
    for headers in [
        "X-Api-Key: k1\r\n",
        "x-api-key:  k1 \r\n",
        "Authorization: Bearer k1\r\n",
        "X-Api-Key: k1\r\nAuthorization: Bearer other\r\n",
    ] {
        assert_eq!(post(PATH, headers).status, 200, "{headers}");
        assert_eq!(server.get("/v1/models", headers).status, 200, "{headers}: the key of all paths");
    }
    for headers in ["", "X-Api-Key: k2\r\n", "X-Api-Key: \r\n", "X-Api-Key: Bearer k1\r\n"] {
        let refused = post(PATH, headers);
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!((refused.status, refused.json()), (401, error("authentication_error", &message)), "{headers}");
    }
    let key = "X-Api-Key: k1\r\n";
    let cases = [
        (post("/v1/messages/batches", key), 404, "not_found_error"),
        (server.get(PATH, key), 405, "invalid_request_error"),
        (post(PATH, &format!("{key}Origin: https://evil.example\r\n")), 403, "permission_error"),
        (server.raw(&server.posting(PATH, "{", key)), 400, "invalid_request_error"),
        (
            server.raw(&server.posting(PATH, "{}", &format!("{key}Content-Encoding: gzip\r\n"))),
            415,
            "invalid_request_error",
        ),
    ];
    for (answer, status, kind) in cases {
        assert_eq!(
            (answer.status, &answer.json()["type"], &answer.json()["error"]["type"]),
            (status, &json!("error"), &json!(kind))
        );
    }
    let preflight = server.raw(
        "OPTIONS /v1/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: https://ok.example\r\nConnection: close\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key,anthropic-version\r\n\r\n",
    );
    let allowed: Vec<&str> = preflight.headers["access-control-allow-headers"].split(", ").collect();
    assert!(preflight.status == 204 && allowed.contains(&"x-api-key") && allowed.contains(&"*"), "{preflight:?}");
}

#[test]
fn a_stream_that_fails_ends_with_an_error_event() {
    let (engine, _open) = gated(&Engine::builder().threads(1));
    let settings = Settings { timeout: std::time::Duration::from_millis(30), ..Settings::default() };
    let server = Running::start(engine, settings);
    let late = server.post(PATH, &request(json!({ "stream": true })));
    let events = events(&late);
    let message = "the request took longer than 0 s, which is the server's limit";
    assert_eq!(events.last(), Some(&error("timeout_error", message)));
    assert_eq!(events.len(), 2, "{events:?}");
    let whole = server.post(PATH, &request(json!({})));
    assert_eq!((whole.status, whole.json()), (504, error("timeout_error", message)));
}

#[test]
fn a_full_queue_is_a_rate_limit() {
    let (engine, open) = gated(&Engine::builder().threads(1));
    let server = Running::start(engine, Settings { queue: 1, ..Settings::default() });
    let waiting = server.send(&server.posting(PATH, &request(json!({ "max_tokens": 2 })).to_string(), ""));
    server.comes_to("sterna_waiting 1");
    let full = server.post(PATH, &request(json!({})));
    assert_eq!((full.status, &full.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    drop(open);
    assert_eq!(Answer::read(waiting).status, 200);
}
