//! Writes chat data, lists the words of a corpus, and examines a model.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Deserialize;
use sterna::engine::Engine;
use sterna_lessons::exam::{Mark, ask_late_questions, ask_questions, ask_stories};
use sterna_lessons::score::pairs;
use sterna_lessons::{Conversation, conversations, words};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage:
  lessons write --seed N --count N > lessons.jsonl      conversations of a seed
  lessons persona < persona-chat.jsonl > chat.jsonl     conversations of two speakers as messages
  lessons words < corpus.jsonl > words.txt              the words of a corpus that the exam knows
  lessons exam -m MODEL [--json]                        100 questions and 50 stories; prints what went wrong";

/// How often a word must occur in the corpus; once is enough for the nouns of the exam.
const OFTEN: usize = 20;
/// Least context in which questions are also asked at the end of a long conversation.
const CONTEXT: usize = 2048;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lessons: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["write", "--seed", seed, "--count", count] => write(conversations(seed.parse()?).take(count.parse()?).map(Ok)),
        ["persona"] => write(records().map(|record| Ok(Conversation::new(record?.turns)))),
        ["words"] => list_words(),
        ["exam", "-m", model] => exam(model, false),
        ["exam", "-m", model, "--json"] => exam(model, true),
        _ => Err(USAGE.into()),
    }
}

/// Writes conversations as JSON, one per line. Conversations without an answer are left out.
fn write(conversations: impl Iterator<Item = Result<Conversation>>) -> Result {
    let mut out = BufWriter::new(io::stdout().lock());
    for conversation in conversations {
        let conversation = conversation?;
        if !conversation.messages.is_empty() {
            serde_json::to_writer(&mut out, &conversation)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

/// A line of the corpus: a document, or the alternating turns of two speakers.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    text: String,
    #[serde(default)]
    turns: Vec<String>,
}

/// The lines of stdin.
fn records() -> impl Iterator<Item = Result<Record>> {
    io::stdin().lines().enumerate().map(|(at, line)| {
        serde_json::from_str(&line?).map_err(|error| format!("line {} of the input: {error}", at + 1).into())
    })
}

fn list_words() -> Result {
    let mut counts = BTreeMap::<String, usize>::new();
    for record in records() {
        let record = record?;
        for text in record.turns.iter().chain([&record.text]) {
            for word in words::words(text) {
                *counts.entry(word).or_default() += 1;
            }
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let nouns: HashSet<String> = pairs().into_iter().flat_map(|pair| pair.nouns).collect();
    for (word, _) in counts.iter().filter(|(word, count)| **count >= OFTEN || nouns.contains(*word)) {
        writeln!(out, "{word}")?;
    }
    Ok(out.flush()?)
}

fn exam(model: &str, json: bool) -> Result {
    let engine = Engine::builder().open(model)?;
    let mut parts = vec![("questions", ask_questions(&engine)?), ("stories", ask_stories(&engine)?)];
    if engine.context() >= CONTEXT {
        parts.push(("questions after a long conversation", ask_late_questions(&engine)?));
    }
    let right = |marks: &[Mark]| marks.iter().filter(|mark| mark.fault.is_none()).count();
    if json {
        let result: BTreeMap<_, _> = parts.iter().map(|(name, marks)| (*name, marks)).collect();
        println!("{}", serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    for (name, marks) in &parts {
        for mark in marks {
            if let Some(fault) = &mark.fault {
                println!("{}: {}\n  {}\n  → {fault}\n", mark.topic, mark.ask, mark.answer.trim().replace('\n', "\n  "));
            }
        }
        println!("{} of {} {name} right\n", right(marks), marks.len());
    }
    Ok(())
}
