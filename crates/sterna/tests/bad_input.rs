//! Hostile and damaged files: each gives an error that names the file and the place, and none panics.

#[path = "../../kernels/tests/random/mod.rs"]
mod random;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Value, json};
use sterna::checkpoint::write::{WriteOptions, write_gguf};
use sterna::checkpoint::{Checkpoint, Config, Data, GgufVocabulary, RopeScaling, TextFiles, gguf};
use sterna::kernels::format::F16;
use sterna::kernels::layout::T16;
use sterna::kernels::{Bytes, Cpu, sets};
use sterna::model::{self, BITNET};

use random::Random;

const TINY: Config = Config {
    architecture: &BITNET,
    hidden: 32,
    intermediate: 32,
    layers: 1,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    vocab: 8,
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

fn cpu() -> Cpu {
    Cpu::with(sets::portable(), 1)
}

fn tiny_gguf(arch: &str) -> Vec<u8> {
    let vocabulary = GgufVocabulary {
        model: "gpt2".into(),
        tokens: "a b c d ab cd abcd e".split(' ').map(String::from).collect(),
        types: vec![1; 8],
        scores: vec![0.5; 8],
        merges: vec!["a b".into(), "c d".into(), "ab cd".into()],
        add_bos: Some(true),
        bos: Some(0),
        eos: Some(7),
        chat_template: Some("{{ messages }}\n\nBITNETAssistant: ".into()),
        ..GgufVocabulary::default()
    };
    let arch = model::by_gguf_name(arch).expect("it is known");
    let model = Checkpoint::synthetic(Config { architecture: arch, ..TINY }, &F16, 1).expect("possible");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("tiny.gguf");
    write_gguf(&model, &cpu(), &out, WriteOptions::default().vocabulary(&vocabulary)).expect("written");
    std::fs::read(out).expect("written")
}

fn open_gguf(bytes: Vec<u8>) -> sterna::Result<Checkpoint> {
    Checkpoint::from_files("tiny.gguf", &[("tiny.gguf", bytes.into())])
}

/// Replaces the only occurrence of `from` with `to`, which has the same length.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = position(bytes, from);
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("it occurs")
}

/// The offset after the name of a key or tensor, where its value or description begins.
fn after(bytes: &[u8], name: &str) -> usize {
    let text = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    position(bytes, &text) + text.len()
}

fn patch(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    [&bytes[..at], with, &bytes[at + with.len()..]].concat()
}

