//! Every golden in every format: written files hold the same trits and scales and give the same logits, or the refusal
//! says why the format cannot hold them.

use std::path::{Path, PathBuf};

use sterna::checkpoint::format::{F16, Trits};
use sterna::checkpoint::write::{Form, Verified, WriteOptions, encodings, heads, verify, write_directory, write_gguf};
use sterna::checkpoint::{Checkpoint, Data, Tensor};
use sterna::kernels::{Cpu, Pool, sets};
use sterna::model::{self, Batch, KvType, Precision, Settings};
use sterna::text::{Tokenizer, to_huggingface};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn cpu() -> Cpu {
    Cpu::with(sets::by_name("").expect("a set"), 2)
}

/// The weights of row `r`: trits times their scales.
fn row(pool: &Pool, trits: &Trits, r: usize) -> Vec<f32> {
    let decoder = trits.decoder(pool).unwrap_or_else(|problem| panic!("{problem:?}"));
    let mut row = vec![0; trits.cols()];
    decoder.row(r, &mut row).unwrap_or_else(|problem| panic!("{problem:?}"));
    let scale = |column| decoder.scales().of((trits.rows(), trits.cols()), r, column);
    row.iter().enumerate().map(|(column, trit)| f32::from(*trit) * scale(column)).collect()
}

fn ternary(checkpoint: &Checkpoint) -> impl Iterator<Item = (&String, &Tensor, &Trits)> {
    checkpoint.tensors().iter().filter_map(|(name, tensor)| match &tensor.data {
        Data::Ternary(trits) => Some((name, tensor, trits)),
        Data::Dense { .. } => None,
    })
}

/// Compares every linear of two checkpoints, except for a rounding of `slack` of a weight.
fn assert_same_weights(a: &Checkpoint, b: &Checkpoint, slack: f32, what: &str) {
    let pool = Pool::new(1);
    let mut compared = 0;
    for (name, tensor, trits) in ternary(a) {
        let Data::Ternary(other) = &b.tensors()[name].data else { panic!("{what}: {name} is not ternary") };
        assert_eq!(tensor.shape, b.tensors()[name].shape, "{what}: {name}");
        // Rows are stored in another order for some architectures; those are compared by their logits.
        if tensor.interleaved_heads != b.tensors()[name].interleaved_heads {
            continue;
        }
        for r in [0, trits.rows() / 2 + 1, trits.rows() - 1] {
            let (a, b) = (row(&pool, trits, r), row(&pool, other, r));
            let same = |(a, b): (&f32, &f32)| (a - b).abs() <= slack * a.abs();
            assert!(a.iter().zip(&b).all(same), "{what}: row {r} of {name}");
        }
        compared += 1;
    }
    assert!(compared >= 7, "{what}: {compared} linears compared");
}

fn logits(checkpoint: &Checkpoint, cpu: &Cpu) -> Vec<u32> {
    let settings = Settings { precision: Some(Precision::Int14), ..Settings::default() };
    let model = model::load(checkpoint, cpu, settings).unwrap_or_else(|error| panic!("{error}"));
    let mut batch = Batch::default();
    batch.push(0, &[0], 0, &[3, 17, 4, 299, 8]);
    batch.outputs = (0..5).collect();
    let hidden = model.forward(cpu, &batch, &mut model.state(KvType::F16));
    model.head().expect("a head").logits(cpu, &hidden).data().iter().map(|x| x.to_bits()).collect()
}

/// A golden, and the formats that cannot hold its linears with the reason.
const MODELS: [(&str, &[(&str, &str)]); 5] = [
    (
        "bonsai-g128/gguf/pq2_0.gguf",
        &[
            ("i2_s", "stores one for a matrix"),
            ("iq2_bn", "stores one for a row"),
            ("tq1_0", "cannot be stored"),
            ("tq2_0", "cannot be stored"),
            ("q1_0", "only −1 and +1"),
        ],
    ),
    (
        "bonsai-g64/gguf/q2_0.gguf",
        &[
            ("i2_s", "stores one for a matrix"),
            ("iq2_bn", "stores one for a row"),
            ("tq1_0", "cannot be stored"),
            ("tq2_0", "cannot be stored"),
            ("pq2_0", "cannot be stored"),
            ("ptq1_0", "cannot be stored"),
            ("q1_0", "cannot be stored"),
        ],
    ),
    (
        "bonsai-1bit/gguf/q1_0.gguf",
        &[
            ("i2_s", "stores one for a matrix"),
            ("iq2_bn", "stores one for a row"),
            ("tq1_0", "stores one for 256 columns"),
            ("tq2_0", "stores one for 256 columns"),
        ],
    ),
    ("bitnet-packed-offline", &[("q1_0", "only −1 and +1")]),
    ("llama-bitlinear-packed/gguf/tq1_0-q8_0.gguf", &[("q1_0", "only −1 and +1")]),
];

