//! Every format against the goldens: configuration, trits, scales and dense tensors.

use std::path::{Path, PathBuf};

use sterna::checkpoint::{Checkpoint, Config, Data, RopeScaling, TextFiles, safetensors};
use sterna::kernels::format::{
    self, BF16, F16, F32, FORMATS, I2_S, Problem, Q1_0, Q6_K, Q8_0, STQ1_0, TQ1_0, TQ2_0, Trits,
};
use sterna::kernels::layout::T16;
use sterna::kernels::math::f32_to_f16;
use sterna::kernels::{Bytes, Cpu, DenseMatrix, Matrix, Scales, sets};
use sterna::model::{self, LLAMA, ONEBITLLM, QWEN3};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&golden(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn cpu() -> Cpu {
    Cpu::with(sets::portable(), 2)
}

/// All ternary matrices of a checkpoint, by name.
fn matrices(checkpoint: &Checkpoint, cpu: &Cpu) -> Vec<(String, Matrix)> {
    let ternary = checkpoint.tensors().iter().filter(|(_, tensor)| !matches!(tensor.data, Data::Dense { .. }));
    ternary
        .map(|(name, tensor)| {
            let matrix = checkpoint.ternary(cpu, name, (tensor.shape[0], tensor.shape[1]), &T16);
            (name.clone(), matrix.unwrap_or_else(|error| panic!("{error}")))
        })
        .collect()
}

fn assert_same_trits(a: &Checkpoint, b: &Checkpoint, scale_tolerance: f32) {
    let cpu = cpu();
    let (left, right) = (matrices(a, &cpu), matrices(b, &cpu));
    assert_eq!(left.len(), 7 * a.config().layers);
    for ((name, a), (other, b)) in left.iter().zip(&right) {
        assert_eq!(name, other);
        for r in 0..a.shape().0 {
            assert_eq!(a.trits(r), b.trits(r), "{name}, row {r}");
        }
        let (a, b) = (a.scale().expect("one scale"), b.scale().expect("one scale"));
        assert!((a - b).abs() <= scale_tolerance * b, "{name}: scales {a} and {b}");
    }
}

fn assert_same_vectors(a: &Checkpoint, b: &Checkpoint) {
    let vectors = a.tensors().iter().filter(|(_, tensor)| tensor.shape.len() == 1);
    for (name, tensor) in vectors {
        let values = |checkpoint: &Checkpoint| checkpoint.vector(name, tensor.shape[0]).expect("a vector");
        assert_eq!(values(a), values(b), "{name}");
    }
}

const BITNET: Config = Config {
    architecture: &model::BITNET,
    hidden: 256,
    intermediate: 256,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    vocab: 512,
    context: 512,
    rms_eps: 1e-5,
    rope_theta: 500_000.0,
    rope_scaling: RopeScaling::None,
    pooling: None,
    windows: None,
    scalings: None,
    tied: true,
    eos: Vec::new(),
    hybrid: None,
};

/// Opens the checkpoint and its GGUF files, and checks that all have this configuration.
fn assert_config(name: &str, ggufs: &[&str], config: Config) {
    let directory = open(name);
    assert_eq!((directory.format(), directory.config()), ("safetensors", &config), "{name}");
    let TextFiles::HuggingFace { config: text, .. } = directory.text() else { panic!("{name} has a tokenizer") };
    assert!(text["eos_token"].is_string() || text["eos_token"].is_object(), "{name}");
    for gguf in ggufs {
        let gguf = open(&format!("{name}/gguf/{gguf}.gguf"));
        let TextFiles::Gguf(vocabulary) = gguf.text() else { panic!("{name} has a vocabulary") };
        assert_eq!(vocabulary.tokens.len(), 512, "{name}");
        // The file names one of the tokens that end an answer.
        assert_eq!((gguf.format(), vocabulary.eos), ("gguf v3", gguf.config().eos.first().copied()), "{name}");
        assert_eq!(Config { eos: config.eos.clone(), ..gguf.config().clone() }, config, "{name}");
    }
}

#[test]
fn configurations_of_bitnet_goldens() {
    let small = Config { hidden: 128, intermediate: 128, heads: 2, kv_heads: 1, ..BITNET };
    assert_config("bitnet-bf16-online", &["i2_s"], Config { eos: vec![510], ..small.clone() });
    let ggufs = ["i2_s", "tq2_0-q8_0", "tq1_0-q8_0"];
    assert_config("bitnet-packed-offline", &ggufs, Config { eos: vec![510, 511], ..BITNET });
    let sharded =
        Config { hidden: 192, intermediate: 192, head_dim: 96, rope_theta: 1e4, eos: vec![510], ..small.clone() };
    assert_config("bitnet-headdim96-sharded", &["i2_s-q8_0"], sharded);
    let one_bit = Config { architecture: &ONEBITLLM, layers: 1, kv_heads: 2, rope_theta: 1e4, eos: vec![2], ..small };
    assert_config("bitnet-1bitllm", &["i2_s"], one_bit);
}

#[test]
fn configurations_of_llama_and_qwen_goldens() {
    let llama = Config { architecture: &LLAMA, rms_eps: 1e-6, eos: vec![511], ..BITNET };
    let small = Config { hidden: 128, intermediate: 128, heads: 2, kv_heads: 1, tied: false, ..llama.clone() };
    assert_config("llama-bf16-online", &[], Config { layers: 1, rope_theta: 1_000_042.0, ..small.clone() });
    let online = Config { layers: 1, kv_heads: 2, rope_theta: 1e6, rms_eps: 1e-5, ..small.clone() };
    assert_config("llama-bitlinear-online", &[], online);
    assert_config("llama-bitlinear-packed", &["i2_s-q8_0", "tq1_0-q8_0"], llama);
    let wide = Config { intermediate: 256, head_dim: 256, rope_theta: 1_000_042.0, ..small.clone() };
    assert_config("llama-headdim256", &["i2_s-q8_0"], wide);
    let qwen3 = Config {
        architecture: &QWEN3,
        intermediate: 256,
        heads: 4,
        kv_heads: 2,
        rope_theta: 1e6,
        tied: true,
        eos: open("qwen3-causal").config().eos.clone(),
        ..small
    };
    assert!(qwen3.eos.contains(&511));
    assert_config("qwen3-causal", &["i2_s-q8_0"], qwen3);
}

/// The trits of every GGUF file are those of the directory; halves and bfloat16 round the scale.
#[test]
fn weights_are_the_same_in_every_format() {
    for (name, gguf, tolerance) in [
        ("bitnet-bf16-online", "i2_s", 1e-6),
        ("bitnet-packed-offline", "i2_s", 0.0),
        ("bitnet-packed-offline", "tq2_0-q8_0", 1.0 / 2048.0),
        ("bitnet-packed-offline", "tq1_0-q8_0", 1.0 / 2048.0),
        ("bitnet-headdim96-sharded", "i2_s-q8_0", 0.0),
        ("bitnet-1bitllm", "i2_s", 1e-6),
        ("llama-bitlinear-packed", "i2_s-q8_0", 1e-6),
        ("llama-bitlinear-packed", "tq1_0-q8_0", 1.0 / 2048.0),
        ("llama-headdim256", "i2_s-q8_0", 1e-6),
        ("qwen3-causal", "i2_s-q8_0", 0.0),
    ] {
        let (directory, gguf) = (open(name), open(&format!("{name}/gguf/{gguf}.gguf")));
        assert_same_trits(&gguf, &directory, tolerance);
        assert_same_vectors(&gguf, &directory);
        let key = &gguf.tensors()["model.layers.0.self_attn.k_proj.weight"];
        let llama = *gguf.config().architecture == LLAMA;
        assert_eq!(key.interleaved_heads, llama.then_some(gguf.config().kv_heads), "{name}");
    }
}

/// The last of two `quantization_config` keys in the file says divide; the first says multiply.
#[test]
fn the_last_of_two_equal_keys_counts() {
    let checkpoint = open("llama-headdim256");
    for (name, matrix) in matrices(&checkpoint, &cpu()) {
        let scale = matrix.scale().expect("one scale");
        assert!(scale < 1.0, "{name}: {scale}");
    }
}

#[test]
fn embeddings_are_kept_as_stored_and_padding_is_cut() {
    let cpu = cpu();
    let packed = open("bitnet-packed-offline");
    let blocks = open("bitnet-packed-offline/gguf/tq1_0-q8_0.gguf");
    let embedding = |checkpoint: &Checkpoint| checkpoint.dense("model.embed_tokens.weight", 512, 256).expect("dense");
    let (a, b) = (embedding(&packed), embedding(&blocks));
    assert_eq!((a.format(), b.format()), (&BF16, &Q8_0));
    let (a, b) = (a.lookup(&cpu, &[7]), b.lookup(&cpu, &[7]));
    let largest = a.row(0).iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(a.row(0).iter().zip(b.row(0)).all(|(a, b)| (a - b).abs() <= largest / 127.0));
    assert_eq!(packed.dense("model.embed_tokens.weight", 500, 256).expect("cut").rows(), 500);
    assert!(packed.dense("model.embed_tokens.weight", 513, 256).is_err());
    assert!(open("llama-headdim256").dense("lm_head.weight", 512, 128).is_ok());
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
    let gguf = std::fs::read(golden("bitnet-packed-offline/gguf/tq2_0-q8_0.gguf")).expect("golden");
    let gguf = Checkpoint::from_files("embedded", &[("model.gguf", gguf.into())]).expect("opens");
    assert_eq!((gguf.format(), gguf.config()), ("gguf v3", &Config { eos: vec![510], ..memory.config().clone() }));
}

fn one(scales: &Scales) -> f32 {
    match scales {
        Scales::One(scale) => *scale,
        other => panic!("one scale, not {other:?}"),
    }
}

/// The tensors of a golden file.
fn tensors(name: &str) -> safetensors::Header {
    let path = golden(name);
    safetensors::Header::parse(&path, &std::fs::read(&path).expect("golden").into()).expect("header")
}

/// The matrix that a golden file has in every format, and its scale.
fn stored_matrix(header: &safetensors::Header) -> (Vec<i8>, f32) {
    let matrix = header.tensors["q"].bytes.iter().map(|byte| *byte as i8).collect();
    (matrix, header.tensors["scale"].bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)).expect("scale"))
}