/// Checks that opening the checkpoint or reading a tensor fails, with a message that contains all parts.
#[track_caller]
fn assert_refused(result: sterna::Result<Checkpoint>, parts: &[&str]) {
    let error = result.and_then(|checkpoint| read_all(&checkpoint)).expect_err("refused").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn read_all(checkpoint: &Checkpoint) -> sterna::Result<()> {
    let cpu = cpu();
    for (name, tensor) in checkpoint.tensors() {
        match (&tensor.data, &tensor.shape[..]) {
            (Data::Dense { .. }, &[len]) => drop(checkpoint.vector(name, len)?),
            (Data::Dense { .. }, &[rows, cols]) => drop(checkpoint.dense(name, rows, cols)?.lookup(&cpu, &[0])),
            (_, shape) => drop(checkpoint.ternary(&cpu, name, (shape[0], shape[1]), &T16)?),
        }
    }
    checkpoint.summary();
    Ok(())
}

#[test]
fn the_tiny_file_is_good() {
    let checkpoint = open_gguf(tiny_gguf("bitnet-b1.58")).expect("opens");
    read_all(&checkpoint).expect("reads");
    assert_eq!(*checkpoint.config(), Config { eos: vec![7], ..TINY });
    let TextFiles::Gguf(vocabulary) = checkpoint.text() else { panic!("a vocabulary") };
    assert_eq!(vocabulary.merges.len(), 3);
    let template = vocabulary.chat_template.as_ref().expect("a template");
    assert!(template.contains("<|eot_id|>") && !template.contains("BITNETAssistant"), "{template}");
    let llama = open_gguf(tiny_gguf("llama")).expect("opens");
    let TextFiles::Gguf(vocabulary) = llama.text() else { panic!("a vocabulary") };
    assert!(vocabulary.chat_template.as_ref().is_some_and(|template| template.contains("BITNETAssistant")), "not 2B4T");
}

#[test]
fn every_truncation_of_a_gguf_file_is_refused() {
    let good = tiny_gguf("bitnet-b1.58");
    for len in 0..good.len() - 31 {
        // The last bytes are only padding.
        let error = open_gguf(good[..len].to_vec()).expect_err("refused").to_string();
        assert!(error.starts_with("tiny.gguf: "), "{error}");
    }
}

#[test]
fn gguf_counts_lengths_and_offsets_that_lie() {
    let good = tiny_gguf("bitnet-b1.58");
    let huge = u64::MAX.to_le_bytes();
    assert_refused(
        open_gguf(patch(&good, 8, &huge)),
        &["number of tensors", "more than the file can hold", "download"],
    );
    assert_refused(open_gguf(patch(&good, 16, &huge)), &["number of keys", "more than the file can hold"]);
    assert_refused(open_gguf(patch(&good, 24, &huge)), &["name of key 0", "only", "follow"]);
    assert_refused(open_gguf(patch(&good, 24, &(1u64 << 40).to_le_bytes())), &["needs 1099511627776 bytes"]);
    let tokens = after(&good, "tokenizer.ggml.tokens");
    assert_refused(open_gguf(patch(&good, tokens + 8, &huge)), &["tokenizer.ggml.tokens", "needs 25769803785 bytes"]);
    let scores = after(&good, "tokenizer.ggml.scores");
    assert_refused(
        open_gguf(patch(&good, scores + 8, &huge)),
        &["tokenizer.ggml.scores", "needs 18446744073709551615 bytes"],
    );
    assert_refused(open_gguf(patch(&good, scores, &[77])), &["tokenizer.ggml.scores", "unknown value type 77"]);
    let tensor = after(&good, "blk.0.attn_q.weight");
    assert_refused(open_gguf(patch(&good, tensor, &[9])), &["blk.0.attn_q.weight", "9 dimensions"]);
    assert_refused(open_gguf(patch(&good, tensor + 4, &huge)), &["blk.0.attn_q.weight", "impossible shape"]);
    assert_refused(open_gguf(patch(&good, tensor + 4, &[0])), &["blk.0.attn_q.weight", "impossible shape"]);
    assert_refused(open_gguf(patch(&good, tensor + 4, &[33])), &["blk.0.attn_q.weight", "cannot be stored as i2_s"]);
    assert_refused(open_gguf(patch(&good, tensor + 4, &[64])), &["blk.0.attn_q.weight", "offset"]);
    assert_refused(open_gguf(patch(&good, tensor + 24, &huge)), &["blk.0.attn_q.weight", "offset"]);
    assert_refused(open_gguf(patch(&good, tensor + 24, &[1])), &["blk.0.attn_q.weight", "offset", "multiple of 32"]);
    assert_refused(
        open_gguf(patch(&good, tensor + 24, &[0; 8])),
        &["`blk.0.attn_q.weight` and `token_embd.weight` overlap"],
    );
    // Moves a tensor onto the embedding, which then has less room than it needs.
    assert_refused(
        open_gguf(patch(&good, tensor + 24, &[32, 0, 0, 0, 0, 0, 0, 0])),
        &["token_embd.weight", "needs 512 bytes at offset 0, but there are only 32"],
    );
}

#[test]
fn a_cut_gguf_file_says_how_many_bytes_are_left() {
    let good = tiny_gguf("bitnet-b1.58");
    // The embedding is the first tensor. The next one begins 512 bytes later, beyond the end of the file.
    assert_refused(
        open_gguf(good[..data_start(&good) + 48].to_vec()),
        &["token_embd.weight", "needs 512 bytes at offset 0, but there are only 48"],
    );
}

#[test]
fn gguf_keys_that_are_wrong() {
    let good = tiny_gguf("bitnet-b1.58");
    let key = |name: &str, value: &[u8]| open_gguf(patch(&good, after(&good, name) + 4, value));
    assert_refused(key("general.alignment", &[33]), &["general.alignment", "power of two"]);
    assert_refused(key("bitnet-b1.58.attention.head_count", &[0]), &["number of heads is 0"]);
    assert_refused(key("bitnet-b1.58.attention.head_count_kv", &[3]), &["2 heads cannot share 3"]);
    assert_refused(
        key("bitnet-b1.58.block_count", &[2]),
        &["missing: `model.layers.1.input_layernorm.weight`", "more"],
    );
    assert_refused(key("bitnet-b1.58.block_count", &[0xff; 4]), &["number of layers"]);
    assert_refused(key("bitnet-b1.58.vocab_size", &[9]), &["token_embd.weight", "[8, 32]", "at least [9, 32]"]);
    assert_refused(key("bitnet-b1.58.embedding_length", &[64]), &["token_embd.weight", "[8, 64]"]);
    assert_refused(key("bitnet-b1.58.rope.dimension_count", &[8]), &["rope.dimension_count"]);
    assert_refused(key("bitnet-b1.58.rope.freq_base", &f32::NAN.to_le_bytes()), &["rotary embedding is NaN"]);
    assert_refused(key("bitnet-b1.58.attention.layer_norm_rms_epsilon", &[0; 4]), &["epsilon is 0"]);
    assert_refused(key("tokenizer.ggml.add_bos_token", &[2]), &["tokenizer.ggml.add_bos_token", "2 is neither"]);
    let types = after(&good, "tokenizer.ggml.token_type");
    assert_refused(open_gguf(patch(&good, types, &[8])), &["tokenizer.ggml.token_type"]);
    assert_refused(
        open_gguf(replace(&good, b"general.alignment", b"general.file_type")),
        &["general.file_type", "twice"],
    );
    assert_refused(open_gguf(replace(&good, b"blk.0.attn_q.w", b"blk.0.attn_k.w")), &["blk.0.attn_k.weight", "twice"]);
    assert_refused(open_gguf(replace(&good, b"blk.0.attn_q.w", b"blk.0.attn_x.w")), &["missing", "q_proj.weight`;"]);
    assert_refused(open_gguf(replace(&good, b"blk.0.ffn_up.weight", b"blk.0.ffn_up.w\xff\xffght")), &["utf-8"]);
    assert_refused(
        open_gguf(replace(&good, b"blk.0.ffn_up.weight", b"blk.0.ffn_up_v.bias")),
        &["a bias", "without biases"],
    );
}

/// Replaces text values with others of the same length.
#[test]
fn gguf_files_of_other_kinds_are_refused_by_name() {
    let good = tiny_gguf("bitnet-b1.58");
    let version = |version: u32| open_gguf(patch(&good, 4, &version.to_le_bytes()));
    assert!(version(2).is_ok_and(|checkpoint| checkpoint.format() == "gguf v2"));
    assert_refused(version(1), &["GGUF version 1", "newer llama.cpp"]);
    assert_refused(version(3 << 24), &["big-endian"]);
    assert_refused(version(4), &["GGUF version 4", "update Sterna"]);
    assert_refused(open_gguf(patch(&good, 0, b"ggjt")), &["pass a .gguf file"]);
    let value = after(&good, "general.architecture") + 12;
    assert_refused(
        open_gguf(patch(&good, value, b"falcon-hybrid"[..12].into())),
        &["`falcon-hybri`", "Sterna runs bitnet"],
    );
    for (name, kind, value, what) in [
        ("prism.hadamard.version", 4u32, &2u32.to_le_bytes()[..], "Hadamard"),
        ("bitnet-b1.58.expert_count", 4, &8u32.to_le_bytes(), "expert_count = 8"),
        (
            "split.count",
            4,
            &2u32.to_le_bytes(),
            "it is part 1 of 2, but its name does not end with -00001-of-00002.gguf",
        ),
        ("bitnet-b1.58.rope.scaling.type", 8, b"\x04\0\0\0\0\0\0\0what", "scaling of the type `what`"),
    ] {
        assert_refused(open_gguf(with_key(&good, name, kind, value)), &[what]);
    }
    let plain = with_key(&good, "bitnet-b1.58.rope.scaling.type", 8, b"\x04\0\0\0\0\0\0\0none");
    assert!(open_gguf(plain).is_ok());
    // Forks of llama.cpp gave the same id to several types; the room that a tensor takes tells them apart. The weights
    // here are 32 × 32.
    for (id, room, parts) in [
        (38u32, None, ["TL1", "I2_S or TQ2_0"]),
        (39, None, ["TL2", "I2_S or TQ2_0"]),
        (39, Some(32 * 17), ["MXFP4", "re-convert the model"]),
        (36, Some(32 * 18), ["IQ4_NL_4_4", "re-convert the model"]),
        (42, Some(4096), ["TL2", "I2_S or TQ2_0"]),
        (142, None, ["IQ2_TN", "I2_S or TQ2_0"]),
        (143, None, ["G8_0", "I2_S or TQ2_0"]),
        (8, None, ["linear weights stored as Q8_0", "ternary model"]),
        (6, None, ["linear weights stored as Q5_0", "ternary model"]),
        (3, None, ["Q4_1", "re-convert"]),
        (999, None, ["unknown tensor type 999", "re-convert"]),
    ] {
        let tensor = after(&good, "blk.0.attn_q.weight");
        let mut bytes = patch(&good, tensor + 20, &id.to_le_bytes());
        if let Some(room) = room {
            // Place the tensor at the end of the file, where nothing follows.
            let end = (bytes.len() - data_start(&good)).next_multiple_of(32);
            bytes.resize(data_start(&good) + end + room, 0);
            bytes = patch(&bytes, tensor + 24, &(end as u64).to_le_bytes());
        }
        assert_refused(open_gguf(bytes), &parts);
    }
    let embedding = after(&good, "token_embd.weight");
    assert_refused(open_gguf(patch(&good, embedding + 20, &[36])), &["token_embd.weight", "I2_S", "F16 embeddings"]);
    assert_refused(open_gguf(patch(&good, embedding + 20, &[35])), &["token_embd.weight", "not whole blocks of TQ2_0"]);
}

/// A user sees at once all that stands in the way, and each type of tensor once.
#[test]
fn all_reasons_are_given_together() {
    let good = tiny_gguf("llama");
    let mut bytes = with_tensor(&good, "blk.0.attn_q.bias", &[1.0]);
    bytes = patch(&bytes, after(&bytes, "blk.0.attn_q.weight") + 20, &38u32.to_le_bytes());
    bytes = patch(&bytes, after(&bytes, "blk.0.ffn_up.weight") + 20, &38u32.to_le_bytes());
    bytes = patch(&bytes, after(&bytes, "blk.0.ffn_down.weight") + 20, &8u32.to_le_bytes());
    let experts = with_key(&good, "llama.expert_count", 4, &8u32.to_le_bytes());
    assert_refused(open_gguf(experts), &["tiny.gguf: llama.expert_count = 8 is not supported"]);
    let all = [
        "tiny.gguf: does not run, for 3 reasons:\n- ",
        "- a bias (tensor `blk.0.attn_q.bias`) is not supported; Sterna runs",
        "- tensor `blk.0.attn_q.weight` and 1 more: TL1 is not supported; re-convert",
        "- tensor `blk.0.ffn_down.weight`: linear weights stored as Q8_0 is not supported; use a ternary model",
    ];
    assert_refused(open_gguf(bytes.clone()), &all);
    // An architecture that is not known, and types that are not read whatever it is.
    let named = |bytes: &[u8]| after(bytes, "general.architecture") + 12;
    let other = patch(&good, named(&good), b"lla2a");
    let experts = with_key(&other, "lla2a.expert_count", 4, &8u32.to_le_bytes());
    assert_refused(open_gguf(experts), &["the architecture `lla2a`, with 8 experts, is not supported"]);
    let all = ["for 2 reasons", "the architecture `lla2a`", "`blk.0.attn_q.weight` and 1 more: TL1"];
    assert_refused(open_gguf(patch(&bytes, named(&bytes), b"lla2a")), &all);

    let mut config = tiny_config();
    config["attention_bias"] = json!(true);
    config["num_experts"] = json!(4);
    config["quantization_config"] = json!({"quant_method": "gptq"});
    let all = ["for 3 reasons", "attention_bias = true", "num_experts = 4", "the quantization method `gptq`"];
    assert_refused(open_hf(config.to_string().as_bytes(), safetensors_file(&tiny_tensors(), |_| ())), &all);
    let all = with_header(|header| {
        for part in ["q", "k"] {
            header[format!("model.layers.0.self_attn.{part}_proj.weight")]["dtype"] = json!("I8");
        }
        header["model.layers.0.mlp.up_proj.weight"]["dtype"] = json!("F8_E4M3");
    });
    assert_refused(
        all,
        &["for 2 reasons", "q_proj.weight` and 1 more stored as I8", "up_proj.weight` stored as F8_E4M3"],
    );
}

/// Parts beside the language model: of a model that sees images, and for drafting tokens.
#[test]
fn vision_towers_and_draft_layers_are_set_aside() {
    let remarks = [
        "a vision tower is passed over (1 tensor): pictures are not read".to_owned(),
        "a layer that drafts tokens (MTP) is passed over (1 tensor): drafts come from the text so far".to_owned(),
    ];
    let good = tiny_gguf("llama");
    let count = after(&good, "llama.block_count") + 4;
    let bytes = with_key(&patch(&good, count, &2u32.to_le_bytes()), "llama.nextn_predict_layers", 4, &[1, 0, 0, 0]);
    let bytes = with_tensor(&bytes, "blk.1.nextn.enorm.bias", &[1.0]);
    let model = open_gguf(bytes).expect("opens");
    assert_eq!((model.config().layers, model.remarks()), (1, &remarks[1..]));
    let mut tensors = tiny_tensors();
    for name in ["model.visual.blocks.0.attn.qkv.bias", "mtp.layers.0.mlp.up_proj.norm.weight"] {
        tensors.push((name.into(), vec![32], "BF16"));
    }
    let model = open_hf(tiny_config().to_string().as_bytes(), safetensors_file(&tensors, |_| ())).expect("opens");
    assert_eq!(model.remarks(), remarks);

    let mut drafts = replace(&good, b"blk.0.attn_q.weight", b"blk.1.nextn.eh_proj");
    while let Some(at) = drafts.windows(6).position(|window| window == b"blk.0.") {
        drafts[at + 4] = b'1';
    }
    assert_refused(open_gguf(drafts), &["nothing but the layer that drafts tokens (MTP)", "use the model's main file"]);
}

fn data_start(bytes: &[u8]) -> usize {
    header_len(bytes).next_multiple_of(32)
}

/// The length of the header, which ends with the last tensor's description.
fn header_len(bytes: &[u8]) -> usize {
    after(bytes, "output_norm.weight") + 4 + 8 + 4 + 8
}

/// The file with one additional key.
fn with_key(good: &[u8], name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let keys = u64::from_le_bytes(*good[16..].first_chunk().expect("8 bytes")) + 1;
    let key = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), &kind.to_le_bytes(), value].concat();
    let mut bytes = [&good[..16], &keys.to_le_bytes(), &key, &good[24..header_len(good)]].concat();
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(&good[data_start(good)..]);
    bytes
}

