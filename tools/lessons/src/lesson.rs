//! Conversations: choice of topics, number of turns and their order.

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::random::Random;
use crate::topics::{self, Exchange, MIX, Topic};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// A conversation: user and assistant in turn, the user first and the assistant last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages in order.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// A conversation in which two speakers alternate. If the first speaker has the last turn, that turn is left out.
    pub fn new(turns: impl IntoIterator<Item = String>) -> Self {
        let roles = ["user", "assistant"].into_iter().cycle();
        let mut messages: Vec<_> =
            roles.zip(turns).map(|(role, content)| Message { role: role.into(), content }).collect();
        if messages.len() % 2 == 1 {
            messages.pop();
        }
        Self { messages }
    }
}

/// An endless stream of lessons. The same seed gives the same lessons.
pub fn conversations(seed: u64) -> impl Iterator<Item = Conversation> {
    let mut random = Random::new(seed);
    let filter = Filter::default();
    std::iter::repeat_with(move || conversation(&mut random, &filter))
}

/// Six of ten conversations have one topic. A conversation has at most one story, and mostly nothing beside it.
fn conversation(random: &mut Random, filter: &Filter) -> Conversation {
    let count = *random.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 3, 4]);
    let mut turns: Vec<Exchange> = Vec::new();
    if count > 1 && random.chance(30) {
        turns.extend(thread(random, filter, topics::greeting::hello));
    }
    let mut told = false;
    for _ in 0..count {
        let topic = topic(random);
        if topic.name == "story" && std::mem::replace(&mut told, true) {
            continue;
        }
        turns.extend(thread(random, filter, topic.thread));
    }
    if count > 1 && random.chance(30) {
        turns.extend(thread(random, filter, topics::greeting::ending));
    }
    Conversation::new(turns.into_iter().flat_map(|turn| [turn.user, turn.assistant]))
}

fn topic(random: &mut Random) -> &'static Topic {
    let mut at = random.below(MIX.iter().map(|topic| topic.weight).sum());
    for topic in MIX {
        if at < topic.weight {
            return topic;
        }
        at -= topic.weight;
    }
    &MIX[0]
}

/// Draws threads of a topic until one shares nothing with the exam.
fn thread(random: &mut Random, filter: &Filter, draw: topics::Thread) -> Vec<Exchange> {
    loop {
        let turns = draw(random, filter);
        if turns.iter().all(|turn| filter.allows(&turn.user) && filter.allows(&turn.assistant)) {
            return turns;
        }
    }
}
