//! `sterna bench`: speed, memory, and how close they are to what this machine can do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sterna::checkpoint::encoding::{i2_s::I2_S, tq2_0::TQ2_0};
use sterna::checkpoint::write::{WriteOptions, synthetic_vocabulary, write_gguf};
use sterna::checkpoint::{Checkpoint, Config};
use sterna::engine::{Engine, Event, Options, Request, Usage};
use sterna::kernels::{Cpu, DenseType, bandwidth, memory, pool};
use sterna::model::{self, HeadMode, KvCache, KvType, Model, Settings};

use crate::model::{FfnArg, KvArg, Source, head_mode};
use crate::output::Misuse;
use crate::{density, interrupt, output, shapes};

const EXAMPLES: &str = "\
The last columns compare what a decoded token must read (weights, head, keys and values, from
their layout) with the read bandwidth that this machine reached in the same run.

Examples:
  sterna bench                               the built-in model
  sterna bench --shape bitnet-b1.58-2b-4t    a released model's shape, random weights: no download
  sterna bench -m model.gguf -p 128 -n 64 -t 1,2,4
  sterna bench --shape bitnet-b1.58-2b-4t --save race.gguf --type i2_s --stored-head f16
                                             the same model as a file for other engines";

/// Measure speed, memory and bandwidth
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    #[command(flatten)]
    model: Source,
    /// A released model's shape, filled with random trits (42 % zeros)
    #[arg(long, conflicts_with = "model", value_parser = shapes::names())]
    shape: Option<String>,
    /// Prompt tokens [default: 512, or what fits the model's context]
    #[arg(short = 'p', long, value_name = "N")]
    prompt: Option<usize>,
    /// Generated tokens [default: 128, or what fits the model's context]
    #[arg(short = 'n', long, value_name = "N")]
    tokens: Option<usize>,
    /// Thread counts to measure, with commas [default: one thread, and all]
    #[arg(short = 't', long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// Runs a thread count; the median is reported
    #[arg(short = 'r', long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// How logits are computed
    #[arg(long, value_name = "MODE", default_value = "exact", value_parser = head_mode())]
    head: HeadMode,
    #[command(flatten)]
    kv: KvArg,
    /// How the head (and the embedding) of a shape is stored
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = ["bf16", "f16", "f32", "q8_0", "q6_k"], requires = "shape")]
    stored_head: String,
    #[command(flatten)]
    ffn: FfnArg,
    /// Simulate a gate with this share of zeros, chosen at random for every token and layer (models with ReLU²)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    gate_zeros: Option<f64>,
    /// Write the shape's random model as a GGUF file and stop
    #[arg(long, value_name = "FILE", requires = "shape")]
    save: Option<PathBuf>,
    /// Ternary encoding of the file
    #[arg(long, value_name = "TYPE", default_value = "i2_s", value_parser = ["i2_s", "tq2_0"], requires = "save")]
    r#type: String,
    /// Architecture name of the file: llama.cpp's `bitnet` (SiLU) or bitnet.cpp's `bitnet-b1.58` (ReLU²)
    #[arg(long, value_name = "NAME", default_value = "bitnet-b1.58", requires = "save")]
    arch: String,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".into()),
    }
}

/// What each thread count runs.
struct Work {
    prompt: usize,
    tokens: usize,
    repeat: usize,
    kv: KvType,
}

/// One thread count's figures.
struct Measured {
    threads: usize,
    prefill_tokens: usize,
    decode_tokens: usize,
    prefill_per_s: f64,
    decode_per_s: f64,
    bytes_per_token: f64,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        interrupt::ends_program(|| {})?;
        let checkpoint = match &self.shape {
            Some(name) => {
                let config = shapes::find(name).context("the names of shapes are checked by the command line")?;
                if let Some(file) = &self.save {
                    return save(&self, &config, file);
                }
                Checkpoint::synthetic(config, stored_head(&self.stored_head), 1)?
            }
            None => self.model.checkpoint()?,
        };
        let name = self.shape.clone().unwrap_or_else(|| checkpoint.path.display().to_string());
        measure(&self, checkpoint, &name)
    }
}

fn stored_head(name: &str) -> DenseType {
    match name {
        "f16" => DenseType::F16,
        "f32" => DenseType::F32,
        "q8_0" => DenseType::Q8_0,
        "q6_k" => DenseType::Q6K,
        _ => DenseType::Bf16,
    }
}

