//! A summary of a checkpoint's tensors.

use super::{Checkpoint, Tensor};

/// A summary of a checkpoint's tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Number of weights of all tensors.
    pub parameters: u64,
    /// Tensors grouped by encoding, most bytes first.
    pub groups: Vec<Group>,
}

/// Tensors with the same encoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The encoding: "i2_s", "bf16", ….
    pub encoding: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes in the file, without scales that are tensors of their own.
    pub bytes: u64,
}

impl Checkpoint {
    /// Summarises the tensors.
    pub fn summary(&self) -> Summary {
        let mut groups: Vec<Group> = Vec::new();
        for tensor in self.tensors.values() {
            let (encoding, bytes) = (tensor.data.format().name, tensor.data.bytes().len());
            let group = match groups.iter_mut().find(|group| group.encoding == encoding) {
                Some(group) => group,
                None => {
                    groups.push(Group { encoding, tensors: 0, parameters: 0, bytes: 0 });
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            group.tensors += 1;
            group.parameters += weights(tensor);
            group.bytes += bytes as u64;
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
        Summary { parameters: groups.iter().map(|group| group.parameters).sum(), groups }
    }
}

fn weights(tensor: &Tensor) -> u64 {
    tensor.shape.iter().map(|n| *n as u64).product()
}
