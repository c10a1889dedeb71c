//! A training run: its files, its data and its steps.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use sterna::checkpoint::whole::write_whole;
use sterna::checkpoint::{Checkpoint, Config, Data};
use sterna::engine::Engine;
use sterna::kernels::Cpu;

use crate::adapter;
use crate::batch::Batch;
use crate::data::{Dataset, Packer, Sampler, Weighted};
use crate::files::{RunDir, write_json};
use crate::network::{Network, Parameter, Role, Slot};
use crate::precision::Precision;
use crate::recipe::{Recipe, Shape};
use crate::text::Text;
use crate::trainer::{Report, Trainer, random};
use crate::validation::{self, Validation};
use crate::weights::bf16;
use crate::{Error, Result};

/// A run that is ready to train.
pub struct Session {
    directory: RunDir,
    text: Text,
    trainer: Trainer,
    sampler: Sampler,
    validation: Option<Vec<Batch>>,
    /// Whether the log has the validation of the latest checkpoint.
    scored: bool,
    threads: usize,
}

/// Progress reports of a run.
pub enum Event<'a> {
    /// A file is being tokenised: its path, bytes read and total bytes.
    Reading(&'a Path, u64, u64),
    /// A step is done. The second value is its speed in tokens per second.
    Step(Report, f64),
    /// A checkpoint is written after this many steps, with its validation if there is validation data.
    Saved(usize, Option<Validation>),
}