/// The file with one additional tensor, a vector of `F32`.
fn with_tensor(good: &[u8], name: &str, values: &[f32]) -> Vec<u8> {
    let tensors = u64::from_le_bytes(*good[8..].first_chunk().expect("8 bytes")) + 1;
    let offset = (good.len() - data_start(good)).next_multiple_of(32);
    let mut info = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), &1u32.to_le_bytes()].concat();
    info.extend((values.len() as u64).to_le_bytes());
    info.extend(0u32.to_le_bytes());
    info.extend((offset as u64).to_le_bytes());
    let mut bytes = [&good[..8], &tensors.to_le_bytes(), &good[16..header_len(good)], &info].concat();
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(&good[data_start(good)..]);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn gguf_tensors_that_change_the_graph() {
    let good = tiny_gguf("bitnet-b1.58");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let scale = |bytes: Vec<u8>| {
        open_gguf(bytes).expect("opens").ternary(&cpu(), name, (32, 32), &T16).map(|q| q.scale().expect("one scale"))
    };
    let plain = scale(good.clone()).expect("reads");
    assert_eq!(scale(with_tensor(&good, "blk.0.attn_q.scale", &[2.0])).expect("reads"), 2.0 * plain);
    assert_refused(
        open_gguf(with_tensor(&good, "blk.0.attn_q.scale", &[2.0, 1.0])),
        &["attn_q.scale", "not one F32 value", "re-convert"],
    );
    assert_refused(
        open_gguf(with_tensor(&good, "blk.0.attn_q.scale", &[f32::NAN])),
        &["attn_q.weight", "scale is NaN"],
    );
    assert_refused(
        open_gguf(with_tensor(&good, "blk.0.attn_q_norm_in.weight", &[1.0])),
        &["a norm in every projection", "_norm_in"],
    );
    assert_refused(
        open_gguf(with_tensor(&good, "rope_freqs.weight", &[1.5])),
        &["keys `bitnet-b1.58.*`", "does not fit a head size of 16"],
    );
    assert_refused(open_gguf(with_tensor(&good, "rope_freqs.weight", &[-1.5])), &["rope_freqs.weight", "divisors"]);
    assert!(open_gguf(with_tensor(&good, "something.else", &[1.0])).is_ok());
}

