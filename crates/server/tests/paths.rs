//! Paths of other servers: without `/v1`, llama.cpp's, and those that need a model of another kind.

mod running;

use serde_json::{Value, json};
use sterna::engine::Engine;
use sterna_server::Settings;

use running::{Answer, EMBEDDED, Running, chat, gated};

/// What is the same in two answers to equal requests: all but ids and times.
fn comparable(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    for name in ["id", "created", "created_at"] {
        body.as_object_mut().unwrap().shift_remove(name);
    }
    if let Some(items) = body["output"].as_array_mut() {
        items.iter_mut().for_each(|item| item["id"] = Value::Null);
    }
    if let Some(usage) = body["usage"].as_object_mut() {
        usage.retain(|name, _| !name.ends_with("details"));
    }
    (answer.status, body)
}

#[test]
fn paths_without_v1_behave_as_their_twins() {
    let server = Running::embedded(Settings { strict: true, ..Settings::default() });
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    for (path, body) in [
        ("/chat/completions", chat(json!({ "max_tokens": 4, "reasoning_effort": "none" }))),
        ("/chat/completions", chat(json!({ "n": 0 }))),
        ("/chat/completions", chat(json!({ "verbosity": "low" }))),
        ("/chat/completions", chat(json!({ "nonsense": 1 }))),
        ("/completions", json!({ "prompt": "Hi", "n_predict": 4, "temperature": 0 })),
        ("/responses", json!({ "input": "Hi", "max_output_tokens": 4, "temperature": 0 })),
        ("/messages", json!({ "messages": messages, "max_tokens": 4, "temperature": 0, "top_k": -1 })),
        ("/messages", json!({ "messages": messages, "max_tokens": 0 })),
        ("/messages", json!({ "messages": messages, "nonsense": 1 })),
        ("/messages/count_tokens", json!({ "messages": messages })),
        ("/embeddings", json!({ "input": "Hi" })),
        ("/rerank", json!({ "query": "x", "documents": ["y"] })),
    ] {
        let (short, long) = (server.post(path, &body), server.post(&format!("/v1{path}"), &body));
        assert_eq!(comparable(&short), comparable(&long), "{path} {body}");
        assert_ne!(short.status, 404, "{path}");
    }
    for path in ["/models", "/models/sterna", "/models/other", "/messages", "/messages/x"] {
        let (short, long) = (server.get(path, ""), server.get(&format!("/v1{path}"), ""));
        assert_eq!((short.status, short.json()), (long.status, long.json()), "{path}");
    }
    let locked = Running::embedded(Settings { api_keys: vec!["k1".into()], ..Settings::default() });
    for path in ["/models", "/messages", "/embeddings", "/props", "/slots"] {
        assert_eq!(locked.get(path, "").status, 401, "{path}");
    }
}

#[test]
fn lists_of_models_have_the_fields_of_openai_and_anthropic() {
    let server = Running::embedded(Settings { model: "org/name".into(), ..Settings::default() });
    let list = server.get("/v1/models", "").json();
    let created = list["data"][0]["created"].as_u64().unwrap();
    let model = json!({
        "id": "org/name", "object": "model", "created": created, "owned_by": "sterna",
        "type": "model", "display_name": "org/name",
        "created_at": sterna::text::calendar::at(created, "%Y-%m-%dT%H:%M:%SZ").unwrap(),
    });
    let expected = json!({
        "object": "list", "data": [model], "has_more": false, "first_id": "org/name", "last_id": "org/name",
    });
    assert_eq!(list, expected);
    assert_eq!(server.get("/v1/models/org/name", "").json(), model);
}

#[test]
fn what_needs_another_kind_of_model_is_501() {
    let server = Running::embedded(Settings::default());
    for path in ["/v1/rerank", "/v1/reranking", "/v2/rerank", "/rerank"] {
        for body in [json!({ "model": "sterna", "input": "Hi" }), json!({})] {
            let answer = server.post(path, &body);
            let message = "the models of this server give no ranks; compare embeddings of /v1/embeddings instead";
            let error =
                json!({ "message": message, "type": "not_supported_error", "param": null, "code": "not_implemented" });
            assert_eq!((answer.status, answer.json()), (501, json!({ "error": error })), "{path}");
        }
        assert_eq!(server.get(path, "").status, 405, "{path}");
    }
}

#[test]
fn properties_have_llama_cpps_shape_and_no_path() {
    let engine = Engine::builder().sequences(3).context(256).open(EMBEDDED).unwrap();
    let (template, vocab) = (engine.template().unwrap().source(), engine.tokenizer().unwrap().eos().unwrap());
    let eos = engine.tokenizer().unwrap().token(vocab).unwrap();
    let server = Running::start(engine, Settings { model: "org/name".into(), ..Settings::default() });
    let answer = server.get("/props", "");
    let mut props = answer.json();
    let settings = props["default_generation_settings"].take();
    assert_eq!((answer.status, &settings["n_ctx"]), (200, &json!(256)));
    assert_eq!((&settings["params"]["temperature"], &settings["params"]["top_k"]), (&json!(1.0), &json!(40)));
    assert!(template.contains("messages"), "{template}");
    assert_eq!(
        props,
        json!({
            "default_generation_settings": null,
            "total_slots": 3,
            "model_alias": "org/name",
            "model_path": "org/name",
            "modalities": { "vision": false, "audio": false },
            "endpoint_slots": true,
            "endpoint_props": false,
            "endpoint_metrics": true,
            "chat_template": template,
            "bos_token": props["bos_token"],
            "eos_token": eos,
            "is_sleeping": false,
            "build_info": concat!("sterna-", env!("CARGO_PKG_VERSION")),
        })
    );
    assert!(props["bos_token"].is_string() && !answer.body.contains(".gguf"), "{}", answer.body);
}

#[test]
fn slots_count_running_answers_and_have_no_text() {
    let (engine, open) = gated(&Engine::builder().threads(1).sequences(3));
    let context = engine.context();
    let server = Running::start(engine, Settings::default());
    let slots = |running: usize| {
        let slot = |id| json!({ "id": id, "n_ctx": context, "speculative": false, "is_processing": id < running });
        (0..3).map(slot).collect::<Value>()
    };
    assert_eq!(server.get("/slots", "").json(), slots(0));
    let ask = chat(json!({ "max_tokens": 3 })).to_string();
    let running: Vec<_> = (0..2).map(|_| server.send(&server.posting("/v1/chat/completions", &ask, ""))).collect();
    server.comes_to("sterna_waiting 2");
    assert_eq!(server.get("/slots", "").json(), slots(2));
    drop(open);
    running.into_iter().for_each(|stream| assert_eq!(Answer::read(stream).status, 200));
    server.comes_to("sterna_waiting 0");
    server.comes_to("sterna_writing 0");
    assert_eq!(server.get("/slots", "").json(), slots(0));
}
