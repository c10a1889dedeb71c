//! The recipe of a run: network, data, steps and learning rates, as the user set them. Saved as `train.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sterna::checkpoint::{Config, RopeScaling};
use sterna::model::BITNET;

use crate::optimizer::Rates;
use crate::precision::Precision;
use crate::tokenizer::FEWEST;
use crate::{Error, Result};

/// A network's dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Features per token.
    pub hidden: usize,
    /// Features inside the feed-forward block.
    pub intermediate: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Maximum length of a sequence.
    pub context: usize,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
}

/// Shape of a low-rank adapter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// Rank: the number of rows of every A.
    pub rank: usize,
    /// The adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
}

impl Adapter {
    /// `alpha / rank`, computed as in the engine.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }
}

/// Schedule of the learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Warm-up, a constant phase, and a last phase in which the rate falls to 0.
    Wsd,
    /// BitNet's schedule: the rate falls linearly, and is multiplied by two thirds from the middle on. Source: "The Era
    /// of 1-bit LLMs: Training Tips, Code and FAQ" (Microsoft, 2024).
    TwoStage,
}

/// All settings of a run. Steps are counted from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Dimensions of the network.
    pub shape: Shape,
    /// Data files and the shares of tokens that come from each.
    pub data: Vec<(PathBuf, f64)>,
    /// Validation data, which is not trained on.
    pub validate: Option<PathBuf>,
    /// Checkpoint of the initial weights; `None`: random weights.
    pub from: Option<PathBuf>,
    /// Adapter to train while the weights are frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// Number of steps; each updates the weights once.
    pub steps: usize,
    /// Maximum number of tokens per step.
    pub batch: usize,
    /// Peak learning rate of the linear layers (Muon), or of an adapter (AdamW).
    pub rate: f32,
    /// Peak learning rate of embedding and norms (AdamW).
    pub other_rate: f32,
    /// Schedule of both learning rates.
    pub schedule: Schedule,
    /// Steps in which the rates grow to their peak.
    pub warm_up: usize,
    /// Share of the steps in which the rate falls in [`Schedule::Wsd`].
    pub decay: f64,
    /// Weight decay: the share of a weight that a step subtracts is this times the rate. 0 in the last phase of either
    /// schedule.
    pub weight_decay: f32,
    /// Gradient clipping: maximum norm of the gradient.
    pub clip: f32,
    /// Weight of the z-loss.
    pub z_loss: f32,
    /// Number of first steps without rounding to trits and int8.
    pub full_precision: usize,
    /// Steps between checkpoints.
    pub save_every: usize,
    /// Seed of the initial weights and of the order of the data.
    pub seed: u64,
}

impl Shape {
    /// The engine's configuration of this network.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the option, if a dimension is out of bounds or does not fit the others.
    pub fn config(&self, eos: Vec<u32>) -> Result<Config> {
        // The engine's own bounds, except for the context: the rotations of all positions are in memory.
        let sizes = [
            ("vocab", self.vocab, 1 << 19),
            ("hidden", self.hidden, 1 << 17),
            ("intermediate", self.intermediate, 1 << 18),
            ("layers", self.layers, 1000),
            ("heads", self.heads, 4096),
            ("kv-heads", self.kv_heads, 4096),
            ("context", self.context, 1 << 17),
        ];
        if let Some((name, value, most)) = sizes.iter().find(|(_, value, most)| *value == 0 || value > most) {
            return Err(Error::Recipe(format!("--{name} is {value}; it has to be a number from 1 to {most}")));
        }
        if !self.hidden.is_multiple_of(self.heads) || !(self.hidden / self.heads).is_multiple_of(2) {
            let problem = "the hidden size has to be a multiple of the heads, each of an even size";
            return Err(Error::Recipe(format!("--hidden {} --heads {}: {problem}", self.hidden, self.heads)));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem = "heads have to share key/value heads evenly";
            return Err(Error::Recipe(format!("--heads {} --kv-heads {}: {problem}", self.heads, self.kv_heads)));
        }
        if self.hidden / self.heads > 256 {
            let problem = "heads have 256 features at most: use more heads";
            return Err(Error::Recipe(format!("--hidden {} --heads {}: {problem}", self.hidden, self.heads)));
        }
        // Four rows share a byte in packed checkpoints.
        if !self.intermediate.is_multiple_of(4) || !(self.kv_heads * self.hidden / self.heads).is_multiple_of(4) {
            return Err(Error::Recipe("layers have to have a multiple of 4 rows: round --intermediate up".into()));
        }
        Ok(Config {
            architecture: &BITNET,
            hidden: self.hidden,
            intermediate: self.intermediate,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.hidden / self.heads,
            vocab: self.vocab,
            context: self.context,
            rms_eps: 1e-5,
            rope_theta: self.rope_theta,
            rope_scaling: RopeScaling::None,
            pooling: None,
            windows: None,
            scalings: None,
            tied: true,
            eos,
            hybrid: None,
        })
    }

