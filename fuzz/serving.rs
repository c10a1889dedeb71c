//! The entry point for the server's fuzzer, which calls it with arbitrary bytes. `crates/server/tests/seeds.rs` calls
//! it with the seeds.

use std::path::Path;
use std::sync::OnceLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use sterna::engine::Engine;
use sterna_server::Settings;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

#[path = "../crates/sterna/tests/toy/mod.rs"]
mod toy;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/cli/embedded/sterna.gguf");
const MODEL_OF_A_CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");

/// Endpoints; the first byte of the input selects one.
const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/tokenize",
    "/detokenize",
    "/api/chat",
    "/api/generate",
    "/api/show",
];

/// A whole server without sockets, with a toy network and the built-in model's vocabulary and chat template.
fn server() -> (Runtime, Router) {
    let path =
        [MODEL, MODEL_OF_A_CRATE].map(Path::new).into_iter().find(|path| path.exists()).expect("the built-in model");
    let builder = Engine::builder().threads(1).sequences(2);
    let engine = toy::speaking(path, &builder, |_| ());
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let router = sterna_server::router(engine, Settings::default()).expect("settings");
    (runtime, router)
}

/// Sends the rest as the body of a request. It may be wrong, but must not cause a server error.
pub fn request_body(bytes: &[u8]) {
    static SERVER: OnceLock<(Runtime, Router)> = OnceLock::new();
    let (runtime, router) = SERVER.get_or_init(server);
    let Some((&first, body)) = bytes.split_first() else { return };
    let request = Request::post(PATHS[usize::from(first) % PATHS.len()])
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_vec()))
        .expect("a request");
    runtime.block_on(async {
        let Ok(answer) = router.clone().oneshot(request).await;
        assert!(!answer.status().is_server_error(), "{answer:?}");
        to_bytes(answer.into_body(), usize::MAX).await.expect("a whole answer");
    });
}
