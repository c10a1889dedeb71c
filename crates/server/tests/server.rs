//! Well-behaved and misbehaving clients of a real server.

mod running;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sterna::engine::Engine;
use sterna_server::{Settings, Tls};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use running::{Answer, Running, chat, gated};

#[test]
fn foreign_hosts_and_pages_are_refused() {
    let settings = Settings {
        names: vec!["sterna.lan".into()],
        origins: vec!["https://ok.example".into()],
        ..Settings::default()
    };
    let server = Running::embedded(settings);
    let with = |host: &str, headers: &str| {
        server.raw(&format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"))
    };
    for host in [
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1:8080",
        "[::1]:80",
        "[::1]",
        "sterna.lan",
        "Sterna.LAN:8080",
        "a.localhost",
    ] {
        assert_eq!(with(host, "").status, 200, "{host}");
    }
    for host in ["evil.example", "sterna.lan.evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", ""] {
        assert_eq!(with(host, "").status, 421, "{host}");
    }
    for origin in ["http://localhost", "https://localhost", "HTTP://LOCALHOST/", "https://localhost:444"] {
        let answer = with("localhost", &format!("Origin: {origin}\r\n"));
        let wanted = if origin.ends_with("444") { 403 } else { 200 };
        assert_eq!(answer.status, wanted, "{origin}: the server's own page, whichever the scheme");
    }
    for origin in ["https://sterna.lan", "https://sterna.lan:8443/", "http://Sterna.lan"] {
        assert_eq!(with("sterna.lan", &format!("Origin: {origin}\r\n")).status, 200, "{origin} behind a proxy");
    }
    assert_eq!(with("localhost\r\nHost: localhost", "").status, 400, "two hosts");
    let nameless = |path: &str| server.raw(&format!("GET {path} HTTP/1.0\r\n\r\n")).status;
    assert_eq!((nameless("/health"), nameless("/v1/models")), (200, 421));
    for origin in ["https://evil.example", "null", "http://localhost:99", "https://localhost:80"] {
        let answer = with("localhost", &format!("Origin: {origin}\r\n"));
        assert_eq!((answer.status, answer.headers.get("access-control-allow-origin")), (403, None), "{origin}");
    }
    let allowed = with("localhost", "Origin: https://ok.example\r\n");
    assert_eq!((allowed.status, &*allowed.headers["access-control-allow-origin"]), (200, "https://ok.example"));
    let preflight = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: https://ok.example\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(preflight).status, 204);
    assert!(server.get("/", "").headers["content-security-policy"].contains("default-src 'self'"));
}

#[test]
fn all_paths_are_below_the_base_path() {
    let base_path = "/a/sterna".to_owned();
    let server = Running::embedded(Settings { base_path, api_keys: vec!["secret".into()], ..Settings::default() });
    for (path, status) in [
        ("/a/sterna/", 200),
        ("/a/sterna/page/main.js", 200),
        ("/a/sterna/health", 200),
        ("/a/sterna/v1/models", 401),
        ("/a/sterna", 308),
        ("/health", 404),
        ("/a/sternas/health", 404),
    ] {
        let answer = server.get(path, "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let to = (status == 308).then_some("/a/sterna/");
        assert_eq!(answer.headers.get("location").map(String::as_str), to);
    }
    let key = "Authorization: Bearer secret\r\n";
    assert_eq!(server.get("/a/sterna/v1/models?limit=1", key).json()["data"][0]["id"], "sterna");
    assert_eq!(server.get("/a/sterna/openapi.json", key).json()["servers"][0]["url"], "/a/sterna");
    assert!(server.get("/v1/models", key).refusal().1.contains("/a/sterna/"));
}

#[test]
fn keys_are_asked_for() {
    let server = Running::embedded(Settings { api_keys: vec!["first".into(), "second".into()], ..Settings::default() });
    for path in ["/health", "/ready", "/", "/page/main.js"] {
        assert_eq!(server.get(path, "").status, 200, "{path}");
    }
    for key in ["first", "second"] {
        assert_eq!(server.get("/v1/models", &format!("Authorization: Bearer {key}\r\n")).status, 200);
    }
    for header in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer firs\r\n",
        "Authorization: Bearer firsts\r\n",
        "Authorization: first\r\n",
    ] {
        let answer = server.get("/v1/models", header);
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (401, Some("invalid_api_key")),
            "{header}"
        );
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(server.get("/metrics", "").status, 401);
}

#[test]
fn what_others_reach_needs_a_key() {
    let open = Settings { host: [0, 0, 0, 0].into(), ..Settings::default() };
    assert!(open.check().unwrap_err().to_string().contains("--api-key"));
    assert!(Settings { api_keys: vec!["x".into()], ..open.clone() }.check().is_ok());
    assert!(Settings { open: true, ..open }.check().is_ok());
    for key in ["", "a b", "é"] {
        assert!(Settings { api_keys: vec![key.into()], ..Settings::default() }.check().is_err(), "{key:?}");
    }
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let server = Running::embedded(Settings { body_bytes: 100_000, ..Settings::default() });
    let path = "/v1/chat/completions";
    let body = chat(json!({})).to_string();
    let plain = server.posting(path, &body, "").replace("application/json", "text/plain");
    assert_eq!(server.raw(&plain).status, 415);
    let silent = server.posting(path, &body, "").replace("Content-Type: application/json\r\n", "");
    let from_page = silent.replacen("\r\n", &format!("\r\nOrigin: http://{}\r\n", server.address), 1);
    assert_eq!((server.raw(&silent).status, server.raw(&from_page).status), (200, 415));
    assert_eq!(server.raw(&server.posting(path, &"x".repeat(100_001), "")).status, 413);
    for body in ["", "{", "[]", "{}", "nonsense", "\u{0}", "{\"messages\": 1}", &"[".repeat(9_000)] {
        let answer = server.raw(&server.posting(path, body, ""));
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    for (more, field, words) in [
        (json!({ "audio": { "voice": "alloy" } }), "audio", "text only"),
        (json!({ "temperature": 2.5 }), "temperature", "from 0 to 2"),
        (json!({ "temperature": "hot" }), "temperature", "expected f32"),
        (json!({ "top_p": -1 }), "top_p", "from 0 to 1"),
        (json!({ "n": 0 }), "n", "from 1 to 16"),
        (json!({ "n": 17 }), "n", "from 1 to 16"),
        (json!({ "stop": 1 }), "stop", "expected a string or an array"),
        (json!({ "top_logprobs": 3 }), "top_logprobs", "needs logprobs"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias.x", "not a token id"),
        (json!({ "logit_bias": { "1": 101 } }), "logit_bias.1", "from -100 to 100"),
        (json!({ "messages": [] }), "messages", "empty"),
        (json!({ "messages": [{ "role": "king", "content": "x" }] }), "messages[0].role", "unknown variant"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages[0].content[0]",
            "read text only",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice", "tools does not have"),
        (json!({ "store": true }), "store", "not supported"),
        (json!({ "model": "gpt-4o" }), "model", "does not exist here"),
    ] {
        let (status, message, param) = server.chat(more.clone()).refusal();
        assert!(message.contains(words), "{more}: {message}");
        assert_eq!((status, param.as_str()), (if field == "model" { 404 } else { 400 }, Some(field)), "{more}");
    }
    let long = json!({ "messages": [{ "role": "user", "content": "long ".repeat(5_000) }] });
    assert_eq!(server.chat(long).json()["error"]["code"], "context_length_exceeded");
    let long = server.post("/v1/completions", &json!({ "prompt": "long ".repeat(5_000) }));
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded");
    let schema = json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": { "type": "odd" } } } });
    assert_eq!(server.chat(schema).status, 400);
    assert_eq!(server.get(path, "").status, 405);
    assert_eq!(server.get("/etc/passwd", "").status, 404);
    let absent = server.get("/v1/models/a%2Fb%00", "");
    assert_eq!((absent.status, &absent.json()["error"]["code"]), (404, &"model_not_found".into()));
    assert_eq!(server.get("/page/../../Cargo.toml", "").status, 404);
    let ollama = server.post("/api/chat", &json!({ "model": "other" }));
    assert_eq!((ollama.status, ollama.json()["error"].as_str().is_some()), (404, true), "Ollama's shape");
    assert_eq!(server.chat(json!({})).status, 200, "after all of that");
}

#[test]
fn broken_connections_disturb_nobody() {
    let server = Running::embedded(Settings::default());
    let expected = server.chat(json!({})).text();
    for bytes in [
        "",
        "\r\n",
        "GET",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{1}\u{2}\u{3}",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
    ] {
        let stream = server.send(bytes);
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let header = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(header.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || Answer::parse(&answer).status == 431, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.chat(json!({})).text(), expected);
}

#[test]
fn answers_are_the_same_alone_streamed_and_beside_others() {
    let server = Running::embedded(Settings::default());
    let ask = |i: usize| json!({ "messages": [{ "role": "user", "content": format!("Tell me a story about {i} foxes.") }], "max_tokens": 30 + i });
    let alone: Vec<String> = (0..12).map(|i| server.chat(ask(i)).text()).collect();
    thread::scope(|scope| {
        for (i, expected) in alone.iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                let mut request = ask(i);
                request["stream"] = (i % 2 == 0).into();
                let answer = server.chat(request);
                let text = if i % 2 == 0 { answer.streamed() } else { answer.text() };
                assert_eq!(text, *expected, "{i}");
            });
        }
    });
    let metrics = server.get("/metrics", "").body;
    assert!(metrics.contains("sterna_answers_total{outcome=\"finished\"} 24\n"), "{metrics}");
    assert!(metrics.contains("sterna_waiting 0\n") && metrics.contains("sterna_writing 0\n"), "{metrics}");
}

#[test]
fn answers_have_the_form_that_was_asked_for() {
    let server = Running::embedded(Settings::default());
    let regex = json!({ "type": "regex", "pattern": "(red|green) [0-9]{3}" });
    let lark = json!({ "type": "lark", "grammar": "start: \"a\" start | \"b\"" });
    for seed in 0..5 {
        let text = server.chat(json!({ "response_format": regex, "temperature": 1, "seed": seed })).text();
        let (colour, number) = text.split_once(' ').unwrap();
        assert!(["red", "green"].contains(&colour) && number.len() == 3 && number.parse::<u32>().is_ok(), "{text}");
        let request = json!({ "prompt": "x", "response_format": lark, "max_tokens": 200, "seed": seed });
        let answer = server.post("/v1/completions", &request).json();
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(text.strip_suffix('b').is_some_and(|rest| rest.bytes().all(|byte| byte == b'a')), "{text}");
    }
    let wrong = server.chat(json!({ "response_format": { "type": "regex", "pattern": "(" } }));
    assert_eq!(wrong.status, 400);
}

#[test]
fn a_full_queue_answers_429() {
    let (engine, open) = gated(&Engine::builder().threads(1));
    let server = Running::start(engine, Settings { queue: 2, ..Settings::default() });
    let request = server.posting("/v1/chat/completions", &chat(json!({ "max_tokens": 3 })).to_string(), "");
    let waiting: Vec<TcpStream> = (0..2).map(|_| server.send(&request)).collect();
    server.comes_to("sterna_waiting 2");
    let refused = server.raw(&request);
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let refused = |more: Value| server.post("/v1/chat/completions", &chat(more)).status;
    let odd = json!({ "type": "regex", "pattern": "(" });
    assert_eq!(refused(json!({ "response_format": odd })), 429, "grammars are not read in vain");
    assert_eq!((refused(json!({ "n": 2 })), refused(json!({ "stop": 1 }))), (429, 400));
    let ready = server.get("/ready", "");
    assert_eq!((ready.status, &ready.json()["status"]), (503, &"full".into()));
    drop(open);
    waiting.into_iter().for_each(|stream| assert_eq!(Answer::read(stream).status, 200));
    assert_eq!(refused(json!({ "response_format": odd })), 400);
    server.comes_to("sterna_waiting 0");
    assert_eq!((server.raw(&request).status, server.get("/ready", "").status), (200, 200));
}

#[test]
fn a_client_that_leaves_frees_the_cache() {
    // The first request's worst case is the whole cache, so the second runs only once the first is gone.
    for streamed in [true, false] {
        let (engine, open) = gated(&Engine::builder().threads(1));
        let server = Running::start(engine, Settings::default());
        let hog = chat(json!({ "max_tokens": 250, "stream": streamed })).to_string();
        let hog = server.send(&server.posting("/v1/chat/completions", &hog, ""));
        server.comes_to("sterna_waiting 1");
        let next =
            server.send(&server.posting("/v1/chat/completions", &chat(json!({ "max_tokens": 2 })).to_string(), ""));
        server.comes_to("sterna_waiting 2");
        hog.shutdown(Shutdown::Both).unwrap();
        server.comes_to("sterna_waiting 1");
        // The running step, and three more for the prompt and the two tokens.
        (0..8).for_each(|_| open.send(()).unwrap());
        assert_eq!(Answer::read(next).status, 200);
        server.comes_to("sterna_waiting 0");
    }
}

#[test]
fn late_answers_end_with_an_error() {
    let (engine, _open) = gated(&Engine::builder().threads(1));
    let server = Running::start(engine, Settings { timeout: Duration::from_millis(30), ..Settings::default() });
    let late = server.chat(json!({}));
    assert_eq!((late.status, late.json()["error"]["code"].as_str()), (504, Some("timeout")));
    let streamed = server.chat(json!({ "stream": true }));
    assert!(streamed.status == 200 && streamed.body.contains("\"code\":\"timeout\""), "{streamed:?}");
    assert!(streamed.body.trim_end().ends_with("data: [DONE]"));
    assert!(server.get("/metrics", "").body.contains("sterna_answers_total{outcome=\"late\"} 2\n"));
}

#[test]
fn a_server_that_stops_finishes_what_runs() {
    let (engine, open) = gated(&Engine::builder().threads(1));
    let mut server = Running::start(engine, Settings::default());
    let running = server.send(&server.posting("/v1/chat/completions", &chat(json!({})).to_string(), ""));
    server.comes_to("sterna_waiting 1");
    let address = server.address;
    let gate = thread::spawn(move || {
        // After the client has left, the answer may continue.
        while TcpStream::connect(address).is_ok() {
            thread::yield_now();
        }
        drop(open);
    });
    server.stop();
    gate.join().unwrap();
    assert!(!Answer::read(running).text().is_empty());
}

#[test]
fn answers_that_outlast_the_grace_period_end_with_an_error() {
    let (engine, open) = gated(&Engine::builder().threads(1));
    let mut server = Running::start(engine, Settings { grace: Duration::ZERO, ..Settings::default() });
    let [whole, streamed] = [false, true].map(|stream| {
        server.send(&server.posting("/v1/chat/completions", &chat(json!({ "stream": stream })).to_string(), ""))
    });
    server.comes_to("sterna_waiting 2");
    server.stop();
    drop(open);
    let (whole, streamed) = (Answer::read(whole), Answer::read(streamed));
    assert!(whole.status == 503 && whole.refusal().1.starts_with("the server shut down"), "{whole:?}");
    let (error, end) = streamed.body.trim_end().rsplit_once("\n\n").unwrap();
    assert!(error.contains("\"message\":\"the server shut down before"), "{streamed:?}");
    assert_eq!(end, "data: [DONE]");
}

#[test]
fn the_document_describes_what_is_there() {
    let server = Running::embedded(Settings { strict: true, ..Settings::default() });
    let document = server.get("/openapi.json", "").json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let names: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, path.split(['{', '}']).skip(1).step_by(2).collect(), "{path}");
            let asked = path.replace("{model}", "sterna");
            let (answer, other) = match method.as_str() {
                "get" => (server.get(&asked, ""), server.post(&asked, &json!({}))),
                _ => (server.post(&asked, &json!({ "nonsense": 1 })), server.get(&asked, "")),
            };
            assert_eq!(
                (answer.status, other.status),
                (if method == "get" { 200 } else { 400 }, 405),
                "{method} {path}"
            );
            assert_eq!(body.is_null(), method == "get", "{path}");
            // The error names every field that the endpoint reads, and the document describes these and no others.
            if method == "post" {
                let error = answer.body.split_once("expected").unwrap().1;
                let read: BTreeSet<String> = error.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                let described = properties(body, schemas);
                assert_eq!(described, read, "{path}");
            }
        }
    }
    schemas.values().for_each(well_described);
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    operations.for_each(|operation| well_described(&operation["requestBody"]));
    // Every reference can be resolved.
    for name in document.to_string().split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

