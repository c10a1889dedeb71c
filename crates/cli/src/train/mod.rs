//! `sterna train`: trains a ternary model, or resumes a run.

mod curves;
mod given;
mod plot;
mod progress;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use sterna_train::recipe::{Adapter, Recipe, Schedule, Shape};
use sterna_train::session::{Session, read_recipe};

use crate::output::Misuse;
use crate::{headings, interrupt, output};
use given::Given;
use progress::Progress;

const EXAMPLES: &str = "\
Data is .txt (one document) or .jsonl, one object per line: {\"text\": ...}, or a conversation \
{\"messages\": [{\"role\": \"user\", \"content\": ...}, {\"role\": \"assistant\", \"content\": ...}]}, of \
which only the assistant's answers are learned. =WEIGHT is a file's share of the tokens.

DIR/model is a model for `sterna chat -m`, written again at every checkpoint. A run that was stopped, \
by Ctrl-C or anything else, is resumed by `sterna train --out DIR`, with the same result as without the \
stop; only --steps, --save-every and --threads can be changed then. The first Ctrl-C finishes the step \
and saves; a second one ends the program at once. DIR/log.jsonl has a line for every step.

If the loss rises or becomes NaN, lower --rate and --other-rate; fine-tuning needs about a tenth of \
the defaults. With less memory or for quicker steps, lower --batch. docs/training.md is a guide.

Examples:
  sterna train --data stories.jsonl --out run                          a small model of your own
  sterna train --data books.jsonl=3 --data chat.jsonl --validate held-out.txt --out run
  sterna train --out run                                               resume
  sterna train --out run --steps 5000                                  resume and train longer
  sterna train --from run/model --data chat.jsonl --steps 300 --rate 0.0005 \\
               --other-rate 0.0002 --out tuned                       fine-tune
  sterna train plot run tuned --out both.svg
  sterna chat -m tuned/model
  sterna train --from model.gguf --adapter 8 --data chat.jsonl --steps 300 --out small   adapt any BitNet
  sterna chat -m model.gguf --adapter small/adapter";

/// Train a ternary model on this machine's CPU
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Train {
    // First, because parsing the other options removes their values from the matches.
    #[command(flatten)]
    given: Given,
    #[command(subcommand)]
    verb: Option<Verb>,
    /// A data file, and its weight: its share of the tokens, compared with the other files' [default weight: 1]
    #[arg(long, value_name = "FILE[=WEIGHT]")]
    data: Vec<String>,
    /// A held-out data file, scored at every checkpoint
    #[arg(long, value_name = "FILE")]
    validate: Option<PathBuf>,
    /// Directory of the run; the model is written to DIR/model, an adapter to DIR/adapter
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// Start from full-precision weights and tokenizer of this Hugging Face directory; with --adapter, from any model
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["vocab", "hidden", "intermediate", "layers", "heads", "kv_heads"])]
    from: Option<PathBuf>,
    /// Train a low-rank adapter (LoRA) of this rank; the model's own weights stay as they are
    #[arg(long, value_name = "RANK", requires = "from", conflicts_with_all = ["full_precision", "other_rate"])]
    adapter: Option<usize>,
    /// The adapter's output is multiplied by ALPHA / RANK [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "adapter", allow_negative_numbers = true)]
    alpha: Option<f64>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    /// Threads for computing [default: all that this process may use]
    #[arg(help_heading = headings::COMPUTING, short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    #[command(flatten, next_help_heading = headings::SIZE)]
    size: Size,
    #[command(flatten, next_help_heading = headings::LENGTH)]
    length: Length,
    #[command(flatten, next_help_heading = headings::RECIPE)]
    schedule: Steps,
}

#[derive(Subcommand)]
enum Verb {
    Plot(plot::Plot),
}

