//! The entry point for the fuzzer of training data, like `entry.rs`. `crates/train/tests/seeds.rs` calls it with the
//! seeds.

use std::path::Path;
use std::sync::LazyLock;

use sterna::kernels::{Cpu, sets};
use sterna::text::{ChatTemplate, Tokenizer};
use sterna_train::data::{Dataset, Packer};
use sterna_train::recipe::Shape;
use sterna_train::tokenizer;

/// Size of the vocabulary: the bytes and the special tokens.
const VOCAB: usize = 259;
/// Tokens per piece, so few that short inputs are cut.
const CONTEXT: usize = 12;

/// Reads the bytes as one text and as rows of JSON, and packs them into pieces of tokens.
pub fn training_data(bytes: &[u8]) {
    static MODEL: LazyLock<(Tokenizer, ChatTemplate)> = LazyLock::new(model);
    let cpu = Cpu::with(sets::portable(), 1);
    let packer = Packer::new(&MODEL.0, Some(&MODEL.1), VOCAB, CONTEXT).expect("fits");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["fuzz.txt", "fuzz.jsonl"] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let Ok(data) = Dataset::read(&path, &packer, cpu.pool(), |_| {}) else { continue };
        let tokens: usize = (0..data.pieces()).map(|piece| data.piece(piece).len()).sum();
        assert!(data.pieces() > 0 && tokens == data.tokens() && data.learned() > 0);
        for batch in data.batches(CONTEXT, 1) {
            assert!(batch.len() <= CONTEXT && batch.tokens.iter().all(|token| (*token as usize) < VOCAB));
        }
    }
}

fn model() -> (Tokenizer, ChatTemplate) {
    let shape = Shape {
        vocab: VOCAB,
        hidden: 64,
        intermediate: 64,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        context: CONTEXT,
        rope_theta: 10_000.0,
    };
    let config = shape.config(Vec::new()).expect("a network");
    let text = tokenizer::train(&[], VOCAB, CONTEXT).expect("bytes alone").text();
    let template = ChatTemplate::new(&text).expect("compiles").expect("there is one");
    (Tokenizer::new(Path::new("fuzz"), &text, &config).expect("a tokenizer"), template)
}
