//! The messages of a conversation, and which of them are still in the prompt.

use sterna::engine::Engine;
use sterna::text::Message;

/// System prompt and messages; the oldest messages are left out of the prompt once they no longer fit the context.
pub struct Conversation {
    system: Option<String>,
    turns: Vec<Message>,
    /// Index of the first message in the prompt.
    start: usize,
}

impl Conversation {
    /// An empty conversation.
    pub fn new(system: Option<String>) -> Self {
        Self { system, turns: vec![], start: 0 }
    }

    /// Replaces the system prompt; an empty text removes it.
    pub fn instruct(&mut self, system: String) {
        self.system = Some(system).filter(|text| !text.is_empty());
    }

    /// Appends a message of `role`: "user" or "assistant".
    pub fn say(&mut self, role: &str, content: String) {
        self.turns.push(Message { role: role.into(), content });
    }

    /// Removes the last message.
    pub fn take_back(&mut self) {
        self.turns.pop();
        self.start = self.start.min(self.turns.len());
    }

    /// Removes all messages; the system prompt stays.
    pub fn clear(&mut self) {
        (self.turns, self.start) = (vec![], 0);
    }

    /// System prompt and all messages, including those that are no longer in the prompt.
    pub fn messages(&self) -> Vec<Message> {
        self.from(0)
    }

    fn from(&self, start: usize) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message { role: "system".into(), content: text.clone() });
        system.chain(self.turns[start..].iter().cloned()).collect()
    }

    /// Token ids of the prompt, up to the start of the answer.
    pub fn prompt(&self, engine: &Engine) -> anyhow::Result<Vec<u32>> {
        Ok(engine.template()?.encode(engine.tokenizer()?, &self.from(self.start))?)
    }

    /// A prompt of at most `most` tokens, and how many messages it newly leaves out: the oldest ones. The last message
    /// always stays, even if it alone is longer than `most`.
    pub fn prompt_within(&mut self, engine: &Engine, most: usize) -> anyhow::Result<(Vec<u32>, usize)> {
        let before = self.start;
        loop {
            let prompt = self.prompt(engine)?;
            let later = self.next_question();
            if prompt.len() <= most || later.is_none() {
                return Ok((prompt, self.start - before));
            }
            self.start = later.unwrap_or(self.start);
        }
    }

    /// Index of the next user message after the first one in the prompt. A prompt begins with a user message: an
    /// answer goes together with its question.
    fn next_question(&self) -> Option<usize> {
        (self.start + 1..self.turns.len()).find(|&i| self.turns[i].role == "user")
    }
}
