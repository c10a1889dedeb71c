//! `sterna tokenize`: the token ids of a text.

use serde_json::json;
use sterna::text::Tokenizer;

use crate::input::Text;
use crate::model::Source;
use crate::output;

const EXAMPLES: &str = "\
Prints one JSON object: {\"tokens\": [...]}. The ids begin with BOS if the model puts it before a prompt. \
Every byte counts, also the line break at the end of a file or a pipe.

Examples:
  sterna tokenize 'Hello, 世界'
  sterna tokenize -m model.gguf --file story.txt | jq '.tokens | length'";

/// Print the token ids of a text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Tokenize {
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    model: Source,
}

impl Tokenize {
    pub fn run(self) -> anyhow::Result<()> {
        let text = self.text.exact()?;
        let checkpoint = self.model.checkpoint()?;
        let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config())?;
        output::json(&json!({ "tokens": tokenizer.encode_prompt(&text)? }))
    }
}
