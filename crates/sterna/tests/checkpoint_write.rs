//! Written GGUF files load back with the same weights.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::checkpoint::write::{WriteOptions, synthetic_vocabulary, write_gguf};
use sterna::checkpoint::{Checkpoint, Config, Data, GgufVocabulary, RopeScaling, TextFiles};
use sterna::kernels::format::{F16, F32, Format, I2_S, Q4_K, Q6_K, Q8_0, TQ2_0};
use sterna::kernels::layout::T16;
use sterna::kernels::{Bytes, Cpu, sets};
use sterna::model::{self, BITNET, KvType};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn cpu() -> Cpu {
    Cpu::with(sets::portable(), 2)
}

fn write(
    checkpoint: &Checkpoint,
    out: &Path,
    encoding: &'static Format,
    arch: &str,
    head: &'static Format,
    vocabulary: Option<&GgufVocabulary>,
) -> sterna::Result<()> {
    let arch = model::by_gguf_name(arch).expect("it is known");
    let mut last = (0, 0);
    let mut progress = |written, total| last = (written, total);
    let options = WriteOptions::default().encoding(encoding).arch(arch).head(head).vocabulary(vocabulary);
    write_gguf(checkpoint, &cpu(), out, options.progress(&mut progress))?;
    assert_eq!(last.0, last.1, "the announced size is the size written");
    assert_eq!(last.0, std::fs::metadata(out).expect("written").len());
    Ok(())
}

/// A golden with other content of one of its files.
fn replaced(name: &str, file: &str, content: &[u8]) -> Checkpoint {
    let files = ["config.json", "generation_config.json", "model.safetensors"].map(|other| {
        let kept = || std::fs::read(golden(name).join(other)).expect("golden");
        (other, Bytes::from(if other == file { content.to_vec() } else { kept() }))
    });
    Checkpoint::from_files(name, &files).expect("opens")
}

/// A golden whose answers end with these tokens.
fn with_ends(name: &str, eos: &[u32]) -> Checkpoint {
    let source = replaced(name, "generation_config.json", json!({ "eos_token_id": eos }).to_string().as_bytes());
    assert_eq!(source.config().eos, eos);
    source
}

fn assert_same(a: &Checkpoint, b: &Checkpoint) {
    let cpu = cpu();
    assert_eq!(a.tensors().keys().collect::<Vec<_>>(), b.tensors().keys().collect::<Vec<_>>());
    for (name, tensor) in a.tensors() {
        match (&tensor.data, &tensor.shape[..]) {
            (Data::Dense { .. }, &[len]) => {
                assert_eq!(a.vector(name, len).expect("vector"), b.vector(name, len).expect("vector"), "{name}");
            }
            (Data::Dense { .. }, &[rows, cols]) => {
                let row = |c: &Checkpoint| c.dense(name, rows, cols).expect("dense").lookup(&cpu, &[rows as u32 - 1]);
                let (a, b) = (row(a), row(b));
                let largest = a.row(0).iter().fold(0f32, |max, x| max.max(x.abs()));
                assert!(a.row(0).iter().zip(b.row(0)).all(|(a, b)| (a - b).abs() <= largest / 30.0), "{name}");
            }
            (_, shape) => {
                let of = |c: &Checkpoint| c.ternary(&cpu, name, (shape[0], shape[1]), &T16).expect("ternary");
                let (a, b) = (of(a), of(b));
                assert_eq!(a.scale(), b.scale(), "{name}");
                assert!((0..shape[0]).all(|r| a.trits(r) == b.trits(r)), "{name}");
            }
        }
    }
}

