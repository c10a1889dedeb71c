//! The header of a written GGUF file: keys and tensor descriptions.

use sterna_kernels::format::Format;

use super::WriteOptions;
use super::gguf::Plan;
use crate::arch::rope_scaling::{DIVISORS, RopeScaling, attention};
use crate::arch::{Config, HADAMARD_PREFIX, HadamardKeys, Hybrid, Kind, Scalings, Slot, Windows};
use crate::checkpoint::gguf::{ALIGNMENT, ENDS};
use crate::checkpoint::{Checkpoint, GgufVocabulary};

/// Whether a scaling of the rotary embedding has keys in GGUF files.
pub(super) fn can_be_written(scaling: &RopeScaling) -> bool {
    match scaling {
        RopeScaling::None => true,
        RopeScaling::Yarn(yarn) => yarn.truncate,
        RopeScaling::Divisors { attention, .. } => *attention == 1.0,
        RopeScaling::Llama3 { .. } => false,
    }
}

/// The tensor of a scaling that has one.
pub(super) fn divisors(scaling: &RopeScaling) -> Option<Slot> {
    let RopeScaling::Divisors { divisors, .. } = scaling else { return None };
    let kind = Kind::Vector { len: divisors.len() };
    Some(Slot { name: DIVISORS.into(), kind, gguf: DIVISORS.into(), aliases: Vec::new() })
}

