//! safetensors files: reads headers of limited size, and writes files.
//!
//! ```text
//! u64 header length | JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …} | data
//! ```
//!
//! Source: <https://github.com/huggingface/safetensors>, README ("Format").

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;
use sterna_kernels::Bytes;

use super::whole::WholeFile;
use super::{DAMAGED, StoredFile, malformed, over_limit, placeholder, unsupported};
use crate::{Error, Result};

/// Longest header, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// Most tensors in a file.
const MAX_TENSORS: usize = 1 << 16;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// How errors about these two limits begin.
const MANY: &str = "more than ";

/// Number formats and their size in bytes.
const DTYPES: &[(&str, usize)] = &[
    ("BOOL", 1),
    ("U8", 1),
    ("I8", 1),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
    ("U16", 2),
    ("I16", 2),
    ("F16", 2),
    ("BF16", 2),
    ("U32", 4),
    ("I32", 4),
    ("F32", 4),
    ("U64", 8),
    ("I64", 8),
    ("F64", 8),
];

/// A tensor of a safetensors file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number format: "BF16", "U8", ….
    pub dtype: &'static str,
    /// Shape as stored.
    pub shape: Vec<usize>,
    /// The data.
    pub bytes: Bytes,
}

/// The tensors of one file by name. Every range lies inside the file, has the size of its shape, and overlaps no other.
#[derive(Debug, Default)]
pub struct Header {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Entry>,
    /// The file's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads the header of the file `bytes`. `path` is for error messages.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] for inconsistent headers, [`Error::Unsupported`] for an unknown number format.
    pub fn parse(path: &Path, bytes: &Bytes) -> Result<Self> {
        Self::read(&StoredFile::in_memory(path, bytes.clone()))
    }

    /// Reads the header of a file.
    pub(super) fn read(file: &StoredFile) -> Result<Self> {
        let path = file.path();
        let bad = |problem: String| malformed(path, "safetensors header", problem, DAMAGED);
        placeholder::check(path, &file.copy(0..file.len().min(placeholder::START))?)?;
        let length = file.copy(0..file.len().min(8))?.first_chunk().map(|first| u64::from_le_bytes(*first));
        let length = length.ok_or_else(|| bad(format!("the file has only {} bytes", file.len())))?;
        let rest = file.len() as u64 - 8;
        if length > rest {
            return Err(bad(format!("its length is {length}, but {rest} bytes follow")));
        }
        if length > MAX_HEADER {
            return Err(over_limit(path, format!("a safetensors header of {length} bytes"), MAX_HEADER));
        }
        let start = 8 + length as usize;
        let header = file.copy(8..start)?;
        let raw: RawHeader = serde_json::from_slice(&header).map_err(|error| match error.to_string() {
            problem if problem.starts_with(MANY) => unsupported(path, problem, "split the file into several"),
            problem => bad(problem),
        })?;
        let entries = raw.tensors.iter().map(|(name, raw)| entry(file, start, name, raw));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let mut ranges: Vec<_> = raw.tensors.iter().map(|(name, raw)| (raw.data_offsets, name)).collect();
        ranges.sort();
        for pair in ranges.windows(2) {
            let ([_, end], first) = pair[0];
            let ([begin, _], second) = pair[1];
            if begin < end {
                return Err(bad(format!("the tensors `{first}` and `{second}` overlap")));
            }
        }
        Ok(Self { tensors: raw.tensors.into_keys().zip(entries).collect(), metadata: raw.metadata })
    }
}

/// Writes tensors to the file `path`. The file gets this name only when it is complete.
///
/// `about` is a metadata entry, name and value; other libraries look for `("format", "pt")`. `dtype`s, shapes and
/// numbers of bytes must be consistent.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be written. Then no partial file is left, and an existing file is unchanged.
pub fn write(path: &Path, about: (&str, &str), tensors: &[(String, Entry)]) -> Result<()> {
    let listed: Vec<_> = tensors
        .iter()
        .map(|(name, Entry { dtype, shape, bytes })| (&**name, *dtype, &shape[..], bytes.len() as u64))
        .collect();
    let mut file = Writer::create(path, Some(about), &listed)?;
    tensors.iter().try_for_each(|(_, entry)| file.write(&entry.bytes))?;
    file.finish()
}

/// Writes the tensors of a file in pieces, so that they need not be in memory. The file gets its name when it is
/// complete, and is removed if the writer is dropped earlier. Devices and pipes are written directly.
pub struct Writer {
    file: WholeFile<'static>,
    /// Bytes of data not yet written.
    left: u64,
}

impl Writer {
    /// Creates the file `path` and writes its header: a metadata entry, as in [`write()`], and the name, number format,
    /// shape and number of bytes of each tensor.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be created.
    pub fn create(
        path: &Path,
        about: Option<(&str, &str)>,
        tensors: &[(&str, &'static str, &[usize], u64)],
    ) -> Result<Self> {
        let mut header = serde_json::Map::new();
        if let Some((name, value)) = about {
            header.insert("__metadata__".into(), json!({ name: value }));
        }
        let mut end = 0;
        for (name, dtype, shape, bytes) in tensors {
            let begin = end;
            end += bytes;
            header.insert((*name).into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] }));
        }
        let mut header = serde_json::Value::Object(header).to_string();
        // The data begins at a multiple of 8.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let length = (header.len() as u64).to_le_bytes();
        let mut file = WholeFile::create(path, (length.len() + header.len()) as u64 + end, None)?;
        file.write(&length)?;
        file.write(header.as_bytes())?;
        Ok(Self { file, left: end })
    }

    /// Writes the next bytes of the data: the tensors one after another.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they cannot be written.
    ///
    /// # Panics
    ///
    /// If the tensors of the header have fewer bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.expect("a tensor has as many bytes as the header says");
        self.file.write(bytes)
    }

    /// Syncs the file to disk and gives it its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if that fails. Then no partial file is left, and an existing file is unchanged.
    ///
    /// # Panics
    ///
    /// If the tensors of the header have more bytes than were written.
    pub fn finish(self) -> Result<()> {
        assert_eq!(self.left, 0, "a tensor has as many bytes as the header says");
        self.file.finish()
    }
}

