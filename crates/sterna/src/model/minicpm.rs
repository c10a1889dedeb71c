//! MiniCPM with ternary linears (`MiniCPMForCausalLM`): BitCPM4, BitCPM-CANN. Llama with three factors:
//!
//! ```text
//! h = scale_emb · embedding
//! h = h + scale_depth / √layers · block(norm(h))      attention, then the feed-forward block
//! logits = head(norm(h) / (hidden / dim_model_base))
//! ```
//!
//! Sources: `minicpm.py` of mlx-lm and `llama-model.cpp` of llama.cpp.

use super::Network;
use super::layers::Loader;
use super::llama::{self, Llama};
use super::stack::Stack;
use crate::Result;
use crate::arch::{Arch, Config, Container, Defaults, Facts, Refusal, Scalings};

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    let config = &loader.checkpoint.config;
    let plain = Scalings { embedding: 1.0, branch: 1.0, head: 1.0 };
    let Scalings { embedding, branch, head } = config.scalings.unwrap_or(plain);
    let stack = Stack::load(loader, |slots| {
        let mut layer = Llama::load(loader, slots, None)?;
        layer.branch = branch;
        Ok(layer)
    })?;
    Ok(Box::new(stack.scaled(embedding, 1.0 / head)))
}

/// Reads the factors. Old GGUF files lack them; those of MiniCPM4 are used then.
fn details(facts: &Facts<'_>, config: &mut Config) -> Result<(), Refusal> {
    let depth = (config.layers as f64).sqrt();
    let scalings = match facts.container {
        Container::Gguf => {
            let number = |key: &str, missing: f64| Ok::<_, Refusal>(facts.number(key)?.unwrap_or(missing) as f32);
            Scalings {
                embedding: number("embedding_scale", 12.0)?,
                branch: number("residual_scale", 1.4 / depth)?,
                head: number("logit_scale", config.hidden as f64 / 256.0)?,
            }
        }
        Container::HuggingFace => {
            let number = |key: &str| match facts.number(key)? {
                Some(number) => Ok(number),
                None => Err(Refusal::Malformed { key: facts.keys.full_name(key), problem: "is missing" }),
            };
            Scalings {
                embedding: number("scale_emb")? as f32,
                branch: (number("scale_depth")? / depth) as f32,
                head: (config.hidden as f64 / number("dim_model_base")?) as f32,
            }
        }
    };
    config.scalings = Some(scalings);
    Ok(())
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "minicpm",
    title: "minicpm",
    hugging_face: &["MiniCPMForCausalLM"],
    model_types: &["minicpm"],
    gguf: &["minicpm"],
    defaults: Defaults { head_dim: None, rms_eps: 1e-5, rope_theta: 1e4 },
    details,
    ..llama::ARCH
};