/// The whole header of a part, padded to the start of the data. The first part has all keys of the model.
pub(super) fn header(checkpoint: &Checkpoint, options: &WriteOptions<'_>, plan: &Plan, part: usize) -> Vec<u8> {
    let mut keys = Keys::default();
    if part == 0 {
        keys.model(checkpoint, options, plan);
    }
    if plan.parts.len() > 1 {
        keys.short("split.no", part as u16);
        keys.short("split.count", plan.parts.len() as u16);
        keys.int("split.tensors.count", plan.tensors.len() as i32);
    }
    let tensors: Vec<_> = plan.tensors.iter().filter(|tensor| tensor.part == part).collect();
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(keys.count.to_le_bytes());
    out.extend(keys.bytes);
    for tensor in tensors {
        text(&mut out, &tensor.slot.gguf);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|n| out.extend((*n as u64).to_le_bytes()));
        out.extend(tensor.kind.to_le_bytes());
        out.extend(tensor.offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

/// The number of a file whose linears have this format, in the program that reads it: bitnet.cpp for I2_S, PrismML's fork
/// for PQ2_0 and PTQ1_0, llama.cpp for the others.
fn file_type(encoding: &Format) -> Option<u32> {
    match encoding.name {
        "tq1_0" => Some(36),
        "tq2_0" => Some(37),
        "i2_s" | "q1_0" => Some(40),
        "q2_0" => Some(41),
        "pq2_0" => Some(141),
        "ptq1_0" => Some(143),
        _ => None,
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[derive(Default)]
struct Keys {
    count: u64,
    bytes: Vec<u8>,
}

impl Keys {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    /// The keys of the model.
    fn model(&mut self, checkpoint: &Checkpoint, options: &WriteOptions<'_>, plan: &Plan) {
        let arch = plan.arch.gguf_name();
        let name = checkpoint.path.file_stem().unwrap_or_default().to_string_lossy();
        self.text("general.architecture", arch);
        self.text("general.name", &name);
        if let Some(number) = file_type(options.encoding) {
            self.uint("general.file_type", number);
        }
        self.uint("general.quantization_version", 2);
        self.uint("general.alignment", ALIGNMENT as u32);
        let config = &checkpoint.config;
        for (key, value) in [
            ("vocab_size", config.vocab),
            ("context_length", config.context),
            ("embedding_length", config.hidden),
            ("block_count", config.layers),
            ("feed_forward_length", config.intermediate),
            ("rope.dimension_count", config.rotary_dim()),
            ("attention.head_count", config.heads),
            ("attention.head_count_kv", config.kv_heads),
            ("attention.key_length", config.head_dim),
            ("attention.value_length", config.head_dim),
        ] {
            self.uint(&format!("{arch}.{key}"), value as u32);
        }
        self.float(&format!("{arch}.attention.layer_norm_rms_epsilon"), config.rms_eps);
        self.float(&format!("{arch}.rope.freq_base"), config.rope_theta as f32);
        self.rope_scaling(&format!("{arch}.rope.scaling"), &config.rope_scaling);
        self.details(arch, config);
        if let Some(vocabulary) = options.vocabulary {
            self.vocabulary(vocabulary);
        }
        for (key, id) in ENDS.iter().zip(&plan.ends) {
            self.uint(key, *id);
        }
    }

    /// The keys of a hybrid.
    fn hybrid(&mut self, arch: &str, hybrid: &Hybrid) {
        let delta = hybrid.delta;
        for (key, value) in [
            ("conv_kernel", delta.taps),
            ("state_size", delta.key_dim),
            ("group_count", delta.keys),
            ("time_step_rank", delta.values),
            ("inner_size", delta.outputs()),
        ] {
            self.uint(&format!("{arch}.ssm.{key}"), value as u32);
        }
        let recurrent: Vec<u8> = hybrid.attention.iter().map(|attention| u8::from(!attention)).collect();
        self.list(&format!("{arch}.attention.recurrent_layers"), 7, recurrent.len());
        self.bytes.extend(recurrent);
        if let Some(hadamard) = &hybrid.hadamard {
            self.hadamard(hadamard.keys());
        }
    }

    fn hadamard(&mut self, keys: &HadamardKeys) {
        let key = |name: &str| format!("{HADAMARD_PREFIX}{name}");
        for (name, value) in [("version", keys.version), ("block_size", keys.block_size)] {
            self.uint(&key(name), value.unwrap_or_default() as u32);
        }
        for (name, value) in [("transform", &keys.transform), ("axis", &keys.axis), ("sign_mode", &keys.sign_mode)] {
            self.text(&key(name), value.as_deref().unwrap_or_default());
        }
        for (name, values) in [("sign_widths", &keys.sign_widths), ("sign_values", &keys.sign_values)] {
            self.list(&key(name), 5, values.len());
            self.bytes.extend(values.iter().flat_map(|value| (*value as i32).to_le_bytes()));
        }
        let names = [("weight_names", &keys.weight_names), ("inverse_weight_names", &keys.inverse_weight_names)];
        for (name, texts) in names {
            self.texts(&key(name), texts);
        }
        self.flag(&key("gdn_v_grouped"), keys.grouped_values);
        self.flag(&key("tied_output"), keys.tied_output);
    }

    fn short(&mut self, key: &str, value: u16) {
        self.key(key, 2);
        self.bytes.extend(value.to_le_bytes());
    }

    fn int(&mut self, key: &str, value: i32) {
        self.key(key, 5);
        self.bytes.extend(value.to_le_bytes());
    }

    fn uint(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    /// The keys below `prefix` for a scaling that [`can_be_written`].
    fn rope_scaling(&mut self, prefix: &str, scaling: &RopeScaling) {
        match scaling {
            RopeScaling::Yarn(yarn) => {
                self.text(&format!("{prefix}.type"), "yarn");
                self.uint(&format!("{prefix}.original_context_length"), yarn.original as u32);
                for (key, value) in [
                    ("factor", yarn.factor),
                    // Readers multiply it with the factor of attention that belongs to the factor.
                    ("attn_factor", yarn.attention / attention(yarn.factor, 1.0)),
                    ("yarn_beta_fast", yarn.fast),
                    ("yarn_beta_slow", yarn.slow),
                ] {
                    self.float(&format!("{prefix}.{key}"), value as f32);
                }
            }
            RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Divisors { .. } => {}
        }
    }

    /// The keys of some architectures only.
    fn details(&mut self, arch: &str, config: &Config) {
        if let Some(hybrid) = &config.hybrid {
            self.hybrid(arch, hybrid);
        }
        if let Some(pooling) = config.pooling {
            self.uint(&format!("{arch}.pooling_type"), pooling.gguf());
        }
        if let Some(Windows { positions, period, rope_theta }) = config.windows {
            self.uint(&format!("{arch}.attention.sliding_window"), positions as u32);
            self.uint(&format!("{arch}.attention.sliding_window_pattern"), period as u32);
            self.float(&format!("{arch}.rope.freq_base_swa"), rope_theta as f32);
        }
        if let Some(Scalings { embedding, branch, head }) = config.scalings {
            self.float(&format!("{arch}.embedding_scale"), embedding);
            self.float(&format!("{arch}.residual_scale"), branch);
            self.float(&format!("{arch}.logit_scale"), head);
        }
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.bytes.push(value.into());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text(&mut self.bytes, value);
    }

    fn list(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, 9);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, 8, values.len());
        values.iter().for_each(|value| text(&mut self.bytes, value));
    }

    fn vocabulary(&mut self, vocabulary: &GgufVocabulary) {
        self.text("tokenizer.ggml.model", &vocabulary.model);
        if let Some(pre) = &vocabulary.pre {
            self.text("tokenizer.ggml.pre", pre);
        }
        self.texts("tokenizer.ggml.tokens", &vocabulary.tokens);
        if !vocabulary.scores.is_empty() {
            self.list("tokenizer.ggml.scores", 6, vocabulary.scores.len());
            self.bytes.extend(vocabulary.scores.iter().flat_map(|score| score.to_le_bytes()));
        }
        if !vocabulary.types.is_empty() {
            self.list("tokenizer.ggml.token_type", 5, vocabulary.types.len());
            self.bytes.extend(vocabulary.types.iter().flat_map(|kind| kind.to_le_bytes()));
        }
        if !vocabulary.merges.is_empty() {
            self.texts("tokenizer.ggml.merges", &vocabulary.merges);
        }
        for (key, id) in [("bos", vocabulary.bos), ("unknown", vocabulary.unknown), ("padding", vocabulary.padding)] {
            if let Some(id) = id {
                self.uint(&format!("tokenizer.ggml.{key}_token_id"), id);
            }
        }
        for (key, flag) in [
            ("add_bos_token", vocabulary.add_bos),
            ("add_eos_token", vocabulary.add_eos),
            ("add_space_prefix", vocabulary.add_space_prefix),
        ] {
            if let Some(flag) = flag {
                self.flag(&format!("tokenizer.ggml.{key}"), flag);
            }
        }
        if let Some(template) = &vocabulary.chat_template {
            self.text("tokenizer.chat_template", template);
        }
    }
}
