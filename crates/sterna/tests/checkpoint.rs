//! Every format against the goldens: configuration, trits, scales and dense tensors.

use std::path::{Path, PathBuf};

use sterna::checkpoint::encoding::{self, Trits};
use sterna::checkpoint::{Architecture, Checkpoint, Config, Data, TextFiles, safetensors};
use sterna::kernels::{Bytes, Cpu, DenseType, TernaryMatrix, set};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&golden(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn cpu() -> Cpu {
    Cpu::with(&set::PORTABLE, 2)
}

/// All ternary matrices of a checkpoint, by name.
fn matrices(checkpoint: &Checkpoint, cpu: &Cpu) -> Vec<(String, TernaryMatrix)> {
    let ternary = checkpoint.tensors.iter().filter(|(_, tensor)| !matches!(tensor.data, Data::Dense { .. }));
    ternary
        .map(|(name, tensor)| {
            let matrix = checkpoint.ternary(cpu, name, tensor.shape[0], tensor.shape[1]);
            (name.clone(), matrix.unwrap_or_else(|error| panic!("{error}")))
        })
        .collect()
}

fn assert_same_trits(a: &Checkpoint, b: &Checkpoint, scale_tolerance: f32) {
    let cpu = cpu();
    let (left, right) = (matrices(a, &cpu), matrices(b, &cpu));
    assert_eq!(left.len(), 7 * a.config.layers);
    for ((name, a), (other, b)) in left.iter().zip(&right) {
        assert_eq!(name, other);
        for r in 0..a.rows() {
            assert_eq!(a.trits(r), b.trits(r), "{name}, row {r}");
        }
        let difference = (a.scale() - b.scale()).abs();
        assert!(difference <= scale_tolerance * b.scale(), "{name}: scales {} and {}", a.scale(), b.scale());
    }
}

fn assert_same_vectors(a: &Checkpoint, b: &Checkpoint) {
    let vectors = a.tensors.iter().filter(|(_, tensor)| tensor.shape.len() == 1);
    for (name, tensor) in vectors {
        let values = |checkpoint: &Checkpoint| checkpoint.vector(name, tensor.shape[0]).expect("a vector");
        assert_eq!(values(a), values(b), "{name}");
    }
}

const BITNET: Config = Config {
    architecture: Architecture::Bitnet,
    hidden: 256,
    intermediate: 512,
    layers: 4,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    vocab: 512,
    context: 512,
    rms_eps: 1e-5,
    rope_theta: 500_000.0,
    tied: true,
    eos: Vec::new(),
};

#[test]
fn configurations_of_all_goldens() {
    let bitnet = Config { eos: vec![510], ..BITNET };
    let llama = Config {
        architecture: Architecture::Llama,
        rms_eps: 1e-6,
        rope_theta: 1_000_042.0,
        tied: false,
        ..bitnet.clone()
    };
    let one_bit = Config {
        architecture: Architecture::OneBitLlm,
        kv_heads: 4,
        rope_theta: 10_000.0,
        eos: vec![2],
        ..bitnet.clone()
    };
    for (name, format, config) in [
        ("bitnet-bf16-online", "safetensors", &bitnet),
        ("bitnet-packed-offline", "safetensors", &bitnet),
        ("bitnet-packed-offline/gguf/model-i2_s-msconverter.gguf", "gguf v3", &bitnet),
        ("bitnet-packed-offline/gguf/model-tq1_0-q8_0embd.gguf", "gguf v3", &bitnet),
        ("bitnet-packed-offline/gguf/model-tq2_0.gguf", "gguf v3", &bitnet),
        ("llama-bf16-online", "safetensors", &llama),
        ("llama-bitlinear-packed", "safetensors", &llama),
        ("llama-bitlinear-packed/gguf/model-i2_s-own.gguf", "gguf v3", &llama),
        ("llama-bitlinear-packed/gguf/model-tq2_0.gguf", "gguf v3", &llama),
        ("bitnet-1bitllm", "safetensors", &one_bit),
        ("bitnet-1bitllm/gguf/model-i2_s-own.gguf", "gguf v3", &one_bit),
    ] {
        let checkpoint = open(name);
        assert_eq!(checkpoint.format, format, "{name}");
        assert_eq!(checkpoint.config, *config, "{name}");
        let tokenizer = match checkpoint.text {
            TextFiles::HuggingFace { config, .. } => config["tokenizer_class"].is_string() as usize * 512,
            TextFiles::Gguf(vocabulary) => vocabulary.tokens.len(),
            TextFiles::None => 0,
        };
        assert_eq!(tokenizer, 512, "{name}");
    }
}

#[test]
fn bitnet_weights_are_the_same_in_every_format() {
    let packed = open("bitnet-packed-offline");
    let i2_s = open("bitnet-packed-offline/gguf/model-i2_s-msconverter.gguf");
    assert_same_trits(&i2_s, &packed, 0.0);
    assert_same_vectors(&i2_s, &packed);
    // Halves and bfloat16 round the scale.
    assert_same_trits(&open("bitnet-packed-offline/gguf/model-tq1_0-q8_0embd.gguf"), &packed, 1.0 / 2048.0);
    assert_same_trits(&open("bitnet-packed-offline/gguf/model-tq2_0.gguf"), &packed, 1.0 / 2048.0);
    assert_same_trits(&open("bitnet-bf16-online"), &packed, 1.0 / 256.0);
}

#[test]
fn llama_rows_come_back_into_order() {
    let packed = open("llama-bitlinear-packed");
    let i2_s = open("llama-bitlinear-packed/gguf/model-i2_s-own.gguf");
    assert_eq!(i2_s.tensors["model.layers.0.self_attn.k_proj.weight"].interleaved_heads, Some(2));
    assert_same_trits(&i2_s, &packed, 1e-6);
    assert_same_vectors(&i2_s, &packed);
    assert_same_trits(&open("llama-bitlinear-packed/gguf/model-tq2_0.gguf"), &packed, 1.0 / 2048.0);
    assert_same_trits(&open("llama-bf16-online"), &packed, 1.0 / 256.0);
}

#[test]
fn one_bit_llm_names_are_mapped() {
    let master = open("bitnet-1bitllm");
    assert_same_trits(&open("bitnet-1bitllm/gguf/model-i2_s-own.gguf"), &master, 1e-6);
    assert!(master.vector("model.layers.3.mlp.ffn_sub_norm.weight", 512).is_ok());
    assert!(master.vector("model.layers.3.self_attn.attn_sub_norm.weight", 256).is_ok());
}

#[test]
fn embeddings_are_kept_as_stored_and_padding_is_cut() {
    let cpu = cpu();
    let packed = open("bitnet-packed-offline");
    let blocks = open("bitnet-packed-offline/gguf/model-tq1_0-q8_0embd.gguf");
    let embedding = |checkpoint: &Checkpoint| checkpoint.dense("model.embed_tokens.weight", 512, 256).expect("dense");
    let (a, b) = (embedding(&packed), embedding(&blocks));
    assert_eq!((a.kind(), b.kind()), (DenseType::Bf16, DenseType::Q8_0));
    let (a, b) = (a.lookup(&cpu, &[7]), b.lookup(&cpu, &[7]));
    let largest = a.row(0).iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(a.row(0).iter().zip(b.row(0)).all(|(a, b)| (a - b).abs() <= largest / 127.0));
    assert_eq!(packed.dense("model.embed_tokens.weight", 500, 256).expect("cut").rows(), 500);
    assert!(packed.dense("model.embed_tokens.weight", 513, 256).is_err());
    assert!(open("llama-bitlinear-packed").dense("lm_head.weight", 512, 256).is_ok());
    assert!(!packed.has("lm_head.weight"));
}

#[test]
fn files_in_memory_open_like_a_directory() {
    let directory = golden("bitnet-packed-offline");
    let read = |name: &str| Bytes::from(std::fs::read(directory.join(name)).expect("golden"));
    let names =
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let files: Vec<(&str, Bytes)> = names.iter().map(|name| (*name, read(name))).collect();
    let memory = Checkpoint::from_files("embedded", &files).expect("opens");
    assert_same_trits(&memory, &open("bitnet-packed-offline"), 0.0);
    let gguf = std::fs::read(golden("bitnet-packed-offline/gguf/model-tq2_0.gguf")).expect("golden");
    let gguf = Checkpoint::from_files("embedded", &[("model.gguf", gguf.into())]).expect("opens");
    assert_eq!((gguf.format, &gguf.config), ("gguf v3", &memory.config));
}

/// One matrix in every encoding; row 7 and a block of row 5 are all zero.
#[test]
fn stored_blocks_decode_to_the_golden_trits() {
    let path = golden("blocks/blocks.safetensors");
    let header = safetensors::Header::parse(&path, &Bytes::map(&path).expect("golden")).expect("header");
    let cpu = cpu();
    let wanted: Vec<i8> = header.tensors["q"].bytes.iter().map(|byte| *byte as i8).collect();
    let scale = header.tensors["scale"].bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)).expect("scale");
    let cases = [
        ("hf_packed_u8", "hf-packed", scale, 0.0),
        ("i2_s_x86", "i2_s", 1.0, 0.0),
        ("tq1_0", "tq1_0", 1.0, 1.0 / 2048.0),
        ("tq2_0", "tq2_0", 1.0, 1.0 / 2048.0),
        ("w", "f32", 1.0, 0.0),
    ];
    for (tensor, name, factor, tolerance) in cases {
        let encoding = encoding::ENCODINGS.iter().find(|encoding| encoding.name == name).expect("in the table");
        let bytes = header.tensors[tensor].bytes.clone();
        let trits = Trits::new(encoding, 8, 512, bytes).expect("its size").scaled(factor);
        let found = trits.scale(&cpu.pool).expect("one scale");
        assert!((found.value - scale).abs() <= tolerance * scale, "{name}: {} is not {scale}", found.value);
        for (r, wanted) in wanted.chunks_exact(512).enumerate() {
            let mut row = vec![9; 512];
            trits.row(found, r, &mut row).expect("valid codes");
            assert_eq!(row, wanted, "{name}, row {r}");
        }
    }
}

