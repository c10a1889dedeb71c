//! `sterna chat`: one answer to a message, or a conversation.

use std::io::IsTerminal;

use anyhow::bail;
use sterna::engine::{Engine, Options, Request};
use sterna::text::Message;

use crate::answer::Answer;
use crate::form::{self, FormArgs};
use crate::model::{ContextArg, Loading, Source, Speculation};
use crate::output::Misuse;
use crate::repl::Repl;
use crate::sampling::SamplingArgs;
use crate::{input, interrupt};

const EXAMPLES: &str = "\
With a message, or text on stdin, one answer is printed. Otherwise a conversation begins:
Ctrl-C stops an answer, Ctrl-D leaves, /help lists what else there is.

Examples:
  sterna chat
  sterna chat -m model.gguf --system 'Answer in one sentence.'
  sterna chat -m bitnet-2b4t/ 'Why is the sky blue?'
  cat report.txt | sterna chat -m model.gguf --system 'Summarise the text.' --truncate
  sterna chat --json --seed 1 'Hello' | jq -r .text";

/// Talk with a model
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Chat {
    /// The message to answer; `-`: read it from stdin
    message: Option<String>,
    #[command(flatten)]
    model: Source,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    context: ContextArg,
    #[command(flatten)]
    speculation: Speculation,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    form: FormArgs,
}

impl Chat {
    pub fn run(self) -> anyhow::Result<()> {
        let request = self.sampling.request(None)?;
        let message = match self.message.as_deref() {
            Some(text) if text != "-" => Some(text.to_owned()),
            None if std::io::stdin().is_terminal() => None,
            _ => Some(input::without_last_break(input::stdin(true)?)),
        };
        let options = self.loading.options(self.context.ctx);
        let options = Options { speculation: !self.speculation.no_speculation, ..options };
        let form = self.form.read()?;
        if message.is_some() {
            interrupt::ends_program(|| {})?;
        } else if self.sampling.json {
            bail!(Misuse("--json prints one answer: give a message, as an argument or on stdin".into()));
        }
        let engine = self.model.load(&options)?;
        let request = Request { grammar: form::compile(&engine, form.as_ref())?, ..request };
        let Some(message) = message else { return Repl::new(engine, request, self.system)?.run() };
        let mut conversation = Conversation::new(self.system);
        conversation.say("user", message);
        let prompt = conversation.prompt(&engine)?;
        Answer::print(&engine, Request { prompt, ..request }, self.sampling.json, false)
    }
}

/// What was said, and from where on the model still sees it.
pub struct Conversation {
    system: Option<String>,
    turns: Vec<Message>,
    /// Turns before this one no longer fit into the context.
    start: usize,
}

impl Conversation {
    /// An empty conversation.
    pub fn new(system: Option<String>) -> Self {
        Self { system, turns: vec![], start: 0 }
    }

    /// Replaces the instructions.
    pub fn instruct(&mut self, system: String) {
        self.system = Some(system).filter(|text| !text.is_empty());
    }

    /// Appends a turn.
    pub fn say(&mut self, role: &str, content: String) {
        self.turns.push(Message { role: role.into(), content });
    }

    /// Takes the last turn back.
    pub fn take_back(&mut self) {
        self.turns.pop();
        self.start = self.start.min(self.turns.len());
    }

    /// Forgets all turns; the instructions stay.
    pub fn clear(&mut self) {
        (self.turns, self.start) = (vec![], 0);
    }

    /// Everything, forgotten turns included.
    pub fn messages(&self) -> Vec<Message> {
        self.from(0)
    }

    fn from(&self, start: usize) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message { role: "system".into(), content: text.clone() });
        system.chain(self.turns[start..].iter().cloned()).collect()
    }

    /// The conversation as the model sees it, ready for its answer.
    pub fn prompt(&self, engine: &Engine) -> anyhow::Result<Vec<u32>> {
        Ok(engine.template()?.encode(engine.tokenizer()?, &self.from(self.start))?)
    }

    /// The same, without the oldest turns if it would have more than `most` tokens; the last turn always stays. Also
    /// returns how many turns were dropped.
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

    /// The next turn of the user after the one the model sees first: an answer without its question is dropped too.
    fn next_question(&self) -> Option<usize> {
        (self.start + 1..self.turns.len()).find(|&i| self.turns[i].role == "user")
    }
}
