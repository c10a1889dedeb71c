//! The report of `sterna bench`: figures of several runs as JSON, and a table that shows the same object.

use serde_json::{Value, json};

use super::streams::Run;
use super::work::Work;

/// Figures of one thread count and number of streams: medians of the runs.
pub struct Figures {
    threads: usize,
    streams: usize,
    prefill_per_s: f64,
    decode_per_s: f64,
    /// `None` where energy is not counted.
    prefill_joules: Option<f64>,
    decode_joules: Option<f64>,
    /// Fewest tokens that a run timed, over all its streams together.
    timed: usize,
    /// Draft tokens of all runs together.
    drafted: usize,
    accepted: usize,
}

impl Figures {
    /// Medians of `runs`, which must not be empty.
    pub fn new(threads: usize, streams: usize, work: &Work, runs: &[Run]) -> Self {
        let prompts = (streams * work.prompt) as f64;
        let each = |of: &dyn Fn(&Run) -> Option<f64>| median(runs.iter().filter_map(of).collect());
        Self {
            threads,
            streams,
            prefill_per_s: each(&|run| Some(run.prefill_per_s)).unwrap_or(0.0),
            decode_per_s: each(&|run| Some(ratio(run.tokens as f64, run.seconds))).unwrap_or(0.0),
            prefill_joules: each(&|run| Some(run.prefill_joules? / prompts)),
            decode_joules: each(&|run| Some(run.watts? * ratio(run.seconds, run.tokens as f64))),
            timed: runs.iter().map(|run| run.tokens).min().unwrap_or(0),
            drafted: runs.iter().map(|run| run.drafted).sum(),
            accepted: runs.iter().map(|run| run.accepted).sum(),
        }
    }

    /// An object of `results` for one stream. `limit` is the bandwidth in GB/s; `bytes_per_token` is `None` if unknown.
    pub fn row(&self, work: &Work, bytes_per_token: Option<f64>, limit: f64) -> Value {
        let achieved = bytes_per_token.map(|bytes| bytes * self.decode_per_s / 1e9);
        json!({
            "threads": self.threads,
            "prefill_tokens": work.prompt,
            "decode_tokens": work.tokens,
            "prefill_tokens_per_s": round(self.prefill_per_s),
            "decode_tokens_per_s": round(self.decode_per_s),
            "bytes_per_decoded_token": bytes_per_token.map(f64::round),
            "achieved_gb_per_s": achieved.map(round),
            "fraction_of_read_bandwidth": achieved.map(|achieved| (achieved / limit * 1e3).round() / 1e3),
            "joules_per_token": self.decode_joules.map(small),
            "joules_per_prompt_token": self.prefill_joules.map(small),
            "drafted": self.drafted,
            "accepted": self.accepted,
        })
    }

    /// An object of `streams`.
    pub fn streams_row(&self) -> Value {
        json!({
            "threads": self.threads,
            "streams": self.streams,
            "timed_tokens": self.timed,
            "decode_tokens_per_s": round(self.decode_per_s),
            "joules_per_token": self.decode_joules.map(small),
            "drafted": self.drafted,
            "accepted": self.accepted,
        })
    }
}

