//! The fuzzers' seeds, through the functions that the fuzzers call.

use std::path::Path;

#[path = "../../../fuzz/entry.rs"]
mod entry;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds = 0;
    for file in std::fs::read_dir(&folder).expect("the target has seeds") {
        run(&std::fs::read(file.expect("a file").path()).expect("readable"));
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", folder.display());
}

#[test]
fn gguf_seeds_return() {
    replay("gguf_header", entry::gguf_header);
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
