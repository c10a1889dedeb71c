//! Reads data files, one part at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sterna::text::{ChatTemplate, Message};

use crate::{Error, Result};

/// Maximum length of a line, in bytes. A row of a `.jsonl` file is a line.
const LONGEST_LINE: u64 = 256 << 20;
/// Texts are cut into parts of about this many bytes, which are tokenised in parallel.
const PART: usize = 1 << 14;
/// After this many bytes a line of a sample is cut at the next white space; after twice as many, anywhere.
const LONG: usize = 1 << 12;
/// How files begin that Git LFS keeps in the place of large ones.
const POINTER: &str = "version https://git-lfs.github.com/spec/";
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// A document, or a part of a long text.
pub(super) struct Part {
    /// Line where the part starts, from 1.
    pub line: u64,
    pub content: Content,
    /// Whether the document ends here.
    pub last: bool,
}

pub(super) enum Content {
    Text(String),
    /// A conversation that ends with an answer.
    Chat(Vec<Message>),
}

impl Content {
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
        }
    }
}

/// The documents of a file: one for a `.txt`, one per line of a `.jsonl`.
pub(super) struct Documents {
    lines: Lines,
    rows: bool,
    /// Parts of the current row that are not returned yet.
    ready: VecDeque<Part>,
    /// The line after the last returned part, and its number.
    carried: Option<(u64, String)>,
}

#[derive(Deserialize)]
struct Row {
    text: Option<String>,
    messages: Option<Vec<Message>>,
}

impl Documents {
    ///
    /// Opens a file of documents.
    ///
    /// # Errors
    /// [`Error::UnknownKind`] if the name ends neither with .txt nor with .jsonl, [`Error::Io`] if the file cannot be
    /// opened.
    pub fn open(path: &Path) -> Result<Self> {
        let end = path.extension().map(|end| end.to_ascii_lowercase());
        let rows = match end.as_deref().and_then(|end| end.to_str()) {
            Some("txt") => false,
            Some("jsonl") => true,
            _ => return Err(Error::UnknownKind { path: path.to_owned() }),
        };
        Ok(Self { lines: Lines::open(path)?, rows, ready: VecDeque::new(), carried: None })
    }

    /// Bytes read, and total bytes.
    pub fn progress(&self) -> (u64, u64) {
        (self.lines.read, self.lines.size.max(self.lines.read))
    }

    /// The next part; `None` at the end of the file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Binary`] if the file is not text, and [`Error::Line`] for an invalid row.
    pub fn next(&mut self) -> Result<Option<Part>> {
        if !self.rows {
            return self.next_of_text();
        }
        while self.ready.is_empty() {
            let Some(line) = self.lines.next()? else { return Ok(None) };
            if !line.trim().is_empty() {
                self.read_row(&line)?;
            }
        }
        Ok(self.ready.pop_front())
    }

    fn next_of_text(&mut self) -> Result<Option<Part>> {
        let first = self.carried.take().map_or_else(|| self.numbered_line(), |line| Ok(Some(line)))?;
        let Some((line, mut text)) = first else { return Ok(None) };
        while let Some((number, next)) = self.numbered_line()? {
            if ends_part(&text, &next) {
                self.carried = Some((number, next));
                return Ok(Some(Part { line, content: Content::Text(text), last: false }));
            }
            text += &next;
        }
        Ok(Some(Part { line, content: Content::Text(text), last: true }))
    }

    fn numbered_line(&mut self) -> Result<Option<(u64, String)>> {
        Ok(self.lines.next()?.map(|line| (self.lines.number, line)))
    }

    fn read_row(&mut self, line: &str) -> Result<()> {
        let number = self.lines.number;
        let part = |content, last| Part { line: number, content, last };
        let wrong = |problem: String, remedy: &str| Error::Line {
            path: self.lines.path.clone(),
            line: number,
            problem,
            remedy: remedy.into(),
        };
        let row: Row = serde_json::from_str(line).map_err(|error| {
            let place = format!("column {}", error.column());
            wrong(format!("no valid row ({place}): {}", without_place(&error)), "write one JSON object a line")
        })?;
        if let Some(messages) = row.messages {
            check(&messages).map_err(|(problem, remedy)| wrong(problem, remedy))?;
            self.ready.push_back(part(Content::Chat(messages), true));
        } else if let Some(text) = row.text {
            let mut text_part = String::new();
            for next in text.split_inclusive('\n') {
                if ends_part(&text_part, next) {
                    self.ready.push_back(part(Content::Text(std::mem::take(&mut text_part)), false));
                }
                text_part += next;
            }
            self.ready.push_back(part(Content::Text(text_part), true));
        } else {
            let remedy = "a row is {\"text\": …} or {\"messages\": [{\"role\": …, \"content\": …}, …]}";
            return Err(wrong("neither \"text\" nor \"messages\"".into(), remedy));
        }
        Ok(())
    }
}

