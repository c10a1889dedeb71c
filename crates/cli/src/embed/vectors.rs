//! Where vectors go: to stdout as text or JSON, or to a file of NumPy or safetensors.

use std::path::Path;

use anyhow::bail;
use serde::Serialize;
use serde_json::json;
use sterna::checkpoint::safetensors::Writer;
use sterna::checkpoint::whole::{partial, write_whole};

use crate::interrupt;
use crate::model::has_end;
use crate::output::{self, Misuse};

/// Where the vectors go.
pub struct Target<'a> {
    file: Option<(&'a Path, Kind)>,
    json: bool,
}

/// What a file is.
#[derive(Clone, Copy)]
enum Kind {
    Npy,
    Safetensors,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Object<'a> {
    embeddings: &'a [Vec<f32>],
}

impl<'a> Target<'a> {
    /// The file `out`, or else stdout.
    pub fn new(out: Option<&'a Path>, json: bool) -> anyhow::Result<Self> {
        let kind = |path: &Path| match (has_end(path, "npy"), has_end(path, "safetensors")) {
            (true, _) => Some(Kind::Npy),
            (_, true) => Some(Kind::Safetensors),
            _ => None,
        };
        let Some(path) = out else { return Ok(Self { file: None, json }) };
        match kind(path) {
            Some(kind) => Ok(Self { file: Some((path, kind)), json }),
            None => bail!(Misuse(format!("{}: --out writes a .npy or a .safetensors file", path.display()))),
        }
    }

    /// From now on Ctrl-C removes an unfinished file.
    pub fn remove_when_interrupted(&self) -> anyhow::Result<()> {
        let partial = self.file.map(|(path, _)| partial(path));
        interrupt::ends_program(move || {
            if let Some(partial) = &partial {
                let _ = std::fs::remove_file(partial);
            }
        })
    }

    /// Writes vectors of one length; at least one.
    pub fn write(&self, vectors: &[Vec<f32>]) -> anyhow::Result<()> {
        let Some((path, kind)) = self.file else { return print(vectors, self.json) };
        let shape = [vectors.len(), vectors.first().map_or(0, Vec::len)];
        let data: Vec<u8> = vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        match kind {
            Kind::Npy => write_whole(path, &[&npy_header(shape), &data])?,
            Kind::Safetensors => {
                let mut file = Writer::create(path, None, &[("embeddings", "F32", &shape, data.len() as u64)])?;
                file.write(&data)?;
                file.finish()?;
            }
        }
        if self.json {
            return output::json(&json!({ "out": path.display().to_string(), "dtype": "F32", "shape": shape }));
        }
        output::note(&format!("{}: embeddings, f32 {shape:?}", path.display()));
        Ok(())
    }
}

fn print(vectors: &[Vec<f32>], json: bool) -> anyhow::Result<()> {
    if json {
        return output::line(&serde_json::to_string(&Object { embeddings: vectors })?);
    }
    let line = |vector: &Vec<f32>| vector.iter().map(f32::to_string).collect::<Vec<_>>().join(" ") + "\n";
    output::text(&vectors.iter().map(line).collect::<String>())
}

/// The header of a NumPy file, version 1.0, of f32 numbers in C order. The data begins at a multiple of 64.
///
/// Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn npy_header([rows, columns]: [usize; 2]) -> Vec<u8> {
    const BEFORE: usize = 10;
    let mut about = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let len = (BEFORE + about.len() + 1).next_multiple_of(64) - BEFORE;
    about.extend(std::iter::repeat_n(' ', len - 1 - about.len()));
    about.push('\n');
    [b"\x93NUMPY\x01\x00", &(len as u16).to_le_bytes()[..], about.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numpy_header_ends_at_a_multiple_of_64() {
        for shape in [[1, 1], [3, 1024], [123_456_789, 123_456]] {
            let header = npy_header(shape);
            assert!(header.len().is_multiple_of(64) && header.starts_with(b"\x93NUMPY\x01\x00"), "{shape:?}");
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])) + 10, header.len());
            let about = std::str::from_utf8(&header[10..]).unwrap();
            assert!(about.contains(&format!("'shape': ({}, {}), }}", shape[0], shape[1])) && about.ends_with('\n'));
        }
    }
}
