//! What goes out: results to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// A command line that parses but asks for nothing possible; exit code 2, as for other misuse.
#[derive(Debug)]
pub struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// A write to stdout that failed.
#[derive(Debug)]
struct Stdout(io::Error);

impl std::fmt::Display for Stdout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stdout: {}", self.0)
    }
}

impl std::error::Error for Stdout {}

/// Writes to stdout and makes it visible at once. A reader who has left shows up as an error that [`report`] knows.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Stdout)?)
}

/// Writes a line to stdout.
pub fn line(line: &str) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes one JSON object to stdout, as a line.
pub fn json(value: &Value) -> anyhow::Result<()> {
    line(&value.to_string())
}

/// A bar over `length` steps: on stderr, and only if it is a terminal.
pub fn bar(what: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} left, {msg}");
    let bar = ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what.to_owned())
}

/// A sign that something takes a while: on stderr, and only if it is a terminal.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// A remark to people: on stderr, and only if it is a terminal.
pub fn note(remark: &str) {
    if io::stderr().is_terminal() {
        let (dim, plain) = if std::env::var_os("NO_COLOR").is_none() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(io::stderr(), "{dim}{}{plain}", printable(remark));
    }
}

/// What was asked for beside the result: on stderr, terminal or not.
pub fn remark(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether an error is about stdout.
pub fn is_stdout(error: &anyhow::Error) -> bool {
    error.is::<Stdout>()
}

/// Prints an error and chooses the exit code. That nobody reads stdout any more is no error: `sterna … | head`.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Stdout>().is_some_and(|stdout| stdout.0.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "error: {}", printable(&message(error)));
    ExitCode::from(if error.is::<Misuse>() { 2 } else { 1 })
}

/// An error in words. The library's errors say everything themselves, others in a chain.
pub fn message(error: &anyhow::Error) -> String {
    error.downcast_ref::<sterna::Error>().map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// Messages quote names from files: control characters must not reach the terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(printable("tensor \u{1b}[2J\rx\n中"), "tensor \\u{1b}[2J\\rx\n中");
    }
}
