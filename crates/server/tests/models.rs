//! Several models behind one server: found at the start, loaded on demand, unloaded when they are idle.

mod running;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use sterna::checkpoint::Checkpoint;
use sterna::engine::{Engine, EngineBuilder};
use sterna_server::{KeepAlive, Models, Settings, router};
use tower::ServiceExt;

use running::{Answer, EMBEDDED, Running, chat, gated, toy};

fn builder() -> EngineBuilder {
    Engine::builder().threads(1)
}

fn checkpoint() -> Checkpoint {
    Checkpoint::open(Path::new(EMBEDDED)).unwrap()
}

/// Bytes that one model of these tests needs.
fn memory() -> u64 {
    checkpoint().memory_needed(builder().positions(checkpoint().config()).unwrap(), builder().kv)
}

/// Settings with room for so many models.
fn room_for(models: f64) -> Settings {
    Settings { memory: Some((models * memory() as f64) as u64), ..Settings::default() }
}

/// A folder with copies of the built-in model, and its models.
fn folder(names: &[&str]) -> (tempfile::TempDir, Models) {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(EMBEDDED, folder.path().join(format!("{name}.gguf"))).unwrap();
    }
    let models = Models::in_folder(folder.path(), None, &builder()).unwrap();
    (folder, models)
}

/// An additional model, which `load` loads.
fn with(models: Models, name: &str, load: impl Fn() -> sterna::Result<Engine> + Send + Sync + 'static) -> Models {
    models.with(name, &checkpoint(), &builder(), load).unwrap()
}

fn embedded() -> sterna::Result<Engine> {
    builder().open(EMBEDDED)
}

/// An engine that is given once.
fn once(engine: Engine) -> impl Fn() -> sterna::Result<Engine> + Send + Sync {
    let engine = Mutex::new(Some(engine));
    move || engine.lock().unwrap().take().ok_or(sterna::Error::EngineStopped)
}

fn list(server: &Running, path: &str) -> Vec<Value> {
    server.get(path, "").json()["models"].as_array().unwrap().clone()
}

