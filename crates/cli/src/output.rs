//! Output: results go to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use sterna::kernels::limits;

/// A command line that parses but cannot be followed: exit code 2, like a command line that does not parse.
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
        match self.0.kind() {
            io::ErrorKind::StorageFull => f.write_str("stdout: the disk is full"),
            _ => write!(f, "stdout: {}", self.0),
        }
    }
}

impl std::error::Error for Stdout {}

/// Writes to stdout and flushes. If the reader has closed the pipe, the error is one that [`report`] counts as success.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    Ok(written.map_err(|error| Stdout(limits::explained(error)))?)
}

/// Writes a line to stdout.
pub fn line(line: &str) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes one JSON object to stdout, as a line.
pub fn json(value: &Value) -> anyhow::Result<()> {
    line(&value.to_string())
}

/// A number of things: "1 message", "2 messages". `one` is the name of one, whose plural has an s.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A bar over `length` steps: on stderr, and only if it is a terminal.
pub fn bar(what: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} left, {msg}");
    let bar = ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what.to_owned())
}

/// A spinner with a message, for work of unknown length: on stderr, and only if it is a terminal.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// A dim line for a person: on stderr, and only if it is a terminal.
pub fn note(remark: &str) {
    if io::stderr().is_terminal() {
        let (dim, plain) = if std::env::var_os("NO_COLOR").is_none() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(io::stderr(), "{dim}{}{plain}", printable(remark));
    }
}

/// Additional text that an option requests: on stderr, terminal or not.
pub fn remark(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What users should know about how a model's files were read: on stderr, terminal or not.
pub fn remarks(remarks: &[String]) {
    for text in remarks {
        remark(&format!("remark: {}\n", printable(text)));
    }
}

/// Whether an error comes from writing to stdout.
pub fn is_stdout(error: &anyhow::Error) -> bool {
    error.is::<Stdout>()
}

/// Prints an error and chooses the exit code. A closed stdout is not an error: `sterna … | head` ends quietly.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Stdout>().is_some_and(|stdout| stdout.0.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "error: {}", printable(&message(error)));
    ExitCode::from(if error.is::<Misuse>() { 2 } else { 1 })
}

/// The text of an error. Those of the library and the server are complete by themselves; others are printed with their
/// causes.
pub fn message(error: &anyhow::Error) -> String {
    let library = error.downcast_ref::<sterna::Error>().map(ToString::to_string);
    let server = error.downcast_ref::<sterna_server::Error>().map(ToString::to_string);
    library.or(server).unwrap_or_else(|| format!("{error:#}"))
}

/// Escapes control characters, which must not reach the terminal: messages quote names from files.
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
        assert_eq!([0, 1, 2].map(|number| count(number, "thread")), ["0 threads", "1 thread", "2 threads"]);
        assert_eq!(printable("tensor \u{1b}[2J\rx\n中"), "tensor \\u{1b}[2J\\rx\n中");
    }
}
