//! Checks that all decoders share. Each refusal names the key or tensor that requires an unsupported computation.

use super::facts::{Facts, Refusal};

/// Refuses biases, norms in projections, experts, windows, and variants of the rotary embedding.
///
/// # Errors
///
/// The first [`Refusal`] found.
pub fn decoder(facts: &Facts<'_>) -> Result<(), Refusal> {
    switches(facts)?;
    rotary(facts)?;
    facts.tensors.iter().try_for_each(|tensor| graph(tensor))
}

/// Checks keys that add computations to the network.
fn switches(facts: &Facts<'_>) -> Result<(), Refusal> {
    let refuse =
        |key: &str, value: String| Err(Refusal::unsupported(format!("{} = {value}", facts.keys.full_name(key))));
    for key in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        if facts.flag(key)? == Some(true) {
            return refuse(key, "true".into());
        }
    }
    for (key, plain) in [("partial_rotary_factor", 1.0), ("expert_count", 0.0), ("attention.sliding_window", 0.0)] {
        if let Some(value) = facts.number(key)?.filter(|value| *value != plain) {
            return refuse(key, value.to_string());
        }
    }
    match facts.texts("layer_types").into_iter().find(|kind| *kind != "full_attention") {
        Some(other) => Err(Refusal::unsupported(format!("the layer type `{other}`"))),
        None => Ok(()),
    }
}

/// Checks all keys that can request a scaled rotary embedding.
fn rotary(facts: &Facts<'_>) -> Result<(), Refusal> {
    for key in ["rope_scaling", "rope_parameters"] {
        // Older versions of transformers name the key `type`.
        let kind = match facts.text(&format!("{key}.rope_type"))? {
            None => facts.text(&format!("{key}.type"))?,
            kind => kind,
        };
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(Refusal::unsupported(format!("{key} of the type `{kind}`")));
        }
    }
    if let Some(kind) = facts.text("rope.scaling.type")?.filter(|kind| *kind != "none") {
        return Err(Refusal::unsupported(format!("rotary embedding scaling of the type `{kind}`")));
    }
    match facts.number("rope.scale_linear")?.filter(|value| *value != 1.0) {
        Some(value) => Err(Refusal::unsupported(format!("{} = {value}", facts.keys.full_name("rope.scale_linear")))),
        None => Ok(()),
    }
}

/// Checks for tensors of other networks.
fn graph(tensor: &str) -> Result<(), Refusal> {
    if ["_proj.norm.weight", "_proj.rms_norm.weight", "_norm_in.weight"].iter().any(|end| tensor.ends_with(end)) {
        return Err(Refusal::Unsupported {
            what: format!("an embedding model with a norm in every projection (tensor `{tensor}`)"),
            remedy: Some("embedding models are not supported yet; use a causal language model"),
        });
    }
    if tensor.ends_with(".bias") {
        return Err(Refusal::unsupported(format!("a bias (tensor `{tensor}`)")));
    }
    if tensor == "rope_freqs.weight" {
        return Err(Refusal::unsupported(format!("scaled rotary embedding (tensor `{tensor}`)")));
    }
    Ok(())
}
