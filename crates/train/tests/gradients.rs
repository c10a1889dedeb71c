//! Gradients of a whole network in full precision, compared with changes of the loss when parameters move.

use std::collections::HashMap;

use sterna::checkpoint::Config;
use sterna::kernels::Cpu;
use sterna::kernels::gradient::LossTerms;
use sterna::kernels::math::{bf16_to_f32, f32_to_bf16};
use sterna_train::Batch;
use sterna_train::batch::NONE;
use sterna_train::network::{Network, Parameter, Role};
use sterna_train::pass::Pass;
use sterna_train::precision::Precision;
use sterna_train::recipe::Shape;
use sterna_train::trainer::random;
use sterna_train::weights::prepare;

const Z: f32 = 0.01;
const VOCAB: u32 = 50;
/// Number of pieces of a path.
const PIECES: usize = 8;

fn config() -> Config {
    let shape = Shape {
        vocab: VOCAB as usize,
        hidden: 32,
        intermediate: 48,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        context: 96,
        rope_theta: 10_000.0,
    };
    shape.config(vec![1]).expect("possible")
}

/// Random weights representable in bf16, large enough that every layer matters.
fn network() -> Network<Parameter> {
    let mut parameters = random(&Network::of(&config()), 3);
    for parameter in parameters.all_mut() {
        let role = parameter.slot.role;
        for (i, value) in parameter.values.iter_mut().enumerate() {
            *value = match role {
                Role::Embedding => *value * 15.0,
                Role::Norm => 1.0 + 0.5 * (i as f32 * 1.7).sin(),
                _ => *value * 10.0,
            };
            *value = as_stored(*value);
        }
    }
    parameters
}

fn as_stored(x: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(x))
}

/// Sequences of 1, 5, 64, 65 and 30 tokens; a third of the rows have no target.
fn batch() -> Batch {
    let mut batch = Batch::default();
    let token = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 16;
    for length in [1, 5, 64, 65, 30] {
        batch.starts.push(batch.len());
        for _ in 0..length {
            let i = batch.len();
            batch.tokens.push(token(i) % VOCAB);
            batch.targets.push(if i % 3 == 1 { NONE } else { token(i + 1000) % VOCAB });
        }
    }
    batch
}

struct Bench {
    cpu: Cpu,
    pass: Pass,
    batch: Batch,
}

impl Bench {
    fn new() -> Self {
        Self { cpu: Cpu::new(2).expect("a set"), pass: Pass::new(&config()), batch: batch() }
    }

    /// The loss, including the z-loss, and its gradient.
    fn at(&mut self, parameters: &Network<Parameter>) -> (f64, Network<Vec<f32>>) {
        let weights = prepare(&self.cpu, parameters, Precision::Full).expect("finite");
        let mut gradients = parameters.map(|p| vec![0.0; p.values.len()]);
        let scale = 1.0 / self.batch.learned() as f32;
        let (batch, terms) = (&self.batch, LossTerms { scale, z: Z });
        let sums = self.pass.gradients(&self.cpu, &weights, Precision::Full, batch, terms, &mut gradients);
        let loss = sums.cross_entropy + f64::from(Z) * sums.squared_log_z;
        (loss * f64::from(scale), gradients)
    }

    /// The change of the loss along a straight path, and its prediction from the gradient: ∫ g·dθ, by the trapezoidal
    /// rule. The network's parameters are bf16, so the path consists of bf16 points, and each step uses the actual
    /// change.
    fn path(&mut self, from: &Network<Parameter>, step: impl Fn(&str, usize) -> f32) -> (f64, f64) {
        let mut said = 0.0;
        let mut here = from.clone();
        let (begin, mut gradients) = self.at(&here);
        let mut end = begin;
        for piece in 1..=PIECES {
            let mut next = from.clone();
            for parameter in next.all_mut() {
                let name = parameter.slot.name.clone();
                for (i, value) in parameter.values.iter_mut().enumerate() {
                    *value = as_stored(*value + step(&name, i) * piece as f32 / PIECES as f32);
                }
            }
            let (loss, next_gradients) = self.at(&next);
            let places = here.all().into_iter().zip(next.all());
            for ((a, b), (g, h)) in places.zip(gradients.all().into_iter().zip(next_gradients.all())) {
                for ((a, b), (g, h)) in a.values.iter().zip(&b.values).zip(g.iter().zip(h)) {
                    said += f64::from(b - a) * 0.5 * (f64::from(*g) + f64::from(*h));
                }
            }
            (here, gradients, end) = (next, next_gradients, loss);
        }
        (end - begin, said)
    }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32
}

