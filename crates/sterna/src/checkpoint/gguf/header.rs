//! GGUF's container: keys and tensor descriptions. The header is copied to the heap while it is read.
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 keys
//! per key:     string name | u32 type | value            string = u64 length, bytes
//! per tensor:  string name | u32 n | u64 × n shape, contiguous dimension first | u32 type | u64 offset in the data
//! padding to `general.alignment` | data
//! ```
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use sterna_kernels::Bytes;

use crate::checkpoint::{DAMAGED, StoredFile, WatchedFile, malformed, over_limit, unsupported};
use crate::{Error, Result};

/// The first bytes of every GGUF file.
const MAGIC: &[u8] = b"GGUF";
/// Most keys, and most tensors, in a file.
const MAX_ENTRIES: u64 = 1 << 16;
/// Alignment of files that do not specify one.
pub(in crate::checkpoint) const ALIGNMENT: usize = 32;
/// Longest name of a key or tensor, as the GGUF specification limits keys.
const MAX_NAME: usize = (1 << 16) - 1;
/// Deepest nesting of arrays.
const MAX_DEPTH: usize = 4;

/// A stored value. Texts and arrays are ranges of the header.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Unsigned integers of any width.
    Unsigned(u64),
    /// Signed integers of any width.
    Signed(i64),
    /// `f32` and `f64`.
    Float(f64),
    /// One byte, 0 or 1.
    Bool(bool),
    /// UTF-8.
    Text(Range<usize>),
    /// Items of one type (a GGUF type id) one after another.
    Array {
        /// Type id of the items.
        kind: u32,
        /// Number of items.
        count: usize,
        /// Their bytes.
        items: Range<usize>,
    },
}

/// A tensor's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Shape, rows first: the reverse of the stored order.
    pub shape: Vec<usize>,
    /// Product of the shape.
    pub weights: usize,
    /// ggml's type id.
    pub kind: u32,
    /// First byte of the data, relative to the start of all data.
    pub offset: u64,
}

/// The header of a GGUF file.
#[derive(Clone, Debug)]
pub struct Header {
    file: StoredFile,
    /// The start of the file, up to the data.
    bytes: Vec<u8>,
    /// 2 or 3; the difference does not matter here.
    pub version: u32,
    /// Keys and their values.
    pub keys: BTreeMap<String, Value>,
    /// Tensors by their name in the file.
    pub tensors: BTreeMap<String, Info>,
    /// Alignment of tensors, in bytes.
    pub alignment: usize,
    data: usize,
}

impl Header {
    /// Whether a file begins with GGUF's magic bytes.
    pub(in crate::checkpoint) fn detect(file: &StoredFile) -> bool {
        file.copy(0..file.len().min(MAGIC.len())).is_ok_and(|start| start == MAGIC)
    }

    /// Reads the header of the file `bytes`. `path` is for error messages.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] for inconsistent headers, [`Error::Unsupported`] for another version.
    pub fn parse(path: &Path, bytes: &Bytes) -> Result<Self> {
        Self::read(&StoredFile::in_memory(path, bytes.clone()))
    }

    /// Reads the header of a file.
    pub(in crate::checkpoint) fn read(file: &StoredFile) -> Result<Self> {
        let path = file.path();
        let mut reader = Reader { file, bytes: Vec::new(), at: MAGIC.len() };
        if !Self::detect(file) {
            return Err(malformed(path, "GGUF header", "the file does not begin with \"GGUF\"", DAMAGED));
        }
        let version = reader.u32("version")?;
        match version {
            2 | 3 => {}
            1 => return Err(unsupported(path, "GGUF version 1", "convert it with a newer llama.cpp")),
            swapped if swapped.swap_bytes() <= 0xffff => {
                return Err(unsupported(path, "a big-endian GGUF file", "convert it to little endian"));
            }
            other => return Err(unsupported(path, format!("GGUF version {other}"), "update Sterna")),
        }
        let (tensors, keys) = (reader.count("number of tensors", 24)?, reader.count("number of keys", 13)?);
        let keys = reader.keys(keys)?;
        let tensors = reader.tensors(tensors)?;
        let (end, bytes) = (reader.at, reader.bytes);
        let mut header = Self { file: file.clone(), bytes, version, keys, tensors, alignment: ALIGNMENT, data: 0 };
        if let Some(alignment) = header.uint("general.alignment")? {
            header.alignment = match usize::try_from(alignment) {
                Ok(alignment) if alignment.is_power_of_two() && alignment <= 1 << 16 => alignment,
                _ => {
                    return Err(
                        header.bad("general.alignment", format!("{alignment} is not a power of two up to 65536"))
                    );
                }
            };
        }
        header.data = end.next_multiple_of(header.alignment);
        let aligned = |info: &Info| info.offset.is_multiple_of(header.alignment as u64);
        if let Some((name, info)) = header.tensors.iter().find(|(_, info)| !aligned(info)) {
            let problem = format!("its offset {} is not a multiple of {}", info.offset, header.alignment);
            return Err(malformed(path, format!("tensor `{name}`"), problem, DAMAGED));
        }
        Ok(header)
    }