/// What is saved instead of a file, when a repository is cloned without Git LFS or a page is downloaded.
#[test]
fn pointers_and_web_pages_are_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1187780840\n";
    let page = b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html class=\"\">";
    let config = tiny_config().to_string().into_bytes();
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.gguf");
    for (content, words) in [
        (&pointer[..], ["is a Git LFS pointer", "git lfs pull"]),
        (page, ["is a web page", "/resolve/"]),
        (b"<HTML><head>", ["is a web page", "/resolve/"]),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", ["is a web page", "download"]),
    ] {
        std::fs::write(&model, content).expect("written");
        assert_refused(Checkpoint::open(&model), &[words[0], words[1], "model.gguf"]);
        assert_refused(open_hf(content, Vec::new()), &[words[0], words[1], "tiny/config.json"]);
        assert_refused(open_hf(&config, content.to_vec()), &[words[0], words[1], "tiny/model.safetensors"]);
        let files = [("config.json", config.clone()), ("model.safetensors.index.json", content.to_vec())];
        let files = files.map(|(name, content)| (name, Bytes::from(content)));
        assert_refused(Checkpoint::from_files("tiny", &files), &[words[0], "model.safetensors.index.json"]);
    }
}

/// Gemma 3's `tokenizer_config.json` has 1.1 MB, and its vocabulary 262,144 tokens.
#[test]
fn limits_fit_published_files() {
    let mut config = tiny_config();
    config["padding"] = " ".repeat(1_200_000).into();
    let missing = open_hf(config.to_string().as_bytes(), Vec::new()).expect_err("no weights").to_string();
    assert!(missing.contains("safetensors header"), "{missing}");
    let wide = Config { vocab: 262_144, ..TINY };
    let checkpoint = Checkpoint::synthetic(wide, &F16, 1).expect("possible");
    let tokens = (0..262_144).map(|id| format!("<{id}>")).collect();
    let vocabulary = GgufVocabulary {
        model: "gpt2".into(),
        tokens,
        merges: vec!["< 1".into(); 600_000],
        ..GgufVocabulary::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("wide.gguf");
    write_gguf(&checkpoint, &cpu(), &out, WriteOptions::default().vocabulary(&vocabulary)).expect("written");
    let read = Checkpoint::open(&out).expect("opens");
    let TextFiles::Gguf(read) = read.text() else { panic!("a vocabulary") };
    assert_eq!((read.tokens.len(), read.merges.len()), (262_144, 600_000));
}

#[test]
fn nested_arrays_are_bounded() {
    let nested = |depth: usize| {
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(b"k");
        bytes.extend(9u32.to_le_bytes());
        for _ in 1..depth {
            bytes.extend(9u32.to_le_bytes());
            bytes.extend(1u64.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([1, 2]);
        gguf::Header::parse(Path::new("nested.gguf"), &bytes.into())
    };
    assert!(nested(4).is_ok());
    let error = nested(100_000).expect_err("refused").to_string();
    assert!(
        error.contains("the depth of the arrays in `k`, over the limit of 4") && !error.contains("is damaged"),
        "{error}"
    );
}

/// I2_S's scale is a bare `f32`.
#[test]
fn scales_that_are_no_scales() {
    let good = tiny_gguf("bitnet-b1.58");
    let offset = after(&good, "blk.0.attn_q.weight") + 24;
    let offset = u64::from_le_bytes(*good[offset..].first_chunk().expect("8 bytes")) as usize;
    let scale = data_start(&good) + offset + 32 * 32 / 4;
    for bad in [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e-40] {
        let bytes = patch(&good, scale, &bad.to_le_bytes());
        assert_refused(open_gguf(bytes), &["blk.0.attn_q.weight", "normal positive number"]);
    }
    assert!(read_all(&open_gguf(patch(&good, scale, &0.5f32.to_le_bytes())).expect("opens")).is_ok());
    let norm = after(&good, "output_norm.weight") + 16;
    let norm = u64::from_le_bytes(*good[norm..].first_chunk().expect("8 bytes")) as usize + data_start(&good) + 4;
    assert_refused(
        open_gguf(patch(&good, norm, &f32::NAN.to_le_bytes())),
        &["output_norm.weight", "value 1 is not finite"],
    );
}

// ---- Hugging Face directories -------------------------------------------------------------------------------------

/// Tensors of the tiny model: name, shape, number type. All bytes are 0x11 (trits 0 and small numbers).
fn tiny_tensors() -> Vec<(String, Vec<usize>, &'static str)> {
    let mut all = vec![("model.embed_tokens.weight".into(), vec![8, 32], "BF16")];
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    for (part, len) in [
        ("input_layernorm", 32),
        ("post_attention_layernorm", 32),
        ("self_attn.attn_sub_norm", 32),
        ("mlp.ffn_sub_norm", 32),
    ] {
        all.push((layer(part), vec![len], "BF16"));
    }
    for (part, rows) in [("q", 32), ("k", 16), ("v", 16), ("o", 32)] {
        all.push((layer(&format!("self_attn.{part}_proj")), vec![rows / 4, 32], "U8"));
        all.push((layer(&format!("self_attn.{part}_proj")) + "_scale", vec![1], "BF16"));
    }
    for part in ["gate", "up", "down"] {
        all.push((layer(&format!("mlp.{part}_proj")), vec![8, 32], "U8"));
        all.push((layer(&format!("mlp.{part}_proj")) + "_scale", vec![1], "BF16"));
    }
    all.push(("model.norm.weight".into(), vec![32], "BF16"));
    all
}

/// A safetensors file; `edit` may change the header.
fn safetensors_file(tensors: &[(String, Vec<usize>, &'static str)], edit: impl Fn(&mut Value)) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape, dtype) in tensors {
        let size = shape.iter().product::<usize>() * if *dtype == "U8" { 1 } else { 2 };
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}));
        at += size;
    }
    let mut header = Value::Object(header);
    edit(&mut header);
    raw_safetensors(header.to_string().as_bytes(), at)
}

fn raw_safetensors(header: &[u8], data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, &vec![0x11; data]].concat()
}