/// Pseudo-random numbers, determined by a name and an index.
fn noise(seed: u32, name: &str, i: usize) -> f32 {
    let name = name.bytes().fold(seed, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let x = (name ^ i as u32).wrapping_mul(2_654_435_761);
    ((x ^ x >> 15).wrapping_mul(0x846c_a68b) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Moves each tensor alone, along its gradient plus a random direction, so that an error in one tensor's gradient
/// cannot hide behind the others.
#[test]
fn every_tensor_changes_the_loss_as_its_gradient_says() {
    let mut bench = Bench::new();
    let from = network();
    let (_, gradients) = bench.at(&from);
    for (parameter, gradient) in from.all().into_iter().zip(gradients.all()) {
        let wanted = &parameter.slot.name;
        let size = norm(gradient);
        let other = norm(&(0..gradient.len()).map(|i| noise(1, wanted, i)).collect::<Vec<_>>());
        // The loss changes by about 0.3.
        let step = |name: &str, i: usize| match name == wanted {
            true => 0.3 / size * (gradient[i] / size + noise(1, name, i) / other),
            false => 0.0,
        };
        let (did, said) = bench.path(&from, step);
        let off = (did / said - 1.0).abs();
        println!("{wanted}: {did:.4}, its gradient says {said:.4}: off by {off:.1e}");
        assert!(did.abs() > 0.05 && off < 0.03, "{wanted}: {did} {said}");
    }
}

/// Moves all parameters at once, in random directions that increase the loss. bf16 products make the loss noisy by
/// about 0.003, so it must change by much more.
#[test]
fn the_loss_changes_as_the_gradient_says() {
    let mut bench = Bench::new();
    let from = network();
    let (_, gradients) = bench.at(&from);
    let size = gradients.all().into_iter().map(|g| norm(g).powi(2)).sum::<f32>().sqrt();
    let names = from.all().into_iter().map(|p| p.slot.name.clone());
    let gradients: HashMap<String, &Vec<f32>> = names.zip(gradients.all()).collect();
    for seed in 0..3 {
        let step = |name: &str, i: usize| 0.6 / size * gradients[name][i] / size + 0.04 * noise(seed, name, i);
        let (did, said) = bench.path(&from, step);
        println!("direction {seed}: {did:.4}, the gradient says {said:.4}");
        assert!(did > 0.2 && (did / said - 1.0).abs() < 0.03, "direction {seed}: {did} {said}");
    }
}

/// The gradient of an embedding row comes from reading the token as input and from predicting it.
#[test]
fn the_embedding_has_two_roles() {
    let mut bench = Bench::new();
    let parameters = network();
    let hidden = config().hidden;
    // Tokens 48 and 49 are never read, and 48 is never a target; the head sees both as wrong answers.
    bench.batch.tokens.iter_mut().for_each(|token| *token %= VOCAB - 2);
    bench.batch.targets.iter_mut().filter(|target| **target == VOCAB - 2).for_each(|target| *target = 0);
    let row = |gradients: &Network<Vec<f32>>, token: u32| {
        norm(&gradients.embedding[token as usize * hidden..][..hidden]) / norm(&gradients.embedding)
    };
    let (_, both) = bench.at(&parameters);
    let (wrong, learned) = (row(&both, VOCAB - 2), row(&both, VOCAB - 1));
    assert!(wrong > 0.0 && learned > wrong, "{wrong} {learned}");
    // With a single target, only tokens of its own sequence get gradients as inputs.
    let last = bench.batch.len() - 1;
    bench.batch.targets.fill(NONE);
    bench.batch.targets[last - 3] = 7;
    let (_, one) = bench.at(&parameters);
    let head_only = row(&one, VOCAB - 2);
    let read = bench.batch.tokens[last - 3];
    assert!(row(&one, read) > 2.0 * head_only, "{} {head_only}", row(&one, read));
}

/// Rows that no target depends on change neither loss nor gradients.
#[test]
fn what_is_not_learned_has_no_effect() {
    let mut bench = Bench::new();
    let parameters = network();
    let sequences: Vec<_> = bench.batch.sequences().collect();
    // Only the first 20 rows of the third sequence matter, and none of the fourth.
    bench.batch.targets[sequences[2].start + 20..sequences[3].end].fill(NONE);
    let (loss, gradients) = bench.at(&parameters);
    for row in sequences[2].start + 20..sequences[3].end {
        bench.batch.tokens[row] = (bench.batch.tokens[row] + 11) % VOCAB;
    }
    let (other_loss, other) = bench.at(&parameters);
    assert_eq!(loss, other_loss);
    for (a, b) in gradients.all().into_iter().zip(other.all()) {
        let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        assert!(norm(&difference) <= 1e-6 * norm(a), "{} of {}", norm(&difference), norm(a));
    }
    // Without targets there is no gradient, and no NaN.
    bench.batch.targets.fill(NONE);
    let weights = prepare(&bench.cpu, &parameters, Precision::Full).expect("finite");
    let mut gradients = parameters.map(|p| vec![0.0; p.values.len()]);
    let terms = LossTerms { scale: 1.0, z: Z };
    let sums = bench.pass.gradients(&bench.cpu, &weights, Precision::Full, &bench.batch, terms, &mut gradients);
    assert_eq!((sums.cross_entropy, sums.squared_log_z), (0.0, 0.0));
    assert!(gradients.all().into_iter().flatten().all(|g| *g == 0.0));
}