/// The tensor described by `raw`. The file's data begins at byte `start`.
fn entry(file: &StoredFile, start: usize, name: &str, raw: &RawEntry) -> Result<Entry> {
    let path = file.path();
    let bad = |problem: String| -> Error { malformed(path, format!("tensor `{name}`"), problem, DAMAGED) };
    let Some(&(dtype, size)) = DTYPES.iter().find(|(dtype, _)| *dtype == raw.dtype) else {
        let remedy = "convert the checkpoint to BF16 or to packed U8 weights";
        return Err(unsupported(path, format!("tensor `{name}`: the number format `{}`", raw.dtype), remedy));
    };
    let [begin, end] = raw.data_offsets;
    let place = |at: u64| usize::try_from(at).ok().and_then(|at| at.checked_add(start));
    let bytes = match place(begin).zip(place(end)) {
        Some((begin, end)) => file.data(begin..end)?,
        None => None,
    };
    let bytes = bytes.ok_or_else(|| {
        let held = file.len() - start;
        bad(format!("its data is bytes {begin} to {end}, but the file has {held} bytes of data"))
    })?;
    let shape: Option<Vec<usize>> = raw.shape.0.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let wanted = shape.as_ref().and_then(|shape| shape.iter().try_fold(size, |n, dim| n.checked_mul(*dim)));
    match shape {
        Some(shape) if wanted == Some(bytes.len()) => Ok(Entry { dtype, shape, bytes }),
        _ => Err(bad(format!("its {} bytes do not match {dtype} {:?}", bytes.len(), raw.shape.0))),
    }
}

/// The JSON object. Memory is proportional to the length of the header, which is limited.
struct RawHeader {
    tensors: BTreeMap<String, RawEntry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Dimensions,
    data_offsets: [u64; 2],
}

struct Dimensions(Vec<u64>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                        continue;
                    }
                    let entry = map.next_value()?;
                    if tensors.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("the tensor `{name}` is listed twice")));
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(de::Error::custom(format_args!("{MANY}{MAX_TENSORS} tensors")));
                    }
                    tensors.insert(name, entry);
                }
                Ok(RawHeader { tensors, metadata })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Dimensions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dimensions, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = seq.next_element()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(de::Error::custom(format_args!("{MANY}{MAX_DIMENSIONS} dimensions")));
                    }
                    shape.push(dimension);
                }
                Ok(Dimensions(shape))
            }
        }
        deserializer.deserialize_seq(Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_begins_at_a_multiple_of_8_and_is_read_back_however_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        for shape in [[1, 96], [7, 111], [40, 1]] {
            let data: Vec<u8> = (0..shape[0] * shape[1] * 4).map(|i| i as u8).collect();
            let mut file = Writer::create(&path, None, &[("logits", "F32", &shape, data.len() as u64)]).expect("made");
            data.chunks(13).for_each(|bytes| file.write(bytes).expect("written"));
            file.finish().expect("named");
            let bytes = std::fs::read(&path).expect("there");
            assert!((bytes.len() - data.len()).is_multiple_of(8) && bytes.ends_with(&data));
            let read = Header::parse(&path, &bytes.into()).expect("valid");
            assert_eq!((&read.tensors["logits"].bytes[..], &read.tensors["logits"].shape[..]), (&data[..], &shape[..]));
            assert!(read.metadata.is_empty());
            let entry = Entry { dtype: "F32", shape: shape.into(), bytes: data.clone().into() };
            write(&path, ("format", "pt"), &[("a".into(), entry)]).expect("written");
            let read = Header::parse(&path, &std::fs::read(&path).expect("there").into()).expect("valid");
            assert_eq!((&read.tensors["a"].bytes[..], &*read.metadata["format"]), (&data[..], "pt"));
        }
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "old").expect("written");
        let mut file = Writer::create(&path, None, &[("x", "U8", &[4], 4)]).expect("made");
        file.write(b"abc").expect("written");
        drop(file);
        assert_eq!(std::fs::read(&path).expect("there"), b"old");
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1);
    }

    #[test]
    #[should_panic(expected = "as many bytes as the header says")]
    fn a_file_with_fewer_bytes_than_its_header_says_is_not_finished() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Writer::create(&folder.path().join("x"), None, &[("x", "U8", &[4], 4)]).expect("made");
        drop(file.finish());
    }

    #[test]
    #[cfg(unix)]
    fn devices_are_written_directly() {
        let mut file = Writer::create(Path::new("/dev/null"), None, &[("x", "U8", &[4], 4)]).expect("opened");
        file.write(b"abcd").expect("written");
        file.finish().expect("finished");
        assert!(!std::fs::metadata("/dev/null").expect("there").is_file(), "not replaced by a file");
    }
}
