//! Finds the commit that the program is built from, for `sterna --version`.
//!
//! `STERNA_COMMIT` names it where there is no repository, as in an image. Otherwise git does, if this crate lies in its
//! own repository. A crate from a registry has none.

use std::path::Path;
use std::process::Command;

/// Where this crate is in its repository. A copy in another repository is elsewhere.
const FOLDER: &str = "crates/cli/";
/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STERNA_COMMIT");
    let named = std::env::var("STERNA_COMMIT").ok().filter(|name| !name.is_empty());
    let commit = named.or_else(from_git).filter(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let shown: String = commit.unwrap_or_default().chars().take(DIGITS).collect();
    println!("cargo::rustc-env=COMMIT={shown}");
}

/// The commit that is checked out. Cargo asks again when it changes.
fn from_git() -> Option<String> {
    if git(&["rev-parse", "--show-prefix"])? != FOLDER {
        return None;
    }
    // The log of HEAD grows with every commit; without one, HEAD and the file of its branch change.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    for file in ["logs/HEAD", "HEAD", &branch, "packed-refs"].into_iter().filter(|file| !file.is_empty()) {
        let path = git(&["rev-parse", "--git-path", file])?;
        // Cargo would build anew each time for a file that does not exist.
        if Path::new(&path).is_file() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

/// The first line that git prints; `None` if it fails or is not installed.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