/// Checks the trits of a matrix with rows of 512, and that it has one scale, which it returns.
#[track_caller]
fn assert_matrix(trits: &Trits, expected: &[i8], what: &str) -> f32 {
    let cpu = cpu();
    let decoder = trits.decoder(cpu.pool()).expect("a scale");
    for (r, expected) in expected.chunks_exact(512).enumerate() {
        let mut row = vec![9; 512];
        decoder.row(r, &mut row).expect("valid codes");
        assert_eq!(row, expected, "{what}, row {r}");
    }
    one(decoder.scales())
}

/// One matrix in every format; row 7 and a block of row 5 are all zero.
#[test]
fn stored_blocks_decode_to_the_golden_trits() {
    let header = tensors("blocks.safetensors");
    let (matrix, scale) = stored_matrix(&header);
    let cases = [
        ("hf_packed_u8", "hf-packed", scale, 0.0),
        ("i2_s_x86", "i2_s", 1.0, 0.0),
        ("tq1_0", "tq1_0", 1.0, 1.0 / 2048.0),
        ("tq2_0", "tq2_0", 1.0, 1.0 / 2048.0),
        ("w", "f32", 1.0, 0.0),
    ];
    for (tensor, name, factor, tolerance) in cases {
        let format = format::by_name(name).expect("in the table");
        let bytes = header.tensors[tensor].bytes.clone();
        let trits = Trits::new(format, 8, 512, bytes).expect("its size").scaled(factor);
        let found = assert_matrix(&trits, &matrix, name);
        assert!((found - scale).abs() <= tolerance * scale, "{name}: {found} is not {scale}");
    }
}