/// The median (of two middle values, the higher one); `None` if there are no values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// `a / b`; 0 if `b` is 0, as for a single token or a clock that did not advance.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Rounds to two decimal places: more would be noise.
pub fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Rounds joules to tenths of a millijoule.
fn small(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// The report as text.
pub fn table(report: &Value) -> String {
    let mib = |value: &Value| value.as_f64().map_or("unknown".into(), |bytes| format!("{:.0} MiB", bytes / 1048576.0));
    let mut out = format!(
        "{}   instruction set {}   weights {} + head {} ({}, read as {}: {})   cache {}   peak memory {}\n{}\n\
         threads   prefill tok/s   decode tok/s   MB / token   GB/s   of the machine's GB/s\n",
        report["shape"].as_str().unwrap_or_default(),
        report["isa"].as_str().unwrap_or_default(),
        mib(&report["body_bytes"]),
        mib(&report["head_bytes"]),
        report["stored_head"].as_str().unwrap_or_default(),
        report["head"].as_str().unwrap_or_default(),
        mib(&report["head_bytes_per_token"]),
        report["kv"].as_str().unwrap_or_default(),
        mib(&report["peak_rss_bytes"]),
        sparsity(report),
    );
    for row in report["results"].as_array().into_iter().flatten() {
        let limit = digits(&report["machine"]["read_gb_per_s"][row["threads"].to_string()], 1.0, 1);
        let fraction = &row["fraction_of_read_bandwidth"];
        out += &format!(
            "{:>7}   {:>13}   {:>12}   {:>10}   {:>4}   {}{}\n",
            digits(&row["threads"], 1.0, 0),
            digits(&row["prefill_tokens_per_s"], 1.0, 1),
            digits(&row["decode_tokens_per_s"], 1.0, 1),
            digits(&row["bytes_per_decoded_token"], 1e-6, 0),
            digits(&row["achieved_gb_per_s"], 1.0, 1),
            if fraction.is_null() { DASH.into() } else { format!("{} % of {limit}", digits(fraction, 100.0, 0)) },
            beside(report, row),
        );
    }
    out + &streams(report) + &unmeasured(report)
}

/// The table of streams, if there are any.
fn streams(report: &Value) -> String {
    let rows: Vec<_> = report["streams"].as_array().into_iter().flatten().collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = "\nthreads   streams   decode tok/s of all   of each\n".to_owned();
    for row in rows {
        let all = &row["decode_tokens_per_s"];
        out += &format!(
            "{:>7}   {:>7}   {:>19}   {:>7}{}\n",
            digits(&row["threads"], 1.0, 0),
            digits(&row["streams"], 1.0, 0),
            digits(all, 1.0, 1),
            digits(all, 1.0 / row["streams"].as_f64().unwrap_or(f64::NAN), 1),
            beside(report, row),
        );
    }
    out
}

/// Shown for a missing figure.
const DASH: &str = "–";

/// A figure times `scale` with `places` decimal places, or a dash if it is missing.
fn digits(value: &Value, scale: f64, places: usize) -> String {
    value.as_f64().map_or_else(|| DASH.into(), |value| format!("{:.places$}", value * scale))
}

/// Columns that not every row has: energy and draft tokens.
fn beside(report: &Value, row: &Value) -> String {
    let mut out = String::new();
    if let Some(joules) = row["joules_per_token"].as_f64() {
        out += &format!("   {joules} J per token");
    }
    if let Some(joules) = row["joules_per_prompt_token"].as_f64() {
        out += &format!(", {joules} J per prompt token");
    }
    if report["speculation"] == "on" {
        out += &format!("   {} of {} draft tokens accepted", row["accepted"], row["drafted"]);
    }
    out
}

/// A line about energy, if no row has any.
fn unmeasured(report: &Value) -> String {
    let rows = report["results"].as_array().into_iter().flatten();
    if rows.into_iter().any(|row| !row["joules_per_token"].is_null()) {
        return String::new();
    }
    format!("\nenergy: {}\n", report["energy"].as_str().unwrap_or_default())
}

/// Lines about skipped weights, and about simulated zeros.
fn sparsity(report: &Value) -> String {
    let percent = |value: &Value| value.as_f64().map_or(f64::NAN, |share| share * 100.0);
    let mut out = String::new();
    if !report["gate_zeros"].is_null() {
        let share = percent(&report["gate_zeros"]["simulated"]);
        out += &format!("{share:.0} % zeros of the gate are simulated: a real model's speed depends on its own\n");
    }
    if !report["ffn"].is_null() {
        let (gates, codes) = (percent(&report["ffn"]["gates"]), percent(&report["ffn"]["codes"]));
        out += &format!("needed for a token: {gates:.1} % of up_proj, {codes:.1} % of down_proj\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use sterna::model::KvType;

    use super::*;

    const WORK: Work =
        Work { streams: Vec::new(), prompt: 8, tokens: 16, repeat: 3, kv: KvType::F16, speculation: false };

    fn figures(joules: Option<f64>) -> Figures {
        let run = |seconds: f64| Run {
            prefill_per_s: 8.0 / seconds,
            prefill_joules: joules,
            tokens: 30,
            seconds,
            watts: joules.map(|joules| joules * 3.0),
            drafted: 4,
            accepted: 3,
        };
        Figures::new(2, 2, &WORK, &[run(3.0), run(1.0), run(2.0)])
    }

    #[test]
    fn rows_have_medians_energy_and_drafts() {
        let (with, without) = (figures(Some(4.0)), figures(None));
        let row = with.streams_row();
        assert_eq!((&row["decode_tokens_per_s"], &row["timed_tokens"]), (&json!(15.0), &json!(30)));
        assert_eq!((&row["joules_per_token"], &row["drafted"], &row["accepted"]), (&json!(0.8), &json!(12), &json!(9)));
        assert!(without.streams_row()["joules_per_token"].is_null());
    }

    #[test]
    fn the_table_shows_energy_or_why_there_is_none() {
        let report = |figures: &Figures, bytes, speculation| {
            json!({
                "machine": { "read_gb_per_s": { "2": 30.0 } },
                "speculation": speculation,
                "energy": "no counters",
                "results": [figures.row(&WORK, bytes, 30.0)],
                "streams": [figures.streams_row()],
            })
        };
        let measured = table(&report(&figures(Some(4.0)), None, "on"));
        assert!(measured.contains("–   0.8 J per token, 0.25 J per prompt token   9 of 12 draft tokens"), "{measured}");
        assert!(measured.contains("15.0       7.5   0.8 J per token   9 of 12") && !measured.contains("no counters"));
        let unmeasured = table(&report(&figures(None), Some(1e9), "off"));
        assert!(unmeasured.contains("1000   15.0   50 % of 30.0\n"), "{unmeasured}");
        assert!(unmeasured.ends_with("\nenergy: no counters\n") && !unmeasured.contains("drafted"), "{unmeasured}");
    }
}
