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
/// The first [`Refusal`] found.
pub fn decoder(facts: &Facts<'_>) -> Result<(), Refusal> {
    switches(facts)?;
    facts.tensors.iter().try_for_each(|tensor| graph(facts, tensor))
}

fn refuse(facts: &Facts<'_>, key: &str, value: impl std::fmt::Display) -> Result<(), Refusal> {
    Err(Refusal::unsupported(format!("{} = {value}", facts.keys.full_name(key))))
}

/// Checks keys that add computations to the network.
fn switches(facts: &Facts<'_>) -> Result<(), Refusal> {
    for key in ["attention_bias", "mlp_bias"] {
        if facts.flag(key)? == Some(true) {
            return refuse(facts, key, true);
        }
    }
    let window_matters = !whole_window(facts, "sliding_window", "max_position_embeddings")?;
    if facts.flag("use_sliding_window")? == Some(true) && window_matters && windowed_layers(facts)? {
        return refuse(facts, "use_sliding_window", true);
    }
    let share = "partial_rotary_factor";
    let [scaling, parameters] = ["rope_scaling", "rope_parameters"].map(|object| format!("{object}.{share}"));
    for (key, plain) in [(share, 1.0), (&scaling, 1.0), (&parameters, 1.0), ("expert_count", 0.0)] {
        if let Some(value) = facts.number(key)?.filter(|value| *value != plain) {
            return refuse(facts, key, value);
        }
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

/// Checks for tensors of other networks.
fn graph(facts: &Facts<'_>, tensor: &str) -> Result<(), Refusal> {
    if ["_proj.norm.weight", "_proj.rms_norm.weight", "_norm_in.weight"].iter().any(|end| tensor.ends_with(end)) {
        return Err(Refusal::Unsupported {
            what: format!("an embedding model with a norm in every projection (tensor `{tensor}`)"),
            remedy: Some("embedding models are not supported yet; use a causal language model"),
        });
    }
    let all = |plain: f32| (facts.values)(tensor).is_some_and(|values| values.iter().all(|value| *value == plain));
    if tensor.ends_with(".bias") && !all(0.0) {
        return Err(Refusal::unsupported(format!("a bias (tensor `{tensor}`)")));
    }
    Ok(())
}