/// Whether a part ends before `next`. In the Llama 3 and Qwen patterns, no word spans a line break that is not followed
/// by white space. So a text's tokens do not depend on where its parts end. Other tokenizers may split one word per
/// part differently.
fn ends_part(part: &str, next: &str) -> bool {
    !part.is_empty() && part.len() + next.len() > PART && !next.starts_with(char::is_whitespace)
}

/// The message of an error without the line number, which is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// Checks that a conversation can be trained on. The error gives the problem and the remedy.
fn check(messages: &[Message]) -> std::result::Result<(), (String, &'static str)> {
    if let Some(message) = messages.iter().find(|message| !ROLES.contains(&message.role.as_str())) {
        let role: String = message.role.chars().take(40).collect();
        return Err((format!("unknown role {role:?}"), "use \"system\", \"user\" and \"assistant\""));
    }
    match messages.last() {
        Some(message) if message.role == "assistant" => Ok(()),
        Some(message) => {
            let problem = format!("the conversation ends with the role {:?}", message.role);
            Err((problem, "end it with an answer of the assistant: only answers are trained on"))
        }
        None => Err(("the conversation is empty".into(), "leave the row out")),
    }
}

/// Reads the lines of a text file.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    /// Number of the last line read, from 1.
    number: u64,
    /// Bytes read.
    read: u64,
    size: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let reader = BufReader::with_capacity(1 << 16, file);
        Ok(Self { path: path.to_owned(), reader, number: 0, read: 0, size })
    }

    /// The next line with its break; `None` at the end.
    fn next(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_LINE + 1);
        if limited.read_until(b'\n', &mut bytes).map_err(Error::io(&self.path))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() as u64 > LONGEST_LINE {
            return Err(Error::Line {
                path: self.path.clone(),
                line: self.number,
                problem: format!("more than {} MiB in one line", LONGEST_LINE >> 20),
                remedy: "break it into several".into(),
            });
        }
        let start = self.read;
        self.read += bytes.len() as u64;
        let binary = |at: usize, problem: &str| Error::Binary {
            path: self.path.clone(),
            line: self.number,
            byte: start + at as u64,
            problem: problem.into(),
        };
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(binary(at, "a zero byte, as binary files have"));
        }
        let mut line = String::from_utf8(bytes)
            .map_err(|error| binary(error.utf8_error().valid_up_to(), "bytes that are not UTF-8 text"))?;
        if self.number == 1 && line.starts_with('\u{feff}') {
            line.drain(..'\u{feff}'.len_utf8());
        }
        if self.number == 1 && line.starts_with(POINTER) {
            return Err(Error::Line {
                path: self.path.clone(),
                line: 1,
                problem: "a Git LFS pointer, which names the real file and its size".into(),
                remedy: "run `git lfs pull` in its folder, or download the file itself".into(),
            });
        }
        Ok(Some(line))
    }
}

/// Checks that a weight is a positive number.
pub(super) fn check_weight(weight: f64) -> Result<()> {
    if weight > 0.0 && weight.is_finite() {
        return Ok(());
    }
    Err(Error::Recipe(format!("{weight} is not a valid weight of a data file; use a number above 0")))
}

/// About `bytes` bytes of text to train a tokenizer on. Lines are taken evenly from all over each file. Each file gives
/// its share by weight, or all its text if it has less. Conversations are rendered with `template`.
///
/// # Errors
/// [`Error::Recipe`] if a weight is not a positive number, [`Error::Template`] if a conversation cannot be rendered,
/// and those of reading a file: [`Error::UnknownKind`], [`Error::Io`], [`Error::Binary`] and [`Error::Line`].
pub fn sample(files: &[(PathBuf, f64)], bytes: u64, template: &ChatTemplate) -> Result<Vec<String>> {
    files.iter().try_for_each(|(_, weight)| check_weight(*weight))?;
    let weights: f64 = files.iter().map(|(_, weight)| weight).sum();
    let mut lines = Vec::new();
    for (path, weight) in files {
        let mut documents = Documents::open(path)?;
        let (_, size) = documents.progress();
        // Every line adds this share of its bytes to a balance. A line is taken when the balance covers it.
        let share = (bytes as f64 * weight / weights / size.max(1) as f64).min(1.0);
        let mut credit = 0.0;
        while let Some(part) = documents.next()? {
            let text = match part.content {
                Content::Text(text) => text,
                Content::Chat(messages) => template.render(&messages).map_err(|error| Error::Template {
                    path: path.clone(),
                    line: part.line,
                    problem: error.to_string(),
                })?,
            };
            let mut length = 0;
            let ends = |c: char| {
                length += c.len_utf8();
                let end = c == '\n' || (length >= LONG && c.is_whitespace()) || length >= 2 * LONG;
                length = if end { 0 } else { length };
                end
            };
            for line in text.split_inclusive(ends) {
                credit += line.len() as f64 * share;
                if credit >= line.len() as f64 {
                    credit -= line.len() as f64;
                    lines.push(line.to_owned());
                }
            }
        }
    }
    Ok(lines)
}
