//! Checks that all decoders share. Each refusal names the key or tensor that requires an unsupported computation.
//!
//! Keys and tensors count by their effect: scaling by 1, a window as long as the context or a bias of zeros change
//! nothing and are accepted.

use super::facts::{Facts, Refusal};

/// Refuses biases, norms in projections, experts, windows, and variants of the rotary embedding.
///
/// # Errors
///
/// The first [`Refusal`] found.
pub fn decoder(facts: &Facts<'_>) -> Result<(), Refusal> {
    switches(facts)?;
    for key in ["rope_scaling", "rope_parameters"] {
        hugging_face_rotary(facts, key)?;
    }
    gguf_rotary(facts)?;
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
    for (key, plain) in [("partial_rotary_factor", 1.0), ("expert_count", 0.0)] {
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

/// Checks an object of config.json that describes the rotary embedding.
///
/// A factor of 1 leaves the frequencies as they are (source: `modeling_rope_utils.py` of transformers). YaRN takes the
/// factor from `original_max_position_embeddings` if that is there.
fn hugging_face_rotary(facts: &Facts<'_>, object: &str) -> Result<(), Refusal> {
    let number = |key: &str| facts.number(&format!("{object}.{key}"));
    if let Some(share) = number("partial_rotary_factor")?.filter(|share| *share != 1.0) {
        return refuse(facts, &format!("{object}.partial_rotary_factor"), share);
    }
    // Older versions of transformers name the key `type`.
    let kind = match facts.text(&format!("{object}.rope_type"))? {
        None => facts.text(&format!("{object}.type"))?,
        kind => kind,
    };
    let factor = number("factor")?;
    let plain = match kind {
        Some("default") => true,
        None => factor.is_none_or(|factor| factor == 1.0),
        Some("linear" | "dynamic" | "llama3") => factor == Some(1.0),
        Some("yarn") => {
            let trained = number("original_max_position_embeddings")?;
            factor == Some(1.0)
                && number("attention_factor")?.is_none_or(|factor| factor == 1.0)
                && (trained.is_none() || trained == facts.number("max_position_embeddings")?)
        }
        Some(_) => false,
    };
    match plain {
        true => Ok(()),
        false => {
            Err(Refusal::unsupported(format!("{object} of the type `{}`{}", kind.unwrap_or("unknown"), by(factor))))
        }
    }
}

/// Checks GGUF's keys of the rotary embedding. A missing factor or one of 0 is 1, a missing type is `linear` (source:
/// `llama-model.cpp`).
fn gguf_rotary(facts: &Facts<'_>) -> Result<(), Refusal> {
    let factor = match facts.number("rope.scaling.factor")? {
        None => facts.number("rope.scale_linear")?,
        factor => factor,
    };
    let plain = |factor: Option<f64>| factor.is_none_or(|factor| factor == 0.0 || factor == 1.0);
    let scales = match facts.text("rope.scaling.type")?.unwrap_or("linear") {
        "none" => false,
        "linear" | "yarn" => !plain(factor) || !plain(facts.number("rope.scaling.attn_factor")?),
        _ => true,
    };
    let kind = facts.text("rope.scaling.type")?.unwrap_or("linear");
    match scales {
        true => Err(Refusal::unsupported(format!("rotary embedding scaling of the type `{kind}`{}", by(factor)))),
        false => Ok(()),
    }
}

/// " by 2".
fn by(factor: Option<f64>) -> String {
    factor.map(|factor| format!(" by {factor}")).unwrap_or_default()
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
    if tensor == "rope_freqs.weight" && !all(1.0) {
        return Err(Refusal::unsupported(format!("scaled rotary embedding (tensor `{tensor}`)")));
    }
    Ok(())
}
