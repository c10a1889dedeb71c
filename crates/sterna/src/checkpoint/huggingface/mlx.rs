//! MLX's quantised directories: `config.json` says how matrices are packed; each is three tensors.
//!
//! ```text
//! NAME.weight  U32 [rows, cols · bits / 32]     codes, the first one in the lowest bits
//! NAME.scales  F16, BF16 or F32 [rows, cols / group_size]
//! NAME.biases  as the scales
//! ```
//!
//! Source: mlx-lm, `utils.py` (`quantize_model`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sterna_kernels::format::{self, Affine, Format, MLX_1BIT, MLX_2BIT, Trits};

use super::config::Json;
use crate::arch::Refusal;
use crate::checkpoint::safetensors::Entry;
use crate::checkpoint::{DAMAGED, malformed, problem_at, unsupported};
use crate::{Error, Result};

const BITS: &str =
    "use a ternary model with 2 bits a weight or a binary one with 1 bit, in groups of 32, 64, 128 or 256";

/// How the matrices of a directory are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// Bits of a code: 1 or 2.
    bits: usize,
    /// Columns with one scale and one bias.
    columns: usize,
}

impl Quantization {
    /// Reads the object `quantization`, which MLX also writes as `quantization_config`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// For another number of bits, other groups, another mode, and modules that differ from the rest.
    pub(super) fn read(json: &Json<'_>, refuse: &dyn Fn(Refusal) -> Error) -> Result<Option<Self>> {
        let object = ["quantization", "quantization_config"].iter().find_map(|key| {
            let value = json.value.get(key).filter(|value| is_mlx(value))?;
            Some((Json { path: json.path, value }, *key))
        });
        let Some((inner, key)) = object else { return Ok(None) };
        let refuse = |what: String| Err(refuse(Refusal::Unsupported { what, remedy: Some(BITS) }));
        let (bits, columns) = (inner.optional_size("bits")?, inner.optional_size("group_size")?);
        let (Some(bits @ 1..=2), Some(columns @ (32 | 64 | 128 | 256))) = (bits, columns) else {
            let shown = |number: Option<usize>| number.map_or("unknown".into(), |number| number.to_string());
            return refuse(format!("{key} with {} bits in groups of {}", shown(bits), shown(columns)));
        };
        if let Some(mode) = inner.text("mode")?.filter(|mode| *mode != "affine") {
            return refuse(format!("{key} of the mode `{mode}`"));
        }
        let quantization = Self { bits, columns };
        let modules = inner.value.as_object().into_iter().flatten();
        for (name, value) in modules.filter(|(_, value)| value.is_object()) {
            let inner = Json { path: json.path, value };
            let own = (inner.optional_size("bits")?, inner.optional_size("group_size")?);
            if own != (Some(bits), Some(columns)) {
                return refuse(format!("{key} with other bits or groups for `{name}`"));
            }
        }
        Ok(Some(quantization))
    }

    fn format(self) -> &'static Format {
        if self.bits == 1 { &MLX_1BIT } else { &MLX_2BIT }
    }

    /// The shape of the matrix whose codes are `entry`.
    pub(super) fn shape(self, entry: &Entry) -> Vec<usize> {
        let mut shape = entry.shape.clone();
        if let Some(words) = shape.last_mut() {
            *words = words.saturating_mul(32 / self.bits);
        }
        shape
    }

    /// The matrix with the codes `entry`, called `name`: its first `rows` rows.
    pub(super) fn matrix(
        self,
        path: &Path,
        tensors: &BTreeMap<String, Entry>,
        (name, entry): (&String, &Entry),
        rows: usize,
    ) -> Result<Trits> {
        let place = |name: &str| format!("tensor `{name}`");
        let [stored, cols] = self.shape(entry)[..] else {
            let problem = format!("shape {:?} is not a matrix", entry.shape);
            return Err(malformed(path, place(name), problem, DAMAGED));
        };
        let beside = |part: &str| {
            let name = format!("{}.{part}", name.strip_suffix(".weight").unwrap_or(name));
            let entry = tensors.get(&name).ok_or_else(|| malformed(path, place(&name), "is missing", DAMAGED))?;
            let groups = [stored, cols / self.columns];
            match format::by_safetensors(entry.dtype) {
                _ if entry.shape != groups => {
                    let problem = format!("shape {:?} instead of {groups:?}", entry.shape);
                    Err(malformed(path, place(&name), problem, DAMAGED))
                }
                Some(format) => Ok((format, first_rows(entry, rows, stored))),
                None => Err(unsupported(path, format!("{} stored as {}", place(&name), entry.dtype), "use F16")),
            }
        };
        let ((format, scales), (other, biases)) = (beside("scales")?, beside("biases")?);
        if format != other {
            return Err(malformed(path, place(name), "its scales and biases are numbers of two types", DAMAGED));
        }
        let affine = Affine { format, scales, biases, columns: self.columns };
        let trits = Trits::new(self.format(), rows, cols, first_rows(entry, rows, stored));
        let trits = trits.and_then(|trits| trits.with_affine(affine));
        trits.map_err(|problem| problem_at(path, name, problem))
    }
}

/// The bytes of the first `rows` rows of a tensor with `stored` rows; all bytes if it has no more.
fn first_rows(entry: &Entry, rows: usize, stored: usize) -> sterna_kernels::Bytes {
    let row = entry.bytes.len() / stored.max(1);
    entry.bytes.slice(0..row.saturating_mul(rows)).unwrap_or_else(|| entry.bytes.clone())
}

/// Whether an object describes MLX's packing. Hugging Face's `quantization_config` names a method.
pub(super) fn is_mlx(value: &Value) -> bool {
    value.get("bits").is_some() && value.get("group_size").is_some() && value.get("quant_method").is_none()
}
