//! Multiple choice, scored as lm-evaluation-harness does over a server.
//!
//! Source: lm-evaluation-harness 0.4.13, `api/model.py` (`_encode_pair`, `loglikelihood`) and `api/task.py`
//! (`process_results` of `multiple_choice`).

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;
use sterna::engine::Engine;
use sterna::text::Tokenizer;

use crate::input;
use crate::output::{self, Misuse};

/// A question.
#[derive(Debug, Deserialize)]
pub struct Question {
    context: String,
    choices: Vec<String>,
    /// Index of the right choice.
    answer: usize,
    /// What stands between the context and a choice.
    #[serde(default = "space")]
    delimiter: String,
}

fn space() -> String {
    " ".into()
}

/// The questions of a file, one in each line. Empty lines are none.
pub fn read(path: &Path) -> anyhow::Result<Vec<Question>> {
    let all = input::file(path)?;
    let name = if path.as_os_str() == "-" { "stdin".into() } else { path.display().to_string() };
    let lines = all.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let questions = lines.map(|(line, number)| Question::of(line).with_context(|| format!("{name}: line {number}")));
    let questions = questions.collect::<anyhow::Result<Vec<_>>>()?;
    if questions.is_empty() {
        bail!(Misuse(format!("{name} has no line, so there is no question to answer")));
    }
    Ok(questions)
}

impl Question {
    fn of(line: &str) -> anyhow::Result<Self> {
        const FORM: &str = "a question is {\"context\": \"…\", \"choices\": [\"…\", \"…\"], \"answer\": 0}";
        let question: Self = serde_json::from_str(line).map_err(|error| anyhow::anyhow!("{error}; {FORM}"))?;
        let Self { choices, answer, .. } = &question;
        if *answer >= choices.len() {
            bail!(
                "answer is {answer}, but the question has {}, numbered from 0",
                output::count(choices.len(), "choice")
            );
        }
        if let Some(empty) = choices.iter().position(String::is_empty) {
            bail!("choice {empty} is empty, so it has no likelihood; leave it out");
        }
        Ok(question)
    }

    /// The token ids of the context and of each choice after it.
    fn encode(&self, tokenizer: &Tokenizer) -> anyhow::Result<Vec<(Vec<u32>, Vec<u32>)>> {
        self.choices.iter().map(|choice| pair(tokenizer, &self.context, &(self.delimiter.clone() + choice))).collect()
    }
}

/// The token ids of a context and its continuation: the whole text is encoded, and what comes after as many tokens as the
/// context has alone is the continuation. White space at the end of the context belongs to the continuation. An empty
/// context is BOS, or else EOS.
fn pair(tokenizer: &Tokenizer, context: &str, continuation: &str) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let whole = tokenizer.encode(&format!("{context}{continuation}"))?;
    let before = tokenizer.encode(context.trim_end_matches(is_space))?;
    if !before.is_empty() {
        let rest = whole.get(before.len()..).unwrap_or_default().to_vec();
        return Ok((before, rest));
    }
    match tokenizer.bos().or(tokenizer.eos()) {
        Some(first) if whole.first() != Some(&first) => Ok((vec![first], whole)),
        Some(first) => Ok((vec![first], whole[1..].to_vec())),
        None => bail!("a context is empty, and the model has neither a BOS nor an EOS token to stand for it"),
    }
}

/// White space as Python's `str.rstrip` has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// What the log-likelihood of a choice is divided by.
type Length = fn(&str) -> usize;

/// The ways to choose, with their names.
const WAYS: [(&str, Length); 3] =
    [("acc", |_| 1), ("acc_norm", |choice| choice.chars().count()), ("acc_bytes", str::len)];

/// The choice with the greatest log-likelihood by length, the first of equal ones.
fn chosen(question: &Question, loglikelihoods: &[f64], length: Length) -> usize {
    let by_length = question.choices.iter().zip(loglikelihoods).map(|(choice, sum)| sum / length(choice) as f64);
    let best = by_length.enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map_or(0, |(index, _)| index)
}