/// Every description is a sentence. For optional fields it names the default or says that they are not read.
fn well_described(schema: &Value) {
    if let Some(list) = schema.as_array() {
        return list.iter().for_each(well_described);
    }
    let Some(object) = schema.as_object() else { return };
    if let Some(description) = object.get("description").and_then(Value::as_str) {
        let sentence = description.split_whitespace().count() > 1 && description.ends_with('.');
        assert!(sentence, "not a sentence: {description:?}");
    }
    let list = object.get("required").and_then(Value::as_array);
    let required: BTreeSet<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if name != "type" {
            let description = field["description"].as_str().unwrap_or_else(|| panic!("{name}: {schema}"));
            let optional = ["Default: ", "not read", "used if"].iter().any(|words| description.contains(words));
            assert!(required.contains(name.as_str()) || optional, "{name}: {description}");
        }
    }
    object.iter().filter(|(name, _)| *name != "required").for_each(|(_, schema)| well_described(schema));
}

/// The names of all fields that a schema describes.
fn properties(schema: &Value, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let referred = schema["$ref"].as_str().map(|path| &schemas[path.rsplit_once('/').unwrap().1]);
    referred.unwrap_or(schema)["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn https_needs_a_certificate_that_the_client_trusts() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, signed.cert.pem()).unwrap();
    fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let server = Running::embedded(Settings { tls: Some(Tls { cert, key }), ..Settings::default() });
    let ask = |trusted: bool| {
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(signed.cert.der().clone()).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(server.address).unwrap());
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| Answer::parse(&bytes))
    };
    let answer = ask(true).unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
    assert!(ask(false).unwrap_err().to_string().contains("UnknownIssuer"));
    let mut plain = server.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP"), "a client without TLS gets no response");
}

#[test]
fn a_conversation_that_goes_on_is_in_the_cache() {
    let server = Running::embedded(Settings::default());
    let system = "You are a small model that tells short stories to children in the evening, and never frightens them.";
    let ask = |said: &str| {
        let messages = json!([{ "role": "system", "content": system }, { "role": "user", "content": said }]);
        let usage = server.chat(json!({ "messages": messages })).json()["usage"].clone();
        usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(ask("Tell me of a fox."), 0);
    assert!(ask("Tell me of a hen.") >= 32);
}

#[test]
fn ollamas_details_are_those_of_the_checkpoint() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");
    let details = |server: Running| server.get("/api/tags", "").json()["models"][0]["details"].clone();
    let gguf = details(Running::embedded(Settings::default()));
    assert_eq!((&gguf["format"], &gguf["family"]), (&"gguf".into(), &"bitnet".into()));
    let engine = Engine::builder().threads(1).open(format!("{golden}/qwen3-causal")).unwrap();
    let safetensors = details(Running::start(engine, Settings::default()));
    assert_eq!((&safetensors["format"], &safetensors["family"]), (&"safetensors".into(), &"qwen3".into()));
}
