//! Checkpoints: files in, configuration, rows of trits, dense matrices and text files out.
//!
//! Every format is decoded to the same currency. Tensors carry the names of Microsoft's Hugging Face checkpoint
//! (`model.layers.N.self_attn.q_proj.weight`, …) whatever the file calls them, shapes are `(rows, cols)`, and query and
//! key rows are in rotate-half order.

pub mod config;
pub mod encoding;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sterna_kernels::{Bytes, DenseMatrix, DenseType};

pub use config::{Architecture, Config};

use crate::{Error, Result};

/// An opened checkpoint. Nothing big has been read yet: tensors are ranges of mapped files.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file or directory.
    pub path: PathBuf,
    /// What it is: "safetensors" or "gguf v3".
    pub format: &'static str,
    /// Normalised configuration.
    pub config: Config,
    /// Tokenizer and chat template, as stored.
    pub text: TextFiles,
    /// Tensors by canonical name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor as stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name in the file, for messages.
    pub stored_name: String,
    /// Logical shape: `[rows, cols]` or `[len]`, unpacked.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub data: Data,
    /// For query and key rows of GGUF `llama`: heads whose rows are interleaved and must be put back in order.
    pub interleaved_heads: Option<usize>,
}

/// Where a tensor's values come from.
#[derive(Clone, Debug)]
pub enum Data {
    /// Ternary codes in one of the [`encoding::ENCODINGS`].
    Ternary(encoding::Trits),
    /// Numbers or blocks that the dense kernels read as stored.
    Dense {
        /// How.
        kind: DenseType,
        /// The stored rows.
        bytes: Bytes,
    },
    /// Random trits for measurements: 42 % zeros, a fixed function of the seed and the row.
    Synthetic {
        /// Seed of this tensor.
        seed: u64,
    },
}

/// What the text side needs, as the checkpoint stores it.
#[derive(Clone, Debug)]
pub enum TextFiles {
    /// Files of a Hugging Face directory.
    HuggingFace {
        /// `tokenizer.json`
        tokenizer: Bytes,
        /// `tokenizer_config.json`, an empty object if absent.
        config: serde_json::Value,
        /// `chat_template.jinja`, if it is a file of its own.
        chat_template: Option<String>,
    },
    /// The vocabulary inside a GGUF file.
    Gguf(GgufVocabulary),
    /// No tokenizer: only token ids can be used.
    None,
}

/// `tokenizer.ggml.*` of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: "gpt2" or "llama".
    pub model: String,
    /// `tokenizer.ggml.pre`, if any.
    pub pre: Option<String>,
    /// Token texts by id.
    pub tokens: Vec<String>,
    /// SentencePiece scores by id; may be empty.
    pub scores: Vec<f32>,
    /// Token types by id (1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte); may be empty.
    pub types: Vec<i32>,
    /// BPE merges ("a b"), best first; may be empty.
    pub merges: Vec<String>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
    /// `bos_token_id`
    pub bos: Option<u32>,
    /// `eos_token_id`
    pub eos: Option<u32>,
    /// `tokenizer.chat_template`, the known-wrong ones already replaced.
    pub chat_template: Option<String>,
}

impl Checkpoint {
    /// Opens a `.gguf` file or a Hugging Face directory: reads headers and configuration, maps the rest.
    pub fn open(path: &Path) -> Result<Self> {
        todo!()
    }

    /// The same for files that are in memory (a model embedded in a program): names as in a Hugging Face directory.
    pub fn from_files(name: &str, files: &[(&str, Bytes)]) -> Result<Self> {
        todo!()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Decodes and packs a ternary matrix; the source's pages are released afterwards.
    pub fn ternary(
        &self,
        cpu: &sterna_kernels::Cpu,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<sterna_kernels::TernaryMatrix> {
        todo!()
    }

    /// An embedding or head, kept as stored.
    pub fn dense(&self, name: &str, rows: usize, cols: usize) -> Result<DenseMatrix> {
        todo!()
    }

    /// A vector of `f32`, all finite: norm weights.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        todo!()
    }
}
