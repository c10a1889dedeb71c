//! Checks that all decoders share. Each refusal names the key or tensor that requires an unsupported computation.
//!
//! Keys and tensors count by their effect: scaling by 1, a window as long as the context or a bias of zeros change
//! nothing and are accepted.

use super::facts::{Facts, Refusal};

/// Refuses biases, norms in projections, experts, windows, and partial rotary embeddings. Their scalings are refused where
/// they are read, in [`RopeScaling::read`](super::RopeScaling::read).
///
/// # Errors
///
/// A [`Refusal`] with all that is found.
pub fn decoder(facts: &Facts<'_>) -> Result<(), Refusal> {
    Refusal::all([biases(facts), windows(facts), shares(facts), norms_in_projections(facts)])
}

/// Refuses what [`decoder`] does, except for norms in projections, which must be there.
///
/// # Errors
///
/// A [`Refusal`] with all that is found.
pub fn normed_decoder(facts: &Facts<'_>) -> Result<(), Refusal> {
    Refusal::all([biases(facts), windows(facts), shares(facts), no_norms_in_projections(facts)])
}

/// Refuses biases and experts in hybrids, and norms in their projections. DeltaNet's biases belong to the network, and so
/// does a partial rotary embedding.
///
/// # Errors
///
/// A [`Refusal`] with all that is found.
pub fn hybrid(facts: &Facts<'_>) -> Result<(), Refusal> {
    let tensors: Vec<&str> = facts.tensors.iter().copied().filter(|tensor| !tensor.ends_with(".ssm_dt.bias")).collect();
    let others = Facts { tensors: &tensors, ..*facts };
    Refusal::all([biases(&others), experts(facts), norms_in_projections(facts)])
}

fn refuse(facts: &Facts<'_>, key: &str, value: impl std::fmt::Display) -> Result<(), Refusal> {
    Err(Refusal::unsupported(format!("{} = {value}", facts.keys.full_name(key))))
}

/// Refuses numbers other than the one that changes nothing: experts and partial rotary embeddings.
///
/// # Errors
///
/// A [`Refusal`] with all that is found.
pub(crate) fn shares(facts: &Facts<'_>) -> Result<(), Refusal> {
    let share = "partial_rotary_factor";
    let [scaling, parameters] = ["rope_scaling", "rope_parameters"].map(|object| format!("{object}.{share}"));
    let keys = [share, &scaling, &parameters].map(|key| other_number(facts, key, 1.0));
    Refusal::all(keys.into_iter().chain([experts(facts)]))
}

/// Refuses experts.
fn experts(facts: &Facts<'_>) -> Result<(), Refusal> {
    let keys = ["expert_count", "num_experts", "num_local_experts", "n_routed_experts"];
    Refusal::all(keys.map(|key| other_number(facts, key, 0.0)))
}

/// Refuses a key with another number than `plain`.
fn other_number(facts: &Facts<'_>, key: &str, plain: f64) -> Result<(), Refusal> {
    match facts.number(key)?.filter(|value| *value != plain) {
        Some(value) => refuse(facts, key, value),
        None => Ok(()),
    }
}

/// Refuses attention to a window of the context.
fn windows(facts: &Facts<'_>) -> Result<(), Refusal> {
    let window_matters = !whole_window(facts, "sliding_window", "max_position_embeddings")?;
    if facts.flag("use_sliding_window")? == Some(true) && window_matters && windowed_layers(facts)? {
        return refuse(facts, "use_sliding_window", true);
    }
    if let Some(window) = facts.number("attention.sliding_window")?.filter(|window| *window != 0.0)
        && !whole_window(facts, "attention.sliding_window", "context_length")?
    {
        return refuse(facts, "attention.sliding_window", window);
    }
    let plain = |kind: &str| kind == "full_attention" || kind == "sliding_attention" && !window_matters;
    match facts.texts("layer_types").into_iter().find(|kind| !plain(kind)) {
        Some(other) => Err(Refusal::unsupported(format!("the layer type `{other}`"))),
        None => Ok(()),
    }
}

/// Whether a window holds the whole context.
fn whole_window(facts: &Facts<'_>, window: &str, context: &str) -> Result<bool, Refusal> {
    Ok(facts.number(window)?.zip(facts.number(context)?).is_some_and(|(window, context)| window >= context))
}

/// Whether layers have windows: in Qwen's models, those from `max_window_layers` on.
fn windowed_layers(facts: &Facts<'_>) -> Result<bool, Refusal> {
    let first = facts.number("max_window_layers")?;
    Ok(first.zip(facts.number("num_hidden_layers")?).is_none_or(|(first, layers)| first < layers))
}

/// Refuses biases that are not zero.
///
/// # Errors
///
/// A [`Refusal`] that names one.
pub(crate) fn biases(facts: &Facts<'_>) -> Result<(), Refusal> {
    for key in ["attention_bias", "mlp_bias"] {
        if facts.flag(key)? == Some(true) {
            return refuse(facts, key, true);
        }
    }
    let zero = |tensor: &str| (facts.values)(tensor).is_some_and(|values| values.iter().all(|value| *value == 0.0));
    match named(facts, |tensor| tensor.ends_with(".bias") && !zero(tensor)) {
        Some(tensors) => Err(Refusal::unsupported(format!("a bias ({tensors})"))),
        None => Ok(()),
    }
}

/// Whether a tensor has the weights of a norm in a projection.
pub(super) fn is_projection_norm(tensor: &str) -> bool {
    ["_proj.norm.weight", "_proj.rms_norm.weight", "_norm_in.weight"].iter().any(|end| tensor.ends_with(end))
}

/// Refuses norms in projections.
fn norms_in_projections(facts: &Facts<'_>) -> Result<(), Refusal> {
    match named(facts, is_projection_norm) {
        Some(tensors) => Err(Refusal::unsupported(format!("a norm in every projection ({tensors})"))),
        None => Ok(()),
    }
}

/// Refuses projections without norms.
///
/// # Errors
///
/// A [`Refusal`] if there are tensors, but no such norms.
pub(crate) fn no_norms_in_projections(facts: &Facts<'_>) -> Result<(), Refusal> {
    if facts.tensors.is_empty() || facts.tensors.iter().any(|tensor| is_projection_norm(tensor)) {
        return Ok(());
    }
    Err(Refusal::unsupported("a network of this kind without a norm in every projection"))
}

/// The first of the tensors that `of` selects, and the number of the others: "tensor `x` and 3 more".
fn named(facts: &Facts<'_>, of: impl Fn(&str) -> bool) -> Option<String> {
    let mut all = facts.tensors.iter().filter(|tensor| of(tensor));
    let first = all.next()?;
    Some(match all.count() {
        0 => format!("tensor `{first}`"),
        more => format!("tensor `{first}` and {more} more"),
    })
}