/// The same matrix as the C code of llama.cpp's and ik_llama.cpp's quantisers writes it, and in PrismML's formats.
#[test]
fn blocks_of_other_quantisers_decode_to_the_golden_trits() {
    let header = tensors("blocks-group-scaled.safetensors");
    let (matrix, scale) = stored_matrix(&header);
    for (name, tolerance) in [
        ("iq1_bn", 1.0 / 2048.0),
        ("iq2_bn", 0.0),
        ("iq2_bn_r4", 0.0),
        ("tq1_0", 1.0 / 2048.0),
        ("q2_0", 1.0 / 2048.0),
        ("pq2_0", 1.0 / 2048.0),
        ("ptq1_0", 1.0 / 2048.0),
    ] {
        let format = format::by_name(name).expect("in the table");
        let trits = Trits::new(format, 8, 512, header.tensors[name].bytes.clone()).expect("its size");
        let found = assert_matrix(&trits, &matrix, name);
        assert!((found - scale).abs() <= tolerance * scale, "{name}: {found} is not {scale}");
        let Some(writer) = format.writer() else { continue };
        let mut written = Vec::new();
        let scales = writer.scales(&Scales::One(found), (8, 512)).expect("a scale of the format");
        (writer.rows)(&matrix, writer.of_rows(&scales, 8, 0, 8), &mut written);
        written.extend((writer.tail)(found));
        // An all-zero block has the scale zero in our files, whatever its codes.
        let again = Trits::new(format, 8, 512, written.into()).expect("its size");
        assert_eq!(assert_matrix(&again, &matrix, &format!("{name} written anew")), found);
    }
}

