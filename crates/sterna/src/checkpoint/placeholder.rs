//! Files that were saved in a model's place: Git LFS pointers and web pages.

use std::path::Path;

use super::malformed;
use crate::{Error, Result};

/// Bytes at the beginning of a file that show what it is.
pub(super) const START: usize = 256;

/// The first line of a Git LFS pointer (source: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Checks that a file, which begins with `start`, is none of them.
///
/// # Errors
/// [`Error::Malformed`] that names what the file is.
pub(super) fn check(path: &Path, start: &[u8]) -> Result<()> {
    let error = |problem: &str, remedy: &str| Err(malformed(path, "the file", problem, remedy));
    if start.starts_with(POINTER) {
        let remedy = "run `git lfs pull` in its folder, or download the file itself";
        return error("is a Git LFS pointer, which names the real file and its size", remedy);
    }
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii_start();
    let begins = |text: &str| start.get(..text.len()).is_some_and(|found| found.eq_ignore_ascii_case(text.as_bytes()));
    if ["<!doctype html", "<html", "<head", "<body", "<!--", "<?xml"].iter().any(|text| begins(text)) {
        let remedy = "download the file by its own address: on Hugging Face, one with /resolve/ instead of /blob/";
        return error("is a web page, saved in place of the file", remedy);
    }
    Ok(())
}

/// What to say of a file that is not of the expected kind.
///
/// # Errors
/// As [`check`]; `other` if it is neither a pointer nor a page.
pub(super) fn instead(path: &Path, start: &[u8], other: Error) -> Error {
    check(path, start).err().unwrap_or(other)
}
