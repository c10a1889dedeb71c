//! The interactive conversation of `sterna chat`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use sterna::engine::{Engine, Request};

use crate::answer::Answer;
use crate::conversation::Conversation;
use crate::{interrupt, output};

const HELP: &str = r#"/help          this text
/save FILE     write the conversation to a file, as JSON
/clear         forget the conversation
/system TEXT   give the model instructions from now on; without a text: none
/exit          leave (or Ctrl-D)

Ctrl-C stops an answer. A line that ends with \ goes on in the next one; so does everything
between """ and """."#;

/// A conversation at a terminal.
pub struct Repl {
    engine: Engine,
    request: Request,
    conversation: Conversation,
    editor: Editor<Multiline, FileHistory>,
    history: Option<PathBuf>,
}

/// A parsed entry.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Nothing,
    Help,
    Save(PathBuf),
    Clear,
    System(String),
    Exit,
    Wrong(String),
    Message(String),
}

impl Repl {
    /// A new conversation. Every answer is a copy of `request` with another prompt and seed.
    pub fn new(engine: Engine, request: Request, system: Option<String>) -> anyhow::Result<Self> {
        engine.template()?;
        engine.tokenizer()?;
        interrupt::is_noticed()?;
        let mut editor = Editor::with_config(Config::builder().max_history_size(1000)?.build())?;
        editor.set_helper(Some(Multiline));
        let history = history_file();
        if let Some(path) = &history {
            // A missing or unreadable history counts as an empty one.
            let _ = editor.load_history(path);
        }
        Ok(Self { engine, request, conversation: Conversation::new(system), editor, history })
    }

    /// Reads and answers until the person leaves.
    pub fn run(mut self) -> anyhow::Result<()> {
        let (isa, threads, context) = (self.engine.isa(), self.engine.threads(), self.engine.context());
        let threads = output::count(threads, "thread");
        output::note(&format!("{isa}, {threads}, context of {context} tokens. /help for help, Ctrl-D to leave."));
        loop {
            let line = match self.editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    output::note("Ctrl-D or /exit leaves.");
                    continue;
                }
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) if is_not_text(&error) => {
                    output::note("(not sent: the line has bytes that are no UTF-8 text; set the terminal to UTF-8)");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.remember(&line);
            match entry(&line) {
                Entry::Nothing => {}
                Entry::Help => output::line(HELP)?,
                Entry::Save(path) => self.save(&path),
                Entry::Clear => self.conversation.clear(),
                Entry::System(text) => self.conversation.instruct(text),
                Entry::Exit => return Ok(()),
                Entry::Wrong(problem) => output::note(&problem),
                Entry::Message(message) => self.answer(message)?,
            }
        }
    }

    fn answer(&mut self, message: String) -> anyhow::Result<()> {
        self.conversation.say("user", message);
        interrupt::happened();
        match self.generate() {
            Ok(answer) if !answer.tokens.is_empty() || answer.reason.is_some() => {
                if !answer.text.ends_with('\n') {
                    output::text("\n")?;
                }
                output::note(&answer.speed(&self.engine));
                self.conversation.say("assistant", answer.text);
            }
            Ok(_) => {
                output::note("(stopped; your message is forgotten)");
                self.conversation.take_back();
            }
            // Without stdout the program is useless; any other error concerns this message only.
            Err(error) if output::is_stdout(&error) => return Err(error),
            Err(error) => {
                output::note(&format!("error: {}", output::message(&error)));
                self.conversation.take_back();
            }
        }
        Ok(())
    }

    fn generate(&mut self) -> anyhow::Result<Answer> {
        let context = self.engine.context();
        let room = self.request.max_tokens.unwrap_or(context / 4).min(context / 2);
        let (prompt, dropped) = self.conversation.prompt_within(&self.engine, context - room)?;
        if dropped > 0 {
            let (oldest, fit) = (output::count(dropped, "oldest message"), if dropped == 1 { "fits" } else { "fit" });
            output::note(&format!("(dropped: the {oldest}, which no longer {fit} into the context)"));
        }
        let request = self.request.clone().prompt(prompt);
        // Each answer gets a seed of its own, and the first seed still determines the whole conversation.
        self.request.sampling.seed = self.request.sampling.seed.wrapping_add(1);
        Answer::collect(self.engine.generate(request)?, output::text, interrupt::happened)
    }

    fn save(&self, path: &Path) {
        let messages = self.conversation.messages();
        let text = serde_json::to_string_pretty(&messages).map_err(anyhow::Error::from);
        let saved = text.and_then(|text| std::fs::write(path, text + "\n").context(path.display().to_string()));
        output::note(&match saved {
            Ok(()) => format!("wrote {} to {}", output::count(messages.len(), "message"), path.display()),
            Err(error) => format!("error: {error:#}"),
        });
    }

    fn remember(&mut self, line: &str) {
        let new = !line.trim().is_empty() && self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(path)) = (new, &self.history) {
            // A history that cannot be written does not end the conversation.
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.append_history(path);
        }
    }
}

