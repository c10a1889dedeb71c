//! Failures of the engine as clients and monitoring see them, and the counts of answers in the queue.

mod running;

use std::panic::panic_any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;

use serde_json::{Value, json};
use sterna::engine::{Engine, EngineBuilder};
use sterna_server::Settings;

use running::{Answer, EMBEDDED, Running, chat, gated, toy};

fn builder() -> EngineBuilder {
    Engine::builder().threads(1).sequences(4)
}

/// An engine whose next forward pass panics if the flag is set, and clears the flag.
fn fragile(panics: impl Fn() + Send + Sync + 'static) -> (Engine, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let watch = move |_: &_| {
        if set.swap(false, Relaxed) {
            panics();
        }
    };
    (toy::speaking(Path::new(EMBEDDED), &builder(), watch), flag)
}

#[test]
fn a_panic_of_the_network_is_503_and_the_server_goes_on() {
    let (engine, fails) = fragile(|| panic!("on purpose"));
    let server = Running::start(engine, Settings::default());
    let messages = &chat(json!({}))["messages"];
    let requests = [
        ("/v1/chat/completions", json!({ "messages": messages, "max_tokens": 3 })),
        ("/v1/completions", json!({ "prompt": "Once", "max_tokens": 3 })),
        ("/v1/responses", json!({ "input": "Once", "max_output_tokens": 3 })),
        ("/api/chat", json!({ "model": "sterna", "messages": messages, "options": { "num_predict": 3 } })),
        ("/api/generate", json!({ "model": "sterna", "prompt": "Once", "options": { "num_predict": 3 } })),
    ];
    let mut failed = 0;
    for (path, mut request) in requests {
        for stream in [false, true] {
            request["stream"] = stream.into();
            fails.store(true, Relaxed);
            let answer = server.post(path, &request);
            failed += 1;
            assert!(answer.body.contains("the engine failed"), "{path}: {answer:?}");
            if stream {
                assert_eq!(answer.status, 200, "the stream began before the failure");
                assert!(!answer.body.contains("invalid_request_error"), "{path}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true), "{path}");
                let error = &answer.json()["error"];
                assert!(error.is_string() || error["type"] == "server_error" && error["param"].is_null(), "{error}");
            }
            assert_eq!(server.post(path, &request).status, 200, "the engine has started anew");
        }
    }
    assert_eq!((server.get("/health", "").status, server.get("/ready", "").status), (200, 200));
    let metrics = server.get("/metrics", "").body;
    for line in [
        format!("sterna_engine_restarts_total {failed}"),
        format!("sterna_answers_total{{outcome=\"failed\"}} {failed}"),
        format!("sterna_answers_total{{outcome=\"finished\"}} {failed}"),
        "sterna_engine_up 1".into(),
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}: {metrics}");
    }
}

/// A panic whose payload panics when it is dropped, so that the engine cannot restart.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("on purpose, again");
    }
}

#[test]
fn a_stopped_engine_is_seen_by_monitoring_and_clients() {
    let (engine, fails) = fragile(|| panic_any(PanicsAgain));
    let server = Running::start(engine, Settings::default());
    fails.store(true, Relaxed);
    assert_eq!(server.chat(json!({})).status, 503, "the request that was running");
    let down = |answer: Answer| (answer.status, answer.json()["status"].clone()) == (503, "down".into());
    assert!((0..20_000).any(|_| down(server.get("/health", ""))), "{:?}", server.get("/health", ""));
    assert!(down(server.get("/ready", "")));
    for stream in [false, true] {
        let later = server.chat(json!({ "stream": stream }));
        assert_eq!((later.status, later.headers.contains_key("retry-after")), (503, true), "{later:?}");
        assert_eq!(later.json()["error"]["type"], "server_error");
    }
    let metrics = server.get("/metrics", "").body;
    assert!(metrics.contains("sterna_engine_up 0\n") && metrics.contains("{outcome=\"failed\"} 3\n"), "{metrics}");
}

#[test]
fn a_wrong_field_is_400_with_its_name() {
    let (engine, _) = fragile(|| ());
    let server = Running::start(engine, Settings::default());
    let pattern = json!({ "type": "regex", "pattern": "(" });
    let cases = [
        (
            "/v1/chat/completions",
            chat(json!({ "max_tokens": null, "max_completion_tokens": 0 })),
            "max_completion_tokens",
        ),
        ("/v1/chat/completions", chat(json!({ "max_tokens": 0 })), "max_tokens"),
        ("/v1/chat/completions", chat(json!({ "logit_bias": { "99999999": 1 } })), "logit_bias"),
        ("/v1/chat/completions", chat(json!({ "repetition_penalty": 0 })), "repetition_penalty"),
        ("/v1/chat/completions", chat(json!({ "response_format": pattern })), "response_format"),
        ("/v1/chat/completions", chat(json!({ "messages": [] })), "messages"),
        ("/v1/completions", json!({ "prompt": [99_999_999] }), "prompt"),
        ("/v1/responses", json!({ "input": "x", "max_output_tokens": 0 }), "max_output_tokens"),
        ("/v1/responses", json!({ "input": [] }), "input"),
    ];
    for (path, request, field) in cases {
        let (status, message, param) = server.post(path, &request).refusal();
        assert_eq!((status, param), (400, Value::from(field)), "{path}: {message}");
    }
    let length = server.post("/v1/responses", &json!({ "input": "x", "max_output_tokens": 0 })).refusal().1;
    assert!(length.starts_with("max_output_tokens is 0"), "{length}");
}

/// Allows forward passes until every answer of a request has its first token.
fn run_until(server: &Running, open: &Sender<()>, writing: usize) {
    (0..2 * writing).for_each(|_| open.send(()).unwrap());
    server.comes_to(&format!("sterna_writing {writing}"));
}

#[test]
fn answers_leave_the_queue_whether_or_not_they_are_read() {
    let messages = &chat(json!({}))["messages"];
    for (path, request, answers) in [
        // A seed: some random answers of this network end after a few tokens.
        ("/v1/chat/completions", json!({ "messages": messages, "n": 3, "max_tokens": 60, "seed": 1 }), 3),
        ("/v1/completions", json!({ "prompt": ["a", "b"], "n": 2, "max_tokens": 60, "seed": 1 }), 4),
    ] {
        let (engine, open) = gated(&builder());
        // One answer may wait. A request with several answers is admitted anyway, because waiting would not help it.
        let server = Running::start(engine, Settings { queue: 1, ..Settings::default() });
        let running = server.send(&server.posting(path, &request.to_string(), ""));
        server.comes_to(&format!("sterna_waiting {answers}"));
        assert_eq!((server.get("/ready", "").status, server.chat(json!({})).status), (503, 429));
        run_until(&server, &open, answers);
        server.comes_to("sterna_waiting 0");
        assert_eq!(server.get("/ready", "").status, 200, "nobody waits, although only the first answer is being read");
        let next =
            server.send(&server.posting("/v1/chat/completions", &chat(json!({ "max_tokens": 2 })).to_string(), ""));
        server.comes_to("sterna_waiting 1");
        drop(open);
        assert_eq!((Answer::read(running).status, Answer::read(next).status), (200, 200));
        server.comes_to("sterna_writing 0");
    }
}
