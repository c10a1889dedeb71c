//! Writes a model of MLX's packed weights as ordinary numbers: trits times their scales.

use std::path::Path;

use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::kernels::format::{F16, Format};

/// Writes the model in the directory `mlx`, of 2 bits a weight, to the directory `out`, with all matrices as `format`.
pub fn write(mlx: &Path, out: &Path, format: &'static Format) {
    std::fs::create_dir(out).expect("a directory");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(mlx.join("config.json")).expect("a file")).expect("JSON");
    let object = config.as_object_mut().expect("an object");
    let columns = object["quantization"]["group_size"].as_u64().expect("a size") as usize;
    object.retain(|key, _| !key.starts_with("quantization"));
    std::fs::write(out.join("config.json"), config.to_string()).expect("written");

    let path = mlx.join("model.safetensors");
    let header = Header::parse(&path, &std::fs::read(&path).expect("a file").into()).expect("valid");
    let matrices = header.tensors.iter().filter(|(name, _)| !name.ends_with(".scales") && !name.ends_with(".biases"));
    let entries: Vec<(String, Entry)> = matrices
        .map(|(name, entry)| {
            let entry = if entry.dtype == "U32" {
                let scales = &header.tensors[&name.replace(".weight", ".scales")];
                numbers(entry, &F16.numbers(&scales.bytes).expect("numbers"), columns, format)
            } else {
                entry.clone()
            };
            (name.clone(), entry)
        })
        .collect();
    safetensors::write(&out.join("model.safetensors"), ("format", "pt"), &entries).expect("written");
}

fn numbers(codes: &Entry, scales: &[f32], columns: usize, format: &'static Format) -> Entry {
    let trits = codes.bytes.iter().flat_map(|byte| (0..4).map(move |i| f32::from(byte >> (2 * i) & 3) - 1.0));
    let values: Vec<f32> = trits.enumerate().map(|(i, trit)| trit * scales[i / columns]).collect();
    let mut bytes = vec![0; format.bytes(1, values.len()).expect("a size")];
    assert!(format.encode(&values, &mut bytes), "a number format");
    let dtype = format.safetensors.expect("a number format");
    Entry { dtype, shape: vec![codes.shape[0], codes.shape[1] * 16], bytes: bytes.into() }
}
