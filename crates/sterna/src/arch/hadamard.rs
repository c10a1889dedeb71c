//! Weights that were rotated before they were rounded: the inputs of their products must be rotated, too.
//!
//! ```text
//! a listed weight     y = W · H(s · x)     in blocks of the columns; s are signs of ±1, H is the Walsh–Hadamard matrix
//! the embedding       h = s · H(row)
//! ```
//!
//! Source: the keys `prism.hadamard.*` in the loader of PrismML's llama.cpp; MLX packs have them in hadamard.json.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Refusal;
use super::{Config, Kind, Slot, decoder};

/// How the names of the keys begin.
pub(crate) const PREFIX: &str = "prism.hadamard.";
const UPDATE: &str = "update Sterna, or use a file of version 1 or 2 of these keys";
const CONVERT: &str = "the file was converted wrongly or is damaged: download or convert it again";

/// The keys, as a file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HadamardKeys {
    /// `version`
    pub version: Option<u64>,
    /// `block_size`
    pub block_size: Option<u64>,
    /// `transform`
    pub transform: Option<String>,
    /// `axis`
    pub axis: Option<String>,
    /// `sign_mode`
    pub sign_mode: Option<String>,
    /// `sign_widths`
    pub sign_widths: Vec<i64>,
    /// `sign_values`
    pub sign_values: Vec<i64>,
    /// `weight_names`
    pub weight_names: Vec<String>,
    /// `inverse_weight_names`
    pub inverse_weight_names: Vec<String>,
    /// `gdn_v_grouped`
    pub grouped_values: bool,
    /// `tied_output`
    pub tied_output: bool,
}

/// The rotation of a model's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Hadamard {
    /// The keys that it was read from.
    keys: HadamardKeys,
    /// Columns of a block, a power of two.
    pub block: usize,
    /// The signs by input width; `None` if all are +1.
    signs: Option<BTreeMap<usize, Vec<i8>>>,
    /// The rotated weights.
    weights: BTreeSet<String>,
    /// Whether rows of the embedding are rotated.
    pub embedding: bool,
    /// Whether the inputs of DeltaNet's output projections are in grouped order of value heads.
    pub grouped_values: bool,
    /// Whether the head is the rotated embedding.
    pub tied: bool,
}

fn refuse<T>(what: impl Into<String>, remedy: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Unsupported { what: what.into(), remedy: Some(remedy) })
}

impl Hadamard {
    /// The rotation that a file's keys describe.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for other versions and transforms, and for keys that contradict each other.
    pub fn read(keys: &HadamardKeys) -> Result<Self, Refusal> {
        let Some(version) = keys.version else { return refuse(format!("keys `{PREFIX}*` without a version"), CONVERT) };
        if !(1..=2).contains(&version) {
            return refuse(format!("version {version} of Hadamard-rotated weights (key `{PREFIX}version`)"), UPDATE);
        }
        if (version == 2) != keys.tied_output {
            let what = format!("{PREFIX}tied_output = {} in version {version}", keys.tied_output);
            return refuse(what, CONVERT);
        }
        let kinds = [
            ("transform", &keys.transform, "normalized-sylvester-walsh-hadamard"),
            ("axis", &keys.axis, "input-last-dimension"),
        ];
        for (key, value, known) in kinds {
            if value.as_deref() != Some(known) {
                return refuse(format!("{PREFIX}{key} = `{}`", value.as_deref().unwrap_or("none")), UPDATE);
            }
        }
        let block = keys.block_size.unwrap_or(0);
        if !block.is_power_of_two() || !(16..=1 << 16).contains(&block) {
            return refuse(format!("{PREFIX}block_size = {block}, not a power of two from 16 to 65536,"), UPDATE);
        }
        let embedding = names(keys)?;
        let block = block as usize;
        Ok(Self {
            keys: keys.clone(),
            block,
            signs: signs(keys, block)?,
            weights: keys.weight_names.iter().map(|name| language(name).to_owned()).collect(),
            embedding,
            grouped_values: keys.grouped_values,
            tied: keys.tied_output,
        })
    }

    /// The keys that it was read from.
    pub fn keys(&self) -> &HadamardKeys {
        &self.keys
    }

    /// Whether the input of a weight is rotated.
    pub fn rotates(&self, slot: &Slot) -> bool {
        self.weights.contains(&slot.name) || self.weights.contains(&slot.gguf)
    }

    /// The signs of inputs with `width` columns.
    pub fn signs(&self, width: usize) -> Vec<f32> {
        match self.signs.as_ref().and_then(|signs| signs.get(&width)) {
            Some(signs) => signs.iter().map(|sign| f32::from(*sign)).collect(),
            None => vec![1.0; width],
        }
    }

