//! Files of API keys.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The keys of a file, one a line. Blank lines and lines that begin with # are skipped.
///
/// # Errors
/// For a file that cannot be read, that holds no key, or that has a line which is no key. The error names the line, and
/// not what stands in it.
pub fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    opened.with_context(|| format!("{shown}: the file of --api-key-file cannot be read"))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{shown}: larger than {MAX_BYTES} bytes; --api-key-file takes a text file with one API key a line");
    }
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)) {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match std::str::from_utf8(line) {
            Ok(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => keys.push(key.to_owned()),
            _ => bail!(
                "{shown}:{number}: not an API key; write one key a line, of ASCII letters, digits and punctuation, \
                 without spaces, and begin comments with #"
            ),
        }
    }
    if keys.is_empty() {
        bail!("{shown}: holds no API key; write one key a line, for example the output of `openssl rand -hex 32`");
    }
    Ok(keys)
}

/// A warning if every user of this machine can read the keys.
pub fn warning(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = path.metadata().ok()?.permissions().mode();
        let shown = path.display();
        (mode & 0o004 != 0)
            .then(|| format!("{shown}: every user of this machine can read the API keys; remedy: chmod 600 {shown}"))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
