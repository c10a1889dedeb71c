//! Scaling of the rotary embedding, by which models read longer contexts than those of their first training.
//!
//! Sources: `modeling_rope_utils.py` of transformers; `llama-model.cpp` and `ggml_rope` of llama.cpp.

use std::f64::consts::PI;

use super::facts::{Facts, Refusal};

/// GGUF's tensor of divisors, one for each pair of a head.
pub(crate) const DIVISORS: &str = "rope_freqs.weight";

/// How the frequencies of the rotary embedding are changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// YaRN (arXiv:2309.00071).
    Yarn(Yarn),
    /// Llama 3's: low frequencies are divided by a factor, high ones stay.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Turns in the original context below which a frequency is low.
        low: f64,
        /// Turns in the original context above which a frequency is high.
        high: f64,
        /// Context length of the first training.
        original: f64,
    },
    /// Each is divided by a factor of its own (LongRoPE, arXiv:2402.13753, and `rope_freqs.weight`).
    Divisors {
        /// A divisor for each pair of a head.
        divisors: Vec<f32>,
        /// Factor of cosines and sines, at every position.
        attention: f64,
    },
}

/// The parameters of YaRN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// The divisor of low frequencies.
    pub factor: f64,
    /// Context length of the first training.
    pub original: f64,
    /// Turns in the original context from which on a frequency stays as it is.
    pub fast: f64,
    /// Turns in the original context up to which a frequency is divided.
    pub slow: f64,
    /// Factor of cosines and sines, at every position.
    pub attention: f64,
    /// Whether the bounds between fast and slow are rounded to whole dimensions.
    pub truncate: bool,
}

impl RopeScaling {
    /// The scaled inverse frequency of pair `i` of `dim / 2`, whose plain one is `plain`.
    pub fn inverse_frequency(&self, plain: f64, i: usize, dim: usize, theta: f64) -> f64 {
        match self {
            Self::None => plain,
            Self::Divisors { divisors, .. } => plain / f64::from(divisors[i]),
            Self::Llama3 { factor, low, high, original } => {
                let turns = original * plain / (2.0 * PI);
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * plain / factor + kept * plain
            }
            Self::Yarn(yarn) => {
                let kept = 1.0 - yarn.ramp(i, dim, theta);
                kept * plain + (1.0 - kept) * plain / yarn.factor
            }
        }
    }

    /// The factor of cosines and sines.
    pub fn attention(&self) -> f64 {
        match self {
            Self::Yarn(yarn) => yarn.attention,
            Self::Divisors { attention, .. } => *attention,
            Self::None | Self::Llama3 { .. } => 1.0,
        }
    }

    /// Whether the scaling fits heads of `dim` values.
    pub(super) fn fits(&self, dim: usize) -> bool {
        if let Self::Divisors { divisors, .. } = self { divisors.len() == dim / 2 } else { true }
    }

    /// The scaling that a file describes.
    ///
    /// # Errors
    /// [`Refusal`] for kinds that are not supported, and for missing or impossible parameters.
    pub fn read(facts: &Facts<'_>) -> Result<Self, Refusal> {
        for object in ["rope_scaling", "rope_parameters", "rope_parameters.full_attention"] {
            let scaling = hugging_face(facts, object)?;
            if scaling != Self::None {
                return Ok(scaling);
            }
        }
        match gguf(facts)? {
            Self::None => divisors(facts),
            scaling => Ok(scaling),
        }
    }
}

impl Yarn {
    /// 0 for a frequency that stays, 1 for one that is divided, and a ramp between.
    fn ramp(&self, i: usize, dim: usize, theta: f64) -> f64 {
        let dim = dim as f64;
        let at = |turns: f64| dim * (self.original / (2.0 * PI * turns)).ln() / (2.0 * theta.ln());
        let (low, high) = (at(self.fast), at(self.slow));
        let (low, high) = if self.truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dim - 1.0));
        let width = if high == low { 0.001 } else { high - low };
        ((i as f64 - low) / width).clamp(0.0, 1.0)
    }
}