#[test]
fn goldens_survive_the_round_trip() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    for (name, arch, head) in [
        ("bitnet-packed-offline", "bitnet-b1.58", &F16),
        ("llama-bitlinear-packed", "llama", &Q6_K),
        ("bitnet-1bitllm", "bitnet", &F32),
        ("qwen3-causal", "qwen3", &Q8_0),
    ] {
        let source = Checkpoint::open(&golden(name)).expect("golden");
        write(&source, &out, &I2_S, arch, head, None).expect("written");
        let back = Checkpoint::open(&out).expect("loads");
        assert_same(&source, &back);
        assert_eq!(back.config(), source.config(), "{name}");
    }
    // TQ1_0 files store scales as f16 already.
    let source = Checkpoint::open(&golden("llama-bitlinear-packed/gguf/tq1_0-q8_0.gguf")).expect("golden");
    let TextFiles::Gguf(vocabulary) = source.text() else { panic!("a vocabulary") };
    write(&source, &out, &TQ2_0, "llama", &F16, Some(vocabulary)).expect("written");
    let back = Checkpoint::open(&out).expect("loads");
    assert_same(&source, &back);
    assert_eq!(back.config(), source.config());
    let TextFiles::Gguf(found) = back.text() else { panic!("a vocabulary") };
    assert_eq!((&found.merges, &found.tokens), (&vocabulary.merges, &vocabulary.tokens));
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1, "no partial file is left");
}

/// The encoders produce the same bytes as the reference encoders, also for blocks of zeros.
#[test]
fn written_blocks_are_the_golden_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    // I2_S ends with 28 bytes of padding, whose content does not matter.
    for (name, encoding, padding) in [("gguf/i2_s.gguf", &I2_S, 28), ("gguf/tq2_0-q8_0.gguf", &TQ2_0, 0)] {
        let golden = Checkpoint::open(&golden("bitnet-packed-offline").join(name)).expect("golden");
        write(&golden, &out, encoding, "bitnet-b1.58", &F16, None).expect("written");
        let written = Checkpoint::open(&out).expect("loads");
        let mut compared = 0;
        for (name, tensor) in golden.tensors() {
            if let (Data::Ternary(a), Data::Ternary(b)) = (&tensor.data, &written.tensors()[name].data) {
                let len = a.bytes().len() - padding;
                assert!(a.bytes()[..len] == b.bytes()[..len], "{name}");
                compared += 1;
            }
        }
        assert_eq!(compared, 14);
    }
}

#[test]
fn synthetic_models_can_be_written() {
    let config = Config {
        architecture: &BITNET,
        hidden: 256,
        intermediate: 768,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab: 1024,
        context: 128,
        rms_eps: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: RopeScaling::None,
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: vec![],
        hybrid: None,
    };
    let source = Checkpoint::synthetic(config, &F16, 3).expect("possible");
    let vocabulary = synthetic_vocabulary(1024, 900).expect("possible");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    for (encoding, head) in [(&I2_S, &F16), (&TQ2_0, &Q6_K)] {
        write(&source, &out, encoding, "bitnet-b1.58", head, Some(&vocabulary)).expect("written");
        let back = Checkpoint::open(&out).expect("loads");
        assert_same(&source, &back);
        assert_eq!(back.config().eos, [769]);
        let summary = back.summary();
        assert_eq!(summary.parameters, source.summary().parameters);
        let ternary = summary.groups.iter().find(|group| group.encoding == encoding.name).expect("trits");
        assert_eq!(ternary.tensors, 14);
        assert!(back.check_memory(128, KvType::F16).is_ok());
    }
}

