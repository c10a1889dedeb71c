//! Vectors of texts over OpenAI's and Ollama's APIs.

mod running;

use std::path::Path;

use serde_json::{Value, json};
use sterna::checkpoint::Checkpoint;
use sterna::engine::{Embed, Engine};
use sterna::text::Tokenizer;
use sterna_server::Settings;

use running::toy::Toy;
use running::{EMBEDDED, Running, chat, gated};

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// The vector that the library computes.
fn own(engine: &Engine, text: &str) -> Vec<f32> {
    engine.embed(Embed::new(engine.embedding_tokens(text).unwrap()).normalized()).unwrap()
}

/// The bytes of base64 with padding.
fn decoded(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u32> = text.trim_end_matches('=').chars().map(|c| LETTERS.find(c).unwrap() as u32).collect();
    let bit = |i: usize| bits[i / 6] >> (5 - i % 6) & 1;
    (0..bits.len() * 6 / 8).map(|byte| (0..8).fold(0, |sum, i| sum << 1 | bit(8 * byte + i) as u8)).collect()
}

#[test]
fn openais_api_gives_the_librarys_vectors() {
    let engine = Engine::builder().sequences(4).open(EMBEDDED).unwrap();
    let texts: Vec<_> = (0..40).map(|i| format!("Text {i} about a fox{}", " and a lantern".repeat(i % 5))).collect();
    let expected: Vec<_> = texts.iter().map(|text| own(&engine, text)).collect();
    let tokens: Vec<_> = texts.iter().map(|text| engine.embedding_tokens(text).unwrap()).collect();
    let server = Running::start(engine, Settings::default());
    let post = |body: Value| server.post("/v1/embeddings", &body).json();
    let one = post(json!({ "model": "sterna", "input": texts[3], "user": "u" }));
    let usage = json!({ "prompt_tokens": tokens[3].len(), "total_tokens": tokens[3].len() });
    assert_eq!((&one["object"], &one["model"], &one["usage"]), (&json!("list"), &json!("sterna"), &usage));
    assert_eq!((&one["data"][0]["object"], &one["data"][0]["index"]), (&json!("embedding"), &json!(0)));
    assert_eq!(floats(&one["data"][0]["embedding"]), expected[3]);
    let all: usize = tokens.iter().map(Vec::len).sum();
    for input in [json!(texts), json!(tokens)] {
        let several = post(json!({ "input": input }));
        assert_eq!(several["usage"]["total_tokens"], all);
        for (i, (item, expected)) in several["data"].as_array().unwrap().iter().zip(&expected).enumerate() {
            assert!(item["index"] == i && floats(&item["embedding"]) == *expected, "{i}");
        }
    }
    let ids = post(json!({ "input": tokens[7] }));
    assert_eq!(floats(&ids["data"][0]["embedding"]), expected[7]);
    let packed = post(json!({ "input": texts[3], "encoding_format": "base64" }));
    let bytes: Vec<u8> = expected[3].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(decoded(packed["data"][0]["embedding"].as_str().unwrap()), bytes);
    let cut = floats(&post(json!({ "input": texts[3], "dimensions": 16 }))["data"][0]["embedding"]);
    let length: f64 = expected[3][..16].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    assert!(
        cut.len() == 16
            && cut.iter().zip(&expected[3]).all(|(a, b)| (f64::from(*a) * length - f64::from(*b)).abs() < 1e-6)
    );
}

#[test]
fn what_cannot_be_embedded_is_named() {
    let engine = Engine::builder().context(64).open(EMBEDDED).unwrap();
    let server = Running::start(engine, Settings { strict: true, ..Settings::default() });
    let long = "fox ".repeat(200);
    for (more, param, words) in [
        (
            json!({ "input": "a", "dimensions": 257 }),
            "dimensions",
            "dimensions is 257, but this model's embeddings have 256",
        ),
        (json!({ "input": "a", "dimensions": 0 }), "dimensions", "give 1 to 256"),
        (json!({ "input": [] }), "input", "input has 0 texts; it must be 1 to 2048"),
        (json!({ "input": vec!["a"; 2049] }), "input", "input has 2049 texts"),
        (json!({ "input": ["a", ""] }), "input[1]", "input[1] is empty"),
        (json!({ "input": ["a", long] }), "input[1]", "tokens, but this server's context holds 64"),
        (json!({ "input": [[1, 2], [3, 4096]] }), "input[1]", "token 1 has the id 4096"),
        (json!({ "input": [[1], []] }), "input[1]", "no tokens"),
        (json!({ "input": 5 }), "input", "input"),
        (json!({ "input": "a", "encoding_format": "int8" }), "encoding_format", "encoding_format"),
        (json!({ "input": "a", "normalize": false }), "normalize", "normalize cannot be false"),
        (json!({ "input": "a", "nonsense": 1 }), "nonsense", "unknown field"),
    ] {
        let (status, message, field) = server.post("/v1/embeddings", &more).refusal();
        assert!(status == 400 && message.contains(words), "{more}: {status} {message}");
        assert_eq!(field, param, "{more}");
    }
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": "a", "model": "other" })).status, 404);
    let ollama = server.post("/api/embed", &json!({ "model": "sterna", "input": long, "truncate": false }));
    assert!(
        ollama.status == 400 && ollama.json()["error"].as_str().unwrap().contains("context holds 64"),
        "{ollama:?}"
    );
}