    /// Checks that the rotation suits the network of `config`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for widths that do not divide into blocks or have no signs, and if the head does not suit the version.
    pub fn check(&self, config: &Config) -> Result<(), Refusal> {
        if self.tied && !config.tied {
            return refuse(format!("{PREFIX}tied_output = true in a model with a head of its own"), CONVERT);
        }
        if config.tied && !self.tied && self.embedding {
            return refuse(format!("a rotated embedding that is the head without {PREFIX}tied_output"), CONVERT);
        }
        let embedding = self.embedding.then(|| decoder::embedding(config));
        let rotated = config.architecture.tensors(config).into_iter().filter(|slot| self.rotates(slot));
        for slot in rotated.chain(embedding) {
            let (_, width) = slot.kind.shape();
            if matches!(slot.kind, Kind::Vector { .. }) || !width.is_multiple_of(self.block) {
                let what = format!("the rotation of `{}`, whose {width} columns are not whole blocks", slot.name);
                return refuse(what, CONVERT);
            }
            if self.signs.as_ref().is_some_and(|signs| !signs.contains_key(&width)) {
                return refuse(format!("the rotation of `{}` without signs for {width} columns", slot.name), CONVERT);
            }
        }
        Ok(())
    }
}

impl Config {
    /// Adds the rotation that a file's keys describe.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the network has no rotations, and those of [`Hadamard::read`] and [`Hadamard::check`].
    pub fn rotate(&mut self, keys: &HadamardKeys) -> Result<(), Refusal> {
        let Some(hybrid) = &mut self.hybrid else {
            let name = self.architecture.title;
            let remedy = "use the model without this rotation";
            return refuse(format!("a Hadamard-rotated model (keys `{PREFIX}*`) of the network {name}"), remedy);
        };
        let hadamard = Hadamard::read(keys)?;
        hybrid.hadamard = Some(hadamard.clone());
        hadamard.check(self)
    }
}

/// A name without the prefix of models that also see images.
fn language(name: &str) -> &str {
    name.strip_prefix("language_model.").unwrap_or(name)
}

/// Checks the names. Whether the embedding is rotated.
fn names(keys: &HadamardKeys) -> Result<bool, Refusal> {
    const ENDS: [&str; 20] = [
        ".attn_q.weight",
        ".attn_k.weight",
        ".attn_v.weight",
        ".attn_qkv.weight",
        ".attn_gate.weight",
        ".attn_output.weight",
        ".ffn_gate.weight",
        ".ffn_up.weight",
        ".ffn_down.weight",
        ".ssm_out.weight",
        ".q_proj.weight",
        ".k_proj.weight",
        ".v_proj.weight",
        ".o_proj.weight",
        ".in_proj_qkv.weight",
        ".in_proj_z.weight",
        ".out_proj.weight",
        ".gate_proj.weight",
        ".up_proj.weight",
        ".down_proj.weight",
    ];
    const HEADS: [&str; 2] = ["output.weight", "lm_head.weight"];
    const EMBEDDINGS: [&str; 2] = ["token_embd.weight", "model.embed_tokens.weight"];
    if keys.weight_names.is_empty() {
        return refuse(format!("{PREFIX}weight_names without a name"), CONVERT);
    }
    let mut seen = BTreeSet::new();
    for name in keys.weight_names.iter().chain(&keys.inverse_weight_names) {
        if !seen.insert(name) {
            return refuse(format!("`{name}` twice in {PREFIX}weight_names and inverse_weight_names"), CONVERT);
        }
    }
    let layer = |name: &str| name.starts_with("blk.") || name.starts_with("model.layers.");
    let known = |name: &str| HEADS.contains(&name) || layer(name) && ENDS.iter().any(|end| name.ends_with(end));
    if let Some(other) = keys.weight_names.iter().find(|name| !known(language(name))) {
        return refuse(format!("the rotation of `{other}` ({PREFIX}weight_names)"), UPDATE);
    }
    if let Some(other) = keys.inverse_weight_names.iter().find(|name| !EMBEDDINGS.contains(&language(name))) {
        return refuse(format!("the inverse rotation of `{other}` ({PREFIX}inverse_weight_names)"), UPDATE);
    }
    if keys.tied_output && keys.inverse_weight_names.is_empty() {
        return refuse(format!("{PREFIX}tied_output without the embedding in inverse_weight_names"), CONVERT);
    }
    Ok(!keys.inverse_weight_names.is_empty())
}

