//! The rules of the exam. They depend only on the words of an answer, so the same answer always gets the same mark.
//!
//! Every answer must
//! - have at least one word, and at most as many words as its topic allows ([`Question::limit`]),
//! - end in `.`, `!` or `?` (a story: in `.`),
//! - contain no run of four words three times.
//!
//! Further rules depend on the fields of the question:
//! - `right`: of each group, one alternative stands in the answer as whole words, upper case or not. An alternative with
//!   a sign (`-1`, `+1`) must stand there as it is, with no letter or digit at its sides.
//! - `wrong`: none of these stands there.
//! - `number`: the last number of the answer, in digits or in words up to ninety-nine, is this one.
//! - `form` `joke`: at least 8 words, a question mark, and after the last one at least one word (the point of the joke).
//! - `form` `riddle`: at least 5 words, and the answer ends in a question mark or has a sentence that does.
//! - `nouns`: at least 3 sentences name both nouns (each as such, in the plural or the possessive), in 40 words or more.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::words::{four_grams, sentences, words};

/// One question of the exam and the rules for its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The user's message.
    pub ask: String,
    /// Its topic: `greeting`, `identity`, `ternary`, `arithmetic`, `opposite`, `colour`, `joke`, `riddle` or `story`.
    pub topic: String,
    /// Groups of alternatives; the answer must have one of each group.
    #[serde(default)]
    pub right: Vec<Vec<String>>,
    /// Phrases that the answer must not have.
    #[serde(default)]
    pub wrong: Vec<String>,
    /// Expected last number of the answer.
    pub number: Option<u32>,
    /// The form of the answer where its words are free.
    pub form: Option<Form>,
    /// The nouns that the story must name.
    pub nouns: Option<[String; 2]>,
}

/// The form of an answer whose words are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A question and its punch line.
    Joke,
    /// A question.
    Riddle,
}

/// Two nouns for a story.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The nouns, in the singular.
    pub nouns: [String; 2],
}

impl Pair {
    /// The user's message: "Tell me a story about a fox and a key."
    pub fn ask(&self) -> String {
        let [a, b] = &self.nouns;
        format!("Tell me a story about {} {a} and {} {b}.", article(a), article(b))
    }
}

/// "an" before a vowel, "a" otherwise.
pub fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The 100 questions.
///
/// # Panics
/// Never: a test reads them.
pub fn questions() -> Vec<Question> {
    read(include_str!("../questions.jsonl"))
}

/// The 50 pairs of nouns.
///
/// # Panics
/// Never: a test reads them.
pub fn pairs() -> Vec<Pair> {
    read(include_str!("../stories.jsonl"))
}

/// The words that occur in the corpus 20 times or more, and the nouns of the pairs.
pub fn known_words() -> HashSet<String> {
    include_str!("../words.txt").lines().map(str::to_owned).collect()
}

fn read<T: for<'a> Deserialize<'a>>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).expect("the exam is part of the source")).collect()
}

impl Question {
    /// Maximum number of words of an answer: 400 for a story, 60 for a joke, a riddle and talk, 24 for one fact.
    pub fn limit(&self) -> usize {
        match self.topic.as_str() {
            "story" => 400,
            "arithmetic" | "opposite" | "colour" => 24,
            _ => 60,
        }
    }
}

/// Marks an answer.
///
/// # Errors
/// The error names the broken rule.
pub fn judge(question: &Question, answer: &str) -> Result<(), String> {
    let answer = answer.trim();
    let said = words(answer);
    if said.is_empty() {
        return Err("empty".into());
    }
    if said.len() > question.limit() {
        return Err(format!("{} words, more than {}", said.len(), question.limit()));
    }
    if !answer.ends_with(['.', '!', '?']) {
        return Err("does not end in . ! or ?".into());
    }
    repeats(&said)?;
    for group in &question.right {
        if !group.iter().any(|phrase| has(answer, &said, phrase)) {
            return Err(format!("has none of {group:?}"));
        }
    }
    if let Some(phrase) = question.wrong.iter().find(|phrase| has(answer, &said, phrase)) {
        return Err(format!("has {phrase:?}"));
    }
    if let Some(number) = question.number {
        match numbers(&said).last() {
            Some(&last) if last == number => {}
            last => return Err(format!("its last number is {last:?}, not {number}")),
        }
    }
    match question.form {
        Some(Form::Joke) => joke(answer, &said)?,
        Some(Form::Riddle) => riddle(answer, &said)?,
        None => {}
    }
    match &question.nouns {
        Some([a, b]) => story([a, b], answer, &said),
        None => Ok(()),
    }
}

