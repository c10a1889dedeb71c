//! Damaged files of every container: an error or a model, never a panic, and little memory.
//!
//! Every byte of the headers is flipped, every word of them set to extremes, and the files are cut at every tensor.

mod unpacked;

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::checkpoint::{Checkpoint, Data, gguf};
use sterna::kernels::format::{F16, MLX_2BIT};
use sterna::kernels::{Bytes, Cpu, memory, sets};

/// Opens a model and reads its tensors.
fn read_all(checkpoint: &Checkpoint) -> sterna::Result<()> {
    static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::with(sets::portable(), 1));
    let cpu = &CPU;
    for (name, tensor) in checkpoint.tensors() {
        match (&tensor.data, &tensor.shape[..]) {
            (Data::Dense { .. }, &[len]) => drop(checkpoint.vector(name, len)?),
            (_, &[rows, cols]) if name.contains("layers") => drop(checkpoint.grouped(cpu, name, (rows, cols), 1)?),
            (_, shape) => drop(checkpoint.dense(name, shape[0], shape[1])?),
        }
    }
    Ok(())
}

/// The greatest resident memory of this process, where the system says.
fn peak() -> u64 {
    memory::peak_resident().unwrap_or(0)
}

/// Numbers that counts, lengths and offsets are set to.
const EXTREMES: [u64; 5] = [0, u64::MAX, 1 << 63, 1 << 32, 0x7fff_ffff];

/// Calls `open` with the file after each byte of `range` was flipped, and with an extreme number at each place. Returns how
/// many of these files still open, and how many do not.
fn damage(good: &[u8], range: Range<usize>, mut open: impl FnMut(&[u8]) -> sterna::Result<()>) -> (usize, usize) {
    let (mut bytes, mut opened) = (good.to_vec(), 0);
    let tried = 2 * range.len();
    for at in range {
        let end = (at + 8).min(good.len());
        for flip in [true, false] {
            if flip {
                bytes[at] ^= [0xff, 1, 0x80][at % 3];
            } else {
                bytes[at..end].copy_from_slice(&EXTREMES[at % 5].to_le_bytes()[..end - at]);
            }
            opened += usize::from(open(&bytes).is_ok());
            bytes[at..end].copy_from_slice(&good[at..end]);
        }
    }
    (opened, tried - opened)
}

/// Shapes of the tiny model's tensors that are no norms.
fn matrices() -> Vec<(String, [usize; 2])> {
    let layer = |part: &str, rows| (format!("model.layers.0.{part}_proj"), [rows, 64]);
    let mut all = vec![("model.embed_tokens".into(), [8, 64]), ("lm_head".into(), [8, 64])];
    all.extend(
        [("q", 64), ("k", 32), ("v", 32), ("o", 64)].map(|(name, rows)| layer(&format!("self_attn.{name}"), rows)),
    );
    all.extend(["gate", "up", "down"].map(|name| layer(&format!("mlp.{name}"), 64)));
    all
}

/// A tiny Qwen3 in MLX's format, with groups of 64: its directory.
fn tiny_mlx(folder: &Path) -> PathBuf {
    let half = |value: f32, len: usize| {
        let mut bytes = vec![0; 2 * len];
        assert!(F16.encode(&vec![value; len], &mut bytes));
        Bytes::from(bytes)
    };
    let entry = |dtype, shape: &[usize], bytes| Entry { dtype, shape: shape.into(), bytes };
    let mut tensors = Vec::new();
    for (i, (name, [rows, cols])) in matrices().into_iter().enumerate() {
        let scale = 0.5 + i as f32 / 16.0;
        let codes: Vec<u8> =
            (0..MLX_2BIT.bytes(rows, cols).expect("a size")).map(|i| [0x64, 0x29, 0x12][i % 3]).collect();
        tensors.push((format!("{name}.weight"), entry("U32", &[rows, cols / 16], codes.into())));
        tensors.push((format!("{name}.scales"), entry("F16", &[rows, 1], half(scale, rows))));
        tensors.push((format!("{name}.biases"), entry("F16", &[rows, 1], half(-scale, rows))));
    }
    for (name, len) in [
        ("model.norm", 64),
        ("model.layers.0.input_layernorm", 64),
        ("model.layers.0.post_attention_layernorm", 64),
        ("model.layers.0.self_attn.q_norm", 32),
        ("model.layers.0.self_attn.k_norm", 32),
    ] {
        tensors.push((format!("{name}.weight"), entry("F16", &[len], half(1.0, len))));
    }
    let out = folder.join("mlx");
    fs::create_dir(&out).expect("a directory");
    safetensors::write(&out.join("model.safetensors"), ("format", "mlx"), &tensors).expect("written");
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 8,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false,
        "quantization": {"bits": 2, "group_size": 64},
    });
    fs::write(out.join("config.json"), config.to_string()).expect("written");
    out
}

fn open_directory(config: &[u8], weights: &[u8]) -> sterna::Result<()> {
    let files = [("config.json", config.to_vec().into()), ("model.safetensors", Bytes::from(weights.to_vec()))];
    read_all(&Checkpoint::from_files("tiny", &files)?)
}

