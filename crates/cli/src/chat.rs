//! `sterna chat`: one answer to a message, or a conversation.

use std::io::IsTerminal;

use anyhow::bail;

use crate::answer::Answer;
use crate::conversation::Conversation;
use crate::form::{self, FormArgs};
use crate::model::{Generating, Source};
use crate::output::Misuse;
use crate::repl::Repl;
use crate::sampling::SamplingArgs;
use crate::{input, interrupt};

const EXAMPLES: &str = "\
With a message, or text on stdin, one answer is printed. Otherwise a conversation begins. In it, \
Ctrl-C stops an answer, Ctrl-D leaves, and /help lists what else there is.

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
    /// System prompt, which goes before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    generating: Generating,
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
        let form = self.form.read()?;
        if message.is_some() {
            interrupt::ends_program(|| {})?;
        } else if self.sampling.json {
            bail!(Misuse("--json prints one answer: give a message, as an argument or on stdin".into()));
        }
        let engine = self.model.load(&self.generating.builder())?;
        let request = request.grammar(form::compile(&engine, form.as_ref())?);
        let Some(message) = message else { return Repl::new(engine, request, self.system)?.run() };
        let mut conversation = Conversation::new(self.system);
        conversation.say("user", message);
        let prompt = conversation.prompt(&engine)?;
        Answer::print(&engine, request.prompt(prompt), self.sampling.json, false)
    }
}
