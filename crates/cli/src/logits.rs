//! `sterna logits`: the logits after every token, as a safetensors file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use sterna::kernels::Rows;

use crate::interrupt;
use crate::model::{Loading, Source};
use crate::output;

const EXAMPLES: &str = "\
The ids are taken as given: no BOS is added. The file holds one tensor, `logits`, f32 of shape
[tokens, vocabulary]; its bytes do not depend on --threads, --chunk or the instruction set.

Examples:
  sterna logits --tokens 4093,12,87 --out logits.safetensors
  sterna logits -m model.gguf --tokens 1,2,3 --out logits.safetensors --chunk 1 --json";

/// Write the logits after every token to a safetensors file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Logits {
    /// Token ids, with commas between
    #[arg(long, value_name = "IDS", required = true, value_delimiter = ',', value_parser = id)]
    tokens: Vec<u32>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    loading: Loading,
    /// Tokens that one forward pass takes
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: u32,
    /// Print a JSON object about the file
    #[arg(long)]
    json: bool,
}

fn id(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a token id"))
}

impl Logits {
    pub fn run(self) -> anyhow::Result<()> {
        let context = self.tokens.len().max(2);
        let engine = self.model.load(&self.loading.options(Some(context)))?;
        let shape = [self.tokens.len(), engine.config().vocab];
        let mut file = Output::create(&self.out)?;
        file.write(&header(shape))?;
        // The library's error type has no place for a write that fails; it is kept aside.
        let mut failure = None;
        let result = engine.logits(&self.tokens, self.chunk as usize, &mut |rows| {
            file.write(&bytes(rows)).map_err(|error| {
                let message = format!("{error:#}");
                failure = Some(error);
                sterna::Error::request("out", message)
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        result?;
        file.finish()?;
        if self.json {
            output::json(&json!({
                "out": self.out.display().to_string(),
                "tensor": "logits",
                "dtype": "F32",
                "shape": shape,
                "isa": engine.isa(),
                "threads": engine.threads(),
            }))?;
        } else {
            output::note(&format!("{}: logits, f32 {shape:?}", self.out.display()));
        }
        Ok(())
    }
}

/// Length (u64) and JSON of a safetensors header for the one tensor, padded so that its data is 8-byte aligned.
fn header([tokens, vocab]: [usize; 2]) -> Vec<u8> {
    let end = tokens as u64 * vocab as u64 * 4;
    let mut text =
        json!({ "logits": { "dtype": "F32", "shape": [tokens, vocab], "data_offsets": [0, end] } }).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(text.as_bytes());
    header
}

fn bytes(rows: &Rows) -> Vec<u8> {
    rows.data().iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A file that appears under its name only when it is complete. Devices and pipes are written directly.
struct Output {
    path: PathBuf,
    part: Option<PathBuf>,
    writer: BufWriter<File>,
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let plain = fs::metadata(path).map_or(true, |kind| kind.is_file());
        let part = plain.then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}.part", std::process::id()));
            PathBuf::from(name)
        });
        let target = part.as_deref().unwrap_or(path);
        let file = if plain { File::create(target) } else { File::options().write(true).open(target) };
        let file = file.with_context(|| target.display().to_string())?;
        let left = part.clone();
        interrupt::ends_program(move || {
            if let Some(part) = &left {
                let _ = fs::remove_file(part);
            }
        })?;
        Ok(Self { path: path.into(), part, writer: BufWriter::new(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(bytes).with_context(|| self.path.display().to_string())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let name = || self.path.display().to_string();
        self.writer.flush().with_context(name)?;
        if let Some(part) = &self.part {
            fs::rename(part, &self.path).with_context(name)?;
            self.part = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_aligned() {
        for shape in [[1, 4096], [7, 128_256], [4096, 1]] {
            let header = header(shape);
            assert!(header.len().is_multiple_of(8));
            assert_eq!(u64::from_le_bytes(header[..8].try_into().unwrap()) as usize, header.len() - 8);
            let value: serde_json::Value = serde_json::from_slice(&header[8..]).unwrap();
            assert_eq!(value["logits"]["data_offsets"], json!([0, shape[0] * shape[1] * 4]));
        }
    }

    #[test]
    fn unfinished_files_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut output = Output::create(&path).unwrap();
        output.write(b"abc").unwrap();
        drop(output);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