fn tiny_config() -> Value {
    json!({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2", "hidden_size": 32,
        "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "vocab_size": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "eos_token_id": [7, -1, 99],
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
    })
}

fn open_hf(config: &[u8], weights: Vec<u8>) -> sterna::Result<Checkpoint> {
    let files = [("config.json", config.to_vec().into()), ("model.safetensors", Bytes::from(weights))];
    Checkpoint::from_files("tiny", &files)
}

/// The tiny directory with one key of config.json set, or removed if `value` is null.
fn with_config(key: &str, value: Value) -> sterna::Result<Checkpoint> {
    let mut config = tiny_config();
    config[key] = value;
    open_hf(config.to_string().as_bytes(), safetensors_file(&tiny_tensors(), |_| ()))
}

fn with_header(edit: impl Fn(&mut Value)) -> sterna::Result<Checkpoint> {
    open_hf(tiny_config().to_string().as_bytes(), safetensors_file(&tiny_tensors(), edit))
}

#[test]
fn the_tiny_directory_is_good() {
    let checkpoint = with_config("unknown", Value::Null).expect("opens");
    read_all(&checkpoint).expect("reads");
    assert_eq!(*checkpoint.config(), Config { eos: vec![7], ..TINY });
    // Spellings used by other versions of transformers.
    let mut config = tiny_config();
    config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 10000});
    config["rope_theta"] = Value::Null;
    config["rope_scaling"] = Value::Null;
    config["num_key_value_heads"] = json!(1);
    config["eos_token_id"] = json!(7);
    let text = config.to_string().replacen('{', "{\"hidden_size\": 1,", 1);
    let other = open_hf(text.as_bytes(), safetensors_file(&tiny_tensors(), |_| ())).expect("opens");
    assert_eq!(other.config(), checkpoint.config());
    // A model without a head of its own is tied, whatever its configuration says.
    assert!(with_config("tie_word_embeddings", json!(false)).is_ok_and(|checkpoint| checkpoint.config().tied));
}