    /// `len` bytes of data at `offset`; `None` if the file does not hold them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::OutOfMemory`] if the file is not mapped and cannot be read.
    pub fn data(&self, offset: u64, len: usize) -> Result<Option<Bytes>> {
        let start = usize::try_from(offset).ok().and_then(|offset| self.data.checked_add(offset));
        match start.and_then(|start| Some(start..start.checked_add(len)?)) {
            Some(range) => self.file.data(range),
            None => Ok(None),
        }
    }

    /// Path of the file, for error messages.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file's identity, to detect changes later; `None` if it is in memory.
    pub(super) fn watched(&self) -> Option<WatchedFile> {
        self.file.watched()
    }

    /// Number of data bytes in the file.
    pub fn data_len(&self) -> usize {
        self.file.len().saturating_sub(self.data)
    }

    /// The error for a wrong value of `key`.
    pub fn bad(&self, key: &str, problem: impl Into<String>) -> Error {
        malformed(self.file.path(), format!("key `{key}`"), problem, DAMAGED)
    }

    /// The value of `key` as a non-negative integer of any integer type; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type or is negative.
    pub fn uint(&self, key: &str) -> Result<Option<u64>> {
        let number = match self.keys.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(value)) => Some(*value),
            Some(Value::Signed(value)) => u64::try_from(*value).ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.bad(key, "is not a whole number"))
    }

    /// The id of a token; `None` if there is no such key, or if it says −1, as a number of any type.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type.
    pub fn token_id(&self, key: &str) -> Result<Option<u32>> {
        match self.keys.get(key) {
            Some(Value::Signed(id)) if *id < 0 => Ok(None),
            _ => Ok(self.uint(key)?.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)),
        }
    }

    /// The value of `key` as a number; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.keys.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Unsigned(value)) => Ok(Some(*value as f64)),
            Some(Value::Signed(value)) => Ok(Some(*value as f64)),
            Some(_) => Err(self.bad(key, "is not a number")),
        }
    }

    /// The value of `key` as a boolean; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.keys.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.bad(key, "is not true or false")),
        }
    }

    /// The value of `key` as a string; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type or is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.keys.get(key) {
            None => Ok(None),
            Some(Value::Text(range)) => match std::str::from_utf8(&self.bytes[range.clone()]) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(self.bad(key, error.to_string())),
            },
            Some(_) => Err(self.bad(key, "is not a text")),
        }
    }

    /// The value of `key` as a list of at most `most` strings; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type, has more than `most` items or is not UTF-8.
    pub fn texts(&self, key: &str, most: usize) -> Result<Option<Vec<String>>> {
        let Some((count, items)) = self.array(key, &[8], "texts", most)? else { return Ok(None) };
        let mut at = items.start;
        let mut texts = Vec::new();
        for _ in 0..count {
            // The lengths were checked when the header was read.
            let len = self.bytes[at..].first_chunk().map_or(0, |len| u64::from_le_bytes(*len)) as usize;
            match std::str::from_utf8(&self.bytes[at + 8..][..len]) {
                Ok(text) => texts.push(text.to_owned()),
                Err(error) => return Err(self.bad(key, error.to_string())),
            }
            at += 8 + len;
        }
        Ok(Some(texts))
    }

    /// The value of `key` as the bits of at most `most` 32-bit numbers; `None` if there is no such key. `kinds` are the
    /// allowed types.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the value has another type or more than `most` items.
    pub fn words(&self, key: &str, kinds: &[u32], most: usize) -> Result<Option<Vec<u32>>> {
        let Some((_, items)) = self.array(key, kinds, "numbers of 32 bits", most)? else { return Ok(None) };
        let words = self.bytes[items].chunks_exact(4);
        Ok(Some(words.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
    }

    /// The value of `key` as at most `most` booleans; `None` if it is not such a list.
    pub fn flags(&self, key: &str, most: usize) -> Option<Vec<bool>> {
        let (_, items) = self.array(key, &[7], "booleans", most).ok()??;
        Some(self.bytes[items].iter().map(|flag| *flag != 0).collect())
    }

    fn array(&self, key: &str, kinds: &[u32], what: &str, most: usize) -> Result<Option<(usize, Range<usize>)>> {
        match self.keys.get(key) {
            None => Ok(None),
            Some(Value::Array { kind, count, .. }) if kinds.contains(kind) && *count > most => {
                Err(over_limit(self.file.path(), format!("`{key}` with {count} {what}"), most))
            }
            Some(Value::Array { kind, count, items }) if kinds.contains(kind) => Ok(Some((*count, items.clone()))),
            Some(_) => Err(self.bad(key, format!("is not a list of {what}"))),
        }
    }
}

/// Reads the header in order. Every length is checked against the remaining bytes before it is used.
struct Reader<'a> {
    file: &'a StoredFile,
    /// A copy of the start of the file, extended as needed.
    bytes: Vec<u8>,
    at: usize,
}

