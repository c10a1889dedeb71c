//! Search by meaning: `cargo run --example search -- <model> "Who lost a crown?"`

use sterna::engine::{Embed, Engine, instructed};

const TEXTS: [&str; 4] = [
    "The king looked for his crown and did not find it.",
    "A fox polished an old lantern until it shone.",
    "Snow fell on the roofs of the village all night.",
    "The boy was hungry and ate three bowls of soup.",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(query)) = (args.next(), args.next()) else { return Err("usage: search MODEL QUERY".into()) };
    let engine = Engine::builder().open(path)?;
    let embed = |text: &str| Ok::<_, sterna::Error>(Embed::new(engine.embedding_tokens(text)?).normalized());

    let texts = TEXTS.iter().map(|text| embed(text)).collect::<Result<Vec<_>, _>>()?;
    let index = engine.embed_all(texts).collect::<Result<Vec<_>, _>>()?;

    let query = engine.embed(embed(&instructed("Find the passage that answers the question", &query))?)?;
    // Vectors have length 1, so that the dot product is the cosine.
    let cosine = |vector: &Vec<f32>| vector.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
    let mut found: Vec<_> = index.iter().map(cosine).zip(TEXTS).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (cosine, text) in found {
        println!("{cosine:.3}  {text}");
    }
    Ok(())
}
