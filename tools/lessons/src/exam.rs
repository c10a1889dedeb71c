//! Runs the exam: every question at temperature 0, alone and at the end of a long conversation, and one story for every
//! pair of nouns at temperature 0.7.

use serde::Serialize;
use sterna::engine::{Engine, Event, Request, Sampling};
use sterna::text::Message;

use crate::conversations;
use crate::score::{judge, judge_story, known_words, pairs, questions};

/// Token limit of an answer: about twice the number of words allowed in a story.
const TOKENS: usize = 600;
/// Least number of tokens of a long conversation.
const LONG: usize = 1536;
/// Number of long conversations. Each is asked as many questions, in a row, so that its prefix is computed once.
const TALKS: usize = 5;
/// Seed of the lessons in long conversations. The model was not trained with lessons of this seed.
const SEED: u64 = 9;

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

/// The model's answer to a user's message at the end of a conversation.
///
/// # Errors
/// If the model has no tokenizer or template, or the engine fails.
pub fn answer(engine: &Engine, earlier: &[Message], ask: &str, sampling: Sampling) -> sterna::Result<String> {
    let messages = [earlier, &[Message { role: "user".into(), content: ask.into() }]].concat();
    let prompt = engine.template()?.encode(engine.tokenizer()?, &messages)?;
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
    ask_after(engine, &[vec![]])
}

/// Asks the 100 questions, each at the end of a conversation of 1,536 tokens or more.
///
/// # Errors
/// As [`answer`].
pub fn ask_late_questions(engine: &Engine) -> sterna::Result<Vec<Mark>> {
    ask_after(engine, &long_conversations(engine)?)
}

/// Asks the 100 questions, each at the end of one of these conversations, in their order.
fn ask_after(engine: &Engine, conversations: &[Vec<Message>]) -> sterna::Result<Vec<Mark>> {
    let mark = |(question, earlier): (crate::score::Question, &Vec<Message>)| {
        let answer = answer(engine, earlier, &question.ask, Sampling::default())?;
        let fault = judge(&question, &answer).err();
        Ok(Mark { topic: question.topic, ask: question.ask, answer, fault })
    };
    let questions = questions();
    let share = questions.len().div_ceil(conversations.len());
    let earlier = conversations.iter().flat_map(|messages| std::iter::repeat_n(messages, share));
    questions.into_iter().zip(earlier).map(mark).collect()
}

/// Conversations of lessons, one after another. Each ends with the lesson that makes it long enough.
fn long_conversations(engine: &Engine) -> sterna::Result<Vec<Vec<Message>>> {
    let (mut long, mut messages) = (Vec::new(), Vec::new());
    let mut lessons = conversations(SEED);
    while long.len() < TALKS {
        let lesson = lessons.next().into_iter().flat_map(|lesson| lesson.messages);
        messages.extend(lesson.map(|message| Message { role: message.role, content: message.content }));
        if engine.template()?.encode(engine.tokenizer()?, &messages)?.len() >= LONG {
            long.push(std::mem::take(&mut messages));
        }
    }
    Ok(long)
}

/// Asks for the 50 stories, at temperature 0.7 with the number of the story as the seed.
///
/// # Errors
/// As [`answer`].
pub fn ask_stories(engine: &Engine) -> sterna::Result<Vec<Mark>> {
    let known = known_words();
    let mark = |(seed, pair): (u64, crate::score::Pair)| {
        let ask = pair.ask();
        let answer = answer(engine, &[], &ask, Sampling::default().temperature(0.7).seed(seed))?;
        let fault = judge_story([&pair.nouns[0], &pair.nouns[1]], &answer, &known).err();
        Ok(Mark { topic: "sampled story".into(), ask, answer, fault })
    };
    (0..).zip(pairs()).map(mark).collect()
}