impl Reader<'_> {
    fn bad(&self, what: &str, problem: impl Into<String>) -> Error {
        malformed(self.file.path(), format!("GGUF header, byte {}, {what}", self.at), problem, DAMAGED)
    }

    fn take(&mut self, len: u64, what: &str) -> Result<Range<usize>> {
        let left = self.file.len().saturating_sub(self.at);
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                let range = self.at..self.at + len;
                self.at += len;
                self.copy_to(self.at)?;
                Ok(range)
            }
            _ => Err(self.bad(what, format!("needs {len} bytes, but only {left} follow"))),
        }
    }

    /// Copies the start of the file up to at least `end`.
    fn copy_to(&mut self, end: usize) -> Result<()> {
        /// Least number of bytes read at a time.
        const STEP: usize = 1 << 18;
        let have = self.bytes.len();
        if have < end {
            let more = self.file.copy(have..end.max(have.saturating_add(STEP)).min(self.file.len()))?;
            self.bytes.extend_from_slice(&more);
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let range = self.take(N as u64, what)?;
        Ok(std::array::from_fn(|i| self.bytes[range.start + i]))
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// The number of entries that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64> {
        let count = self.u64(what)?;
        if count.saturating_mul(least) > self.file.len() as u64 {
            return Err(self.bad(what, format!("{count} is more than the file can hold")));
        }
        if count > MAX_ENTRIES {
            return Err(over_limit(self.file.path(), format!("a {what} of {count}"), MAX_ENTRIES));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str) -> Result<Range<usize>> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    fn string(&mut self, what: &str) -> Result<String> {
        let range = self.text(what)?;
        match std::str::from_utf8(&self.bytes[range]) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(self.bad(what, error.to_string())),
        }
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let name = self.string(what)?;
        match name.len() {
            length if length > MAX_NAME => {
                Err(over_limit(self.file.path(), format!("a {what} of {length} bytes"), MAX_NAME))
            }
            _ => Ok(name),
        }
    }

    fn keys(&mut self, count: u64) -> Result<BTreeMap<String, Value>> {
        let mut keys = BTreeMap::new();
        for i in 0..count {
            let name = self.name(&format!("name of key {i}"))?;
            let kind = self.u32(&name)?;
            let value = self.value(kind, &name)?;
            if keys.contains_key(&name) {
                return Err(self.bad(&name, "the key occurs twice"));
            }
            keys.insert(name, value);
        }
        Ok(keys)
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>(key)?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(key)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(key)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(key)?).into()),
            4 => Value::Unsigned(self.u32(key)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(key)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(key)?).into()),
            7 => match self.array(key)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(self.bad(key, format!("{other} is neither true nor false"))),
            },
            8 => Value::Text(self.text(key)?),
            9 => {
                let (kind, count) = (self.u32(key)?, self.u64(key)?);
                let start = self.at;
                self.skip_items(kind, count, key, 1)?;
                // Each item takes at least one byte, so the count fits in a usize.
                Value::Array { kind, count: count as usize, items: start..self.at }
            }
            10 => Value::Unsigned(self.u64(key)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(key)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(key)?)),
            other => return Err(self.bad(key, format!("unknown value type {other}"))),
        })
    }

    /// Skips the items of an array.
    fn skip_items(&mut self, kind: u32, count: u64, key: &str, depth: usize) -> Result<()> {
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..count {
                    self.text(key)?;
                }
                return Ok(());
            }
            9 if depth < MAX_DEPTH => {
                for _ in 0..count {
                    let (kind, count) = (self.u32(key)?, self.u64(key)?);
                    self.skip_items(kind, count, key, depth + 1)?;
                }
                return Ok(());
            }
            9 => return Err(over_limit(self.file.path(), format!("the depth of the arrays in `{key}`"), MAX_DEPTH)),
            other => return Err(self.bad(key, format!("unknown value type {other}"))),
        };
        self.take(count.saturating_mul(size), key)?;
        Ok(())
    }

    fn tensors(&mut self, count: u64) -> Result<BTreeMap<String, Info>> {
        let mut tensors = BTreeMap::new();
        for i in 0..count {
            let name = self.name(&format!("name of tensor {i}"))?;
            let dimensions = self.u32(&name)?;
            if !(1..=4).contains(&dimensions) {
                return Err(self.bad(&name, format!("{dimensions} dimensions, where 1 to 4 are allowed")));
            }
            let mut shape = (0..dimensions).map(|_| self.u64(&name)).collect::<Result<Vec<_>>>()?;
            shape.reverse();
            let sizes: Option<Vec<usize>> = shape.iter().map(|n| usize::try_from(*n).ok().filter(|n| *n > 0)).collect();
            let weights = sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim)));
            let Some((shape, weights)) = sizes.zip(weights) else {
                return Err(self.bad(&name, format!("impossible shape {shape:?}")));
            };
            let info = Info { shape, weights, kind: self.u32(&name)?, offset: self.u64(&name)? };
            if tensors.contains_key(&name) {
                return Err(self.bad(&name, "the tensor is listed twice"));
            }
            tensors.insert(name, info);
        }
        Ok(tensors)
    }
}
