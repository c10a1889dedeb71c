//! `sterna`: ternary language models from the terminal. One file per command.
#![forbid(unsafe_code)]

mod answer;
mod bench;
mod chat;
mod completions;
mod conversation;
mod convert;
mod density;
mod embed;
mod environment;
mod eval;
mod form;
mod headings;
mod info;
mod input;
mod interrupt;
mod logits;
mod man;
mod model;
mod output;
mod repl;
mod run;
mod sampling;
mod serve;
mod shapes;
mod size;
mod tokenize;
mod train;
mod verify;
mod version;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use sterna::kernels::{Cpu, limits};

/// Memory that runs out is an error with the limit, as any other.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: limits::Allocator = limits::Allocator;

const ABOUT: &str = "Run 1-bit and ternary language models (BitNet b1.58 and its kind) on ordinary CPUs.";

const HELP: &str = "\
MODEL is a .gguf file or a Hugging Face directory. Without -m, a small model that is part of \
this program runs.

Environment:
  STERNA_ISA   instruction set to use: portable, avx2, avxvnni, avx512 or amx; unset or empty: the best one.
               Results are the same bytes with all of them.

Examples:
  sterna chat                                     talk with the built-in model
  sterna run 'Once upon a time'                   continue a text
  sterna chat -m bitnet-2b4t/ 'Why is the sky blue?'
  cat notes.txt | sterna run -m model.gguf        the prompt comes from a pipe
  sterna serve                                    an endpoint for other programs, and a chat page
  sterna info -m model.gguf                       what is in a file
  sterna bench --shape bitnet-b1.58-2b-4t         how fast this machine runs a released model; no download
  sterna run --help                               options and examples of one command";

#[derive(Parser)]
#[command(name = "sterna", about = ABOUT, version = version::SHOWN.as_str(), after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Run),
    Chat(chat::Chat),
    Serve(serve::Serve),
    Info(info::Info),
    Tokenize(tokenize::Tokenize),
    Logits(logits::Logits),
    Embed(embed::Embed),
    Eval(eval::Eval),
    Convert(convert::Convert),
    Bench(bench::Bench),
    Train(train::Train),
    Completions(completions::Completions),
    Man(man::ManPages),
}

impl Verb {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Run(verb) => verb.run(),
            Self::Chat(verb) => verb.run(),
            Self::Serve(verb) => verb.run(&environment::warnings(&Cli::command())),
            Self::Info(verb) => verb.run(),
            Self::Tokenize(verb) => verb.run(),
            Self::Logits(verb) => verb.run(),
            Self::Embed(verb) => verb.run(),
            Self::Eval(verb) => verb.run(),
            Self::Convert(verb) => verb.run(),
            Self::Bench(verb) => verb.run(),
            Self::Train(verb) => verb.run(),
            Self::Completions(verb) => verb.run(Cli::command()),
            Self::Man(verb) => verb.run(Cli::command()),
        }
    }
}

fn main() -> ExitCode {
    limits::prepare();
    let result = match Cli::try_parse() {
        Ok(cli) => check_machine(&cli.verb).and_then(|()| cli.verb.run()),
        Err(help) if help.kind() == ErrorKind::DisplayVersion => match version::instruction_set() {
            Ok(_) => help.exit(),
            Err(error) => Err(error.into()),
        },
        Err(help_or_misuse) => help_or_misuse.exit(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::report(&error),
    }
}

/// Reports an invalid `STERNA_ISA` before anything is loaded, and warns if a set failed its self-test or if a variable has
/// no effect. The server writes these warnings to its log.
fn check_machine(verb: &Verb) -> anyhow::Result<()> {
    let cpu = Cpu::new(1).map_err(sterna::Error::from)?;
    if !matches!(verb, Verb::Serve(_)) {
        for warning in cpu.warning().map(str::to_owned).into_iter().chain(environment::warnings(&Cli::command())) {
            eprintln!("warning: {warning}");
        }
    }
    Ok(())
}
