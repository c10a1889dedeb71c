//! Hybrids: decoders in which most layers have gated DeltaNet, a recurrence, instead of attention (Qwen3.5).

use sterna_kernels::DeltaHeads;

use super::decoder::Layer;
use super::facts::{Container, Facts, Refusal};
use super::{Config, Hadamard, Kind, Slot};

/// What a hybrid has beside the numbers of other decoders.
#[derive(Clone, Debug, PartialEq)]
pub struct Hybrid {
    /// Of every layer, whether it has attention; the others have gated DeltaNet.
    pub attention: Vec<bool>,
    /// Features of an attention head that are rotated, from the first on.
    pub rotary: usize,
    /// The heads of gated DeltaNet.
    pub delta: DeltaHeads,
    /// How the file stores some small tensors.
    pub form: Form,
    /// The rotation of the inputs of projections, if the weights were rotated.
    pub hadamard: Option<Hadamard>,
}

/// How a file stores norms and the decay of gated DeltaNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Norms as they are used, −exp(A_log). Value heads are tiled.
    Gguf,
    /// Norms less 1 (but for the one inside gated DeltaNet), A_log.
    HuggingFace,
    /// Norms as they are used, A_log.
    Mlx,
}

impl Form {
    /// Added to the weights of a norm.
    pub fn norm_offset(self) -> f32 {
        if self == Self::HuggingFace { 1.0 } else { 0.0 }
    }
}

impl Hybrid {
    /// Reads what a file states about its hybrid of `config`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if a key is missing or impossible, and for layers of other kinds.
    pub fn read(facts: &Facts<'_>, config: &Config) -> Result<Self, Refusal> {
        let form = match facts.container {
            Container::Gguf => Form::Gguf,
            Container::HuggingFace if facts.number("quantization.bits")?.is_some() => Form::Mlx,
            Container::HuggingFace => Form::HuggingFace,
        };
        let (delta, rotary) = match form {
            Form::Gguf => (gguf(facts)?, optional(facts, "rope.dimension_count")?.unwrap_or(config.head_dim)),
            Form::HuggingFace | Form::Mlx => (hugging_face(facts)?, rotary(facts, config.head_dim)?),
        };
        Ok(Self { attention: attention(facts, config.layers)?, rotary, delta, form, hadamard: None })
    }

    /// Checks that the numbers are possible and consistent with those of `config`.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        self.delta.check()?;
        if self.attention.len() != config.layers {
            return Err(format!("{} kinds of layers for {} layers", self.attention.len(), config.layers));
        }
        if self.rotary == 0 || !self.rotary.is_multiple_of(2) || self.rotary > config.head_dim {
            let (rotary, dim) = (self.rotary, config.head_dim);
            return Err(format!("{rotary} rotated features are not an even part of a head of {dim}"));
        }
        Ok(())
    }

    /// Bytes of a sequence's state over all layers with gated DeltaNet.
    pub fn state_bytes(&self) -> usize {
        self.recurrent_layers() * self.delta.state() * size_of::<f32>()
    }

    /// The number of layers with gated DeltaNet.
    pub fn recurrent_layers(&self) -> usize {
        self.attention.iter().filter(|attention| !**attention).count()
    }
}

/// A size; `None` if the key is absent.
fn optional(facts: &Facts<'_>, key: &str) -> Result<Option<usize>, Refusal> {
    match facts.number(key)? {
        None => Ok(None),
        Some(number) if number.fract() == 0.0 && (0.0..=1e6).contains(&number) => Ok(Some(number as usize)),
        Some(_) => {
            Err(Refusal::Malformed { key: facts.keys.full_name(key), problem: "is not a whole number up to 1000000" })
        }
    }
}

fn size(facts: &Facts<'_>, key: &str) -> Result<usize, Refusal> {
    optional(facts, key)?.ok_or_else(|| Refusal::Malformed { key: facts.keys.full_name(key), problem: "is missing" })
}

fn gguf(facts: &Facts<'_>) -> Result<DeltaHeads, Refusal> {
    let (values, inner) = (size(facts, "ssm.time_step_rank")?, size(facts, "ssm.inner_size")?);
    if values == 0 || !inner.is_multiple_of(values) {
        let problem = "does not divide by ssm.time_step_rank";
        return Err(Refusal::Malformed { key: facts.keys.full_name("ssm.inner_size"), problem });
    }
    Ok(DeltaHeads {
        keys: size(facts, "ssm.group_count")?,
        values,
        key_dim: size(facts, "ssm.state_size")?,
        value_dim: inner / values,
        taps: size(facts, "ssm.conv_kernel")?,
        tiled: true,
    })
}

fn hugging_face(facts: &Facts<'_>) -> Result<DeltaHeads, Refusal> {
    Ok(DeltaHeads {
        keys: size(facts, "linear_num_key_heads")?,
        values: size(facts, "linear_num_value_heads")?,
        key_dim: size(facts, "linear_key_head_dim")?,
        value_dim: size(facts, "linear_value_head_dim")?,
        taps: optional(facts, "linear_conv_kernel_dim")?.unwrap_or(4),
        tiled: false,
    })
}