/// Rows of 96 start inside the blocks of 128.
#[test]
fn i2_s_rows_may_straddle_blocks() {
    let path = golden("blocks/blocks.safetensors");
    let header = safetensors::Header::parse(&path, &Bytes::map(&path).expect("golden")).expect("header");
    let wanted: Vec<i8> = header.tensors["q"].bytes.iter().take(4032).map(|byte| *byte as i8).collect();
    let encoding = encoding::by_ggml_type(36).expect("I2_S");
    // 42 rows of 96 are 4032 weights, no whole number of blocks; 40 rows are 3840.
    assert!(Trits::new(encoding, 42, 96, vec![0; 1040].into()).is_err());
    let mut bytes = header.tensors["i2_s_x86"].bytes[..960].to_vec();
    bytes.extend(1f32.to_le_bytes());
    bytes.extend([0; 28]);
    let trits = Trits::new(encoding, 40, 96, bytes.into()).expect("30 blocks");
    let scale = trits.scale(&cpu().pool).expect("scale");
    for (r, wanted) in wanted.chunks_exact(96).take(40).enumerate() {
        let mut row = vec![9; 96];
        trits.row(scale, r, &mut row).expect("valid codes");
        assert_eq!(row, wanted, "row {r}");
    }
}

#[test]
fn full_precision_weights_round_as_in_training() {
    let encoding = encoding::by_ggml_type(0).expect("F32");
    let matrix = |weights: &[f32], rows: usize| {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        Trits::new(encoding, rows, weights.len() / rows, bytes.into()).expect("its size")
    };
    let (cpu, mut row) = (cpu(), [9; 4]);
    // mean |W| = 1: one half rounds to even, to 0.
    let trits = matrix(&[0.5, -0.5, 0.75, -2.25], 1).quantized_at_load();
    let scale = trits.scale(&cpu.pool).expect("scale");
    trits.row(scale, 0, &mut row).expect("valid");
    assert_eq!((scale.value, row), (1.0, [0, 0, 1, -1]));
    // Ternary already: the scale is their magnitude, not the mean.
    let ternary = matrix(&[0.25, 0.0, 0.0, -0.25], 1);
    let scale = ternary.scale(&cpu.pool).expect("scale");
    ternary.row(scale, 0, &mut row).expect("valid");
    assert_eq!((scale.value, row), (0.25, [1, 0, 0, -1]));
    let several = matrix(&[0.25, 0.0, 0.5, -0.5], 2).quantized_at_load();
    let message = several.scale(&cpu.pool).map_err(|problem| problem.at(Path::new("m"), "t").to_string());
    assert!(message.is_err_and(|message| message.contains("several scales") && message.contains("`t`")));
    let message =
        matrix(&[0.5, 0.25, 0.75, 1.0], 1).scale(&cpu.pool).map_err(|problem| problem.at(Path::new("m"), "t"));
    assert!(message.is_err_and(|error| error.to_string().contains("not ternary")));
    assert!(matrix(&[0.5, f32::NAN, 0.0, 1.0], 1).quantized_at_load().scale(&cpu.pool).is_err());
}