pub fn run(engine: &Engine, questions: &[Question], json: bool) -> anyhow::Result<()> {
    let pairs = pairs(engine, questions)?;
    let (answers, bar) = (pairs.len(), output::bar("scoring", pairs.len() as u64));
    let sums = engine.loglikelihoods(pairs).inspect(|_| bar.inc(1)).collect::<Result<Vec<f64>, _>>()?;
    bar.finish_and_clear();
    let mut rest = &sums[..];
    let with_sums = questions.iter().map(|question| {
        let (own, after) = rest.split_at(question.choices.len());
        rest = after;
        (question, own)
    });
    let with_sums: Vec<(&Question, &[f64])> = with_sums.collect();
    let accuracies = WAYS.map(|(name, length)| (name, accuracy(&with_sums, length)));
    if json {
        let results = with_sums.iter().map(|(question, sums)| {
            let chosen = WAYS.map(|(name, length)| (name.to_owned(), chosen(question, sums, length).into()));
            json!({ "loglikelihoods": sums, "chosen": serde_json::Map::from_iter(chosen) })
        });
        let mut object = json!({ "questions": questions.len(), "choices": answers });
        for (name, (share, error)) in accuracies {
            object[name] = share.into();
            object[format!("{name}_stderr")] = error.into();
        }
        object["results"] = results.collect();
        object["isa"] = engine.isa().into();
        object["threads"] = engine.threads().into();
        return output::json(&object);
    }
    let line = |(name, (share, error))| format!("{name:<9} {share:.4} ± {error:.4} (standard error)\n");
    let lines: String = accuracies.map(line).concat();
    output::text(&format!("{lines}{} with {answers} choices\n", output::count(questions.len(), "question")))
}

/// The token ids of the contexts and choices of all questions.
fn pairs(engine: &Engine, questions: &[Question]) -> anyhow::Result<Vec<(Vec<u32>, Vec<u32>)>> {
    let tokenizer = engine.tokenizer()?;
    let mut pairs = Vec::new();
    for (question, number) in questions.iter().zip(1..) {
        let encoded = question.encode(tokenizer).with_context(|| format!("question {number}"))?;
        let most = encoded.iter().map(|(context, rest)| context.len() + rest.len()).max().unwrap_or(0);
        if most > engine.context() {
            let context = engine.context();
            bail!("question {number} has {most} tokens, and the context holds {context}; set --ctx, or shorten it");
        }
        pairs.extend(encoded);
    }
    Ok(pairs)
}

/// The share of questions with the right choice, and its standard error: that of a mean of ones and zeros, with the variance
/// of the sample.
fn accuracy(questions: &[(&Question, &[f64])], length: Length) -> (f64, f64) {
    let right = questions.iter().filter(|(question, sums)| chosen(question, sums, length) == question.answer).count();
    let (share, count) = (right as f64 / questions.len() as f64, questions.len() as f64);
    (share, (share * (1.0 - share) / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(choices: &[&str]) -> Question {
        let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
        Question { context: String::new(), choices, answer: 0, delimiter: space() }
    }

    #[test]
    fn lengths_are_characters_or_bytes_and_the_first_of_equal_choices_wins() {
        let names = WAYS.map(|(name, _)| name);
        let chosen = |choices: &[&str], sums: &[f64]| WAYS.map(|(_, length)| chosen(&question(choices), sums, length));
        assert_eq!(names, ["acc", "acc_norm", "acc_bytes"]);
        assert_eq!(chosen(&["ab", "abcdef", "äöü"], &[-2.0, -3.0, -1.6]), [2, 1, 2]);
        assert_eq!(chosen(&["ab", "abcdef", "äöü"], &[-2.0, -3.6, -1.8]), [2, 1, 2]);
        assert_eq!(chosen(&["aaaa", "äöü"], &[-4.0, -3.0]), [1, 0, 1]);
        assert_eq!(chosen(&["a", "b"], &[-1.0, -1.0]), [0, 0, 0]);
    }

    #[test]
    fn questions_that_cannot_be_asked_are_named() {
        for (line, words) in [
            (
                r#"{"context": "a", "choices": ["b"], "answer": 1}"#,
                "answer is 1, but the question has 1 choice, numbered from 0",
            ),
            (r#"{"context": "a", "choices": ["b", ""], "answer": 0}"#, "choice 1 is empty"),
            (r#"{"context": "a", "answer": 0}"#, "missing field `choices`"),
            (r#"{"context": "a", "choices": [], "answer": 0}"#, "0 choices"),
            ("x", "a question is"),
        ] {
            let error = Question::of(line).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let good = Question::of(r#"{"context": "a", "choices": ["b"], "answer": 0, "id": 3}"#).unwrap();
        assert_eq!(good.delimiter, " ");
    }
}
