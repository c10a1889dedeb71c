//! `convert --verify`: compares a written model with its source.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sterna::checkpoint::Checkpoint;
use sterna::checkpoint::write::{Verified, verify};
use sterna::kernels::Cpu;
use sterna::model::{self, Batch, KvType, Settings};

use crate::output;

/// Tokens of the prompt whose logits are compared.
const TOKENS: u32 = 8;

/// What was compared.
pub struct Report {
    weights: Verified,
    /// The largest difference of a logit, in parts of the largest one; `None` if the network has no head.
    logits: Option<f32>,
}

impl Report {
    /// Reads the model at `written` and compares it with `source`.
    pub fn new(source: &Checkpoint, written: &Path) -> Result<Self> {
        let spinner = output::spinner("comparing");
        let (written, cpu) = (Checkpoint::open(written)?, Cpu::new(0)?);
        let report = Self { weights: verify(source, &written, &cpu)?, logits: logits(source, &written, &cpu)? };
        spinner.finish_and_clear();
        Ok(report)
    }

    pub fn json(&self) -> Value {
        let Verified { linears, scales, numbers } = self.weights;
        json!({ "linears": linears, "scales": scales, "numbers": numbers, "tokens": TOKENS, "logits": self.logits })
    }

    pub fn sentence(&self) -> String {
        let Verified { linears, scales, numbers } = self.weights;
        let off = |part: f32| if part == 0.0 { "equal".into() } else { format!("within {part:.1e}") };
        let logits = self.logits.map(|part| format!(", logits of {TOKENS} tokens {}", off(part))).unwrap_or_default();
        let (scales, numbers) = (off(scales), off(numbers));
        format!("verified: trits of {linears} layers equal, scales {scales}, embedding and head {numbers}{logits}")
    }
}

/// The largest difference of a logit of both models after the same prompt.
fn logits(source: &Checkpoint, written: &Checkpoint, cpu: &Cpu) -> Result<Option<f32>> {
    let vocab = source.config().vocab as u32;
    // 7919 is prime, so that the tokens differ.
    let prompt: Vec<u32> = (1..=TOKENS).map(|i| i * 7919 % vocab).collect();
    let precision = Some(source.precision(cpu.pool())?);
    let of = |checkpoint: &Checkpoint| -> Result<Option<Vec<f32>>> {
        let network = model::load(checkpoint, cpu, Settings { precision, ..Settings::default() })?;
        let mut batch = Batch::default();
        batch.push(0, &[0], 0, &prompt);
        batch.outputs = (0..prompt.len()).collect();
        let hidden = network.forward(cpu, &batch, &mut network.state(KvType::F16));
        Ok(network.head().map(|head| head.logits(cpu, &hidden).data().to_vec()))
    };
    let Some((ours, theirs)) = of(source)?.zip(of(written)?) else { return Ok(None) };
    let most = ours.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let off = ours.iter().zip(&theirs).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    Ok(Some(off / most))
}
