//! MLX's packed directories: what is ternary or binary, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sterna::checkpoint::Checkpoint;
use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::kernels::format::{Affine, F16, MLX_1BIT, Q1_0, Trits};
use sterna::kernels::{Bytes, Cpu, sets};
use sterna::model::{self, Settings};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn cpu() -> Cpu {
    Cpu::with(sets::portable(), 2)
}

/// Halves as bytes.
fn halves(values: impl IntoIterator<Item = f32>) -> Bytes {
    let values: Vec<f32> = values.into_iter().collect();
    let mut bytes = vec![0; 2 * values.len()];
    assert!(F16.encode(&values, &mut bytes));
    bytes.into()
}

/// The bits and scales of Q1_0 in MLX's form give the same signs and scales; two groups have the scale zero.
#[test]
fn one_bit_codes_are_those_of_q1_0() {
    let header = std::fs::read(golden("blocks-group-scaled.safetensors")).expect("a golden");
    let header = Header::parse(Path::new("blocks"), &header.into()).expect("valid");
    let mut blocks = header.tensors["q1_0"].bytes.to_vec();
    for zero in [1, 4] {
        blocks[18 * zero..][..2].fill(0);
    }
    let scales: Vec<f32> = blocks.chunks_exact(18).map(|block| F16.numbers(&block[..2]).expect("a half")[0]).collect();
    let codes: Vec<u8> = blocks.chunks_exact(18).flat_map(|block| block[2..].to_vec()).collect();
    let affine = Affine {
        format: &F16,
        scales: halves(scales.iter().map(|scale| 2.0 * scale)),
        biases: halves(scales.iter().map(|scale| -scale)),
        columns: 128,
    };
    let cpu = cpu();
    let packed =
        Trits::new(&MLX_1BIT, 4, 256, codes.into()).expect("its size").with_affine(affine).expect("its groups");
    let blocks = Trits::new(&Q1_0, 4, 256, blocks.into()).expect("its size");
    let (packed, blocks) = (packed.decoder(cpu.pool()).expect("scales"), blocks.decoder(cpu.pool()).expect("scales"));
    assert_eq!(packed.scales(), blocks.scales());
    for r in 0..4 {
        let (mut a, mut b) = ([9; 256], [8; 256]);
        packed.row(r, &mut a).expect("valid codes");
        blocks.row(r, &mut b).expect("valid codes");
        assert_eq!(a, b, "row {r}");
    }
}

type Tensors = BTreeMap<String, Entry>;

/// Loads the golden model after a change; the error says why it does not load.
fn changed(change: impl Fn(&mut Value, &mut Tensors)) -> Result<(), String> {
    let golden = golden("bonsai-g128/mlx-2bit");
    let read = |name: &str| std::fs::read(golden.join(name)).expect("a golden");
    let mut config = serde_json::from_slice(&read("config.json")).expect("JSON");
    let mut tensors = Header::parse(Path::new("m"), &read("model.safetensors").into()).expect("valid").tensors;
    change(&mut config, &mut tensors);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let tensors: Vec<(String, Entry)> = tensors.into_iter().collect();
    safetensors::write(&folder.path().join("model.safetensors"), ("format", "mlx"), &tensors).expect("written");
    let checkpoint = Checkpoint::open(folder.path()).map_err(|error| error.to_string())?;
    assert_eq!(checkpoint.format(), "mlx");
    model::load(&checkpoint, &cpu(), Settings::default()).map(drop).map_err(|error| error.to_string())
}

fn set(tensors: &mut Tensors, name: &str, at: usize, bytes: &[u8]) {
    let entry = tensors.get_mut(name).expect("the tensor");
    let mut changed = entry.bytes.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    entry.bytes = changed.into();
}

const DOWN: &str = "model.layers.1.mlp.down_proj";

