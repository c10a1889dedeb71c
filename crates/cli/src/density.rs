//! The share of feed-forward weights that a token needs, as `run --stats` and `bench` report it.

use serde_json::{Value, json};
use sterna::model::{Density, Network};

/// Number of tokens counted, and the shares of `up_proj`'s rows (`gates`) and of `down_proj`'s columns (`codes`) that
/// one token needs: their means, and those of each layer. Null if all weights are always read.
pub fn report(model: &dyn Network) -> Value {
    let layers = model.density();
    let Some(first) = layers.first() else { return Value::Null };
    let share = |x: f64| (x * 1e4).round() / 1e4;
    let mean = |of: fn(&Density) -> f64| share(layers.iter().map(of).sum::<f64>() / layers.len() as f64);
    let each = layers.iter().map(|layer| json!({ "gates": share(layer.gates), "codes": share(layer.codes) }));
    json!({
        "tokens": first.tokens,
        "gates": mean(|layer| layer.gates),
        "codes": mean(|layer| layer.codes),
        "layers": each.collect::<Vec<_>>(),
    })
}

/// The report as lines.
pub fn lines(report: &Value) -> String {
    if report.is_null() {
        return "all weights are read: the gate of this model is never zero, or --ffn is dense\n".into();
    }
    let row = |name: &str, of: &Value| {
        let percent = |key: &str| of[key].as_f64().map_or(f64::NAN, |share| share * 100.0);
        format!("{name:>5}   {:>13.1}   {:>15.1}\n", percent("gates"), percent("codes"))
    };
    let mut out = format!("needed for a token, mean of {}:\nlayer   % of up_proj   % of down_proj\n", report["tokens"]);
    for (i, layer) in report["layers"].as_array().into_iter().flatten().enumerate() {
        out += &row(&i.to_string(), layer);
    }
    out + &row("mean", report)
}