    /// The dimensions of a checkpoint. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Recipe`] if the checkpoint is not of the architecture that can be trained.
    pub fn of(config: &Config, path: &Path) -> Result<Self> {
        let plain = config.rope_scaling == RopeScaling::None;
        let usual = config.tied && config.head_dim * config.heads == config.hidden && plain;
        if *config.architecture != BITNET || !usual {
            let remedy = "only models like BitNet b1.58 2B4T (ReLU², sub-norms, tied embedding) can be trained";
            return Err(Error::Recipe(format!("{}: {remedy}", path.display())));
        }
        Ok(Self {
            vocab: config.vocab,
            hidden: config.hidden,
            intermediate: config.intermediate,
            layers: config.layers,
            heads: config.heads,
            kv_heads: config.kv_heads,
            context: config.context,
            rope_theta: config.rope_theta,
        })
    }
}

impl Recipe {
    /// A new model of this shape, trained on these files, with the defaults of `sterna train` for everything else.
    pub fn new(shape: Shape, data: Vec<(PathBuf, f64)>) -> Self {
        Self {
            shape,
            data,
            validate: None,
            from: None,
            adapter: None,
            steps: 2000,
            batch: 16384,
            rate: 0.004,
            other_rate: 0.002,
            schedule: Schedule::Wsd,
            warm_up: 50,
            decay: 0.25,
            weight_decay: 0.1,
            clip: 1.0,
            z_loss: 1e-4,
            full_precision: 0,
            save_every: 100,
            seed: 1,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the first option whose value is impossible, and the values that are allowed.
    pub fn check(&self) -> Result<()> {
        self.shape.config(Vec::new())?;
        let bad = |option: String, remedy: &str| Err(Error::Recipe(format!("{option}: {remedy}")));
        if self.from.is_none() && self.shape.vocab < FEWEST {
            let remedy = format!("256 bytes and 3 special tokens have to fit: {FEWEST} or more");
            return bad(format!("--vocab {}", self.shape.vocab), &remedy);
        }
        if let Some(adapter) = &self.adapter {
            let most = self.shape.hidden;
            if self.from.is_none() {
                return bad(format!("--adapter {}", adapter.rank), "say with --from which model it is for");
            }
            if !(1..=most).contains(&adapter.rank) {
                return bad(format!("--adapter {}", adapter.rank), &format!("the rank has to be from 1 to {most}"));
            }
            if !(adapter.alpha > 0.0 && adapter.scale().is_finite()) {
                return bad(format!("--alpha {}", adapter.alpha), "has to be a number above 0");
            }
        }
        if self.batch < self.shape.context {
            let option = format!("--batch {} --context {}", self.batch, self.shape.context);
            return bad(option, "a batch has to hold one sequence at least: raise --batch or lower --context");
        }
        for (name, value) in [("steps", self.steps), ("save-every", self.save_every)] {
            if value == 0 {
                return bad(format!("--{name} 0"), "has to be 1 at least");
            }
        }
        for (name, value) in [("rate", self.rate), ("other-rate", self.other_rate), ("clip", self.clip)] {
            if !(value > 0.0 && value.is_finite()) {
                return bad(format!("--{name} {value}"), "has to be a number above 0");
            }
        }
        for (name, value) in [("weight-decay", self.weight_decay), ("z-loss", self.z_loss)] {
            if !(value >= 0.0 && value.is_finite()) {
                return bad(format!("--{name} {value}"), "has to be 0 or a number above it");
            }
        }
        if !(0.0..=1.0).contains(&self.decay) {
            return bad(format!("--decay {}", self.decay), "has to be a share of the steps, from 0 to 1");
        }
        for (path, weight) in &self.data {
            if !(*weight > 0.0 && weight.is_finite()) {
                return bad(format!("--data {}={weight}", path.display()), "a share has to be a number above 0");
            }
        }
        Ok(())
    }

    /// Precision of step `step`.
    pub fn precision(&self, step: usize) -> Precision {
        match self.adapter {
            Some(_) => Precision::Adapted,
            None if step < self.full_precision => Precision::Full,
            None => Precision::Ternary,
        }
    }

    /// Learning rates and weight decay of step `step`.
    pub fn rates(&self, step: usize) -> Rates {
        let (at, steps) = (step as f64, self.steps as f64);
        let warm = ((at + 1.0) / (self.warm_up as f64 + 1.0)).min(1.0);
        let (share, last) = match self.schedule {
            Schedule::Wsd => {
                let decay = (self.decay * steps).max(1.0);
                (((steps - at) / decay).min(1.0), at >= steps - decay)
            }
            Schedule::TwoStage => {
                let last = 2.0 * at >= steps;
                ((1.0 - at / steps) * if last { 2.0 / 3.0 } else { 1.0 }, last)
            }
        };
        let share = (warm * share) as f32;
        let weight_decay = if last { 0.0 } else { self.weight_decay };
        Rates { linear: self.rate * share, other: self.other_rate * share, weight_decay }
    }
}
