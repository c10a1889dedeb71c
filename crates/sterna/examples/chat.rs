//! One turn of a conversation: `cargo run --example chat -- <model.gguf or directory> "Who are you?"`

use std::io::Write;

use sterna::engine::{Engine, Event, Request, Sampling};
use sterna::text::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(question)) = (args.next(), args.next()) else {
        return Err("usage: chat MODEL QUESTION".into());
    };
    let engine = Engine::builder().open(path)?;
    let conversation = [Message { role: "user".into(), content: question }];
    let prompt = engine.template()?.encode(engine.tokenizer()?, &conversation)?;

    let sampling = Sampling::default().temperature(0.7).top_p(0.9).seed(1);
    for event in engine.generate(Request::new(prompt).max_tokens(200).sampling(sampling))? {
        match event? {
            Event::Token { text, .. } => print!("{text}"),
            Event::Finished { text, reason, .. } => println!("{text}\n\n[{}]", reason.as_str()),
            _ => {}
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