#[test]
fn ordinary_affine_models_are_refused_by_tensor() {
    for tensor in [DOWN, "model.embed_tokens"] {
        let error = changed(|_, tensors| set(tensors, &format!("{tensor}.biases"), 4, &[0, 0])).expect_err("refused");
        assert!(error.contains(tensor) && error.contains("ordinary model"), "{error}");
        let error = changed(|_, tensors| set(tensors, &format!("{tensor}.weight"), 40, &[255])).expect_err("refused");
        assert!(error.contains(tensor) && error.contains("twice the scale"), "{error}");
        let error = changed(|_, tensors| drop(tensors.remove(&format!("{tensor}.scales")))).expect_err("incomplete");
        assert!(error.contains(&format!("{tensor}.scales")) && error.contains("missing"), "{error}");
    }
    // A group with the scale zero is zero, whatever its codes.
    let zero = changed(|_, tensors| {
        for part in ["scales", "biases"] {
            set(tensors, &format!("{DOWN}.{part}"), 4, &[0, 0]);
        }
        set(tensors, &format!("{DOWN}.weight"), 2 * 32, &[255; 32]);
    });
    assert_eq!(zero, Ok(()));
    let reshaped = changed(|_, tensors| {
        let entry = tensors.get_mut(&format!("{DOWN}.scales")).expect("scales");
        entry.shape.reverse();
    });
    assert!(reshaped.as_ref().is_err_and(|error| error.contains("down_proj.scales")), "{reshaped:?}");
}

#[test]
fn other_bits_groups_and_modes_are_refused_by_name() {
    let quantization = |value: Value| move |config: &mut Value, _: &mut Tensors| config["quantization"] = value.clone();
    for (value, named) in [
        (json!({"bits": 4, "group_size": 64}), "4 bits in groups of 64"),
        (json!({"bits": 2, "group_size": 100}), "groups of 100"),
        (json!({"bits": u64::MAX, "group_size": 0}), "in groups of 0"),
        (json!({"bits": 2, "group_size": 128, "mode": "mxfp4"}), "`mxfp4`"),
        (json!({"bits": 2, "group_size": 128, "lm_head": {"bits": 6, "group_size": 64}}), "`lm_head`"),
    ] {
        let error = changed(quantization(value)).expect_err("refused");
        assert!(error.contains(named), "{error}");
    }
    let same = json!({"bits": 2, "group_size": 128, "lm_head": {"bits": 2, "group_size": 128}, "model.norm": false});
    assert_eq!(changed(quantization(same)), Ok(()));
    // The codes are as many as before, so the shape no longer fits.
    let error = changed(quantization(json!({"bits": 1, "group_size": 128}))).expect_err("another shape");
    assert!(error.contains("shape"), "{error}");
    assert_eq!(changed(|config, _| drop(config.as_object_mut().expect("an object").remove("quantization"))), Ok(()));
}

/// Padding rows of a vocabulary are left out.
#[test]
fn a_padded_vocabulary_has_as_many_rows_as_the_configuration_says() {
    let shorter = |config: &mut Value, _: &mut Tensors| config["vocab_size"] = json!(500);
    assert_eq!(changed(shorter), Ok(()));
    let folder = tempfile::tempdir().expect("a folder");
    let golden = golden("bonsai-g128/mlx-2bit");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(golden.join("config.json")).expect("a golden")).expect("JSON");
    config["vocab_size"] = json!(500);
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    std::fs::copy(golden.join("model.safetensors"), folder.path().join("model.safetensors")).expect("copied");
    let (whole, cut) = (Checkpoint::open(&golden).expect("opens"), Checkpoint::open(folder.path()).expect("opens"));
    let name = "lm_head.weight";
    assert_eq!((&whole.tensors()[name].shape[..], &cut.tensors()[name].shape[..]), (&[512, 256][..], &[500, 256][..]));
    let row = |checkpoint: &Checkpoint, rows| checkpoint.dense(name, rows, 256).expect("packed").lookup(&cpu(), &[499]);
    assert_eq!(row(&whole, 512).data(), row(&cut, 500).data());
    // As a matrix of a layer it has all rows that its shape says.
    assert!(cut.grouped(&cpu(), name, (500, 256), 1).is_ok() && cut.grouped(&cpu(), name, (512, 256), 1).is_err());
}

/// The names of a model that also sees images.
#[test]
fn a_language_model_inside_another_is_found() {
    let inside = changed(|_, tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, t)| (format!("language_model.{name}"), t)).collect();
    });
    assert_eq!(inside, Ok(()));
}
