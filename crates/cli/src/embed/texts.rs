//! The texts to embed: arguments, files, lines of JSON, stdin, or token ids.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::input::{self, without_last_break};
use crate::output::Misuse;

/// Options that name texts; one kind at a time.
#[derive(clap::Args)]
pub struct Texts {
    /// The texts; `-` or nothing: read one from stdin
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "jsonl", "tokens"])]
    text: Vec<String>,
    /// Read a text from a file, without its last line break; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["jsonl", "tokens"])]
    file: Vec<PathBuf>,
    /// Read texts from lines of JSON; `-`: from stdin
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    jsonl: Option<PathBuf>,
    /// The token ids of a text, with commas between, taken as given; may be repeated
    #[arg(long, value_name = "IDS", value_parser = ids)]
    tokens: Vec<Tokens>,
}

/// The token ids of a text.
#[derive(Clone, Debug)]
struct Tokens(Vec<u32>);

fn ids(list: &str) -> Result<Tokens, String> {
    let id = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is not a token id"));
    list.split(',').map(id).collect::<Result<_, _>>().map(Tokens)
}

/// A text to embed.
#[derive(Debug, PartialEq)]
pub enum Text {
    Text(String),
    /// Token ids, to be taken as they are.
    Tokens(Vec<u32>),
}

/// A line of JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Object { text: String },
    Tokens { tokens: Vec<u32> },
}

impl Texts {
    /// All texts; at least one.
    pub fn read(&self) -> anyhow::Result<Vec<Text>> {
        if let Some(path) = &self.jsonl {
            return lines(path);
        }
        if !self.tokens.is_empty() {
            return Ok(self.tokens.iter().map(|Tokens(ids)| Text::Tokens(ids.clone())).collect());
        }
        let one = |text| Text::Text(without_last_break(text));
        if !self.file.is_empty() {
            return self.file.iter().map(|path| input::file(path).map(one)).collect();
        }
        match &self.text[..] {
            [] => Ok(vec![one(input::stdin(false)?)]),
            [text] if text == "-" => Ok(vec![one(input::stdin(true)?)]),
            texts => Ok(texts.iter().map(|text| Text::Text(text.clone())).collect()),
        }
    }
}

/// The texts of a file with one in each line. Empty lines are none.
fn lines(path: &Path) -> anyhow::Result<Vec<Text>> {
    let all = input::file(path)?;
    let name = if path.as_os_str() == "-" { "stdin".into() } else { path.display().to_string() };
    let lines = all.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let texts = lines.map(|(line, number)| text(line).with_context(|| format!("{name}: line {number}")));
    let texts = texts.collect::<anyhow::Result<Vec<_>>>()?;
    if texts.is_empty() {
        bail!(Misuse(format!("{name} has no line, so there is no text to embed")));
    }
    Ok(texts)
}

fn text(line: &str) -> anyhow::Result<Text> {
    match serde_json::from_str(line) {
        Ok(Line::Text(text) | Line::Object { text }) => Ok(Text::Text(text)),
        Ok(Line::Tokens { tokens }) => Ok(Text::Tokens(tokens)),
        Err(error) if error.is_data() => {
            bail!("it is no text: write a text in quotes, {{\"text\": \"…\"}} or {{\"tokens\": [1, 2, …]}}")
        }
        Err(error) => bail!("it is not valid JSON: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_or_token_ids() {
        assert_eq!(text(r#""a\nb""#).unwrap(), Text::Text("a\nb".into()));
        assert_eq!(text(r#"{"id": 7, "text": "a"}"#).unwrap(), Text::Text("a".into()));
        assert_eq!(text(r#"{"tokens": [3, 1]}"#).unwrap(), Text::Tokens(vec![3, 1]));
        for (line, problem) in [("7", "it is no text"), (r#"{"tokens": [-1]}"#, "no text"), ("{", "not valid JSON")] {
            assert!(text(line).unwrap_err().to_string().contains(problem), "{line}");
        }
    }
}