/// Marks a sampled story about two nouns: the rules for a story, and at least 97 % of its words are `known`.
///
/// # Errors
/// The error names the broken rule.
pub fn judge_story(nouns: [&str; 2], text: &str, known: &HashSet<String>) -> Result<(), String> {
    let text = text.trim();
    let said = words(text);
    repeats(&said)?;
    story(nouns, text, &said)?;
    let strange: Vec<_> = said.iter().filter(|word| !known.contains(*word)).collect();
    if strange.len() * 100 > said.len() * 3 {
        return Err(format!("{} of {} words are not words of the corpus: {strange:?}", strange.len(), said.len()));
    }
    Ok(())
}

fn story(nouns: [&str; 2], text: &str, said: &[String]) -> Result<(), String> {
    if said.len() < 40 {
        return Err(format!("{} words, fewer than 40", said.len()));
    }
    if !text.ends_with('.') {
        return Err("does not end in a full stop".into());
    }
    let both = sentences(text).iter().filter(|sentence| nouns.iter().all(|noun| names(sentence, noun))).count();
    if both < 3 { Err(format!("{both} sentences name both {nouns:?}, fewer than 3")) } else { Ok(()) }
}

/// Whether a sentence names a noun: the noun itself, with `s` or `es`, or either with an apostrophe and `s`.
pub fn names(sentence: &str, noun: &str) -> bool {
    words(sentence).iter().any(|word| {
        let word = word.strip_suffix("'s").unwrap_or(word);
        word.strip_prefix(noun).is_some_and(|rest| matches!(rest, "" | "s" | "es"))
    })
}

fn joke(answer: &str, said: &[String]) -> Result<(), String> {
    let point = answer.rsplit_once('?').map(|(_, point)| words(point)).unwrap_or_default();
    if said.len() < 8 || point.is_empty() { Err("not a question and its point".into()) } else { Ok(()) }
}

fn riddle(answer: &str, said: &[String]) -> Result<(), String> {
    let asks = sentences(answer).iter().any(|sentence| sentence.trim_end_matches(['"', '”']).ends_with('?'));
    if said.len() < 5 || !asks { Err("asks no riddle".into()) } else { Ok(()) }
}

/// Fails if a run of four words occurs three times.
fn repeats(said: &[String]) -> Result<(), String> {
    let mut counts = HashMap::new();
    for run in four_grams(said) {
        let count = counts.entry(run).or_insert(0);
        *count += 1;
        if *count == 3 {
            return Err(format!("repeats {:?}", run.join(" ")));
        }
    }
    Ok(())
}

fn has(answer: &str, said: &[String], phrase: &str) -> bool {
    if phrase.starts_with(['-', '+']) {
        let answer = answer.replace('−', "-");
        let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        return answer
            .match_indices(phrase)
            .any(|(at, _)| free(answer[..at].chars().next_back()) && free(answer[at + phrase.len()..].chars().next()));
    }
    let phrase = words(phrase);
    said.windows(phrase.len()).any(|run| run == phrase)
}

/// The numbers below twenty.
pub(crate) const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
/// Twenty, thirty and so on.
pub(crate) const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// The numbers of a text in order: runs of digits, and words from zero to ninety-nine.
pub fn numbers(said: &[String]) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut ten = None;
    for word in said {
        let unit = UNITS.iter().position(|name| name == word).map(|n| n as u32);
        match (ten.take(), unit) {
            (Some(tens), Some(unit)) if (1..10).contains(&unit) => {
                numbers.pop();
                numbers.push(tens + unit);
            }
            (_, Some(unit)) => numbers.push(unit),
            _ => {
                ten = TENS.iter().position(|name| name == word).map(|n| 20 + 10 * n as u32);
                numbers.extend(ten.or_else(|| word.parse().ok()));
            }
        }
    }
    numbers
}