#[test]
fn ollamas_api_gives_the_same_vectors() {
    let engine = Engine::builder().context(64).sequences(2).open(EMBEDDED).unwrap();
    let (fox, king) = (own(&engine, "A fox."), own(&engine, "A king."));
    let tokens = engine.embedding_tokens("A fox.").unwrap().len() + engine.embedding_tokens("A king.").unwrap().len();
    let long = "fox ".repeat(200);
    let mut cut = engine.embedding_tokens(&long).unwrap();
    cut.drain(63..cut.len() - 1);
    let cut = engine.embed(Embed::new(cut).normalized()).unwrap();
    let server = Running::start(engine, Settings::default());
    let ask =
        json!({ "model": "sterna", "input": ["A fox.", "A king."], "keep_alive": "5m", "options": { "num_ctx": 9 } });
    let several = server.post("/api/embed", &ask).json();
    assert_eq!((floats(&several["embeddings"][0]), floats(&several["embeddings"][1])), (fox.clone(), king));
    assert_eq!((&several["model"], &several["prompt_eval_count"]), (&json!("sterna"), &json!(tokens)));
    assert!(several["total_duration"].as_u64() >= several["load_duration"].as_u64());
    let one = |body| floats(&server.post("/api/embed", &body).json()["embeddings"][0]);
    assert_eq!(one(json!({ "model": "sterna", "input": "A fox." })), fox);
    assert_eq!(one(json!({ "model": "sterna", "input": long })), cut);
    assert_eq!(one(json!({ "model": "sterna", "input": "A fox.", "dimensions": 8 })).len(), 8);
    let older = server.post("/api/embeddings", &json!({ "model": "sterna", "prompt": "A fox." })).json();
    assert_eq!(floats(&older["embedding"]), fox);
    for (path, body, answer) in [
        ("/api/embed", json!({ "model": "sterna", "input": "" }), "embeddings"),
        ("/api/embed", json!({ "model": "sterna" }), "embeddings"),
        ("/api/embeddings", json!({ "model": "sterna" }), "embedding"),
    ] {
        let nothing = server.post(path, &body);
        assert!(nothing.status == 200 && nothing.json()[answer] == json!([]), "{path} {body} {nothing:?}");
    }
}

#[test]
fn a_model_without_a_head_embeds_and_does_not_write() {
    let checkpoint = Checkpoint::open(Path::new(EMBEDDED)).unwrap();
    let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).unwrap();
    let toy = Toy::with_vocab(checkpoint.config().vocab, |_| ()).without_head();
    let engine = Engine::builder().threads(1).build(toy, Some(tokenizer), None).unwrap();
    let expected = own(&engine, "A fox.");
    let server = Running::start(engine, Settings { model: "vectors".into(), ..Settings::default() });
    let answer = server.post("/v1/embeddings", &json!({ "input": "A fox." })).json();
    assert_eq!(floats(&answer["data"][0]["embedding"]), expected);
    let message = "the model \"vectors\" only embeds texts and writes none; use /v1/embeddings, or name another model";
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/chat/completions", chat(json!({ "stream": true }))),
        ("/v1/completions", json!({ "prompt": "A", "max_tokens": 0, "echo": true, "logprobs": 1 })),
        ("/v1/responses", json!({ "input": "A" })),
    ] {
        assert_eq!(server.post(path, &body).refusal(), (400, message.into(), json!("model")), "{path}");
    }
    let ollama =
        server.post("/api/chat", &json!({ "model": "vectors", "messages": [{ "role": "user", "content": "A" }] }));
    assert_eq!((ollama.status, ollama.json()), (400, json!({ "error": message })));
}

#[test]
fn a_model_of_embeddings_is_served_and_described() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/qwen3-bitnet-embedding/gguf/i2_s.gguf");
    let engine = Engine::builder().threads(1).open(golden).unwrap();
    let (text, tokenizer) = ("The king and his crown.", engine.tokenizer().unwrap());
    let tokens = engine.embedding_tokens(text).unwrap();
    assert_eq!(tokens.last().copied(), tokenizer.eos(), "EOS stands at the end");
    assert_eq!(
        tokens[..tokens.len() - 1],
        [&[tokenizer.bos().unwrap()], &tokenizer.encode(text).unwrap()[..]].concat()
    );
    let expected = own(&engine, text);
    let server = Running::start(engine, Settings { model: "vectors".into(), ..Settings::default() });
    let answer = server.post("/v1/embeddings", &json!({ "input": text })).json();
    assert_eq!(floats(&answer["data"][0]["embedding"]), expected);
    assert_eq!(answer["usage"]["prompt_tokens"], tokens.len());
    let show = server.post("/api/show", &json!({ "model": "vectors" })).json();
    assert_eq!((&show["capabilities"], &show["details"]["family"]), (&json!(["embedding"]), &json!("qwen3-embedding")));
    assert!(server.chat(json!({})).refusal().1.contains("/v1/embeddings"));
}

/// A request is one answer of the queue, however many texts it has, and ends when its client leaves.
#[test]
fn a_request_takes_one_place_in_the_queue() {
    let (engine, open) = gated(&Engine::builder().threads(1).sequences(2));
    let server = Running::start(engine, Settings { queue: 2, ..Settings::default() });
    let body = json!({ "input": vec!["A fox."; 100] }).to_string();
    let first = server.send(&server.posting("/v1/embeddings", &body, ""));
    server.comes_to("sterna_waiting 1");
    let second = server.send(&server.posting("/v1/embeddings", &body, ""));
    server.comes_to("sterna_waiting 2");
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": "A fox." })).status, 429);
    drop(first);
    server.comes_to("sterna_waiting 1");
    drop(open);
    let answer = running::Answer::read(second);
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 100);
    server.comes_to("sterna_waiting 0");
}