/// The names of the models in memory.
fn resident(server: &Running) -> Vec<String> {
    list(server, "/api/ps").iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

fn generate(server: &Running, more: Value) -> Answer {
    let mut request = json!({ "stream": false, "options": { "num_predict": 2 } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post("/api/generate", &request)
}

#[test]
fn models_are_listed_without_and_loaded_on_demand() {
    let (_folder, models) = folder(&["a", "b"]);
    let server = Running::start(models, Settings::default());
    let ids: Vec<Value> = server.get("/v1/models", "").json()["data"].as_array().unwrap().clone();
    assert_eq!(ids.iter().map(|model| model["id"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(server.get("/v1/models/b:latest", "").json()["id"], "b");
    let tags = list(&server, "/api/tags");
    assert!(tags.len() == 2 && tags[0]["digest"] != tags[1]["digest"], "{tags:?}");
    let show = server.post("/api/show", &json!({ "model": "b" })).json();
    assert_eq!(
        (&show["model_info"]["bitnet.context_length"], &show["details"]["format"]),
        (&2048.into(), &"gguf".into())
    );
    assert_eq!(show["capabilities"][0], "completion");
    assert!(resident(&server).is_empty());
    assert_eq!((server.get("/health", "").status, server.get("/ready", "").status), (200, 200));

    let answer = server.chat(json!({ "model": "b:latest", "max_tokens": 2 }));
    assert_eq!((answer.status, &answer.json()["model"]), (200, &"b".into()));
    let listed = &list(&server, "/api/ps")[0];
    assert_eq!((&listed["name"], &listed["size"]), (&"b".into(), &memory().into()));
    assert_eq!((&listed["digest"], &listed["context_length"]), (&tags[1]["digest"], &2048.into()));
    assert!(server.get("/metrics", "").body.contains("sterna_model_loaded{model=\"b\"} 1\n"));
    let tokens = server.post("/tokenize", &json!({ "content": "fox", "model": "a" })).json();
    assert!(!tokens["tokens"].as_array().unwrap().is_empty());
    assert_eq!(resident(&server), ["a", "b"]);
    assert!(!server.get("/metrics", "").body.contains("sterna_waiting 1"));

    for name in ["../a", "a.gguf", "./a", "A", "a/../a", "a:1b", "c", "/etc/passwd"] {
        let (status, message, param) = server.chat(json!({ "model": name })).refusal();
        assert_eq!((status, param), (404, "model".into()), "{name}");
        assert!(message.contains("this server has \"a\", \"b\""), "{message}");
        assert_eq!(server.post("/api/show", &json!({ "model": name })).status, 404, "{name}");
    }
    let (status, message, param) = server.chat(json!({})).refusal();
    assert_eq!((status, param), (400, "model".into()));
    assert!(message.contains("\"a\", \"b\""), "{message}");
}

#[test]
fn the_default_is_the_loaded_model_or_an_only_one() {
    let (_one, models) = folder(&["only"]);
    let server = Running::start(models, Settings::default());
    let props = |server: &Running| {
        let props = server.get("/props", "").json();
        (props["model_alias"].clone(), props["is_sleeping"].clone(), props["total_slots"].as_u64().unwrap() > 0)
    };
    assert_eq!(props(&server), ("only".into(), true.into(), false));
    assert_eq!((server.get("/slots", "").json(), resident(&server).len()), (json!([]), 0), "watching loads nothing");
    assert_eq!(server.chat(json!({ "max_tokens": 1 })).json()["model"], "only");
    assert_eq!(props(&server), ("only".into(), false.into(), true));
    assert_eq!(server.get("/slots", "").json()[0]["is_processing"], false);

    let (_two, models) = folder(&["a", "b"]);
    let server = Running::start(models.with_loaded(embedded().unwrap()), Settings::default());
    assert_eq!(server.chat(json!({ "max_tokens": 1 })).json()["model"], "sterna");
    assert_eq!(generate(&server, json!({ "model": "sterna", "keep_alive": 0 })).json()["done_reason"], "load");
    assert_eq!(resident(&server), ["sterna"], "it stays");
    assert_eq!(list(&server, "/api/ps")[0]["expires_at"], "9999-12-31T23:59:59Z");

    let (_same, models) = folder(&["sterna"]);
    let twice = router(models.with_loaded(embedded().unwrap()), Settings::default()).unwrap_err().to_string();
    assert!(twice.contains("\"sterna\"") && twice.contains("--model-name"), "{twice}");
    assert!(router(Models::default(), Settings::default()).is_err());
}

#[test]
fn the_longest_unused_model_makes_room() {
    let (_folder, models) = folder(&["a", "b", "c"]);
    let server = Running::start(models, room_for(2.5));
    for (name, expected) in [("a", &["a"][..]), ("b", &["a", "b"]), ("a", &["a", "b"]), ("c", &["a", "c"])] {
        assert_eq!(generate(&server, json!({ "model": name, "prompt": "Once" })).status, 200);
        assert_eq!(resident(&server), expected, "after {name}");
    }
}

#[test]
fn a_model_with_running_requests_stays_and_nothing_is_unloaded_in_vain() {
    let (engine, open) = gated(&builder());
    let models = with(with(Models::default(), "busy", once(engine)), "idle", embedded);
    let large = builder().sequences(20);
    let need = checkpoint().memory_needed(20 * 2048, large.kv);
    let models = models.with("large", &checkpoint(), &large, embedded).unwrap();
    let bound = need + memory() / 2;
    let server = Running::start(models, Settings { memory: Some(bound), ..Settings::default() });
    let body = chat(json!({ "model": "busy", "stream": true, "max_tokens": 3 })).to_string();
    let running = server.send(&server.posting("/v1/chat/completions", &body, ""));
    server.comes_to("sterna_model_loaded{model=\"busy\"} 1");
    assert_eq!(generate(&server, json!({ "model": "idle" })).json()["done_reason"], "load");

    let refused = server.chat(json!({ "model": "large" }));
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (503, true), "{refused:?}");
    assert!(refused.body.contains("\\\"busy\\\"") && refused.body.contains("MiB"), "{refused:?}");
    assert_eq!(resident(&server), ["busy", "idle"], "unloading `idle` would not have been enough");
    // It is unloaded once its request has ended.
    assert_eq!(generate(&server, json!({ "model": "busy", "keep_alive": 0 })).json()["done_reason"], "unload");
    assert_eq!(resident(&server), ["busy", "idle"]);
    drop(open);
    let answer = Answer::read(running);
    assert!(answer.status == 200 && answer.body.trim_end().ends_with("data: [DONE]"), "{answer:?}");
    assert_eq!(resident(&server), ["idle"]);
}

#[test]
fn a_model_that_never_fits_is_refused_with_the_figure() {
    let (_folder, models) = folder(&["a"]);
    let server = Running::start(models, room_for(0.5));
    let (status, message, _) = server.chat(json!({})).refusal();
    assert_eq!(status, 503);
    assert!(
        message.contains(&format!("{} MiB", memory().div_ceil(1 << 20))) && message.contains("--memory"),
        "{message}"
    );
}

#[test]
fn two_loads_at_once_are_one_and_count_against_the_queue() {
    let (open, gate) = mpsc::channel::<()>();
    let (gate, loads) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let counted = loads.clone();
    let load = move || {
        counted.fetch_add(1, SeqCst);
        let _ = gate.lock().unwrap().recv();
        embedded()
    };
    let models = with(with(Models::default(), "slow", load), "other", embedded);
    let server = Running::start(models, Settings { queue: 2, ..Settings::default() });
    let body = chat(json!({ "model": "slow", "max_tokens": 2 })).to_string();
    let waiting = [(); 2].map(|()| server.send(&server.posting("/v1/chat/completions", &body, "")));
    server.comes_to("sterna_waiting 2");
    // A load does not block the threads that serve connections.
    assert_eq!((server.get("/health", "").status, server.get("/ready", "").status), (200, 503));
    let refused = server.chat(json!({ "model": "other" }));
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (503, true), "{refused:?}");
    drop(open);
    waiting.into_iter().for_each(|stream| assert_eq!(Answer::read(stream).status, 200));
    assert_eq!(loads.load(SeqCst), 1);
    server.comes_to("sterna_waiting 0");
    assert_eq!(server.chat(json!({ "model": "other", "max_tokens": 1 })).status, 200);
}

#[test]
fn a_load_that_fails_is_the_servers_fault_and_may_succeed_later() {
    let fails = AtomicUsize::new(1);
    let load = move || match fails.swap(0, SeqCst) {
        0 => embedded(),
        _ => builder().open("/secret/place.gguf"),
    };
    let server = Running::start(with(Models::default(), "a", load), Settings::default());
    let failed = server.chat(json!({}));
    assert!(failed.status == 500 && !failed.body.contains("secret"), "{failed:?}");
    assert_eq!(server.chat(json!({ "max_tokens": 1 })).status, 200);
}

#[test]
fn keep_alive_shortens_the_servers_time_and_never_lengthens_it() {
    let (_folder, models) = folder(&["a", "b"]);
    let keep_alive = KeepAlive::For(Duration::from_secs(60));
    let server = Running::start(models, Settings { keep_alive, ..Settings::default() });
    let loaded = generate(&server, json!({ "model": "a" })).json();
    assert_eq!(
        (&loaded["done_reason"], &loaded["response"], &loaded["done"]),
        (&"load".into(), &"".into(), &true.into())
    );
    for longer in [json!(-1), json!("24h"), json!(null), json!("1e9")] {
        assert_eq!(generate(&server, json!({ "model": "a", "keep_alive": longer })).status, 200);
        let expires = list(&server, "/api/ps")[0]["expires_at"].as_str().unwrap().to_owned();
        assert!(expires.starts_with("20"), "{longer}: {expires}");
    }
    let unloaded = generate(&server, json!({ "model": "a", "keep_alive": 0 })).json();
    assert_eq!((&unloaded["done_reason"], resident(&server).len()), (&"unload".into(), 0));
    let unloaded = server.post("/api/chat", &json!({ "model": "b", "messages": [], "keep_alive": "0s" })).json();
    assert_eq!((&unloaded["done_reason"], &unloaded["message"]["role"]), (&"unload".into(), &"assistant".into()));
    for stream in [false, true] {
        let answer = generate(&server, json!({ "model": "b", "prompt": "Once", "keep_alive": 0, "stream": stream }));
        assert!(answer.status == 200 && answer.body.contains("\"done\":true"), "{answer:?}");
        assert!(resident(&server).is_empty(), "it left after the answer");
    }
    let wrong = generate(&server, json!({ "model": "a", "keep_alive": "soon" }));
    assert!(wrong.status == 400 && wrong.json()["error"].as_str().unwrap().contains("keep_alive"), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_leaves_memory_when_its_time_is_over() {
    let alive = Arc::new(());
    let watched = Arc::downgrade(&alive);
    let engine = toy::speaking(Path::new(EMBEDDED), &builder(), move |_| drop(alive.clone()));
    let models = with(with(Models::default(), "a", once(engine)), "b", embedded);
    let router = router(models, Settings::default()).unwrap();
    let ask = async |path: &str, body: &str| -> Value {
        let request =
            Request::builder().uri(path).header("Host", "localhost").header("Content-Type", "application/json");
        let request = request.method(if body.is_empty() { "GET" } else { "POST" }).body(Body::from(body.to_owned()));
        let response = router.clone().oneshot(request.unwrap()).await.unwrap();
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    };
    let resident = async || ask("/api/ps", "").await["models"].as_array().unwrap().len();
    assert_eq!(ask("/api/generate", r#"{"model": "a"}"#).await["done_reason"], "load");
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(resident().await, 1);
    assert_eq!(ask("/api/generate", r#"{"model": "a"}"#).await["done_reason"], "load");
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!((resident().await, watched.strong_count()), (1, 1), "the second request began the time anew");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(resident().await, 0);
    assert_eq!(ask("/api/generate", r#"{"model": "b"}"#).await["done_reason"], "load");
    let mut tries = 0..20_000;
    while watched.strong_count() > 0 {
        tries.next().expect("the memory is free");
        resident().await;
    }
}
