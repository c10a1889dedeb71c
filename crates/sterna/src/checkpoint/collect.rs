//! Collects the tensors of a network from a file of any kind.

use std::collections::BTreeMap;
use std::path::Path;

use super::{DAMAGED, Tensor, malformed};
use crate::Result;
use crate::arch::{Config, Kind, Slot};

/// Finds every tensor of the network. All missing tensors are reported together, and each tensor must have the right
/// shape.
pub(super) fn collect(
    path: &Path,
    config: &Config,
    mut find: impl FnMut(&Slot) -> Result<Option<Tensor>>,
) -> Result<BTreeMap<String, Tensor>> {
    /// Most missing tensors that are named in a message.
    const NAMED: usize = 3;
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for slot in config.architecture.tensors(config) {
        match find(&slot)? {
            Some(tensor) => {
                check_shape(path, &slot, &tensor)?;
                found.insert(slot.name, tensor);
            }
            None => missing.push(slot.name),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let more = missing.len().saturating_sub(NAMED);
    let mut list = missing[..missing.len().min(NAMED)].join("`, `");
    list.push('`');
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let remedy = "the file does not hold the model that its configuration describes: download it again";
    Err(malformed(path, "tensors", format!("missing: `{list}"), remedy))
}

fn check_shape(path: &Path, slot: &Slot, tensor: &Tensor) -> Result<()> {
    let (fits, shape) = match (slot.kind, &tensor.shape[..]) {
        // Some vocabularies are padded to a round number.
        (Kind::Dense { rows, cols }, shape) => {
            (matches!(shape, [r, c] if *r >= rows && *c == cols), format!("at least [{rows}, {cols}]"))
        }
        (Kind::Ternary { rows, cols, .. }, shape) => (shape == [rows, cols], format!("[{rows}, {cols}]")),
        // Small matrices are arrays, too.
        (Kind::Vector { len }, shape) => {
            let values = shape.iter().try_fold(1usize, |values, dim| values.checked_mul(*dim));
            (values == Some(len), format!("[{len}]"))
        }
    };
    if fits {
        return Ok(());
    }
    let problem = format!("shape {:?}, but the configuration needs {shape}", tensor.shape);
    Err(malformed(path, format!("tensor `{}`", tensor.stored_name), problem, DAMAGED))
}