#[derive(clap::Args)]
struct Size {
    /// Tokens in the vocabulary; its tokenizer is trained on the data
    #[arg(long, value_name = "N", default_value_t = 4096)]
    vocab: usize,
    /// Hidden size: features of a token; a multiple of --heads
    #[arg(long, value_name = "N", default_value_t = 256)]
    hidden: usize,
    /// Features inside the feed-forward block, usually 2.5 to 4 times --hidden
    #[arg(long, value_name = "N", default_value_t = 768)]
    intermediate: usize,
    /// Transformer layers
    #[arg(long, value_name = "N", default_value_t = 8)]
    layers: usize,
    /// Query heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// Key/value heads; --heads is a multiple of it
    #[arg(long, value_name = "N", default_value_t = 2)]
    kv_heads: usize,
}

#[derive(clap::Args)]
struct Length {
    /// Total number of optimizer steps
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: usize,
    /// Most tokens per step
    #[arg(long, value_name = "N", default_value_t = 16384)]
    batch: usize,
    /// Longest sequence, in tokens [default: 512, or the model's own up to 2048]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 100)]
    save_every: usize,
}

#[derive(clap::Args)]
struct Steps {
    /// Peak learning rate of the ternary layers (Muon), or of an adapter (AdamW) [default: 0.004, adapter: 0.001]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    rate: Option<f32>,
    /// Peak learning rate of embedding and norms (AdamW)
    #[arg(long, value_name = "RATE", default_value_t = 0.002, allow_negative_numbers = true)]
    other_rate: f32,
    /// How learning rates fall: wsd keeps them until the last part of the run, two-stage lowers them from the start,
    /// and by another third from the middle on
    #[arg(long, value_enum, value_name = "NAME", default_value = "wsd")]
    schedule: ScheduleName,
    /// Steps over which learning rates rise from 0
    #[arg(long, value_name = "N", default_value_t = 50)]
    warm_up: usize,
    /// Share of the steps over which wsd lowers the learning rates to 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.25, allow_negative_numbers = true)]
    decay: f64,
    /// Weight decay: a step takes this share, times the learning rate, from each weight; 0 in the schedule's last part
    /// [default: 0.1, adapter: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    /// Clip gradients to this norm
    #[arg(long, value_name = "NORM", default_value_t = 1.0, allow_negative_numbers = true)]
    clip: f32,
    /// Weight of the z-loss, which keeps logits small
    #[arg(long, value_name = "WEIGHT", default_value_t = 1e-4, allow_negative_numbers = true)]
    z_loss: f32,
    /// Steps at the beginning without rounding to trits; all of them train a twin to compare with, which Sterna cannot
    /// run
    #[arg(long, value_name = "N", default_value_t = 0)]
    full_precision: usize,
    /// Seed of the initial weights and of the order of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Wsd,
    TwoStage,
}

impl Train {
    pub fn run(mut self) -> anyhow::Result<()> {
        if let Some(Verb::Plot(plot)) = self.verb {
            return plot.run();
        }
        let Some(out) = self.out.take() else { bail!(Misuse("--out DIR is missing".into())) };
        let recipe = self.recipe(&out)?;
        recipe.check().map_err(|error| Misuse(error.to_string()))?;
        let steps = recipe.steps;
        let mut progress = Progress::new(steps);
        let bar = progress.bar().clone();
        interrupt::ends_program_unless_spared(move || {
            bar.suspend(|| output::note("ending this step; Ctrl-C again ends at once, without saving"));
        })?;
        let threads = self.threads.unwrap_or(0) as usize;
        let mut session = Session::open(recipe, &out, threads, &mut |event| progress.tell(event))?;
        progress.begin(session.trainer().step_number());
        interrupt::spares_once();
        session.run(&interrupt::happened, &mut |event| progress.tell(event))?;
        progress.bar().finish_and_clear();
        let (done, (model, adapter)) = (session.trainer().step_number(), result(session.trainer().recipe(), &out));
        output::remark(&if done < steps {
            format!("stopped at step {done} of {steps}; resume with: sterna train --out {}\n", out.display())
        } else {
            let option = adapter.as_ref().map(|adapter| format!(" --adapter {adapter}")).unwrap_or_default();
            format!("{steps} steps done; try the model: sterna chat -m {model}{option}\n")
        });
        if self.json {
            output::json(&json!({
                "step": done,
                "steps": steps,
                "loss": progress.loss(),
                "validation": progress.validation,
                "model": model,
                "adapter": adapter,
                "tokens": progress.tokens,
                "seconds": progress.seconds(),
            }))?;
        }
        if done < steps {
            std::process::exit(130);
        }
        Ok(())
    }

