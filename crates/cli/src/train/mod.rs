//! `sterna train`: trains a ternary model, or goes on with one.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use sterna_train::recipe::{Recipe, Schedule, Shape};
use sterna_train::session::{Event, Session, read_recipe};

use crate::{interrupt, output};

const EXAMPLES: &str = "\
Data is .txt (one document) or .jsonl, a line {\"text\": ...} or {\"messages\": [{\"role\": \"user\", \"content\": ...}, ...]};
of conversations only the assistant's answers are learned. =WEIGHT is a file's share of the tokens.

OUT/model is a model directory for `sterna chat -m`, written anew at every checkpoint. A run that was stopped, by Ctrl-C or
by anything else, goes on with `sterna train --out OUT`, as if it had not stopped. OUT/log.jsonl has a line for every step;
`sterna train plot OUT` draws them.

Examples:
  sterna train --data stories.jsonl --out run                          a small model of your own
  sterna train --data books.jsonl=3 --data chat.jsonl=1 --validate held-out.jsonl --out run
  sterna train --out run                                               go on
  sterna train --from run/model --data chat.jsonl --steps 500 --rate 0.0005 --out tuned
  sterna chat -m tuned/model";

/// Train a ternary model on this machine's CPU
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Train {
    /// A data file, and its share of the tokens [default share: 1]
    #[arg(long, value_name = "FILE[=WEIGHT]")]
    data: Vec<String>,
    /// A data file that is not trained on, to measure progress
    #[arg(long, value_name = "FILE")]
    validate: Option<PathBuf>,
    /// The run's directory; the model will be in DIR/model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Begin with the master weights and the tokenizer of this Hugging Face directory
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["vocab", "hidden", "intermediate", "layers", "heads", "kv_heads"])]
    from: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Size of a new model")]
    size: Size,
    #[command(flatten, next_help_heading = "Recipe")]
    schedule: Steps,
    /// Threads [default: as many as this process may use]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

#[derive(clap::Args)]
struct Size {
    /// Tokens in the vocabulary
    #[arg(long, value_name = "N", default_value_t = 4096)]
    vocab: usize,
    /// Features of a token
    #[arg(long, value_name = "N", default_value_t = 256)]
    hidden: usize,
    /// Features inside the feed-forward block
    #[arg(long, value_name = "N", default_value_t = 768)]
    intermediate: usize,
    /// Transformer layers
    #[arg(long, value_name = "N", default_value_t = 8)]
    layers: usize,
    /// Query heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// Key/value heads
    #[arg(long, value_name = "N", default_value_t = 2)]
    kv_heads: usize,
}

#[derive(clap::Args)]
struct Steps {
    /// Longest sequence, in tokens [default: 512, or the model's own up to 2048]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: usize,
    /// Most tokens of an update
    #[arg(long, value_name = "TOKENS", default_value_t = 16384)]
    batch: usize,
    /// Greatest rate of the ternary layers (Muon)
    #[arg(long, value_name = "RATE", default_value_t = 0.004)]
    rate: f32,
    /// Greatest rate of embedding and norms (AdamW)
    #[arg(long, value_name = "RATE", default_value_t = 0.002)]
    other_rate: f32,
    /// How rates fall: in a last part of the run (wsd), or from the beginning and further from the middle on
    #[arg(long, value_enum, value_name = "NAME", default_value = "wsd")]
    schedule: ScheduleName,
    /// Steps in which rates grow
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    warm_up: usize,
    /// Share of the steps in which wsd lets rates fall
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    decay: f64,
    /// Share of a weight that a step takes away, times the rate; none in the schedule's last part
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    weight_decay: f32,
    /// Most that the gradient's norm may be
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    clip: f32,
    /// Weight of the z-loss, which keeps logits small
    #[arg(long, value_name = "WEIGHT", default_value_t = 1e-4)]
    z_loss: f32,
    /// Steps at the beginning without rounding to trits; all of them train a twin to compare with, which Sterna cannot run
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    full_precision: usize,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    save_every: usize,
    /// Of the first weights and the order of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Wsd,
    TwoStage,
}