/// Rotated features of a head, by config.json.
fn rotary(facts: &Facts<'_>, head_dim: usize) -> Result<usize, Refusal> {
    let mut share = None;
    for object in ["", "rope_parameters.", "rope_scaling."] {
        share = share.or(facts.number(&format!("{object}partial_rotary_factor"))?);
    }
    Ok((share.unwrap_or(0.25).clamp(0.0, 1.0) * head_dim as f64) as usize)
}

/// The layers with attention: listed, or every fourth or so.
fn attention(facts: &Facts<'_>, layers: usize) -> Result<Vec<bool>, Refusal> {
    let (kinds, recurrent) = (facts.texts("layer_types"), facts.flags("attention.recurrent_layers"));
    if let Some(other) = kinds.iter().find(|kind| !["full_attention", "linear_attention"].contains(kind)) {
        return Err(Refusal::unsupported(format!("the layer type `{other}`")));
    }
    if kinds.len() >= layers {
        return Ok(kinds[..layers].iter().map(|kind| *kind == "full_attention").collect());
    }
    if recurrent.len() >= layers {
        return Ok(recurrent[..layers].iter().map(|recurrent| !recurrent).collect());
    }
    let interval = optional(facts, "full_attention_interval")?.unwrap_or(4).max(1);
    Ok((0..layers).map(|layer| (layer + 1).is_multiple_of(interval)).collect())
}

/// The tensors of one layer, in the order in which the network uses them.
pub(crate) fn layer(l: &Layer<'_>) -> Vec<Slot> {
    let Some(hybrid) = &l.config.hybrid else { return Vec::new() };
    let mixer = if hybrid.attention.get(l.number).copied().unwrap_or_default() {
        vec![l.gated_q(), l.k(), l.v(), l.q_norm(), l.k_norm(), l.o()]
    } else {
        let delta = Delta { layer: *l, heads: hybrid.delta };
        let inputs = vec![delta.mixed(), delta.z(), delta.alpha(), delta.beta(), delta.decay(), delta.bias()];
        inputs.into_iter().chain([delta.convolution(), delta.norm(), delta.out()]).collect()
    };
    [l.attention_norm()].into_iter().chain(mixer).chain([l.mixer_norm(), l.gate(), l.up(), l.down()]).collect()
}

impl Layer<'_> {
    /// Query projection with the gates of attention's output: of each head its queries, then its gates.
    pub fn gated_q(&self) -> Slot {
        let Config { hidden, heads, head_dim, .. } = *self.config;
        self.ternary("self_attn.q_proj", "attn_q", 2 * heads * head_dim, hidden)
    }

    /// Weights of the norm before the feed-forward block.
    pub fn mixer_norm(&self) -> Slot {
        self.vector("post_attention_layernorm", "post_attention_norm", self.config.hidden)
    }
}

/// Makes the slots of gated DeltaNet's tensors.
#[derive(Clone, Copy)]
pub struct Delta<'a> {
    /// The layer.
    pub layer: Layer<'a>,
    /// Its heads.
    pub heads: DeltaHeads,
}

impl Delta<'_> {
    /// Projection to queries, keys and values.
    pub fn mixed(&self) -> Slot {
        self.layer.ternary("linear_attn.in_proj_qkv", "attn_qkv", self.heads.channels(), self.layer.config.hidden)
    }

    /// Projection to the gates of the output.
    pub fn z(&self) -> Slot {
        self.layer.ternary("linear_attn.in_proj_z", "attn_gate", self.heads.outputs(), self.layer.config.hidden)
    }

    /// Projection to the steps of the decay: `(value head, hidden)`.
    pub fn alpha(&self) -> Slot {
        self.layer.vector("linear_attn.in_proj_a", "ssm_alpha", self.heads.values * self.layer.config.hidden)
    }

    /// Projection to the learning rates: `(value head, hidden)`.
    pub fn beta(&self) -> Slot {
        self.layer.vector("linear_attn.in_proj_b", "ssm_beta", self.heads.values * self.layer.config.hidden)
    }

    /// The rate of the decay of each value head.
    pub fn decay(&self) -> Slot {
        self.plain("A_log", "ssm_a")
    }

    /// The bias of the steps of each value head.
    pub fn bias(&self) -> Slot {
        self.plain("dt_bias", "ssm_dt.bias")
    }

    /// Weights of the convolution: `(channel, tap)`.
    pub fn convolution(&self) -> Slot {
        self.layer.vector("linear_attn.conv1d", "ssm_conv1d", self.heads.channels() * self.heads.taps)
    }

    /// Weights of the norm of each head's output.
    pub fn norm(&self) -> Slot {
        self.layer.vector("linear_attn.norm", "ssm_norm", self.heads.value_dim)
    }

    /// Output projection.
    pub fn out(&self) -> Slot {
        self.layer.ternary("linear_attn.out_proj", "ssm_out", self.layer.config.hidden, self.heads.outputs())
    }

    /// A value for each value head; its name does not end with `.weight`.
    fn plain(&self, name: &str, gguf: &str) -> Slot {
        let number = self.layer.number;
        Slot {
            name: format!("model.layers.{number}.linear_attn.{name}"),
            kind: Kind::Vector { len: self.heads.values },
            gguf: format!("blk.{number}.{gguf}"),
            aliases: Vec::new(),
        }
    }
}
