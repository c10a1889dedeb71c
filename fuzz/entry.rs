//! Entry points for fuzzers, which call them with arbitrary bytes. `crates/sterna/tests/seeds.rs` calls them with the
//! seeds.
//!
//! Every function only has to return: errors are expected; panics and endless work are findings.
#![allow(dead_code, reason = "each fuzz target calls one of these")]

use std::path::Path;

use sterna::checkpoint::{Checkpoint, Config, Data, RopeScaling, TextFiles, safetensors};
use sterna::kernels::layout::T16;
use sterna::kernels::{Bytes, Cpu, sets};
use sterna::model::BITNET;
use sterna::text::Tokenizer;

/// Parses the bytes as a GGUF file, and reads all of a model that opens.
pub fn gguf_header(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_files("fuzz.gguf", &[("fuzz.gguf", bytes.to_vec().into())]) else { return };
    let cpu = Cpu::with(sets::portable(), 1);
    for (name, tensor) in checkpoint.tensors() {
        // Each tensor may succeed or fail.
        match (&tensor.data, &tensor.shape[..]) {
            (Data::Dense { .. }, &[rows, cols]) => drop(checkpoint.dense(name, rows, cols)),
            (_, &[rows, cols]) => drop(checkpoint.ternary(&cpu, name, (rows, cols), &T16)),
            (_, shape) => drop(checkpoint.vector(name, shape.first().copied().unwrap_or(0))),
        }
    }
    checkpoint.summary();
}

/// Parses the bytes as a safetensors file.
pub fn safetensors_header(bytes: &[u8]) {
    let _ = safetensors::Header::parse(Path::new("fuzz.safetensors"), &bytes.to_vec().into());
}

/// Parses the bytes as tokenizer.json; a tokenizer that can be built encodes and decodes a line.
pub fn tokenizer_json(bytes: &[u8]) {
    let config = Config {
        architecture: &BITNET,
        hidden: 32,
        intermediate: 32,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        vocab: 512,
        context: 64,
        rms_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        tied: true,
        eos: Vec::new(),
    };
    let text = TextFiles::HuggingFace {
        tokenizer: bytes.to_vec().into(),
        config: serde_json::json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
        chat_template: None,
    };
    let Ok(tokenizer) = Tokenizer::new(Path::new("fuzz"), &text, &config) else { return };
    if let Ok(ids) = tokenizer.encode_prompt("Hello, <|eot_id|> Wörld 123\n") {
        let _ = tokenizer.decode(&ids);
    }
}

/// Parses the bytes as config.json and as generation_config.json.
pub fn config_json(bytes: &[u8]) {
    let bytes = Bytes::from(bytes.to_vec());
    let _ = Checkpoint::from_files("fuzz", &[("config.json", bytes.clone()), ("generation_config.json", bytes)]);
}