#[test]
fn impossible_wishes_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    let source = Checkpoint::open(&golden("llama-bitlinear-packed")).expect("golden");
    for (encoding, arch, head, message) in [
        (&I2_S, "bitnet", &F16, "attn_sub_norm"),
        (&F16, "llama", &F16, "i2_s, iq2_bn weights, not f16"),
        (&I2_S, "llama", &Q4_K, "q8_0, q6_k, tq2_0"),
    ] {
        let error = write(&source, &out, encoding, arch, head, None).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    let several = with_ends("llama-bitlinear-packed", &[3, 4, 5, 511]);
    let error = write(&several, &out, &I2_S, "llama", &F16, None).expect_err("no keys").to_string();
    assert!(error.contains("4 tokens end an answer, but GGUF files name 3 at most"), "{error}");
    let nowhere = folder.path().join("missing/model.gguf");
    let error = write(&source, &nowhere, &I2_S, "llama", &F16, None).expect_err("no folder").to_string();
    assert!(error.contains("missing/model.gguf"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "nothing is left behind");
}

/// The tokenizer's end token comes first, then those named only in the configuration.
#[test]
fn tokens_that_end_an_answer_are_united() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    let gguf = Checkpoint::open(&golden("bitnet-packed-offline/gguf/i2_s.gguf")).expect("golden");
    let TextFiles::Gguf(vocabulary) = gguf.text() else { panic!("a vocabulary") };
    assert_eq!(vocabulary.eos, Some(510));
    for eos in [vec![510], vec![7, 510, 511]] {
        let source = with_ends("bitnet-packed-offline", &eos);
        write(&source, &out, &I2_S, "bitnet-b1.58", &F16, Some(vocabulary)).expect("written");
        let back = Checkpoint::open(&out).expect("loads");
        assert_eq!(back.config().eos, eos);
        let TextFiles::Gguf(back) = back.text() else { panic!("a vocabulary") };
        assert_eq!(back.eos, Some(510));
    }
}

/// Values beyond the largest f16 are refused, not written as infinities.
#[test]
fn an_embedding_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.gguf");
    let file = std::fs::read(golden("bitnet-packed-offline/model.safetensors")).expect("golden").into();
    let mut tensors = Header::parse(Path::new("golden"), &file).expect("a header").tensors;
    let values: Vec<u8> = (0..512 * 256).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let embedding = Entry { dtype: "F32", shape: vec![512, 256], bytes: values.into() };
    tensors.insert("model.embed_tokens.weight".into(), embedding);
    let changed = folder.path().join("changed.safetensors");
    safetensors::write(&changed, ("format", "pt"), &tensors.into_iter().collect::<Vec<_>>()).expect("written");
    let source = replaced("bitnet-packed-offline", "model.safetensors", &std::fs::read(&changed).expect("written"));
    std::fs::remove_file(changed).expect("written");
    for head in [&F16, &Q8_0, &Q6_K] {
        let error = write(&source, &out, &I2_S, "bitnet-b1.58", head, None).expect_err("too large").to_string();
        assert!(error.contains("the embedding holds 65505, which") && error.contains(head.name), "{error}");
    }
    write(&source, &out, &I2_S, "bitnet-b1.58", &F32, None).expect("written");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
}

#[test]
fn vocabularies_have_well_formed_merges() {
    for (tokens, merges) in [(512, 200), (1024, 900), (32_000, 60_000), (128_256, 280_147)] {
        let vocabulary = synthetic_vocabulary(tokens, merges).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (vocabulary.tokens.len(), vocabulary.types.len(), vocabulary.merges.len()),
            (tokens, tokens, merges)
        );
        let known: HashSet<&str> = vocabulary.tokens.iter().map(String::as_str).collect();
        assert_eq!(known.len(), tokens, "tokens are unique");
        let pairs: HashSet<&str> = vocabulary.merges.iter().map(String::as_str).collect();
        assert_eq!(pairs.len(), merges, "merges are unique");
        let mut made = HashSet::new();
        for merge in &vocabulary.merges {
            let (left, right) = merge.split_once(' ').expect("two parts");
            assert!(known.contains(left) && known.contains(right), "{merge}");
            made.insert(format!("{left}{right}"));
        }
        assert!(made.iter().all(|token| known.contains(&**token)));
        assert_eq!(made.len(), tokens - 256 - vocabulary.types.iter().filter(|kind| **kind == 3).count());
    }
    let vocabulary = synthetic_vocabulary(128_256, 280_147).expect("possible");
    assert_eq!(vocabulary.tokens[128_000], "<|begin_of_text|>");
    assert_eq!(vocabulary.tokens[128_009], "<|eot_id|>");
    assert_eq!((vocabulary.bos, vocabulary.eos), (Some(128_000), Some(128_001)));
    assert!(synthetic_vocabulary(100, 10).is_err());
    assert!(synthetic_vocabulary(1024, 10).is_err());
    assert!(synthetic_vocabulary(1024, 100_000).is_err());
}
