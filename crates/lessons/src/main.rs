//! Writes chat data, lists the words of a corpus, and examines a model.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use sterna_lessons::conversations;

const USAGE: &str = "usage: lessons write --seed N --count N > lessons.jsonl";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lessons: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["write", "--seed", seed, "--count", count] => write(seed.parse()?, count.parse()?),
        _ => Err(USAGE.into()),
    }
}

fn write(seed: u64, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    for conversation in conversations(seed).take(count) {
        serde_json::to_writer(&mut out, &conversation)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