#[test]
fn damaged_mlx_and_number_directories_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let mlx = tiny_mlx(folder.path());
    let numbers = folder.path().join("numbers");
    unpacked::write(&mlx, &numbers, &F16);
    let before = peak();
    for directory in [mlx, numbers] {
        let what = directory.display();
        let config = fs::read(directory.join("config.json")).expect("written");
        let weights = fs::read(directory.join("model.safetensors")).expect("written");
        open_directory(&config, &weights).unwrap_or_else(|error| panic!("{what}: {error}"));
        let header = 8 + u64::from_le_bytes(*weights.first_chunk().expect("a length")) as usize;
        let (opened, refused) = damage(&weights, 0..header, |bytes| open_directory(&config, bytes));
        // A flipped byte of the metadata, or of a space, changes nothing.
        assert!(opened < header / 4, "{what}: {opened} of {}", opened + refused);
        damage(&config, 0..config.len(), |bytes| open_directory(bytes, &weights));
        // Codes, scales and biases may be anything, but a scale that is not finite, or that has no such bias, is an error.
        damage(&weights, header..weights.len().min(header + 500), |bytes| open_directory(&config, bytes));
        let parsed = Header::parse(&directory, &weights.clone().into()).expect("valid");
        let mut ends: Vec<usize> = parsed.tensors.values().map(|entry| entry.bytes.len()).collect();
        ends.push(0);
        let mut at = header;
        for end in ends {
            for cut in [at, at + 1] {
                assert!(
                    open_directory(&config, &weights[..cut.min(weights.len() - 1)]).is_err(),
                    "{what}: cut at {cut}"
                );
            }
            at += end;
        }
    }
    assert!(peak() - before < 64 << 20, "{} MiB more", (peak() - before) >> 20);
}

/// Sizes of config.json and of the headers at their extremes.
#[test]
fn impossible_sizes_of_directories_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let mlx = tiny_mlx(folder.path());
    let config: Value = serde_json::from_slice(&fs::read(mlx.join("config.json")).expect("written")).expect("JSON");
    let weights = fs::read(mlx.join("model.safetensors")).expect("written");
    let before = peak();
    let sizes = config.as_object().expect("an object").iter().filter(|(_, value)| value.is_u64());
    for (key, value) in sizes {
        for extreme in [json!(0), json!(1 << 16), json!(u32::MAX), json!(u64::MAX), json!(-1), json!(1e300)] {
            let mut changed = config.clone();
            changed[key] = extreme.clone();
            let result = open_directory(changed.to_string().as_bytes(), &weights);
            // The context's length changes no tensor.
            assert!(result.is_err() || key == "max_position_embeddings", "{key} {extreme} instead of {value}");
        }
    }
    for key in ["bits", "group_size"] {
        for extreme in [json!(0), json!(1), json!(3), json!(32), json!(u64::MAX), json!(-2), Value::Null] {
            let mut changed = config.clone();
            changed["quantization"][key] = extreme.clone();
            let result = open_directory(changed.to_string().as_bytes(), &weights);
            assert!(result.is_err(), "{key} {extreme}");
        }
    }
    assert!(peak() - before < 64 << 20, "{} MiB more", (peak() - before) >> 20);
}

/// Changes a file in place: a file that is made anew thousands of times waits for the disk.
fn put(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("it exists");
    file.write_all(bytes).expect("written");
    file.set_len(bytes.len() as u64).expect("cut");
}

/// The parts of the golden model: a damaged one is an error that any part reports.
#[test]
fn damaged_parts_of_a_split_model_are_errors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/bonsai-g128/gguf");
    let folder = tempfile::tempdir().expect("a folder");
    let name = |number: usize| format!("ptq1_0-0000{number}-of-00003.gguf");
    let path = |number: usize| folder.path().join(name(number));
    let good: Vec<Vec<u8>> = (1..=3).map(|number| fs::read(source.join(name(number))).expect("a golden")).collect();
    (1..=3).for_each(|number| fs::write(path(number), &good[number - 1]).expect("written"));
    Checkpoint::open(&path(1)).map(drop).unwrap_or_else(|error| panic!("{error}"));
    let before = peak();
    let size: usize = good.iter().map(Vec::len).sum();
    for number in 1..=3 {
        let file = &good[number - 1];
        let header = gguf::Header::parse(&path(number), &file.clone().into()).expect("valid");
        let start = file.len() - header.data_len();
        // The first kilobytes, and the tensors' descriptions, which end the header.
        for range in [0..start.min(1500), start.saturating_sub(600).max(1500.min(start))..start] {
            let (_, refused) = damage(file, range.clone(), |bytes| {
                put(&path(number), bytes);
                Checkpoint::open(&path(2)).map(drop)
            });
            assert!(refused > 0 || range.is_empty(), "part {number}, {range:?}");
        }
        let offsets = header.tensors.values().map(|info| start + info.offset as usize);
        for cut in offsets.flat_map(|at| [at, at + 1]).chain([0, 3, 4, 8, start - 1]) {
            put(&path(number), &file[..cut.min(file.len() - 1)]);
            assert!(Checkpoint::open(&path(1)).is_err(), "part {number} cut at {cut}");
        }
        put(&path(number), file);
    }
    let more = peak() - before;
    assert!(more < (64 << 20) + size as u64, "{} MiB more", more >> 20);
}
