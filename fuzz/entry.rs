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
    if let Ok(checkpoint) = Checkpoint::from_files("fuzz.gguf", &[("fuzz.gguf", bytes.to_vec().into())]) {
        read(&checkpoint);
    }
}

/// Reads all of a model. Each tensor may succeed or fail.
fn read(checkpoint: &Checkpoint) {
    let cpu = Cpu::with(sets::portable(), 1);
    for (name, tensor) in checkpoint.tensors() {
        match (&tensor.data, &tensor.shape[..]) {
            (Data::Dense { .. }, &[rows, cols]) => drop(checkpoint.dense(name, rows, cols)),
            (_, &[rows, cols]) => {
                drop(checkpoint.ternary(&cpu, name, (rows, cols), &T16));
                drop(checkpoint.grouped(&cpu, name, (rows, cols), 1));
                drop(checkpoint.packed_head(&cpu, name, (rows, cols), 1));
                drop(checkpoint.dense(name, rows, cols));
            }
            (_, shape) => drop(checkpoint.vector(name, shape.first().copied().unwrap_or(0))),
        }
    }
    checkpoint.summary();
}

/// Parses the bytes as two files that are a split model: the length of the first in four bytes, then both.
pub fn split_gguf(bytes: &[u8]) {
    let Some((length, files)) = bytes.split_first_chunk() else { return };
    let Some((first, second)) = files.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let Ok(folder) = tempfile::tempdir() else { return };
    let path = |number: usize| folder.path().join(format!("fuzz-0000{number}-of-00002.gguf"));
    if std::fs::write(path(1), first).is_ok()
        && std::fs::write(path(2), second).is_ok()
        && let Ok(checkpoint) = Checkpoint::open(&path(2))
    {
        read(&checkpoint);
    }
}

/// Parses the bytes as a directory: the length of config.json in two bytes, config.json, and model.safetensors.
pub fn directory(bytes: &[u8]) {
    let Some((length, files)) = bytes.split_first_chunk() else { return };
    let Some((config, weights)) = files.split_at_checked(usize::from(u16::from_le_bytes(*length))) else { return };
    let files = [("config.json", config.to_vec().into()), ("model.safetensors", weights.to_vec().into())];
    if let Ok(checkpoint) = Checkpoint::from_files("fuzz", &files) {
        read(&checkpoint);
    }
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
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: Vec::new(),
        hybrid: None,
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
