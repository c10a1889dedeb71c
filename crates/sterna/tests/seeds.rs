//! Runs the seeds of the fuzzers through the functions that the fuzzers call.

#[path = "../../../fuzz/entry.rs"]
mod entry;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn gguf_seeds_return() {
    replay("gguf_header", entry::gguf_header);
}

#[test]
fn split_seeds_return() {
    replay("split_gguf", entry::split_gguf);
}

#[test]
fn directory_seeds_return() {
    replay("directory", entry::directory);
}

#[test]
fn safetensors_seeds_return() {
    replay("safetensors_header", entry::safetensors_header);
}

#[test]
fn tokenizer_seeds_return() {
    replay("tokenizer_json", entry::tokenizer_json);
}

#[test]
fn config_seeds_return() {
    replay("config_json", entry::config_json);
}
