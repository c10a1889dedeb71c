//! Shapes of released models: `bench` measures them without a download.

use sterna::arch::hybrid::Form;
use sterna::arch::{HadamardKeys, Hybrid, Kind};
use sterna::checkpoint::format::{BF16, Format, PQ2_0, Q1_0, SYNTHETIC, SYNTHETIC_GROUPS, SYNTHETIC_SIGNS};
use sterna::checkpoint::{Arch, Checkpoint, Config, RopeScaling};
use sterna::kernels::DeltaHeads;
use sterna::model;

/// A released model's dimensions, as its `config.json` gives them.
pub struct Shape {
    name: &'static str,
    architecture: &'static Arch,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    context: usize,
    rms_eps: f32,
    rope_theta: f64,
    tied: bool,
    /// Key and value heads of the layers with gated DeltaNet, three of four, in a hybrid.
    delta: Option<(usize, usize)>,
    /// How linears are stored, and embedding and head.
    stored: (&'static Format, &'static Format),
}

/// Fields left out take Llama 3's values.
const LLAMA: Shape = Shape {
    name: "llama3-8b-1.58",
    architecture: &model::LLAMA,
    hidden: 4096,
    intermediate: 14336,
    layers: 32,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocab: 128_256,
    context: 8192,
    rms_eps: 1e-5,
    rope_theta: 500_000.0,
    tied: false,
    delta: None,
    stored: (&SYNTHETIC, &BF16),
};

/// Falcon3's values.
const FALCON3: Shape = Shape {
    name: "falcon3-7b-1.58bit",
    hidden: 3072,
    intermediate: 23040,
    layers: 28,
    heads: 12,
    kv_heads: 4,
    head_dim: 256,
    vocab: 131_072,
    context: 32_768,
    rms_eps: 1e-6,
    rope_theta: 1_000_042.0,
    ..LLAMA
};

/// 1bitLLM's values.
const ONE_BIT_LLM: Shape = Shape {
    name: "bitnet_b1_58-large",
    architecture: &model::ONEBITLLM,
    hidden: 1536,
    intermediate: 4096,
    layers: 24,
    heads: 16,
    kv_heads: 16,
    head_dim: 96,
    vocab: 32_002,
    context: 2048,
    rope_theta: 10_000.0,
    tied: true,
    ..LLAMA
};

/// The values of Ternary Bonsai, a Qwen3.
const BONSAI: Shape = Shape {
    name: "ternary-bonsai-8b",
    architecture: &model::QWEN3,
    hidden: 4096,
    intermediate: 12288,
    layers: 36,
    vocab: 151_936,
    context: 65_536,
    rms_eps: 1e-6,
    rope_theta: 1_000_000.0,
    stored: (&SYNTHETIC_GROUPS, &PQ2_0),
    ..LLAMA
};

/// The values of Bonsai 2, a Qwen3.5 with rotated weights. Heads and feed-forward sizes below 27B are those of Qwen3.5.
const BONSAI_2: Shape = Shape {
    name: "bonsai-2-27b",
    architecture: &model::QWEN35,
    hidden: 5120,
    intermediate: 17_408,
    layers: 64,
    heads: 24,
    kv_heads: 4,
    head_dim: 256,
    vocab: 248_320,
    context: 262_144,
    rope_theta: 10_000_000.0,
    delta: Some((16, 48)),
    ..BONSAI
};