#[test]
fn configurations_that_do_not_run_are_refused_by_name() {
    for (key, value, parts) in [
        ("architectures", json!(["MambaForCausalLM"]), ["`MambaForCausalLM`", "Sterna runs BitNetForCausalLM"]),
        ("architectures", json!(["Qwen2Model"]), ["`Qwen2Model`", "Qwen3ForCausalLM"]),
        ("hidden_act", json!("gelu"), ["hidden_act `gelu`", "Sterna runs"]),
        (
            "rope_scaling",
            json!({"rope_type": "longrope", "factor": 2.0}),
            ["rope_scaling of the type `longrope`", "without biases"],
        ),
        ("rope_scaling", json!({"type": "linear"}), ["`linear`", "config.json"]),
        ("rope_parameters", json!({"rope_type": "llama3"}), ["rope_parameters of the type `llama3`", "without biases"]),
        ("attention_bias", json!(true), ["attention_bias = true", "without biases"]),
        ("mlp_bias", json!(true), ["mlp_bias = true", "without biases"]),
        ("quantization_config", json!({"quant_method": "gptq"}), ["quantization method `gptq`", "config.json"]),
        (
            "quantization_config",
            json!({"quant_method": "bitnet", "linear_class": "x"}),
            ["linear class `x`", "config.json"],
        ),
        (
            "quantization_config",
            json!({"quant_method": "bitnet", "use_rms_norm": true}),
            ["use_rms_norm", "projection"],
        ),
        ("quantization_config", Value::Null, ["quantization_config", "multiplies or divides"]),
        (
            "quantization_config",
            json!({"quant_method": "bitnet", "modules_to_not_convert": ["lm_head", "model.layers.0"]}),
            ["full precision in `model.layers.0`", "config.json"],
        ),
        ("architectures", json!(["\u{1b}[2J".repeat(1000)]), ["the architecture `\u{fffd}[2J", "Sterna runs"]),
    ] {
        assert_refused(with_config(key, value), &parts);
    }
    let text = tiny_config().to_string();
    assert_refused(open_hf(b"{", Vec::new()), &["tiny/config.json", "EOF"]);
    assert_refused(open_hf(b"[]", Vec::new()), &["tiny/config.json", "not an object"]);
    assert_refused(open_hf(&[b'['; 100_000], Vec::new()), &["tiny/config.json", "recursion"]);
    assert_refused(open_hf(&vec![b' '; 5 << 20], Vec::new()), &["a file of 5242880 bytes, over the limit of 4194304"]);
    assert_refused(
        Checkpoint::from_files("tiny", &[("x", Vec::new().into()), ("y", Vec::new().into())]),
        &["config.json", "no such"],
    );
    let only_config = [("config.json", text.into_bytes().into()), ("x", Vec::new().into())];
    assert_refused(Checkpoint::from_files("tiny", &only_config), &["model.safetensors", "neither"]);
}

#[test]
fn impossible_dimensions_are_refused() {
    for (key, value, parts) in [
        ("hidden_size", json!(0), ["hidden size is 0", "config.json"]),
        ("hidden_size", json!("many"), ["hidden_size", "not a whole number"]),
        ("hidden_size", json!(1u64 << 60), ["hidden size", "over the limit of 131072"]),
        ("hidden_size", Value::Null, ["hidden_size", "missing"]),
        ("hidden_size", json!(33), ["head_dim", "33 features"]),
        ("num_attention_heads", json!(0), ["head_dim", "0 heads"]),
        ("num_key_value_heads", json!(3), ["2 heads", "3 key/value heads"]),
        ("head_dim", json!(15), ["head size 15", "odd"]),
        ("head_dim", json!(258), ["head size of 258", "over the limit of 256"]),
        ("num_hidden_layers", json!(1_000_000_000), ["number of layers", "limit of 1000,"]),
        ("num_hidden_layers", json!(1000), ["missing", "model.layers.1."]),
        ("vocab_size", json!(9), ["model.embed_tokens.weight", "at least [9, 32]"]),
        ("rms_norm_eps", json!(-1), ["epsilon is -1", "config.json"]),
        ("rope_theta", json!(0), ["rotary", "is 0"]),
        ("intermediate_size", json!(64), ["mlp.", "[64, 32]"]),
    ] {
        assert_refused(with_config(key, value), &parts);
    }
}

