//! Runs the exam: every question at temperature 0, and one story for every pair of nouns at temperature 0.7.

use serde::Serialize;
use sterna::engine::{Engine, Event, Request, Sampling};
use sterna::text::Message;

use crate::score::{judge, judge_story, known_words, pairs, questions};

/// Token limit of an answer: about twice the number of words allowed in a story.
const TOKENS: usize = 600;

/// One question, the model's answer, and its mark.
#[derive(Debug, Serialize)]
pub struct Mark {
    /// Its topic; `sampled story` for a pair of nouns.
    pub topic: String,
    /// The user's message.
    pub ask: String,
    /// The model's answer.
    pub answer: String,
    /// The rule that the answer broke; `None` if the answer is right.
    pub fault: Option<String>,
}

/// The model's answer to one message.
///
/// # Errors
/// If the model has no tokenizer or template, or the engine fails.
pub fn answer(engine: &Engine, ask: &str, sampling: Sampling) -> sterna::Result<String> {
    let said = [Message { role: "user".into(), content: ask.into() }];
    let prompt = engine.template()?.encode(engine.tokenizer()?, &said)?;
    let mut answer = String::new();
    for event in engine.generate(Request::new(prompt).max_tokens(TOKENS).sampling(sampling))? {
        match event? {
            Event::Token { text, .. } | Event::Finished { text, .. } => answer.push_str(&text),
            _ => {}
        }
    }
    Ok(answer)
}

/// Asks the 100 questions.
///
/// # Errors
/// As [`answer`].
pub fn ask_questions(engine: &Engine) -> sterna::Result<Vec<Mark>> {
    let mark = |question: crate::score::Question| {
        let answer = answer(engine, &question.ask, Sampling::default())?;
        let fault = judge(&question, &answer).err();
        Ok(Mark { topic: question.topic, ask: question.ask, answer, fault })
    };
    questions().into_iter().map(mark).collect()
}

/// Asks for the 50 stories, at temperature 0.7 with the number of the story as the seed.
///
/// # Errors
/// As [`answer`].
pub fn ask_stories(engine: &Engine) -> sterna::Result<Vec<Mark>> {
    let known = known_words();
    let mark = |(seed, pair): (u64, crate::score::Pair)| {
        let ask = pair.ask();
        let answer = answer(engine, &ask, Sampling::default().temperature(0.7).seed(seed))?;
        let fault = judge_story([&pair.nouns[0], &pair.nouns[1]], &answer, &known).err();
        Ok(Mark { topic: "sampled story".into(), ask, answer, fault })
    };
    (0..).zip(pairs()).map(mark).collect()
}
