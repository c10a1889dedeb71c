//! The trainer: parameters, optimiser state, and the training step.

use sterna::checkpoint::{Adapter, Config};
use sterna::kernels::Cpu;
use sterna::kernels::gradient::{LossSums, LossTerms};
use sterna::kernels::rows::keep_buffers;

use crate::adapter;
use crate::batch::Batch;
use crate::data::Sampler;
use crate::network::{Network, Parameter, Role, Slot};
use crate::optimizer::{self, Moments};
use crate::pass::Pass;
use crate::precision::Precision;
use crate::random::Random;
use crate::recipe::Recipe;
use crate::weights::{self, Weight};
use crate::{Error, Result};

/// Tokens that go through the network together. With more tokens, activations would no longer fit into the processor's
/// caches.
const TOGETHER: usize = 512;

/// Rows that a layer holds at a time, including those kept for its gradients.
const BUFFERS_A_LAYER: usize = 12;

/// Standard deviation of random weights.
const DEVIATION: f32 = 0.02;

/// Separates the random numbers of the parameters from those of the data's order.
const PARAMETERS: u64 = 0x7061_7261;

/// A network in training.
pub struct Trainer {
    cpu: Cpu,
    recipe: Recipe,
    config: Config,
    /// The frozen base, if the parameters are those of an adapter.
    base: Option<Network<Weight>>,
    /// Number of steps done.
    pub(crate) step: usize,
    pub(crate) parameters: Network<Parameter>,
    pub(crate) moments: Network<Moments>,
    gradients: Network<Vec<f32>>,
    pass: Pass,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Number of this step, from 1.
    pub step: usize,
    /// Tokens read.
    pub tokens: usize,
    /// Targets of the loss.
    pub targets: usize,
    /// Mean cross-entropy of a target, in nats.
    pub loss: f64,
    /// Mean of ln² Z, the z-loss before its weight.
    pub squared_log_z: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the linear layers.
    pub rate: f32,
    /// Precision of the step.
    pub precision: Precision,
}

impl Trainer {
    /// A trainer at step 0 with given parameters.
    pub fn new(cpu: Cpu, recipe: Recipe, config: Config, parameters: Network<Parameter>) -> Self {
        let moments = parameters.map(Moments::zeros);
        let gradients = parameters.map(|parameter| vec![0.0; parameter.values.len()]);
        let pass = Pass::new(&config);
        keep_buffers(BUFFERS_A_LAYER * (config.layers + 1));
        Self { cpu, recipe, config, base: None, step: 0, parameters, moments, gradients, pass }
    }

    /// A trainer of an adapter for the frozen `base`.
    pub fn adapting(self, base: Network<Weight>) -> Self {
        Self { base: Some(base), ..self }
    }

    /// The weights of a step.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a linear layer holds a NaN or an infinity.
    pub fn weights(&self, precision: Precision) -> Result<Network<Weight>> {
        match (&self.base, &self.recipe.adapter) {
            (Some(base), Some(shape)) => Ok(adapter::prepare(&self.cpu, base, &self.parameters, shape.scale())),
            _ => weights::prepare(&self.cpu, &self.parameters, precision),
        }
    }

    /// Number of steps done.
    pub fn step_number(&self) -> usize {
        self.step
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The parameters.
    pub fn parameters(&self) -> &Network<Parameter> {
        &self.parameters
    }

    /// The adapter in the form that is saved; `None` if no adapter is trained.
    pub fn adapter(&self) -> Option<Adapter> {
        let shape = self.recipe.adapter?;
        Some(adapter::result(&self.recipe, shape, &self.parameters))
    }

    /// The batches of one step.
    pub fn batches(&self, sampler: &mut Sampler) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut left = self.recipe.batch;
        while left > 0 {
            let batch = sampler.next(left.min(TOGETHER).max(self.config.context));
            left = left.saturating_sub(batch.len().max(1));
            batches.push(batch);
        }
        batches
    }

    /// Updates the parameters once, from several batches.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss, the gradient or a weight is not finite; the parameters are then unchanged.
    pub fn step(&mut self, batches: &[Batch]) -> Result<Report> {
        let precision = self.recipe.precision(self.step);
        let weights = self.weights(precision)?;
        let targets: usize = batches.iter().map(Batch::learned).sum();
        let terms = LossTerms { scale: 1.0 / targets.max(1) as f32, z: self.recipe.z_loss };
        self.gradients.all_mut().into_iter().for_each(|gradient| gradient.fill(0.0));
        let mut sums = LossSums::default();
        for batch in batches {
            sums = sums + self.pass.gradients(&self.cpu, &weights, precision, batch, terms, &mut self.gradients);
        }
        let loss = sums.cross_entropy / targets.max(1) as f64;
        let squares = |gradient: &&Vec<f32>| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        let gradient_norm = self.gradients.all().iter().map(squares).sum::<f64>().sqrt();
        for (what, value) in [("loss", loss), ("gradient's norm", gradient_norm)] {
            if !value.is_finite() {
                return Err(Error::Diverged { what: format!("the {what} of step {} is {value}", self.step + 1) });
            }
        }
        let rates = self.recipe.rates(self.step);
        self.step += 1;
        self.update(gradient_norm);
        Ok(Report {
            step: self.step,
            tokens: batches.iter().map(Batch::len).sum(),
            targets,
            loss,
            squared_log_z: sums.squared_log_z / targets.max(1) as f64,
            gradient_norm,
            rate: rates.linear,
            precision,
        })
    }

    fn update(&mut self, gradient_norm: f64) {
        let rates = self.recipe.rates(self.step - 1);
        let shrink = (f64::from(self.recipe.clip) / gradient_norm.max(1e-30)).min(1.0) as f32;
        let parameters = self.parameters.all_mut().into_iter().zip(self.moments.all_mut());
        for ((parameter, moments), gradient) in parameters.zip(self.gradients.all_mut()) {
            gradient.iter_mut().for_each(|g| *g *= shrink);
            optimizer::update(&self.cpu, parameter, moments, gradient, rates, self.step);
        }
    }

    /// Sum of the cross-entropies over the batches' targets, in nats.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a linear layer holds a NaN or an infinity.
    pub fn cross_entropy(&mut self, batches: &[Batch], precision: Precision) -> Result<f64> {
        let weights = self.weights(precision)?;
        let losses = batches.iter().map(|batch| self.pass.loss(&self.cpu, &weights, precision, batch).cross_entropy);
        Ok(losses.sum())
    }

    /// The CPU that computes.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }
}

/// Random initial values: normally distributed. Layers that add to the residual stream get smaller values the more of
/// them there are.
pub fn random(slots: &Network<Slot>, seed: u64) -> Network<Parameter> {
    let mut random = Random::new(&[seed, PARAMETERS]);
    let residual = DEVIATION / (2.0 * slots.layers.len() as f32).sqrt();
    slots.map(|slot| {
        let adds = slot.name.ends_with("o_proj.weight") || slot.name.ends_with("down_proj.weight");
        let deviation = if adds { residual } else { DEVIATION };
        let values = match slot.role {
            Role::Norm => vec![1.0; slot.len()],
            _ => (0..slot.len()).map(|_| random.normal() * deviation).collect(),
        };
        Parameter { slot: slot.clone(), values }
    })
}