impl Train {
    pub fn run(self) -> anyhow::Result<()> {
        let recipe = self.recipe()?;
        let threads = self.threads.unwrap_or(0) as usize;
        interrupt::is_noticed()?;
        let bar = output::bar("reading", recipe.steps as u64);
        let mut tell = |event: Event<'_>| match event {
            Event::Reading(path, read, size) => {
                bar.set_message(format!("{}: {} %", path.display(), 100 * read / size.max(1)))
            }
            Event::Step(report, speed) => {
                bar.set_position(report.step as u64);
                bar.set_message(format!("loss {:.3}, {speed:.0} tokens/s", report.loss));
            }
            Event::Validation(step, v) => {
                bar.suspend(|| {
                    output::note(&format!("step {step}: validation {:.3}, {:.3} bits a byte", v.loss, v.bits_per_byte))
                });
            }
            Event::Saved(_) => {}
        };
        let mut session = Session::open(recipe, &self.out, threads, &mut tell)?;
        session.run(&interrupt::happened, &mut tell)?;
        bar.finish_and_clear();
        let (done, steps) = (session.trainer().step_number(), session.trainer().recipe().steps);
        let model = self.out.join("model");
        if done < steps {
            output::note(&format!(
                "stopped at step {done} of {steps}; go on with: sterna train --out {}",
                self.out.display()
            ));
        } else {
            output::note(&format!("done; try it: sterna chat -m {}", model.display()));
        }
        Ok(())
    }

    fn recipe(&self) -> anyhow::Result<Recipe> {
        let stored = self.out.join("train.json");
        if self.data.is_empty() {
            if !stored.exists() {
                bail!("{}: there is no run to go on with; give --data FILE to begin one", self.out.display());
            }
            return Ok(read_recipe(&stored)?);
        }
        let data = self.data.iter().map(|given| source(given)).collect::<anyhow::Result<_>>()?;
        let (size, s) = (&self.size, &self.schedule);
        let context = s.context.unwrap_or(512);
        let shape = Shape {
            vocab: size.vocab,
            hidden: size.hidden,
            intermediate: size.intermediate,
            layers: size.layers,
            heads: size.heads,
            kv_heads: size.kv_heads,
            context,
            rope_theta: 10_000.0,
        };
        let shape = match &self.from {
            Some(path) => {
                let checkpoint = sterna::checkpoint::Checkpoint::open(path)?;
                let own = Shape::of(&checkpoint.config, path)?;
                Shape { context: s.context.unwrap_or(own.context.min(2048)), ..own }
            }
            None => shape,
        };
        Ok(Recipe {
            shape,
            data,
            validate: self.validate.clone(),
            from: self.from.clone(),
            steps: s.steps,
            batch: s.batch,
            rate: s.rate,
            other_rate: s.other_rate,
            schedule: match s.schedule {
                ScheduleName::Wsd => Schedule::Wsd,
                ScheduleName::TwoStage => Schedule::TwoStage,
            },
            warm_up: s.warm_up,
            decay: s.decay,
            weight_decay: s.weight_decay,
            clip: s.clip,
            z_loss: s.z_loss,
            full_precision: s.full_precision,
            save_every: s.save_every,
            seed: s.seed,
        })
    }
}

/// `FILE` or `FILE=WEIGHT`.
fn source(given: &str) -> anyhow::Result<(PathBuf, f64)> {
    match given.rsplit_once('=') {
        Some((path, weight)) if !Path::new(given).exists() => match weight.parse() {
            Ok(weight) => Ok((path.into(), weight)),
            Err(_) => bail!("--data {given}: `{weight}` is no number; write --data FILE=2 for twice the share"),
        },
        _ => Ok((given.into(), 1.0)),
    }
}