#[test]
fn synthetic_models_have_every_tensor() {
    let cpu = cpu();
    for head in [
        DenseType::F32,
        DenseType::F16,
        DenseType::Bf16,
        DenseType::Q8_0,
        DenseType::Q4_0,
        DenseType::Q4K,
        DenseType::Q6K,
    ] {
        let model = Checkpoint::synthetic(BITNET, head, 1).expect("a possible configuration");
        let embedding = model.dense("model.embed_tokens.weight", 512, 256).expect("embedding").lookup(&cpu, &[0, 511]);
        assert!(embedding.data().iter().all(|x| x.abs() < 0.5), "{}", head.name());
        assert!(embedding.data().iter().any(|x| *x != 0.0), "{}", head.name());
    }
    let model = Checkpoint::synthetic(BITNET, DenseType::F16, 1).expect("a possible configuration");
    let all = matrices(&model, &cpu);
    assert_eq!(all.len(), 28);
    let zeros = (0..512).flat_map(|r| all[1].1.trits(r)).filter(|trit| *trit == 0).count();
    let share = zeros as f64 / (512.0 * 256.0);
    assert!((share - 0.42).abs() < 0.01, "{share}");
    assert_ne!(all[0].1.trits(0), all[0].1.trits(1));
    assert_eq!(all[0].1.trits(5), matrices(&model, &cpu)[0].1.trits(5));
    assert!(Checkpoint::synthetic(Config { hidden: 320, ..BITNET }, DenseType::Q6K, 1).is_err());
}