/// Binary weights: groups of 128 with scales of their own.
#[test]
fn binary_blocks_decode_to_the_golden_weights() {
    let header = tensors("blocks-group-scaled.safetensors");
    let cpu = cpu();
    let weights = numbers(&header.tensors["q1_0_w"].bytes);
    let trits = Trits::new(&Q1_0, 4, 256, header.tensors["q1_0"].bytes.clone()).expect("its size");
    let decoder = trits.decoder(cpu.pool()).expect("scales");
    for (r, expected) in weights.chunks_exact(256).enumerate() {
        let mut row = vec![9; 256];
        decoder.row(r, &mut row).expect("valid codes");
        for (column, (trit, weight)) in row.iter().zip(expected).enumerate() {
            let scale = match decoder.scales() {
                Scales::One(scale) => *scale,
                Scales::Groups { columns: 128, values } => values[2 * r + column / 128],
                other => panic!("{other:?}"),
            };
            let value = f32::from(*trit) * scale;
            assert!((value - weight).abs() <= weight.abs() / 1024.0, "{r}, {column}: {value} is not {weight}");
        }
    }
}

/// Blocks of embeddings and heads as llama.cpp's own code decodes them.
#[test]
fn blocks_of_k_quants_decode_to_the_golden_values() {
    for (file, names) in [
        ("blocks.safetensors", ["Q8_0", "Q6_K", "Q4_K", "Q4_0"]),
        ("blocks-group-scaled.safetensors", ["Q5_K", "Q5_0", "Q3_K", "Q2_K"]),
    ] {
        let header = tensors(file);
        for name in names {
            let raw = &header.tensors[&format!("dec_{name}_raw")];
            let expected = numbers(&header.tensors[&format!("dec_{name}_f32")].bytes);
            let format = format::by_name(&name.to_lowercase()).expect("in the table");
            let (rows, cols) = (raw.shape[0], expected.len() / raw.shape[0]);
            let matrix = DenseMatrix::new(format, rows, cols, raw.bytes.clone()).expect("its size");
            let ids: Vec<u32> = (0..rows as u32).collect();
            assert_eq!(matrix.lookup(&cpu(), &ids).data(), expected, "{name}");
        }
    }
}

