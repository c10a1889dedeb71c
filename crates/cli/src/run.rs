//! `sterna run`: continue a text.

use crate::answer::Answer;
use crate::form::{self, FormArgs};
use crate::input::Text;
use crate::interrupt;
use crate::model::{Generating, Source};
use crate::sampling::SamplingArgs;

const EXAMPLES: &str = "\
The text goes to the model as it is, without a chat template; the model's continuation streams \
to stdout.

Examples:
  sterna run 'Once upon a time'
  sterna run -m model.gguf --temperature 0 -n 64 'The capital of France is'
  sterna run --stop $'\\n' --seed 7 'My favourite colour is'
  sterna run -m base/ --adapter my-adapter/ 'Dear diary,'
  sterna run --schema person.json 'A person as JSON: '
  git diff | sterna run -m bitnet-2b4t/ --truncate
  sterna run --json --logprobs 5 'Hello' | jq .timings";

/// Continue a text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("text", |arg| arg.value_name("PROMPT")))]
pub struct Run {
    #[command(flatten)]
    prompt: Text,
    #[command(flatten)]
    model: Source,
    #[command(flatten)]
    generating: Generating,
    /// Report the share of feed-forward weights that was read, and how many draft tokens were accepted: to stderr, or
    /// as `ffn` and `speculation` in the JSON
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// Default of `--max-tokens`: a base model may never end by itself.
const MAX_TOKENS: usize = 256;

impl Run {
    pub fn run(self) -> anyhow::Result<()> {
        let mut request = self.sampling.request(Some(MAX_TOKENS))?;
        let (prompt, form) = (self.prompt.prompt()?, self.form.read()?);
        interrupt::ends_program(|| {})?;
        let engine = self.model.load(&self.generating.builder())?;
        request.prompt = engine.tokenizer()?.encode_prompt(&prompt)?;
        request.grammar = form::compile(&engine, form.as_ref())?;
        Answer::print(&engine, request, self.sampling.json, self.stats)
    }
}
