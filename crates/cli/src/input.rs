//! Input text: an argument, a file or stdin.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::output::Misuse;

/// Longest text that is read, in bytes. No context holds as much; it bounds the memory that `< /dev/zero` can take.
const MAX_TEXT: u64 = 256 << 20;

/// The byte order mark, which editors on Windows put before a text. It is no part of the text.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Options that name a text.
#[derive(clap::Args)]
pub struct Text {
    /// The text; `-` or nothing: read it from stdin
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    text: Option<String>,
    /// Read the text from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Text {
    /// The text, byte for byte.
    pub fn exact(self) -> anyhow::Result<String> {
        match (self.text, self.file) {
            (_, Some(path)) => file(&path),
            (Some(text), None) if text != "-" => Ok(text),
            (text, None) => stdin(text.is_some()),
        }
    }

    /// The text; of a file or stdin without its last line break, which editors and `echo` add.
    pub fn prompt(self) -> anyhow::Result<String> {
        let typed = self.text.as_deref().is_some_and(|text| text != "-");
        let text = self.exact()?;
        Ok(if typed { text } else { without_last_break(text) })
    }
}

/// Reads all of stdin. A terminal is read only if `asked`, because a program that waits silently looks hung.
pub fn stdin(asked: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() && !asked {
        bail!(Misuse("there is no text: give it as an argument, with --file FILE, or on stdin".into()));
    }
    read(stdin.lock(), "stdin")
}

/// All of a file; `-` is stdin.
pub fn file(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return stdin(true);
    }
    let name = path.display().to_string();
    let opened = std::fs::File::open(path).map_err(sterna::kernels::limits::explained);
    read(opened.context(name.clone())?, &name)
}

/// The text without one line break at its end.
pub fn without_last_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// A text without a byte order mark.
fn read(source: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT + 1).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
    if bytes.len() as u64 > MAX_TEXT {
        bail!("{name}: more than {} MiB of text; pass a part of it", MAX_TEXT >> 20);
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{name}: byte {place} is not UTF-8; convert the text, for example with iconv -t utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_goes() {
        for (text, expected) in [("a\n\n", "a\n"), ("a\r\n", "a"), ("a\r", "a\r"), ("", ""), ("\n", "")] {
            assert_eq!(without_last_break(text.into()), expected);
        }
    }

    #[test]
    fn bad_text_names_its_place() {
        assert_eq!(read(&b"\xe4\xb8\xad"[..], "x").unwrap(), "中");
        assert_eq!(read("\u{feff}a\u{feff}b".as_bytes(), "x").unwrap(), "a\u{feff}b", "the mark before a text goes");
        let error = read(&b"ab\xff"[..], "x").unwrap_err().to_string();
        assert!(error.starts_with("x: byte 2 is not UTF-8"), "{error}");
    }
}