const SHAPES: &[Shape] = &[
    Shape {
        name: "bitnet-b1.58-2b-4t",
        architecture: &model::BITNET,
        hidden: 2560,
        intermediate: 6912,
        layers: 30,
        heads: 20,
        kv_heads: 5,
        context: 4096,
        tied: true,
        ..LLAMA
    },
    ONE_BIT_LLM,
    Shape {
        name: "bitnet_b1_58-3b",
        hidden: 3200,
        intermediate: 8640,
        layers: 26,
        heads: 32,
        kv_heads: 32,
        head_dim: 100,
        ..ONE_BIT_LLM
    },
    LLAMA,
    Shape { name: "falcon3-1b-1.58bit", hidden: 2048, intermediate: 8192, layers: 18, heads: 8, ..FALCON3 },
    Shape { name: "falcon3-3b-1.58bit", intermediate: 9216, layers: 22, ..FALCON3 },
    FALCON3,
    Shape { name: "falcon3-10b-1.58bit", layers: 40, ..FALCON3 },
    Shape {
        name: "falcon-e-1b",
        hidden: 2048,
        intermediate: 9216,
        layers: 24,
        heads: 16,
        kv_heads: 2,
        vocab: 32_768,
        context: 32_768,
        rope_theta: 1_000_000.0,
        ..LLAMA
    },
    BONSAI,
    Shape {
        name: "ternary-bonsai-1.7b",
        hidden: 2048,
        intermediate: 6144,
        layers: 28,
        heads: 16,
        context: 32_768,
        tied: true,
        ..BONSAI
    },
    Shape { name: "bonsai-8b", stored: (&SYNTHETIC_SIGNS, &Q1_0), ..BONSAI },
    Shape {
        name: "bonsai-2-2b",
        hidden: 2048,
        intermediate: 6144,
        layers: 24,
        heads: 8,
        kv_heads: 2,
        tied: true,
        delta: Some((16, 16)),
        ..BONSAI_2
    },
    Shape {
        name: "bonsai-2-4b",
        hidden: 2560,
        intermediate: 9216,
        layers: 32,
        heads: 16,
        tied: true,
        delta: Some((16, 32)),
        ..BONSAI_2
    },
    Shape {
        name: "bonsai-2-9b",
        hidden: 4096,
        intermediate: 12_288,
        layers: 32,
        heads: 16,
        delta: Some((16, 32)),
        ..BONSAI_2
    },
    BONSAI_2,
];

/// The names of all shapes.
pub fn names() -> Vec<&'static str> {
    SHAPES.iter().map(|shape| shape.name).collect()
}

/// The shape with a name.
pub fn find(name: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.name == name)
}

impl Shape {
    /// A model of the shape with random weights; `head` is the format of embedding and head, if not the shape's own.
    pub fn model(&self, head: Option<&'static Format>) -> sterna::Result<Checkpoint> {
        let (linears, own) = self.stored;
        Checkpoint::synthetic_with(self.config(), linears, head.unwrap_or(own), 1)
    }

    /// The configuration.
    pub fn config(&self) -> Config {
        let mut config = Config {
            architecture: self.architecture,
            hidden: self.hidden,
            intermediate: self.intermediate,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            vocab: self.vocab,
            context: self.context,
            rms_eps: self.rms_eps,
            rope_theta: self.rope_theta,
            rope_scaling: RopeScaling::None,
            pooling: None,
            windows: None,
            scalings: None,
            tied: self.tied,
            eos: Vec::new(),
            hybrid: self.hybrid().map(Box::new),
        };
        if config.hybrid.is_some() {
            config.rotate(&rotation(&config)).expect("all widths are whole blocks");
        }
        config
    }

    /// What the shape has as a hybrid, in GGUF's form.
    fn hybrid(&self) -> Option<Hybrid> {
        let (keys, values) = self.delta?;
        let attention = (1..=self.layers).map(|layer| layer % 4 == 0).collect();
        let delta = DeltaHeads { keys, values, key_dim: 128, value_dim: 128, taps: 4, tiled: true };
        Some(Hybrid { attention, rotary: self.head_dim / 4, delta, form: Form::Gguf, hadamard: None })
    }
}

/// The rotation of all projections, the embedding and the head, without signs.
fn rotation(config: &Config) -> HadamardKeys {
    let slots = config.architecture.tensors(config);
    let projections = slots.iter().filter(|slot| matches!(slot.kind, Kind::Ternary { .. }));
    let head = (!config.tied).then(|| "output.weight".to_owned());
    // The largest block up to 1024 that divides all widths.
    let widths = slots.iter().filter(|slot| !matches!(slot.kind, Kind::Vector { .. })).map(|slot| slot.kind.shape().1);
    let block = widths.map(|width| 1 << width.trailing_zeros()).min().unwrap_or(1).min(1024);
    HadamardKeys {
        version: Some(if config.tied { 2 } else { 1 }),
        block_size: Some(block),
        transform: Some("normalized-sylvester-walsh-hadamard".into()),
        axis: Some("input-last-dimension".into()),
        sign_mode: Some("identity".into()),
        weight_names: projections.map(|slot| slot.gguf.clone()).chain(head).collect(),
        inverse_weight_names: vec!["token_embd.weight".into()],
        grouped_values: true,
        tied_output: config.tied,
        ..HadamardKeys::default()
    }
}
