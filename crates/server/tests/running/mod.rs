//! A server on a real socket, and a plain client.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../../sterna/tests/toy/mod.rs"]
pub mod toy;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use sterna::engine::{Engine, EngineBuilder};
use sterna::model::Batch;
use sterna_server::{Models, Server, Settings};
use tokio::sync::oneshot;

pub const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");

/// A server on a thread of its own.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(models: impl Into<Models>, settings: Settings) -> Self {
        let models = models.into();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(models, Settings { port: 0, ..settings }).await.unwrap();
                tell.send(server.address()).unwrap();
                server.run(async { drop(stopped.await) }).await;
            });
        });
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub fn embedded(settings: Settings) -> Self {
        Self::start(Engine::builder().sequences(4).open(EMBEDDED).unwrap(), settings)
    }

    pub fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends the bytes of a request, and returns the response.
    pub fn raw(&self, request: &str) -> Answer {
        Answer::read(self.send(request))
    }

    pub fn get(&self, path: &str, headers: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", self.address))
    }

    pub fn posting(&self, path: &str, body: &str, headers: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        )
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw(&self.posting(path, &body.to_string(), ""))
    }

    pub fn chat(&self, more: Value) -> Answer {
        self.post("/v1/chat/completions", &chat(more))
    }

    /// Reads the metrics until they contain a line, at most a limited number of times.
    pub fn comes_to(&self, line: &str) {
        let line = format!("{line}\n");
        assert!((0..20_000).any(|_| self.get("/metrics", "").body.contains(&line)), "{:?}", self.get("/metrics", ""));
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends a request with additional fields to the chat endpoint.
pub fn chat(more: Value) -> Value {
    let mut request = json!({
        "messages": [{ "role": "user", "content": "Tell me a story about a fox." }],
        "temperature": 0,
        "max_tokens": 20,
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<_, _> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
        Self { status, headers, body: if chunked { unchunk(body) } else { body.to_owned() } }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status, message and param of an error.
    pub fn refusal(&self) -> (u16, String, Value) {
        let error = self.json()["error"].clone();
        (self.status, error["message"].as_str().unwrap().to_owned(), error["param"].clone())
    }

    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// The text of a stream.
    pub fn streamed(&self) -> String {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str::<Value>(data).unwrap())
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    }
}

fn unchunk(mut body: &str) -> String {
    let mut all = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        all.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    all
}

/// A toy with the built-in model's vocabulary. Each of its forward passes waits for a message, until the sender is dropped.
pub fn gated(builder: &EngineBuilder) -> (Engine, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let wait = move |_: &Batch| {
        let _ = gate.lock().unwrap().recv();
    };
    (toy::speaking(Path::new(EMBEDDED), builder, wait), open)
}