impl Session {
    /// Starts a run in the directory `out`, or resumes the run there. A resumed run must have the same recipe, except
    /// for [`Recipe::steps`] and [`Recipe::save_every`].
    ///
    /// # Errors
    /// [`Error::Recipe`] for an invalid recipe or that of another run; other errors for problems of files and data.
    pub fn open(recipe: Recipe, out: &Path, threads: usize, tell: &mut dyn FnMut(Event<'_>)) -> Result<Self> {
        recipe.check()?;
        let directory = RunDir::create(out)?;
        let begun = same_recipe(&directory, &recipe)?;
        if !begun {
            write_json(&directory.recipe(), &recipe)?;
        }
        let session = Self::prepare(recipe, directory.clone(), threads, tell);
        if session.is_err() && !begun {
            // Remove the recipe so that a corrected run can use the directory.
            let _ = fs::remove_file(directory.recipe());
        }
        session
    }

    fn prepare(recipe: Recipe, directory: RunDir, threads: usize, tell: &mut dyn FnMut(Event<'_>)) -> Result<Self> {
        let cpu = Cpu::new(threads).map_err(sterna::Error::from)?;
        let from = recipe.from.as_deref().map(Checkpoint::open).transpose()?;
        let (config, text) = network(&recipe, from.as_ref(), &directory)?;
        let packer = Packer::new(&text.tokenizer, text.template.as_ref(), config.vocab, config.context)?;
        let mut read =
            |path: &Path| Dataset::read(path, &packer, cpu.pool(), |p| tell(Event::Reading(path, p.read, p.size)));
        let sources = recipe.data.iter().map(|(path, weight)| Ok(Weighted { data: read(path)?, weight: *weight }));
        let sampler = Sampler::new(sources.collect::<Result<_>>()?, recipe.seed)?;
        let validation = recipe.validate.as_deref().map(&mut read).transpose()?;
        let validation = validation.as_ref().map(validation::batches);
        let trainer = trainer(cpu, recipe, config, from.as_ref())?;
        let mut session = Self { directory, text, trainer, sampler, validation, scored: true, threads };
        session.resume()?;
        Ok(session)
    }

    fn resume(&mut self) -> Result<()> {
        if let Some(cursor) = self.directory.load_state(&mut self.trainer)? {
            self.sampler.restore(&cursor)?;
        }
        let (done, steps) = (self.trainer.step_number(), self.trainer.recipe().steps);
        if done > steps {
            let run = self.directory.path().display();
            return Err(Error::Recipe(format!("--steps {steps}: the run in {run} has done {done} steps already")));
        }
        write_json(&self.directory.recipe(), self.trainer.recipe())?;
        let scored = forget_after(&self.directory.log(), done)?;
        self.scored = scored || !self.due(done);
        Ok(())
    }

    /// Whether a checkpoint is due after a step.
    fn due(&self, step: usize) -> bool {
        let recipe = self.trainer.recipe();
        step > 0 && (step.is_multiple_of(recipe.save_every.max(1)) || step == recipe.steps)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Trains until the recipe's last step, or until `stop` returns true. Then saves the run.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss, the gradient or a weight is not finite, [`Error::Io`] and [`Error::Sterna`] if
    /// a file cannot be written. The last checkpoint is then whole.
    pub fn run(&mut self, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let path = self.directory.log();
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        // One write per line, so that concurrent readers see whole lines.
        let log = |line: Value| (&file).write_all(format!("{line}\n").as_bytes()).map_err(Error::io(&path));
        let steps = self.trainer.recipe().steps;
        if let Some(validation) = self.score(&log)? {
            tell(Event::Saved(self.trainer.step_number(), Some(validation)));
        }
        while self.trainer.step_number() < steps {
            let begin = Instant::now();
            let batches = self.trainer.batches(&mut self.sampler);
            let report = self.trainer.step(&batches)?;
            let speed = report.tokens as f64 / begin.elapsed().as_secs_f64();
            log(line(&report, speed))?;
            tell(Event::Step(report, speed));
            let stopped = stop();
            let due = self.due(report.step);
            if due || stopped {
                self.save()?;
                // On interrupt, skip validation; it runs on resume.
                self.scored = !due;
                let validation = if stopped && report.step < steps { None } else { self.score(&log)? };
                tell(Event::Saved(report.step, validation));
            }
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// Runs the validation, if there is validation data and it is due.
    fn score(&mut self, log: &dyn Fn(Value) -> Result<()>) -> Result<Option<Validation>> {
        let validation = if self.scored { None } else { self.validate()? };
        if let Some(validation) = validation {
            log(json!({ "step": self.trainer.step_number(), "validation": validation }))?;
        }
        self.scored = true;
        Ok(validation)
    }

    /// Writes a checkpoint, unless the weights are not finite.
    fn save(&self) -> Result<()> {
        let finite = |p: &&Parameter| p.values.iter().all(|x| bf16(*x).is_finite());
        if let Some(parameter) = self.trainer.parameters().all().into_iter().find(|p| !finite(p)) {
            let what = format!("`{}` holds values that are no longer finite", parameter.slot.name);
            return Err(Error::Diverged { what });
        }
        self.directory.save_result(&self.trainer, &self.text)?;
        self.directory.save_state(&self.trainer, &self.sampler.cursor())
    }

    /// Scores the validation data with the saved model: with the engine, or with the trainer if the model is not
    /// ternary.
    fn validate(&mut self) -> Result<Option<Validation>> {
        let Some(batches) = &self.validation else { return Ok(None) };
        let last = self.trainer.step_number().saturating_sub(1);
        if self.trainer.recipe().precision(last) == Precision::Full {
            let sum = self.trainer.cross_entropy(batches, Precision::Full)?;
            return Validation::new(sum, batches, &self.text.tokenizer).map(Some);
        }
        let recipe = self.trainer.recipe();
        let (model, adapter) = match (&recipe.from, recipe.adapter) {
            (Some(base), Some(_)) => (base.clone(), Some(self.directory.adapter())),
            _ => (self.directory.model(), None),
        };
        let engine = Engine::builder().threads(self.threads).adapter(adapter).open(model)?;
        Validation::by_engine(&engine, self.trainer.cpu(), batches, &self.text.tokenizer).map(Some)
    }
}

/// The configuration of the network, with its tokenizer and chat template.
fn network(recipe: &Recipe, from: Option<&Checkpoint>, directory: &RunDir) -> Result<(Config, Text)> {
    if let (Some(base), Some(_)) = (from, recipe.adapter) {
        Shape::of(base.config(), base.path())?;
        let config = Config { context: recipe.shape.context, ..base.config().clone() };
        return Ok((config, Text::of_base(base)?));
    }
    let config = recipe.shape.config(Vec::new())?;
    let text = match from {
        Some(from) => Text::of(from)?,
        None => Text::find_or_train(&directory.model(), &recipe.data, &config)?,
    };
    let rms_eps = from.map_or(config.rms_eps, |from| from.config().rms_eps);
    Ok((Config { eos: text.tokenizer.stop_tokens(), rms_eps, ..config }, text))
}

/// A trainer at step 0.
fn trainer(cpu: Cpu, recipe: Recipe, config: Config, from: Option<&Checkpoint>) -> Result<Trainer> {
    let slots = Network::of(&config);
    let (parameters, base) = match (from, recipe.adapter) {
        (Some(from), Some(shape)) => {
            let parameters = adapter::random(&adapter::slots(&slots, shape.rank), recipe.seed);
            (parameters, Some(adapter::base(&cpu, from, &slots)?))
        }
        (Some(from), None) => (slots.try_map(|slot| latents(&cpu, from, slot))?, None),
        (None, _) => (random(&slots, recipe.seed), None),
    };
    let trainer = Trainer::new(cpu, recipe, config, parameters);
    Ok(match base {
        Some(base) => trainer.adapting(base),
        None => trainer,
    })
}

fn line(report: &Report, speed: f64) -> Value {
    json!({
        "step": report.step,
        "tokens": report.tokens,
        "targets": report.targets,
        "loss": report.loss,
        "squared_log_z": report.squared_log_z,
        "gradient_norm": report.gradient_norm,
        "rate": report.rate,
        "precision": if report.precision == Precision::Full { "full" } else { "ternary" },
        "tokens_per_s": speed,
    })
}

/// Whether the directory already holds a run. If so, its recipe must be the same, except for steps and save interval.
fn same_recipe(directory: &RunDir, recipe: &Recipe) -> Result<bool> {
    let path = directory.recipe();
    if !path.exists() {
        return Ok(false);
    }
    let stored = read_recipe(&path)?;
    // A full-precision twin keeps full precision when its number of steps changes.
    let twin = stored.full_precision >= stored.steps && recipe.full_precision >= recipe.steps;
    let full_precision = if twin { recipe.full_precision } else { stored.full_precision };
    if (Recipe { steps: recipe.steps, save_every: recipe.save_every, full_precision, ..stored }) == *recipe {
        return Ok(true);
    }
    let problem = "holds a run with another recipe (train.json says which)";
    let remedy = "choose another --out, or resume that run by giving --out alone";
    Err(Error::Recipe(format!("{}: {problem}; {remedy}", directory.path().display())))
}

/// Reads the recipe of a run.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::State`] if it holds no recipe.
pub fn read_recipe(path: &Path) -> Result<Recipe> {
    let text = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&text).map_err(|error| Error::State { path: path.to_owned(), problem: error.to_string() })
}

/// Removes the log's lines of steps after the last checkpoint, because they will be repeated. Returns whether step
/// `step` has a validation.
fn forget_after(log: &Path, step: usize) -> Result<bool> {
    let file = match fs::File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(log)(error)),
    };
    let (mut kept, mut scored) = (Vec::new(), false);
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(Error::io(log))?;
        let object: Value = serde_json::from_slice(&line).unwrap_or_default();
        if let Some(of) = object["step"].as_u64().filter(|of| *of <= step as u64) {
            scored = scored || (of == step as u64 && object.get("validation").is_some());
            kept.extend_from_slice(&line);
            kept.push(b'\n');
        }
    }
    write_whole(log, &[&kept])?;
    Ok(scored)
}

/// The values of a checkpoint's tensor in f32.
fn latents(cpu: &Cpu, checkpoint: &Checkpoint, slot: &Slot) -> Result<Parameter> {
    let values = match slot.role {
        Role::Norm => checkpoint.vector(&slot.name, slot.cols)?,
        Role::Embedding => {
            let ids: Vec<u32> = (0..slot.rows as u32).collect();
            checkpoint.dense(&slot.name, slot.rows, slot.cols)?.lookup(cpu, &ids).data().to_vec()
        }
        _ => match checkpoint.tensors().get(&slot.name).map(|tensor| &tensor.data) {
            Some(Data::Ternary(trits)) if trits.rows() == slot.rows && trits.cols() == slot.cols => {
                // `None` unless master weights are stored.
                trits.format().numbers(trits.bytes())
            }
            _ => None,
        }
        .ok_or_else(|| Error::Latents { path: checkpoint.path().to_owned(), name: slot.name.clone() })?,
    };
    if !values.iter().all(|value| value.is_finite()) {
        let (path, name) = (checkpoint.path().display(), &slot.name);
        return Err(Error::Recipe(format!("{path}: `{name}` holds values that are not finite; use another model")));
    }
    Ok(Parameter { slot: slot.clone(), values })
}