#[test]
fn every_format_holds_a_model_or_says_why_not() {
    let (cpu, folder) = (cpu(), tempfile::tempdir().expect("a folder"));
    let mut written = 0;
    for (name, refused) in MODELS {
        let source = Checkpoint::open(&golden(name)).unwrap_or_else(|error| panic!("{error}"));
        for encoding in encodings() {
            let (what, out) = (format!("{name} as {}", encoding.name), folder.path().join("model.gguf"));
            let result = write_gguf(&source, &cpu, &out, WriteOptions::default().encoding(encoding).head(&F16));
            if let Some((_, why)) = refused.iter().find(|(format, _)| *format == encoding.name) {
                let error = result.expect_err(&what).to_string();
                assert!(error.contains(why), "{what}: {error}");
                continue;
            }
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            let back = Checkpoint::open(&out).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(back.config(), source.config(), "{what}");
            // One scale of BitNet is rounded to f16 by the formats of blocks.
            let rounds = name.contains("packed") && !["i2_s", "iq2_bn"].contains(&encoding.name);
            assert_same_weights(&source, &back, if rounds { 1e-3 } else { 0.0 }, &what);
            written += 1;
        }
    }
    assert_eq!(written, 22);
}

/// Packed embeddings and heads stay packed: the logits are the same bytes.
#[test]
fn packed_heads_stay_packed() {
    let (cpu, folder) = (cpu(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("model.gguf");
    for (name, formats) in [
        ("bonsai-g128/gguf/pq2_0.gguf", &["q2_0", "pq2_0", "ptq1_0"][..]),
        ("bonsai-g128/mlx-2bit", &["q2_0", "pq2_0", "ptq1_0"]),
        ("bonsai-g64/gguf/q2_0.gguf", &["q2_0"]),
        ("bonsai-1bit/gguf/q1_0.gguf", &["q1_0", "pq2_0", "q2_0"]),
    ] {
        let source = Checkpoint::open(&golden(name)).unwrap_or_else(|error| panic!("{error}"));
        let expected = logits(&source, &cpu);
        for format in formats {
            let format = heads().find(|head| head.name == *format).expect("heads are written in it");
            write_gguf(&source, &cpu, &out, WriteOptions::default().encoding(format).head(format))
                .unwrap_or_else(|error| panic!("{name} as {}: {error}", format.name));
            let back = Checkpoint::open(&out).unwrap_or_else(|error| panic!("{error}"));
            // Groups of 128 columns that are written as 64 are added in other places.
            if format.name == "q2_0" && name != "bonsai-g64/gguf/q2_0.gguf" {
                continue;
            }
            assert!(logits(&back, &cpu) == expected, "{name} as {}", format.name);
        }
    }
    let source = Checkpoint::open(&golden("bitnet-packed-offline")).expect("a golden");
    let pq2_0 = heads().find(|head| head.name == "pq2_0").expect("heads are written in it");
    let error =
        write_gguf(&source, &cpu, &out, WriteOptions::default().head(pq2_0)).expect_err("it is bf16").to_string();
    assert!(error.contains("is not ternary") && error.contains("use f16"), "{error}");
}

/// A golden, the form of a directory, and why the form cannot hold it.
const DIRECTORIES: [(&str, Form, Option<&str>); 11] = [
    ("bonsai-g128/gguf/pq2_0.gguf", Form::Mlx, None),
    ("bonsai-g128/gguf/pq2_0.gguf", Form::HfBf16, None),
    ("bonsai-g128/gguf/pq2_0.gguf", Form::HfPacked, Some("has several scales, but the form stores one for a matrix")),
    ("bonsai-g64/gguf/q2_0.gguf", Form::Mlx, None),
    ("bonsai-1bit/gguf/q1_0.gguf", Form::Mlx, None),
    ("bonsai-1bit/gguf/q1_0.gguf", Form::HfBf16, None),
    ("bitnet-packed-offline/gguf/i2_s.gguf", Form::HfPacked, None),
    ("bitnet-packed-offline/gguf/i2_s.gguf", Form::HfBf16, Some("write hf-packed")),
    ("llama-bitlinear-packed/gguf/i2_s-q8_0.gguf", Form::HfPacked, None),
    ("llama-bitlinear-packed", Form::HfBf16, None),
    ("qwen3-causal", Form::HfPacked, None),
];

#[test]
fn directories_hold_a_model_or_say_why_not() {
    let (cpu, folder) = (cpu(), tempfile::tempdir().expect("a folder"));
    for (i, (name, form, refused)) in DIRECTORIES.into_iter().enumerate() {
        let (what, out) = (format!("{name} as {}", form.name()), folder.path().join(i.to_string()));
        let source = Checkpoint::open(&golden(name)).unwrap_or_else(|error| panic!("{error}"));
        let text =
            to_huggingface(source.path(), source.text(), source.config()).unwrap_or_else(|error| panic!("{error}"));
        let result = write_directory(&source, &cpu, &out, form, &text, &model::known());
        if let Some(why) = refused {
            let error = result.expect_err(&what).to_string();
            assert!(error.contains(why), "{what}: {error}");
            assert!(!out.join("config.json").exists(), "{what}: what is left is no model");
            continue;
        }
        result.unwrap_or_else(|error| panic!("{what}: {error}"));
        let back = Checkpoint::open(&out).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(back.config(), source.config(), "{what}");
        let linears = ternary(&source).count();
        let verified = verify(&source, &back, &cpu).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(verified, Verified { linears, scales: 0.0, numbers: 0.0 }, "{what}");
        assert!(logits(&back, &cpu) == logits(&source, &cpu) || form == Form::HfBf16, "{what}: logits");
        let ids = |checkpoint: &Checkpoint| {
            let tokenizer =
                Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).expect("a tokenizer");
            tokenizer.encode_prompt("The cat’s 12 mats, 猫 and \u{1f980}!\n").expect("encodes")
        };
        assert_eq!(ids(&back), ids(&source), "{what}");
    }
}
