//! Writes a hybrid of a GGUF file as Hugging Face stores it: plain numbers, value heads in grouped order, norms less 1, and
//! the logarithm of the decay's rate. The model is called one that also sees images.

use std::path::Path;

use serde_json::json;
use sterna::checkpoint::safetensors::{self, Entry};
use sterna::checkpoint::{Checkpoint, Data};
use sterna::kernels::format::{F16, F32, Format};
use sterna::kernels::{Cpu, DeltaHeads, Scales, sets};

/// Writes the directory `out`.
pub fn write(gguf: &Path, out: &Path) {
    let source = Checkpoint::open(gguf).unwrap_or_else(|error| panic!("{error}"));
    let (config, cpu) = (source.config(), Cpu::with(sets::portable(), 1));
    let hybrid = config.hybrid.as_ref().expect("a hybrid");
    let mut entries = Vec::new();
    for slot in config.architecture.tensors(config) {
        let mut values = values(&source, &cpu, &slot.name, slot.kind.shape());
        let name = slot.name.trim_end_matches(".weight");
        if let Some((_, part)) = name.split_once(".linear_attn.") {
            regroup(&hybrid.delta, part, &mut values, config.hidden);
        } else if name.ends_with("norm") {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        let (format, shape): (&Format, _) = match slot.kind.shape() {
            (1, len) if name.ends_with("conv1d") => (&F32, vec![len / hybrid.delta.taps, 1, hybrid.delta.taps]),
            (1, len) if name.ends_with("in_proj_a") || name.ends_with("in_proj_b") => {
                (&F32, vec![len / config.hidden, config.hidden])
            }
            (1, len) => (&F32, vec![len]),
            (rows, cols) => (&F16, vec![rows, cols]),
        };
        let mut bytes = vec![0; format.bytes(1, values.len()).expect("a size")];
        assert!(format.encode(&values, &mut bytes), "numbers");
        let name = match slot.name.strip_prefix("model.") {
            Some(inner) => format!("model.language_model.{inner}"),
            None => slot.name.clone(),
        };
        entries.push((name, Entry { dtype: format.safetensors.expect("a type"), shape, bytes: bytes.into() }));
    }
    std::fs::create_dir(out).expect("a directory");
    safetensors::write(&out.join("model.safetensors"), ("format", "pt"), &entries).expect("written");
    std::fs::write(out.join("config.json"), config_json(&source).to_string()).expect("written");
}

fn config_json(source: &Checkpoint) -> serde_json::Value {
    let config = source.config();
    let hybrid = config.hybrid.as_ref().expect("a hybrid");
    let share = hybrid.rotary as f64 / config.head_dim as f64;
    json!({
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "text_config": {
            "model_type": "qwen3_5_text",
            "hidden_size": config.hidden,
            "intermediate_size": config.intermediate,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab,
            "rms_norm_eps": 1e-6,
            "rope_parameters": { "rope_type": "default", "rope_theta": config.rope_theta, "partial_rotary_factor": share },
            "linear_num_key_heads": hybrid.delta.keys,
            "linear_num_value_heads": hybrid.delta.values,
            "linear_key_head_dim": hybrid.delta.key_dim,
            "linear_value_head_dim": hybrid.delta.value_dim,
            "linear_conv_kernel_dim": hybrid.delta.taps,
        },
    })
}

/// The numbers of a tensor, row by row.
fn values(source: &Checkpoint, cpu: &Cpu, name: &str, (rows, cols): (usize, usize)) -> Vec<f32> {
    match &source.tensors()[name].data {
        Data::Ternary(trits) => {
            let decoder = trits.decoder(cpu.pool()).expect("trits");
            let Scales::Groups { columns, values } = decoder.scales() else { panic!("{name} has groups") };
            let (mut row, mut all) = (vec![0; cols], Vec::new());
            for r in 0..rows {
                decoder.row(r, &mut row).expect("trits");
                let scales = &values[r * cols / columns..];
                all.extend(row.iter().enumerate().map(|(c, trit)| f32::from(*trit) * scales[c / columns]));
            }
            all
        }
        Data::Dense { .. } if rows > 1 => {
            let table = source.table(cpu.pool(), name, (rows, cols)).unwrap_or_else(|error| panic!("{error}"));
            table.lookup(cpu, &(0..rows as u32).collect::<Vec<_>>()).data().to_vec()
        }
        Data::Dense { .. } => source.values(name, cols).unwrap_or_else(|error| panic!("{error}")),
    }
}

/// Puts the value heads of a tensor of DeltaNet in grouped order.
fn regroup(heads: &DeltaHeads, part: &str, values: &mut [f32], hidden: usize) {
    let (dim, before) = (heads.value_dim, 2 * heads.keys * heads.key_dim);
    match part {
        "in_proj_qkv" => order(heads, &mut values[before * hidden..]),
        "conv1d" => order(heads, &mut values[before * heads.taps..]),
        "out_proj" => values.chunks_exact_mut(heads.values * dim).for_each(|row| order(heads, row)),
        "norm" => {}
        "A_log" => {
            order(heads, values);
            values.iter_mut().for_each(|rate| *rate = (-*rate).ln());
        }
        _ => order(heads, values),
    }
}

/// Tiled value heads in grouped order; each has the same number of values.
fn order(heads: &DeltaHeads, values: &mut [f32]) {
    let (tiled, each) = (values.to_vec(), heads.values / heads.keys);
    let size = values.len() / heads.values;
    for (head, to) in values.chunks_exact_mut(size).enumerate() {
        to.copy_from_slice(&tiled[(head / each + heads.keys * (head % each)) * size..][..size]);
    }
}