fn measure(args: &Bench, checkpoint: Checkpoint, name: &str) -> Result<()> {
    let cores = pool::default_threads();
    let mut counts: Vec<usize> = args.threads.iter().map(|&n| n as usize).collect();
    if counts.is_empty() {
        counts = if cores > 1 { vec![1, cores] } else { vec![1] };
    }
    let most = checkpoint.config.context;
    let prompt = args.prompt.unwrap_or(512.min(most - most / 5));
    let tokens = args.tokens.unwrap_or(128.min(most.saturating_sub(prompt)));
    if prompt == 0 || tokens == 0 || args.repeat == 0 {
        bail!(Misuse("-p, -n and -r must be at least 1, and leave room for each other in the context".into()));
    }
    if prompt + tokens > most {
        bail!(Misuse(format!("-p {prompt} and -n {tokens} exceed the model's context of {most}")));
    }
    let work = Work { prompt, tokens, repeat: args.repeat, kv: args.kv.kind() };
    checkpoint.check_memory(prompt + tokens, work.kv)?;
    let settings = Settings {
        head: args.head,
        ffn: args.ffn.mode(),
        gate_zeros: args.gate_zeros.map(|share| share as f32),
        ..Settings::default()
    };
    let progress = spinner();
    let cpu = Cpu::new(0)?;
    let isa = cpu.set.name;
    let model: Arc<dyn Model> = model::load(&checkpoint, &cpu, settings)?.into();
    drop((checkpoint, cpu));
    let results: Vec<_> = counts.iter().map(|&n| decode(&work, &model, n, &progress)).collect::<Result<_>>()?;
    // Read before the buffer for the bandwidth is there.
    let peak = memory::peak_resident();
    let (weights, config, density) = (model.weights(), model.config().clone(), density::report(&*model));
    let (stored_head, stored_bytes) = (model.head().stored_type(), model.head().stored_bytes());
    drop(model);
    let bandwidths: Vec<f64> = counts
        .iter()
        .map(|&threads| {
            progress.set_message(format!("reading memory on {threads} threads"));
            bandwidth::read(&pool::Pool::new(threads), 1 << 30)
        })
        .collect();
    progress.finish_and_clear();
    let rows: Vec<Value> = results.iter().zip(&bandwidths).map(|(result, &limit)| row(result, limit)).collect();
    let by_threads = counts.iter().zip(&bandwidths).map(|(n, gb)| (n.to_string(), json!(round(*gb))));
    let report = json!({
        "shape": name,
        "isa": isa,
        "head": args.head.name(),
        "stored_head": stored_head,
        "kv": work.kv.name(),
        "speculation": "off",
        "gate_zeros": args.gate_zeros.map(|share| json!({ "simulated": share })),
        "ffn": density,
        "machine": { "cores": cores, "read_gb_per_s": by_threads.collect::<serde_json::Map<_, _>>() },
        "peak_rss_bytes": peak,
        "weight_bytes": weights.body_bytes + stored_bytes,
        "body_bytes": weights.body_bytes,
        "head_bytes": stored_bytes,
        "head_bytes_per_token": weights.head_bytes,
        "kv_bytes_per_position": KvCache::bytes_per_position(&config, work.kv),
        "results": rows,
    });
    if args.json { output::json(&report) } else { output::text(&table(&report)) }
}