    /// The recipe of the run in `out`, or that of a new run.
    fn recipe(&self, out: &Path) -> anyhow::Result<Recipe> {
        let stored = out.join("train.json");
        if !self.data.is_empty() {
            return self.new_recipe();
        }
        if !stored.exists() {
            bail!("{}: there is no run to resume; give --data FILE to start one", out.display());
        }
        if let Some(option) = self.given.first_but(&["out", "threads", "json", "steps", "save_every"]) {
            let remedy = "only --steps, --save-every and --threads can change; for another recipe choose another --out";
            bail!(Misuse(format!("{option}: {} holds a run that has its recipe; {remedy}", out.display())));
        }
        let mut recipe = read_recipe(&stored)?;
        if self.given.has("steps") {
            // A run that never rounds to trits stays that way when its length grows.
            if recipe.full_precision >= recipe.steps {
                recipe.full_precision = recipe.full_precision.max(self.length.steps);
            }
            recipe.steps = self.length.steps;
        }
        if self.given.has("save_every") {
            recipe.save_every = self.length.save_every;
        }
        Ok(recipe)
    }

    fn new_recipe(&self) -> anyhow::Result<Recipe> {
        let data = self.data.iter().map(|given| source(given)).collect::<anyhow::Result<_>>()?;
        let (size, length, s) = (&self.size, &self.length, &self.schedule);
        let context = length.context.unwrap_or(512);
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
                let own = Shape::of(checkpoint.config(), path)?;
                Shape { context: length.context.unwrap_or(own.context.min(2048)), ..own }
            }
            None => shape,
        };
        let adapter = self.adapter.map(|rank| Adapter { rank, alpha: self.alpha.unwrap_or(2.0 * rank as f64) });
        let (rate, weight_decay) = if adapter.is_some() { (0.001, 0.0) } else { (0.004, 0.1) };
        Ok(Recipe {
            shape,
            data,
            validate: self.validate.clone(),
            from: self.from.clone(),
            adapter,
            steps: length.steps,
            batch: length.batch,
            rate: s.rate.unwrap_or(rate),
            other_rate: s.other_rate,
            schedule: match s.schedule {
                ScheduleName::Wsd => Schedule::Wsd,
                ScheduleName::TwoStage => Schedule::TwoStage,
            },
            warm_up: s.warm_up,
            decay: s.decay,
            weight_decay: s.weight_decay.unwrap_or(weight_decay),
            clip: s.clip,
            z_loss: s.z_loss,
            full_precision: s.full_precision,
            save_every: length.save_every,
            seed: s.seed,
        })
    }
}

/// Paths of the run's model, and of the adapter if one was trained.
fn result(recipe: &Recipe, out: &Path) -> (String, Option<String>) {
    match (&recipe.from, recipe.adapter) {
        (Some(base), Some(_)) => (base.display().to_string(), Some(out.join("adapter").display().to_string())),
        _ => (out.join("model").display().to_string(), None),
    }
}

/// Parses `FILE` or `FILE=WEIGHT`.
fn source(given: &str) -> anyhow::Result<(PathBuf, f64)> {
    match given.rsplit_once('=') {
        Some((path, weight)) if !Path::new(given).exists() => match weight.parse() {
            Ok(weight) => Ok((path.into(), weight)),
            Err(_) => {
                let problem = format!("`{weight}` is not a number; write --data FILE=2 for twice the share");
                bail!(Misuse(format!("--data {given}: {problem}")))
            }
        },
        _ => Ok((given.into(), 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        train: Train,
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let line = <Line as clap::Parser>::parse_from(["train", "--data", "text.txt", "--out", "run"]);
        let recipe = line.train.new_recipe().unwrap();
        assert_eq!(recipe, Recipe::new(recipe.shape.clone(), vec![("text.txt".into(), 1.0)]));
    }
}
