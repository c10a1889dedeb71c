//! Progress of a training run: a bar on terminals, and a line for every checkpoint on stderr.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use sterna_train::session::Event;
use sterna_train::trainer::Report;
use sterna_train::validation::Validation;

use super::curves::Smooth;
use crate::output;

/// Steps over which loss and times are smoothed.
const SPAN: f64 = 20.0;

/// State of a run, as far as this process has computed it.
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    begin: Instant,
    /// When the last step ended; before the first one, when training began.
    last: Instant,
    seconds_a_step: Smooth,
    loss: Smooth,
    /// Tokens read.
    pub tokens: u64,
    /// The last score of the validation text.
    pub validation: Option<Validation>,
}

/// The bar does not stay behind, however training ended.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress {
    /// Progress of a run of `steps` steps, before its data is read.
    pub fn new(steps: usize) -> Self {
        let now = Instant::now();
        let (seconds_a_step, loss) = (Smooth::over(SPAN), Smooth::over(SPAN));
        let bar = ProgressBar::new(0).with_message("preparing");
        let progress = Self { bar, steps, begin: now, last: now, seconds_a_step, loss, tokens: 0, validation: None };
        progress.style("{msg} …");
        progress.bar.tick();
        progress
    }

    /// The bar; text is printed around it with `suspend`.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// The data is read, and training begins after the `done` steps of earlier processes.
    pub fn begin(&mut self, done: usize) {
        self.begin = Instant::now();
        self.last = self.begin;
        self.bar.set_message(if done > 0 { "resuming" } else { "first step" });
        self.bar.set_position(done as u64);
        self.bar.set_length(self.steps as u64);
        self.style("{bar:30} {pos}/{len}, {msg}");
    }

    pub fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Reading(path, read, size) => self.reading(path, read, size),
            Event::Step(report, speed) => self.step(&report, speed),
            Event::Saved(step, validation) => {
                self.validation = validation.or(self.validation);
                let line = self.saved(step, validation);
                self.bar.suspend(|| output::remark(&line));
            }
        }
    }

    fn reading(&self, path: &Path, read: u64, size: u64) {
        self.bar.set_message(format!("reading {}", path.display()));
        self.bar.set_position(read);
        self.bar.set_length(size);
        self.style("{bar:30} {bytes}/{total_bytes}, {msg}");
    }

    fn step(&mut self, report: &Report, speed: f64) {
        self.tokens += report.tokens as u64;
        self.loss.and(report.loss);
        // Includes the time of checkpoints, which the remaining steps have too.
        self.seconds_a_step.and(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
        self.bar.set_position(report.step as u64);
        let (loss, left) = (self.loss.mean(), self.left(report.step));
        self.bar.set_message(format!("loss {loss:.3}, {speed:.0} tokens/s, {left} left"));
    }

    fn left(&self, step: usize) -> HumanDuration {
        let seconds = self.seconds_a_step.mean() * self.steps.saturating_sub(step) as f64;
        HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// The line printed at a checkpoint.
    fn saved(&self, step: usize, validation: Option<Validation>) -> String {
        let score = validation
            .map(|v| format!(", validation {:.3} ({:.3} bits per byte)", v.loss, v.bits_per_byte))
            .unwrap_or_default();
        let (steps, loss, left) = (self.steps, self.loss.mean(), self.left(step));
        format!("step {step}/{steps}: loss {loss:.3}{score}, {:.0} tokens/s, {left} left\n", self.speed())
    }

    /// Tokens per second, including the time of checkpoints.
    fn speed(&self) -> f64 {
        self.tokens as f64 / self.seconds().max(1e-9)
    }

    /// Seconds since training began.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// The smoothed loss; `None` before the first step.
    pub fn loss(&self) -> Option<f64> {
        Some(self.loss.mean()).filter(|loss| loss.is_finite())
    }

    fn style(&self, template: &str) {
        self.bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    }
}