/// Prefill and decode on `threads` threads, the median of the repetitions by decode speed.
fn decode(work: &Work, model: &Arc<dyn Model>, threads: usize, progress: &ProgressBar) -> Result<Measured> {
    let options = Options { threads, context: Some(work.prompt + work.tokens), kv: work.kv, ..Options::default() };
    let engine = Engine::from_parts(Box::new(model.clone()), None, None, &options)?;
    let vocab = engine.config().vocab;
    let mut runs = Vec::new();
    for i in 0..work.repeat {
        progress.set_message(format!("{threads} threads, run {} of {}", i + 1, work.repeat));
        // Any ids do: the time does not depend on them. 7919 is a prime, so they differ.
        let prompt = (0..work.prompt).map(|t| ((t * 7919 + i) % vocab) as u32).collect();
        let request = Request { max_tokens: Some(work.tokens), ignore_eos: true, ..Request::new(prompt) };
        runs.push(finish(engine.generate(request)?)?);
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let weights = model.weights();
    // A token at position p reads the keys and values of p positions; this is the mean over the generated ones.
    let mean_position = work.prompt as f64 + work.tokens as f64 / 2.0;
    let kv = KvCache::bytes_per_position(model.config(), work.kv) as f64 * mean_position;
    let skipped: f64 = model.density().iter().map(|layer| layer.skipped_bytes).sum();
    Ok(Measured {
        threads: engine.threads(),
        prefill_tokens: work.prompt,
        decode_tokens: work.tokens,
        prefill_per_s: median(runs.iter().map(Usage::prefill_tokens_per_s).collect()),
        decode_per_s: median(runs.iter().map(Usage::decode_tokens_per_s).collect()),
        bytes_per_token: (weights.body_bytes + weights.head_bytes) as f64 - skipped + kv,
    })
}

fn finish(generation: sterna::engine::Generation) -> Result<Usage> {
    for event in generation {
        if let Event::Finished { usage, .. } = event? {
            return Ok(usage);
        }
    }
    bail!("the generation ended without a result")
}

fn row(measured: &Measured, limit: f64) -> Value {
    let achieved = measured.bytes_per_token * measured.decode_per_s / 1e9;
    json!({
        "threads": measured.threads,
        "prefill_tokens": measured.prefill_tokens,
        "decode_tokens": measured.decode_tokens,
        "prefill_tokens_per_s": round(measured.prefill_per_s),
        "decode_tokens_per_s": round(measured.decode_per_s),
        "bytes_per_decoded_token": measured.bytes_per_token.round(),
        "achieved_gb_per_s": round(achieved),
        "fraction_of_read_bandwidth": (achieved / limit * 1e3).round() / 1e3,
    })
}

/// Two digits behind the point: more would be noise.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

fn table(report: &Value) -> String {
    let mib = |value: &Value| value.as_f64().map_or("unknown".into(), |bytes| format!("{:.0} MiB", bytes / 1048576.0));
    let mut out = format!(
        "{}   instruction set {}   weights {} + head {} ({}, read as {}: {})   cache {}   peak memory {}\n{}\n\
         threads   prefill tok/s   decode tok/s   MB a token   GB/s   of the machine's GB/s\n",
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
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let limit = &report["machine"]["read_gb_per_s"][row["threads"].to_string()];
        out += &format!(
            "{:>7}   {:>13.1}   {:>12.1}   {:>10.0}   {:>4.1}   {:.0} % of {:.1}\n",
            row["threads"],
            number("prefill_tokens_per_s"),
            number("decode_tokens_per_s"),
            number("bytes_per_decoded_token") / 1e6,
            number("achieved_gb_per_s"),
            number("fraction_of_read_bandwidth") * 100.0,
            limit.as_f64().unwrap_or(f64::NAN),
        );
    }
    out
}

/// Lines about the zeros that are skipped, and about simulated ones.
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

/// Says on a terminal what goes on.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message("loading");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// Merges that a vocabulary of Llama 3's size comes with; other vocabularies get two for each token.
const LLAMA3: (usize, usize) = (128_256, 280_147);

fn save(args: &Bench, config: &Config, file: &std::path::Path) -> Result<()> {
    let encoding = if args.r#type == "tq2_0" { &TQ2_0 } else { &I2_S };
    let merges = if config.vocab == LLAMA3.0 { LLAMA3.1 } else { 2 * config.vocab };
    let vocabulary = synthetic_vocabulary(config.vocab, merges)?;
    let checkpoint = Checkpoint::synthetic(config.clone(), DenseType::F16, 1)?;
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("writing {bar:30} {bytes}/{total_bytes}  {eta} left")?);
    let options = WriteOptions {
        encoding,
        arch: &args.arch,
        head: stored_head(&args.stored_head),
        vocabulary: Some(&vocabulary),
        progress: &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    };
    write_gguf(&checkpoint, &Cpu::new(0)?, file, options)?;
    bar.finish_and_clear();
    let bytes = std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    if args.json {
        return output::json(&json!({ "out": file.display().to_string(), "bytes": bytes }));
    }
    output::text(&format!("wrote {} ({:.0} MiB)\n", file.display(), bytes as f64 / 1048576.0))
}
