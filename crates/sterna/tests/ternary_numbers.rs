//! Numbers that already are ternary: recognised in rows and in groups of columns, and kept packed.

use sterna::checkpoint::safetensors::{self, Entry};
use sterna::checkpoint::{Checkpoint, Data};
use sterna::kernels::format::{BF16, F16, F32, Format, Problem, Trits};
use sterna::kernels::{Cpu, DenseMatrix, Scales, sets};
use sterna::model::Precision;

fn cpu() -> Cpu {
    Cpu::with(sets::portable(), 2)
}

/// A magnitude for each run of `columns` columns in a row of 512, and the weights with a pattern of signs and zeros.
fn weights(rows: usize, columns: usize, scale: impl Fn(usize) -> f32) -> Vec<f32> {
    (0..rows * 512).map(|i| [1.0, 0.0, -1.0, -1.0, 0.0][i * 7 % 5] * scale(i / columns)).collect()
}

fn stored(format: &'static Format, weights: &[f32]) -> Trits {
    let mut bytes = vec![0; format.bytes(1, weights.len()).expect("a size")];
    assert!(format.encode(weights, &mut bytes));
    Trits::new(format, weights.len() / 512, 512, bytes.into()).expect("its size")
}

/// The scales, if the trits times them are the weights.
#[track_caller]
fn scales(trits: &Trits, weights: &[f32]) -> Scales {
    let cpu = cpu();
    let decoder = trits.decoder(cpu.pool()).unwrap_or_else(|problem| panic!("{problem:?}"));
    let mut row = vec![9; 512];
    for (r, weights) in weights.chunks_exact(512).enumerate() {
        decoder.row(r, &mut row).expect("ternary");
        for (c, (trit, weight)) in row.iter().zip(weights).enumerate() {
            let scale = match decoder.scales() {
                Scales::One(scale) => *scale,
                Scales::Rows(values) => values[r],
                Scales::Groups { columns, values } => values[r * 512usize.div_ceil(*columns) + c / columns],
            };
            assert!((f32::from(*trit) * scale - weight).abs() <= weight.abs() / 100.0, "{r}, {c}: {trit} · {scale}");
        }
    }
    decoder.scales().clone()
}

#[test]
fn the_widest_groups_are_found_and_the_scale_is_the_stored_number() {
    // One group is zero.
    let scale = |group: usize| if group == 3 { 0.0 } else { 0.5 + group as f32 / 64.0 };
    for format in [&F16, &BF16, &F32] {
        for columns in [64, 128, 256] {
            let weights = weights(4, columns, scale);
            let groups = 4 * 512 / columns;
            let expected = Scales::Groups { columns, values: (0..groups).map(scale).collect() };
            assert_eq!(scales(&stored(format, &weights), &weights), expected, "{} in {columns}", format.name);
        }
        let rows = weights(4, 512, scale);
        assert_eq!(scales(&stored(format, &rows), &rows), Scales::Rows((0..4).map(scale).collect()));
    }
}

/// A product with a scale may have been rounded to a neighbour of the scale; two steps away is another weight.
#[test]
fn neighbouring_numbers_count_as_one() {
    let exact = weights(2, 128, |group| 0.5 + group as f32 / 64.0);
    for (format, step) in [(&F16, 1.0 / 2048.0), (&BF16, 1.0 / 256.0), (&F32, f32::EPSILON / 2.0)] {
        let mut near = exact.clone();
        near[5] *= 1.0 - step;
        assert_ne!(near[5], exact[5]);
        let found = scales(&stored(format, &near), &near);
        assert_eq!(found, scales(&stored(format, &exact), &exact), "{}", format.name);
        near[5] *= 1.0 - 4.0 * step;
        let ordinary = stored(format, &near);
        let refused = ordinary.decoder(cpu().pool()).map(drop);
        assert!(matches!(refused, Err(Problem::Unsupported(what, _)) if what.contains("not ternary")));
    }
    // The smallest numbers are neighbours, but far from equal.
    let tiny: Vec<f32> = (0..512).map(|i| 2f32.powi(-24) * (1 + i % 2) as f32).collect();
    assert!(stored(&F16, &tiny).decoder(cpu().pool()).is_err());
}

/// Embeddings and heads: blocks of trits if the weights are ternary, else as they are stored.
#[test]
fn tables_are_packed_if_they_are_ternary() {
    let cpu = cpu();
    let folder = tempfile::tempdir().expect("a folder");
    let open = |table: &dyn Fn(usize) -> f32, format: &'static Format| {
        let mut tensors = Vec::new();
        let mut put = |name: &str, shape: &[usize], value: &dyn Fn(usize) -> f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
            let mut bytes = vec![0; format.bytes(1, values.len()).expect("a size")];
            assert!(format.encode(&values, &mut bytes));
            let dtype = format.safetensors.expect("a number format");
            tensors.push((format!("{name}.weight"), Entry { dtype, shape: shape.into(), bytes: bytes.into() }));
        };
        put("model.embed_tokens", &[16, 512], table);
        put("model.norm", &[512], &|_| 1.0);
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            put(&format!("model.layers.0.{norm}"), &[512], &|_| 1.0);
        }
        for (part, rows) in [("q", 512), ("k", 256), ("v", 256), ("o", 512)] {
            put(&format!("model.layers.0.self_attn.{part}_proj"), &[rows, 512], &|i| [0.5, -0.5, 0.0][i % 3]);
        }
        for part in ["gate", "up", "down"] {
            put(&format!("model.layers.0.mlp.{part}_proj"), &[512, 512], &|i| [0.5, -0.5, 0.0][i % 3]);
        }
        safetensors::write(&folder.path().join("model.safetensors"), ("format", "pt"), &tensors).expect("written");
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 512, "intermediate_size": 512,
            "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 16,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true,
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
        Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{error}"))
    };
    let lookup = |table: &DenseMatrix| table.lookup(&cpu, &(0..16).collect::<Vec<u32>>()).data().to_vec();
    let grouped = |columns: usize| move |i: usize| [1.0, 0.0, -1.0][i % 3] * (1.0 + (i / columns) as f32 / 256.0);
    let third = |i: usize| grouped(128)(i) / 3.0;
    for (value, format, kept) in [
        (&grouped(128) as &dyn Fn(usize) -> f32, &F16, "pq2_0"),
        (&grouped(64), &F16, "q2_0"),
        (&grouped(512), &BF16, "pq2_0"),
        (&grouped(128), &F32, "pq2_0"),
        (&|i| (i % 7) as f32, &F16, "f16"),
        // No f16 is a third.
        (&third, &F32, "f32"),
        (&|_| 0.0, &BF16, "bf16"),
    ] {
        let checkpoint = open(value, format);
        // Weights with one scale that no BitNet model rounded are weight-only.
        assert_eq!(checkpoint.precision(cpu.pool()).expect("ternary"), Precision::Int14);
        let table = checkpoint.table(cpu.pool(), "model.embed_tokens.weight", (16, 512)).expect("opens");
        assert_eq!(table.format().name, kept);
        let Data::Dense { format, bytes } = &checkpoint.tensors()["model.embed_tokens.weight"].data else { panic!() };
        let plain = DenseMatrix::new(format, 16, 512, bytes.clone()).expect("its size");
        assert_eq!(lookup(&table), lookup(&plain), "{kept}");
        let head = checkpoint.packed_head(&cpu, "model.embed_tokens.weight", (16, 512), 1).expect("opens");
        assert_eq!(head.is_some(), kept.ends_with("q2_0") || kept == "f32");
    }
}