/// Of four weights that are 16 apart one is zero, and a bit negates the others.
#[test]
fn sparse_blocks_have_one_zero_in_four() {
    let mut block = vec![0; 42];
    // Group 0: the second is zero, of the others the last is negative. Group 1: negated.
    block[0] = 0b0110 | 0b1101 << 4;
    block[32] = 0b10;
    block[40..].copy_from_slice(&f32_to_f16(0.5).to_le_bytes());
    let trits = Trits::new(&STQ1_0, 1, 256, block.into()).expect("its size");
    let cpu = cpu();
    let decoder = trits.decoder(cpu.pool()).expect("a scale");
    let mut row = vec![9; 256];
    decoder.row(0, &mut row).expect("valid codes");
    assert_eq!(one(decoder.scales()), 0.5);
    assert_eq!([row[0], row[16], row[32], row[48]], [1, 0, 1, -1]);
    assert_eq!([row[1], row[17], row[33], row[49]], [-1, 1, -1, 0]);
    assert_eq!([row[2], row[18], row[34], row[50]], [0, 1, 1, 1]);
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Rows of 96 start inside the blocks of 128.
#[test]
fn i2_s_rows_may_straddle_blocks() {
    let header = tensors("blocks.safetensors");
    let wanted: Vec<i8> = header.tensors["q"].bytes.iter().take(4032).map(|byte| *byte as i8).collect();
    // 42 rows of 96 are 4032 weights, not a whole number of blocks; 40 rows are 3840.
    assert!(Trits::new(&I2_S, 42, 96, vec![0; 1040].into()).is_err());
    let mut bytes = header.tensors["i2_s_x86"].bytes[..960].to_vec();
    bytes.extend(1f32.to_le_bytes());
    bytes.extend([0; 28]);
    let trits = Trits::new(&I2_S, 40, 96, bytes.into()).expect("30 blocks");
    let cpu = cpu();
    let decoder = trits.decoder(cpu.pool()).expect("a scale");
    for (r, wanted) in wanted.chunks_exact(96).take(40).enumerate() {
        let mut row = vec![9; 96];
        decoder.row(r, &mut row).expect("valid codes");
        assert_eq!(row, wanted, "row {r}");
    }
}

#[test]
fn full_precision_weights_round_as_in_training() {
    let cpu = cpu();
    let matrix = |weights: &[f32], rows: usize| {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        Trits::new(&F32, rows, weights.len() / rows, bytes.into()).expect("its size")
    };
    let read = |trits: &Trits| {
        let decoder = trits.decoder(cpu.pool())?;
        let mut rows = vec![9; trits.rows() * trits.cols()];
        for (r, row) in rows.chunks_exact_mut(trits.cols()).enumerate() {
            decoder.row(r, row)?;
        }
        Ok::<_, Problem>((decoder.scales().clone(), rows))
    };
    // mean |W| = 1: a half rounds to the nearest even number, 0.
    let rounded = read(&matrix(&[0.5, -0.5, 0.75, -2.25], 1).quantized_at_load()).expect("finite");
    assert_eq!(rounded, (Scales::One(1.0), vec![0, 0, 1, -1]));
    // Ternary already: the scale is their magnitude, not the mean.
    let ternary = read(&matrix(&[0.25, 0.0, 0.0, -0.25], 1)).expect("ternary");
    assert_eq!(ternary, (Scales::One(0.25), vec![1, 0, 0, -1]));
    let several = read(&matrix(&[0.25, 0.0, 0.5, -0.5], 2).quantized_at_load()).expect("ternary");
    assert_eq!(several, (Scales::Rows(vec![0.25, 0.5]), vec![1, 0, 1, -1]));
    let refused = read(&matrix(&[0.5, 0.25, 0.75, 1.0], 1));
    assert!(matches!(refused, Err(Problem::Unsupported(what, _)) if what.contains("not ternary")));
    assert!(matches!(
        read(&matrix(&[0.5, f32::NAN, 0.0, 1.0], 1).quantized_at_load()),
        Err(Problem::Damaged(problem)) if problem.contains("not finite")
    ));
}

/// Blocks that do not agree give one scale a group; as an embedding the same bytes are numbers.
#[test]
fn blocks_with_scales_of_their_own_are_groups() {
    let cpu = cpu();
    let half = |value: f32| sterna::kernels::math::f32_to_f16(value).to_le_bytes();
    // Code 2 is +1; in base 3 a byte of five such digits is 255.
    for (format, codes, byte) in [(&TQ2_0, 64, 0b1010_1010), (&TQ1_0, 52, 255u8)] {
        let block = |scale: f32| [&vec![byte; codes][..], &half(scale)].concat();
        let bytes: Vec<u8> = [0.5, 0.25, 0.0, 2.0].into_iter().flat_map(block).collect();
        let trits = Trits::new(format, 2, 512, bytes.clone().into()).expect("its size");
        let decoder = trits.decoder(cpu.pool()).expect("scales");
        assert_eq!(*decoder.scales(), Scales::Groups { columns: 256, values: vec![0.5, 0.25, 0.0, 2.0] });
        let mut row = vec![9; 512];
        decoder.row(1, &mut row).expect("valid codes");
        assert!(row[..256].iter().all(|trit| *trit == 0) && row[256..].iter().all(|trit| *trit == 1), "{format:?}");
        let matrix = DenseMatrix::new(format, 2, 512, bytes.into()).expect("whole blocks");
        let values = matrix.lookup(&cpu, &[0, 1]);
        let expected = [0.5, 0.25, 0.0, 2.0].map(|scale| vec![scale; 256]).concat();
        assert_eq!(values.data(), expected, "{format:?}");
    }
}

#[test]
fn synthetic_models_have_every_tensor() {
    let cpu = cpu();
    for head in FORMATS.iter().copied().filter(|format| format.encodes()) {
        let model = Checkpoint::synthetic(BITNET, head, 1).expect("a possible configuration");
        let embedding = model.dense("model.embed_tokens.weight", 512, 256).expect("embedding").lookup(&cpu, &[0, 511]);
        assert!(embedding.data().iter().all(|x| x.abs() < 0.5), "{}", head.name);
        assert!(embedding.data().iter().any(|x| *x != 0.0), "{}", head.name);
    }
    let model = Checkpoint::synthetic(BITNET, &F16, 1).expect("a possible configuration");
    let all = matrices(&model, &cpu);
    assert_eq!(all.len(), 14);
    let zeros = (0..256).flat_map(|r| all[1].1.trits(r)).filter(|trit| *trit == 0).count();
    let share = zeros as f64 / (256.0 * 256.0);
    assert!((share - 0.42).abs() < 0.01, "{share}");
    assert_ne!(all[0].1.trits(0), all[0].1.trits(1));
    assert_eq!(all[0].1.trits(5), matrices(&model, &cpu)[0].1.trits(5));
    assert!(Checkpoint::synthetic(Config { hidden: 320, ..BITNET }, &Q6_K, 1).is_err());
}