#[test]
fn safetensors_headers_that_lie() {
    let q = "model.layers.0.self_attn.q_proj.weight";
    assert_refused(with_header(|header| header[q]["data_offsets"] = json!([0, 1u64 << 60])), &[q, "but the file has"]);
    assert_refused(with_header(|header| header[q]["data_offsets"] = json!([9, 8])), &[q, "bytes 9 to 8"]);
    assert_refused(with_header(|header| header[q]["data_offsets"] = json!([0, 256])), &["overlap", q]);
    assert_refused(with_header(|header| header[q]["data_offsets"] = json!([0, 255])), &[q, "255 bytes"]);
    assert_refused(with_header(|header| header[q]["shape"] = json!([u64::MAX, u64::MAX])), &[q, "do not match"]);
    assert_refused(with_header(|header| header[q]["shape"] = json!([16, 16])), &[q, "[64, 16]", "[32, 32]"]);
    assert_refused(with_header(|header| header[q]["shape"] = json!([256])), &[q, "not a matrix"]);
    assert_refused(with_header(|header| header[q]["shape"] = json!([1, 1, 1, 1, 1, 1, 1, 1, 256])), &["dimensions"]);
    assert_refused(with_header(|header| header[q]["shape"] = json!([-8, 32])), &["safetensors header", "-8"]);
    assert_refused(with_header(|header| header[q]["dtype"] = json!("F8_E8M0")), &[q, "`F8_E8M0`", "BF16"]);
    assert_refused(with_header(|header| header[q]["dtype"] = json!("I8")), &[q, "stored as I8"]);
    assert_refused(with_header(|header| header[q] = json!(3)), &["safetensors header"]);
    assert_refused(with_header(|header| *header = json!([])), &["an object of tensors"]);
    let remove =
        |name: &'static str| with_header(|header| drop(header.as_object_mut().map(|header| header.remove(name))));
    assert_refused(remove("model.norm.weight"), &["missing: `model.norm.weight`", "download"]);
    assert_refused(remove("model.layers.0.mlp.up_proj.weight_scale"), &["up_proj.weight_scale", "is missing"]);
    let config = tiny_config().to_string();
    let raw = |header: &[u8]| open_hf(config.as_bytes(), raw_safetensors(header, 64));
    let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    assert_refused(raw(format!(r#"{{"a":{entry},"a":{entry}}}"#).as_bytes()), &["`a` is listed twice"]);
    assert_refused(raw(&[b'['; 4096]), &["safetensors header"]);
    let deep = format!(r#"{{"__metadata__":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_refused(raw(deep.as_bytes()), &["safetensors header"]);
    assert_refused(open_hf(config.as_bytes(), u64::MAX.to_le_bytes().to_vec()), &["its length is"]);
    assert_refused(open_hf(config.as_bytes(), vec![1, 2, 3]), &["only 3 bytes"]);
}

#[test]
fn other_graphs_and_bad_values_are_refused() {
    let weights = |extra: &str| {
        let mut tensors = tiny_tensors();
        tensors.push((extra.into(), vec![32], "BF16"));
        open_hf(tiny_config().to_string().as_bytes(), safetensors_file(&tensors, |_| ()))
    };
    assert_refused(weights("model.layers.0.self_attn.q_proj.bias"), &["a bias", "q_proj.bias"]);
    assert_refused(weights("model.layers.0.mlp.up_proj.norm.weight"), &["a norm in every projection", "up_proj.norm"]);
    assert!(weights("model.layers.0.self_attn.rotary_emb.inv_freq").is_ok());
    let good = safetensors_file(&tiny_tensors(), |_| ());
    let header: Value = serde_json::from_slice(&good[8..8 + good[0] as usize + 256 * good[1] as usize]).expect("JSON");
    let start = 8 + good[0] as usize + 256 * good[1] as usize;
    let at = |name: &str| start + header[name]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let config = tiny_config().to_string();
    let patched = |name: &str, bytes: &[u8]| open_hf(config.as_bytes(), patch(&good, at(name), bytes));
    for bad in [[0xc0, 0x7f], [0x80, 0x7f], [0, 0], [0x80, 0xbf]] {
        let result = patched("model.layers.0.self_attn.q_proj.weight_scale", &bad);
        assert_refused(result, &["q_proj.weight", "normal positive number"]);
    }
    assert_refused(patched("model.layers.0.self_attn.q_proj.weight", &[0xff]), &["q_proj.weight", "none of"]);
    assert_refused(patched("model.norm.weight", &[0x80, 0x7f]), &["model.norm.weight", "value 0 is not finite"]);
}

#[test]
fn indexes_and_shards() {
    let config = tiny_config().to_string();
    let weights = safetensors_file(&tiny_tensors(), |_| ());
    let open = |index: Value, shards: &[&str]| {
        let mut files = vec![
            ("config.json", Bytes::from(config.clone().into_bytes())),
            ("model.safetensors.index.json", index.to_string().into_bytes().into()),
        ];
        files.extend(shards.iter().map(|name| (*name, Bytes::from(weights.clone()))));
        Checkpoint::from_files("tiny", &files)
    };
    let map = |names: &[&str]| {
        let entries = names.iter().enumerate().map(|(i, name)| (format!("t{i}"), json!(name)));
        json!({"metadata": {"total_size": 1}, "weight_map": entries.collect::<serde_json::Map<_, _>>()})
    };
    assert!(open(map(&["a.safetensors"]), &["a.safetensors"]).is_ok());
    assert_refused(open(map(&["a.safetensors", "b.safetensors"]), &["a.safetensors"]), &["b.safetensors", "missing"]);
    let both = ["a.safetensors", "b.safetensors"];
    assert_refused(open(map(&both), &both), &["b.safetensors", "in another file too"]);
    for outside in ["../a.safetensors", "/etc/passwd", "x/../a", "", ".."] {
        assert_refused(open(map(&[outside]), &["a.safetensors"]), &["weight_map", "is not a file name"]);
    }
    assert_refused(open(json!({"weight_map": 3}), &[]), &["weight_map"]);
}

#[test]
fn paths_that_are_no_checkpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let message = |name: &str| Checkpoint::open(&path(name)).expect_err("refused").to_string();
    assert!(message("absent").contains("absent: "), "{}", message("absent"));
    std::fs::write(path("model.safetensors"), "x").expect("written");
    let error = message("model.safetensors");
    assert!(error.contains("GGUF") && error.contains("directory that holds config.json"), "{error}");
    std::fs::write(path("empty.gguf"), "").expect("written");
    assert!(message("empty.gguf").contains("does not begin with"), "{}", message("empty.gguf"));
    std::fs::create_dir(path("folder")).expect("created");
    assert!(message("folder").contains("there is no such file"), "{}", message("folder"));
    std::fs::write(path("folder/inside.gguf"), "GGUF").expect("written");
    assert!(message("folder").contains("folder/inside.gguf"), "{}", message("folder"));
    // A GGUF file is recognised by its magic bytes, not by its name.
    std::fs::write(path("model.bin"), tiny_gguf("bitnet-b1.58")).expect("written");
    assert!(Checkpoint::open(&path("model.bin")).is_ok());
}

// ---- Mutations ----------------------------------------------------------------------------------------------------

impl Random {
    /// Makes one to four edits in the first `len` bytes, or cuts off the end.
    fn mutate(&mut self, bytes: &mut Vec<u8>, len: usize) {
        const WORDS: [u64; 8] = [0, 1, 0xff, 1 << 31, 1 << 32, 1 << 63, u64::MAX, u64::MAX - 7];
        for _ in 0..=self.below(4) {
            let len = len.min(bytes.len());
            if len < 16 {
                return;
            }
            let at = self.below(len - 8);
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes[at..at + 8].copy_from_slice(&WORDS[self.below(8)].to_le_bytes()),
                2 => bytes[at..at + 4].copy_from_slice(&(self.next() as u32 % 64).to_le_bytes()),
                3 => drop(bytes.drain(at..at + 1 + self.below(7))),
                4 => bytes.insert(at, self.next() as u8),
                5 => bytes[at] = b"0123456789-\"[]{},:.enull"[self.below(24)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
    }
}

fn survives(what: &str, seed: u64, open: impl Fn() -> sterna::Result<Checkpoint>) {
    let result = catch_unwind(AssertUnwindSafe(|| open().and_then(|checkpoint| read_all(&checkpoint))));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => assert!(error.to_string().contains("tiny"), "{what} {seed}: {error}"),
        Err(_) => panic!("{what}, mutation {seed} panicked"),
    }
}

#[test]
fn mutated_gguf_files_never_panic() {
    for (i, arch) in ["bitnet-b1.58", "llama"].iter().enumerate() {
        let good = tiny_gguf(arch);
        let header = header_len(&good);
        for seed in 0..6_000 {
            let mut random = Random(seed << 1 | i as u64);
            let mut bytes = good.clone();
            let len = if seed % 8 == 0 { bytes.len() } else { header };
            random.mutate(&mut bytes, len);
            survives(arch, seed, || open_gguf(bytes.clone()));
        }
    }
}

#[test]
fn mutated_directories_never_panic() {
    let weights = safetensors_file(&tiny_tensors(), |_| ());
    let config = tiny_config().to_string().into_bytes();
    for seed in 0..8_000 {
        let mut random = Random(seed);
        let (mut weights, mut config) = (weights.clone(), config.clone());
        match seed % 4 {
            0 => {
                let len = config.len();
                random.mutate(&mut config, len);
            }
            1 => {
                let len = weights.len();
                random.mutate(&mut weights, len);
            }
            _ => random.mutate(&mut weights, 2600),
        }
        survives("directory", seed, || open_hf(&config, weights.clone()));
    }
}

#[test]
fn parts_of_a_model_must_be_whole_and_belong_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = |number: usize| format!("ptq1_0-0000{number}-of-00003.gguf");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/bonsai-g128/gguf");
    let part = |number: usize| fs::read(source.join(name(number))).expect("a golden");
    let put = |number: usize, bytes: &[u8]| fs::write(folder.path().join(name(number)), bytes).expect("written");
    let open = |number: usize| Checkpoint::open(&folder.path().join(name(number)));
    (1..=3).for_each(|number| put(number, &part(number)));
    for number in 1..=3 {
        assert_eq!(open(number).expect("opens").config().layers, 2);
    }
    // The second part twice, with the number of the third.
    let at = after(&part(2), "split.no");
    put(3, &patch(&part(2), at + 4, &2u16.to_le_bytes()));
    assert_refused(open(1), &[&name(3), "an earlier part has it too"]);
    put(3, &part(2));
    assert_refused(open(1), &[&name(3), "key `split.no`", "is not 2"]);
    fs::remove_file(folder.path().join(name(3))).expect("removed");
    assert_refused(open(2), &[&name(2), "part 3 of 3, ptq1_0-00003-of-00003.gguf, is missing", "keep all parts"]);
    fs::rename(folder.path().join(name(2)), folder.path().join("b.gguf")).expect("renamed");
    let renamed = Checkpoint::open(&folder.path().join("b.gguf"));
    assert_refused(renamed, &["it is part 2 of 3, but its name does not end with -00002-of-00003.gguf"]);
    let count = after(&part(1), "split.tensors.count");
    (2..=3).for_each(|number| put(number, &part(number)));
    put(1, &patch(&part(1), count + 4, &9u32.to_le_bytes()));
    assert_refused(open(3), &["key `split.tensors.count`", "is 9, but the parts have"]);
}