/// The factor of cosines and sines for contexts that are `factor` times as long.
pub(crate) fn attention(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// " by 2".
fn by(factor: Option<f64>) -> String {
    factor.map(|factor| format!(" by {factor}")).unwrap_or_default()
}

/// Whether a divisor or a length is possible.
fn possible(number: f64) -> bool {
    number.is_finite() && number > 0.0 && number < 1e9
}

/// Reads an object of config.json.
fn hugging_face(facts: &Facts<'_>, object: &str) -> Result<RopeScaling, Refusal> {
    let number = |key: &str| facts.number(&format!("{object}.{key}"));
    // Older versions of transformers name the key `type`.
    let kind = match facts.text(&format!("{object}.rope_type"))? {
        None => facts.text(&format!("{object}.type"))?,
        kind => kind,
    };
    let factor = number("factor")?;
    let refuse = |why: &str| {
        let kind = kind.unwrap_or("unknown");
        Err(Refusal::unsupported(format!("{object} of the type `{kind}`{}{why}", by(factor))))
    };
    let trained = number("original_max_position_embeddings")?;
    let scaling = match (kind, factor) {
        (Some("default"), _) | (None, None) => RopeScaling::None,
        (None | Some("linear" | "dynamic"), Some(1.0)) => RopeScaling::None,
        (Some("llama3"), Some(factor)) => {
            if factor == 1.0 {
                return Ok(RopeScaling::None);
            }
            let (Some(low), Some(high), Some(original)) =
                (number("low_freq_factor")?, number("high_freq_factor")?, trained)
            else {
                return refuse(" without its parameters");
            };
            if !(possible(low) && possible(high) && low < high && possible(original)) {
                return refuse(" with impossible parameters");
            }
            RopeScaling::Llama3 { factor, low, high, original }
        }
        (Some("longrope"), factor) => {
            let lists = ["short_factor", "long_factor"].map(|key| facts.numbers(&format!("{object}.{key}")));
            let (context, top) = (facts.number("max_position_embeddings")?, "original_max_position_embeddings");
            let Some(original) = trained.or(facts.number(top)?).or(context) else {
                return refuse(" without an original context");
            };
            let factor = factor.or(context.map(|context| context / original)).unwrap_or(1.0);
            let given = number("attention_factor")?;
            long_rope(lists, context.unwrap_or(original), original, (factor, given))
        }
        (Some("yarn"), factor) => {
            let context = facts.number("max_position_embeddings")?;
            let Some(factor) = factor.or_else(|| Some(context? / trained?)) else { return refuse(" without a factor") };
            let given = (number("mscale")?.filter(|m| *m != 0.0), number("mscale_all_dim")?.filter(|m| *m != 0.0));
            let attention = match (number("attention_factor")?, given) {
                (Some(given), _) => given,
                (None, (Some(all), Some(some))) => attention(factor, all) / attention(factor, some),
                _ => attention(factor, 1.0),
            };
            let truncate = facts.flag(&format!("{object}.truncate"))?.unwrap_or(true);
            let Some(original) = trained.or(context) else { return refuse(" without an original context") };
            let (fast, slow) = (number("beta_fast")?.unwrap_or(32.0), number("beta_slow")?.unwrap_or(1.0));
            RopeScaling::Yarn(Yarn { factor, original, fast, slow, attention, truncate })
        }
        _ => return refuse(""),
    };
    checked(scaling).map_or_else(|| refuse(" with impossible parameters"), Ok)
}

/// Reads GGUF's keys. A missing factor or one of 0 is 1, a missing type is `linear`.
fn gguf(facts: &Facts<'_>) -> Result<RopeScaling, Refusal> {
    let number = |key: &str| facts.number(&format!("rope.scaling.{key}"));
    let factor = match number("factor")? {
        None => facts.number("rope.scale_linear")?,
        factor => factor,
    };
    let kind = facts.text("rope.scaling.type")?.unwrap_or("linear");
    let refuse = |why: &str| {
        Err(Refusal::unsupported(format!("rotary embedding scaling of the type `{kind}`{}{why}", by(factor))))
    };
    let factor = factor.filter(|factor| *factor != 0.0).unwrap_or(1.0);
    let given = number("attn_factor")?.filter(|factor| *factor != 0.0).unwrap_or(1.0);
    let scaling = match kind {
        "none" => RopeScaling::None,
        "linear" if factor == 1.0 && given == 1.0 => RopeScaling::None,
        "yarn" => {
            let original = match number("original_context_length")? {
                None => facts.number("context_length")?,
                original => original,
            };
            let Some(original) = original else { return refuse(" without an original context") };
            let ext = number("yarn_ext_factor")?.filter(|factor| *factor >= 0.0);
            if ext.is_some_and(|factor| factor != 1.0) {
                return refuse(" with yarn_ext_factor");
            }
            let (fast, slow) = (number("yarn_beta_fast")?.unwrap_or(32.0), number("yarn_beta_slow")?.unwrap_or(1.0));
            let attention = given * number("yarn_attn_factor")?.unwrap_or(1.0) * attention(factor, 1.0);
            RopeScaling::Yarn(Yarn { factor, original, fast, slow, attention, truncate: true })
        }
        "longrope" => {
            let lists = ["rope_factors_short.weight", "rope_factors_long.weight"];
            let lists = lists.map(|name| (facts.values)(name).unwrap_or_default());
            let context = facts.number("context_length")?.unwrap_or(1.0);
            let original = number("original_context_length")?.unwrap_or(context);
            let given = number("attn_factor")?.filter(|factor| *factor != 0.0);
            long_rope(lists, context, original, (context / original, given))
        }
        _ => return refuse(""),
    };
    checked(scaling).map_or_else(|| refuse(" with impossible parameters"), Ok)
}

/// LongRoPE for contexts of this length: the short divisors up to the original context, the long ones above, and the factor
/// of attention for a context that is `factor` times as long, unless one is `given`.
fn long_rope(
    [short, long]: [Vec<f32>; 2],
    context: f64,
    original: f64,
    (factor, given): (f64, Option<f64>),
) -> RopeScaling {
    let attention = if factor > 1.0 { (1.0 + factor.ln() / original.ln()).sqrt() } else { 1.0 };
    let divisors = if context > original { long } else { short };
    RopeScaling::Divisors { divisors, attention: given.unwrap_or(attention) }
}

/// Reads GGUF's tensor of divisors, one for each pair of a head.
fn divisors(facts: &Facts<'_>) -> Result<RopeScaling, Refusal> {
    if !facts.has_tensor(DIVISORS) {
        return Ok(RopeScaling::None);
    }
    match (facts.values)(DIVISORS) {
        Some(divisors) if divisors.iter().all(|divisor| *divisor == 1.0) => Ok(RopeScaling::None),
        Some(divisors) if divisors.iter().all(|divisor| possible(f64::from(*divisor))) => {
            Ok(RopeScaling::Divisors { divisors, attention: 1.0 })
        }
        _ => {
            Err(Refusal::unsupported(format!("scaled rotary embedding (tensor `{DIVISORS}`) with impossible divisors")))
        }
    }
}

/// The scaling, with scaling by 1 as none; `None` if its parameters are impossible.
fn checked(scaling: RopeScaling) -> Option<RopeScaling> {
    match scaling {
        RopeScaling::Llama3 { factor, .. } => possible(factor).then_some(scaling),
        RopeScaling::Yarn(yarn) if yarn.factor == 1.0 && yarn.attention == 1.0 => Some(RopeScaling::None),
        RopeScaling::Yarn(Yarn { factor, original, fast, slow, attention, .. }) => {
            [factor, original, fast, slow, attention].into_iter().all(possible).then_some(scaling)
        }
        RopeScaling::Divisors { ref divisors, attention } => {
            let all = divisors.iter().map(|divisor| f64::from(*divisor)).chain([attention]).all(possible);
            (all && !divisors.is_empty()).then_some(scaling)
        }
        RopeScaling::None => Some(scaling),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [usize; 4] = [0, 8, 16, 31];

    fn plain(i: usize) -> f64 {
        1e6f64.powf(-2.0 * i as f64 / 64.0)
    }

    fn divisors(scaling: &RopeScaling) -> Vec<f64> {
        PAIRS.iter().map(|&i| plain(i) / scaling.inverse_frequency(plain(i), i, 64, 1e6)).collect()
    }

    #[test]
    fn yarn_keeps_fast_frequencies_and_divides_slow_ones() {
        let attention = attention(4.0, 1.0);
        assert!((attention - 1.138_629).abs() < 1e-6);
        let yarn = Yarn { factor: 4.0, original: 16384.0, fast: 32.0, slow: 1.0, attention, truncate: true };
        // Bounds by the formula: 64 · ln(16384 / (2π · 32)) / (2 · ln 10⁶) = 10.19 and 18.22.
        let [first, eighth, middle, last] = divisors(&RopeScaling::Yarn(yarn))[..] else { unreachable!() };
        assert_eq!((first, eighth, last), (1.0, 1.0, 4.0));
        let ramp = (16.0 - 10.0) / (19.0 - 10.0);
        assert!((middle - 1.0 / (1.0 - ramp + ramp / 4.0)).abs() < 1e-9, "{middle}");
    }

    #[test]
    fn llama_3_divides_low_frequencies() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let [first, _, middle, last] = divisors(&scaling)[..] else { unreachable!() };
        assert_eq!((first, last), (1.0, 8.0));
        let turns = 8192.0 * plain(16) / (2.0 * PI);
        let kept = (turns - 1.0) / 3.0;
        assert!((0.0..1.0).contains(&kept) && (middle - 1.0 / (kept + (1.0 - kept) / 8.0)).abs() < 1e-9, "{middle}");
    }
}
