//! The most likely next token after every token of a text: `cargo run --example logits -- <model> "Once upon a time"`

use sterna::engine::Engine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(text)) = (args.next(), args.next()) else { return Err("usage: logits MODEL TEXT".into()) };
    let engine = Engine::builder().open(path)?;
    let tokenizer = engine.tokenizer()?;
    let tokens = tokenizer.encode_prompt(&text)?;

    let mut read = tokens.iter();
    for logits in engine.logits(&tokens)? {
        let logits = logits?;
        for (row, &token) in (0..logits.len()).map(|i| logits.row(i)).zip(&mut read) {
            let best = (0u32..).zip(row).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id);
            let text = |id| tokenizer.decode(&[id]);
            println!(
                "{:>12} → {:<12} {:9.4}",
                format!("{:?}", text(token)?),
                format!("{:?}", text(best)?),
                row[best as usize]
            );
        }
    }
    Ok(())
}
