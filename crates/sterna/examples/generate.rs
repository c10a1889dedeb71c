//! Continues a text: `cargo run --example generate -- <model.gguf or directory> "Once upon a time"`

use std::io::Write;

use sterna::engine::{Engine, Event, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: generate MODEL PROMPT".into());
    };
    let engine = Engine::builder().open(path)?;
    let tokens = engine.tokenizer()?.encode_prompt(&prompt)?;

    print!("{prompt}");
    for event in engine.generate(Request::new(tokens).max_tokens(100))? {
        match event? {
            Event::Token { text, .. } => print!("{text}"),
            Event::Finished { text, usage, .. } => {
                println!("{text}\n\n{} tokens, {:.1} a second", usage.tokens, usage.decode_tokens_per_s());
            }
            _ => {}
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