/// Whether a line could not be read because it has bytes that are no UTF-8 text.
fn is_not_text(error: &ReadlineError) -> bool {
    matches!(error, ReadlineError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData)
}

/// File of the entries of earlier conversations, by the XDG base directory specification.
fn history_file() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .or_else(|| folder("LOCALAPPDATA"))?;
    Some(state.join("sterna").join("history"))
}

fn entry(line: &str) -> Entry {
    let message = unfold(line);
    let trimmed = line.trim();
    let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    match (word, rest.trim()) {
        ("", _) => Entry::Nothing,
        ("/help", "") => Entry::Help,
        ("/save", "") => Entry::Wrong("/save needs the name of a file".into()),
        ("/save", file) => Entry::Save(file.into()),
        ("/clear", "") => Entry::Clear,
        ("/system", text) => Entry::System(text.into()),
        ("/exit", "") => Entry::Exit,
        // Paths are common at the start of a message; commands have one slash.
        _ if word.starts_with('/') && !word[1..].contains('/') => Entry::Wrong(format!("{word}: see /help")),
        _ if message.trim().is_empty() => Entry::Nothing,
        _ => Entry::Message(message),
    }
}

/// The message without the marks of multi-line input: `\` before a line break, `"""` around a block.
fn unfold(line: &str) -> String {
    match line.trim().strip_prefix(QUOTES) {
        Some(block) => block.strip_suffix(QUOTES).unwrap_or(block).trim_matches('\n').into(),
        None => line.replace("\\\n", "\n"),
    }
}

const QUOTES: &str = r#"""""#;

/// Whether the entry continues on the next line.
fn goes_on(text: &str) -> bool {
    match text.trim().strip_prefix(QUOTES) {
        Some(block) => !block.ends_with(QUOTES),
        None => text.ends_with('\\'),
    }
}

/// Tells the line editor when an entry of several lines is complete.
struct Multiline;

impl Validator for Multiline {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if goes_on(context.input()) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Multiline {
    type Candidate = String;
}

impl Hinter for Multiline {
    type Hint = String;
}

impl Highlighter for Multiline {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }
}

impl Helper for Multiline {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let message = |text: &str| Entry::Message(text.into());
        for (line, expected) in [
            ("", Entry::Nothing),
            ("  ", Entry::Nothing),
            ("/help", Entry::Help),
            (" /exit ", Entry::Exit),
            ("/clear", Entry::Clear),
            ("/save my talk.json", Entry::Save("my talk.json".into())),
            ("/save", Entry::Wrong("/save needs the name of a file".into())),
            ("/system", Entry::System(String::new())),
            ("/system Be kind.", Entry::System("Be kind.".into())),
            ("/nothing", Entry::Wrong("/nothing: see /help".into())),
            ("/etc/passwd is what?", message("/etc/passwd is what?")),
            ("你好 🦜", message("你好 🦜")),
            ("one\\\ntwo", message("one\ntwo")),
            ("\"\"\"\na\n\n/b\n\"\"\"", message("a\n\n/b")),
            ("\"\"\"\"\"\"", Entry::Nothing),
        ] {
            assert_eq!(entry(line), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_that_go_on() {
        for text in ["a\\", "\"\"\"", "\"\"\"a\nb", "\"\"\"a\n\"\""] {
            assert!(goes_on(text), "{text:?}");
        }
        for text in ["a", "a\\\nb", "\"\"\"a\"\"\"", "\"\"\"\na\n\"\"\"\n", "\"\"", ""] {
            assert!(!goes_on(text), "{text:?}");
        }
    }
}
