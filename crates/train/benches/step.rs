//! Tokens per second of whole training steps: the shape of the embedded model, random tokens, 64 sequences of 256.
//!
//! `cargo bench -p sterna-train`; docs/benchmarks/training.md compares it with PyTorch.

use std::time::Instant;

use sterna::checkpoint::Checkpoint;
use sterna::kernels::Cpu;
use sterna::kernels::format::BF16;
use sterna_train::network::Network;
use sterna_train::recipe::{Adapter, Recipe, Schedule, Shape};
use sterna_train::trainer::{Trainer, random};
use sterna_train::{Batch, adapter};

const SHAPE: Shape = Shape {
    vocab: 4096,
    hidden: 256,
    intermediate: 768,
    layers: 8,
    heads: 4,
    kv_heads: 2,
    context: 256,
    rope_theta: 10_000.0,
};
/// Tokens of a step, and tokens that go through the network together.
const TOKENS: usize = 16384;
const TOGETHER: u32 = 512;
const STEPS: usize = 7;

fn main() {
    let config = SHAPE.config(vec![1]).expect("a possible shape");
    let parameters = random(&Network::of(&config), 1);
    measure("whole model", Trainer::new(cpu(), recipe(None), config, parameters));

    let shape = Adapter { rank: 8, alpha: 16.0 };
    let config = SHAPE.config(vec![1]).expect("a possible shape");
    let base = Checkpoint::synthetic(config.clone(), &BF16, 1).expect("a possible shape");
    let (network, cpu) = (Network::of(&config), cpu());
    let parameters = adapter::random(&adapter::slots(&network, shape.rank), 1);
    let base = adapter::base(&cpu, &base, &network).expect("a base");
    measure("adapter of rank 8", Trainer::new(cpu, recipe(Some(shape)), config, parameters).adapting(base));
}

fn cpu() -> Cpu {
    Cpu::new(0).expect("STERNA_ISA names a set")
}

fn recipe(adapter: Option<Adapter>) -> Recipe {
    Recipe {
        shape: SHAPE,
        data: Vec::new(),
        validate: None,
        from: None,
        adapter,
        steps: 1000,
        batch: TOKENS,
        rate: 2e-3,
        other_rate: 2e-3,
        schedule: Schedule::Wsd,
        warm_up: 0,
        decay: 0.2,
        weight_decay: 0.1,
        clip: 1.0,
        z_loss: 1e-4,
        full_precision: 0,
        save_every: 100,
        seed: 1,
    }
}

fn measure(what: &str, mut trainer: Trainer) {
    let batches: Vec<Batch> = (0..TOKENS as u32 / TOGETHER).map(batch).collect();
    let mut seconds: Vec<f64> = (0..STEPS)
        .map(|_| {
            let begin = Instant::now();
            trainer.step(&batches).expect("a step");
            begin.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!("{what}: {:.0} tokens/s (median of {STEPS} steps of {TOKENS} tokens)", TOKENS as f64 / seconds[STEPS / 2]);
}

/// Sequences of 256 random tokens.
fn batch(seed: u32) -> Batch {
    let token = |i: u32| (i.wrapping_add(seed << 16).wrapping_mul(2_654_435_761) >> 20) % 4096;
    let tokens: Vec<u32> = (0..TOGETHER).map(token).collect();
    let targets = (1..=TOGETHER).map(token).collect();
    Batch { tokens, targets, starts: (0..TOGETHER as usize).step_by(256).collect() }
}