/// The signs by width; `None` if all are +1.
fn signs(keys: &HadamardKeys, block: usize) -> Result<Option<BTreeMap<usize, Vec<i8>>>, Refusal> {
    match keys.sign_mode.as_deref() {
        Some("identity") => return Ok(None),
        Some("explicit") if !keys.sign_widths.is_empty() => {}
        Some("explicit") => return refuse(format!("{PREFIX}sign_mode = `explicit` without widths"), CONVERT),
        other => return refuse(format!("{PREFIX}sign_mode = `{}`", other.unwrap_or("none")), UPDATE),
    }
    let (mut signs, mut values) = (BTreeMap::new(), &keys.sign_values[..]);
    for &width in &keys.sign_widths {
        let of = usize::try_from(width).ok().filter(|width| *width > 0 && width.is_multiple_of(block));
        let Some((these, rest)) = of.and_then(|width| values.split_at_checked(width)) else {
            return refuse(format!("{width} signs ({PREFIX}sign_widths), not whole blocks that are there,"), CONVERT);
        };
        if these.iter().any(|sign| sign.unsigned_abs() != 1) {
            return refuse(format!("{PREFIX}sign_values other than 1 and -1"), CONVERT);
        }
        if signs.insert(these.len(), these.iter().map(|sign| *sign as i8).collect()).is_some() {
            return refuse(format!("{width} twice in {PREFIX}sign_widths"), CONVERT);
        }
        values = rest;
    }
    match values.len() {
        0 => Ok(Some(signs)),
        more => refuse(format!("{more} {PREFIX}sign_values that belong to no width"), CONVERT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1 with two widths.
    fn keys() -> HadamardKeys {
        HadamardKeys {
            version: Some(1),
            block_size: Some(16),
            transform: Some("normalized-sylvester-walsh-hadamard".into()),
            axis: Some("input-last-dimension".into()),
            sign_mode: Some("explicit".into()),
            sign_widths: vec![16, 32],
            sign_values: [vec![1; 16], vec![-1; 32]].concat(),
            weight_names: vec!["blk.0.attn_q.weight".into(), "language_model.model.layers.1.mlp.up_proj.weight".into()],
            inverse_weight_names: vec!["token_embd.weight".into()],
            ..HadamardKeys::default()
        }
    }

    #[test]
    fn possible_keys_are_read() {
        let hadamard = Hadamard::read(&keys()).expect("possible");
        assert_eq!((hadamard.block, hadamard.embedding, hadamard.tied), (16, true, false));
        assert_eq!((hadamard.signs(16), hadamard.signs(32)), (vec![1.0; 16], vec![-1.0; 32]));
        let identity =
            HadamardKeys { sign_mode: Some("identity".into()), version: Some(2), tied_output: true, ..keys() };
        let hadamard = Hadamard::read(&identity).expect("possible");
        assert_eq!((hadamard.signs(32), hadamard.tied), (vec![1.0; 32], true));
    }

    #[test]
    fn other_keys_are_refused() {
        let name = |name: &str| vec![name.to_owned()];
        let cases = [
            ("without a version", HadamardKeys { version: None, ..keys() }),
            ("version 3", HadamardKeys { version: Some(3), ..keys() }),
            ("tied_output = false in version 2", HadamardKeys { version: Some(2), ..keys() }),
            ("tied_output = true in version 1", HadamardKeys { tied_output: true, ..keys() }),
            ("block_size = 24", HadamardKeys { block_size: Some(24), ..keys() }),
            ("block_size = 0", HadamardKeys { block_size: None, ..keys() }),
            ("transform = `dct`", HadamardKeys { transform: Some("dct".into()), ..keys() }),
            ("axis = `none`", HadamardKeys { axis: None, ..keys() }),
            ("sign_mode = `random`", HadamardKeys { sign_mode: Some("random".into()), ..keys() }),
            ("without widths", HadamardKeys { sign_widths: Vec::new(), ..keys() }),
            ("20 signs", HadamardKeys { sign_widths: vec![16, 20], ..keys() }),
            ("-16 signs", HadamardKeys { sign_widths: vec![-16], ..keys() }),
            ("64 signs", HadamardKeys { sign_widths: vec![16, 64], ..keys() }),
            ("16 twice", HadamardKeys { sign_widths: vec![16, 16, 16], ..keys() }),
            ("32 prism.hadamard.sign_values that belong", HadamardKeys { sign_widths: vec![16], ..keys() }),
            ("other than 1 and -1", HadamardKeys { sign_values: vec![2; 48], ..keys() }),
            ("without a name", HadamardKeys { weight_names: Vec::new(), ..keys() }),
            ("`output.weight` twice", HadamardKeys { weight_names: vec!["output.weight".to_owned(); 2], ..keys() }),
            ("`token_embd.weight` twice", HadamardKeys { weight_names: name("token_embd.weight"), ..keys() }),
            (
                "rotation of `blk.0.ssm_alpha.weight`",
                HadamardKeys { weight_names: name("blk.0.ssm_alpha.weight"), ..keys() },
            ),
            (
                "inverse rotation of `output.weight`",
                HadamardKeys { inverse_weight_names: name("output.weight"), ..keys() },
            ),
        ];
        for (part, keys) in cases {
            let Err(Refusal::Unsupported { what, remedy: Some(_) }) = Hadamard::read(&keys) else {
                panic!("{part}: not refused with a remedy");
            };
            assert!(what.contains(part), "`{part}` is not in: {what}");
        }
    }
}
