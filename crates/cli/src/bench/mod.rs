//! `sterna bench`: speed, memory and energy, and which share of the machine's bandwidth they reach.

mod energy;
mod report;
mod save;
mod streams;
mod work;
mod zeros;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::json;
use sterna::checkpoint::{Arch, Checkpoint, write};
use sterna::kernels::{Cpu, Format, Isa, bandwidth, memory, pool};
use sterna::model::{self, HeadMode, KvCache, Network, Settings};

use crate::model::{FfnArg, KvArg, Source, head_mode};
use crate::output::Misuse;
use crate::{convert, density, headings, interrupt, output, shapes};
use report::Figures;
use work::Work;

const EXAMPLES: &str = "\
The last columns compare what a decoded token must read (weights, head, keys and values, from \
their layout) with the read bandwidth that this machine reached in the same run.

Examples:
  sterna bench                               the built-in model
  sterna bench --shape bitnet-b1.58-2b-4t    a released model's shape, random weights: no download
  sterna bench -m model.gguf -p 128 -n 64 -t 1,2,4
  sterna bench -t 2 --streams 1,4,8,16       answers side by side, as a server computes them
  sterna bench --shape bitnet-b1.58-2b-4t --save race.gguf --encoding i2_s --stored-head f16
                                             the same model as a file for other engines";

/// Measure speed, memory and bandwidth
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// Length of the prompt in tokens [default: 512, or fewer if the context is shorter]
    #[arg(short = 'p', long, value_name = "N")]
    prompt: Option<usize>,
    /// Tokens to generate [default: 128, or fewer if the context is shorter]
    #[arg(short = 'n', long, value_name = "N")]
    tokens: Option<usize>,
    /// Repetitions for each number of threads; the median is reported
    #[arg(short = 'r', long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Numbers of streams that decode side by side, with commas; measured for each thread count besides one stream
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    streams: Vec<u32>,
    /// Decode with speculation (prompt lookup), as `run` does by default
    #[arg(long)]
    speculation: bool,
    /// Simulate a gate with this share of zeros, chosen at random for every token and layer (models with ReLU²)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    gate_zeros: Option<f64>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: Source,
    /// A released model's shape, filled with random trits (42 % zeros)
    #[arg(help_heading = headings::MODEL, long, value_name = "SHAPE", conflicts_with = "model", value_parser = shapes::names())]
    shape: Option<String>,
    /// How the head (and the embedding) of a shape is stored [default: the shape's own, or f16 in a file]
    #[arg(help_heading = headings::MODEL, long, value_name = "TYPE", value_parser = convert::head(), requires = "shape")]
    stored_head: Option<&'static Format>,
    /// Thread counts to measure, with commas [default: one thread, and all]
    #[arg(help_heading = headings::COMPUTING, short = 't', long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// How logits are computed
    #[arg(help_heading = headings::COMPUTING, long, value_name = "MODE", default_value = "exact", value_parser = head_mode())]
    head: HeadMode,
    #[command(flatten)]
    kv: KvArg,
    #[command(flatten)]
    ffn: FfnArg,
    /// Write the shape's random model as a GGUF file and stop
    #[arg(help_heading = headings::FILE, long, value_name = "FILE", requires = "shape")]
    save: Option<PathBuf>,
    /// How the ternary layers are stored
    #[arg(help_heading = headings::FILE, long, alias = "type", value_name = "TYPE", default_value = "i2_s", value_parser = convert::encoding(), requires = "save")]
    encoding: &'static Format,
    /// Architecture name of the file, such as llama.cpp's `bitnet` (SiLU) or bitnet.cpp's `bitnet-b1.58` (ReLU²)
    /// [default: the shape's own]
    #[arg(help_heading = headings::FILE, long, value_name = "NAME", value_parser = arch, requires = "save")]
    arch: Option<&'static Arch>,
}

fn arch(name: &str) -> Result<&'static Arch, String> {
    let unknown = || format!("`{name}` is not a GGUF architecture that Sterna supports");
    model::by_gguf_name(name).ok_or_else(unknown)
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".into()),
    }
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let checkpoint = match &self.shape {
            Some(name) => {
                let shape = shapes::find(name).context("the names of shapes are checked by the command line")?;
                if let Some(file) = &self.save {
                    let model = shape.model(None)?;
                    let arch = self.arch.unwrap_or(model.config().architecture);
                    let head = self.stored_head.unwrap_or_else(|| write::default_head(&model, self.encoding));
                    return save::save(&model, file, (self.encoding, arch, head), self.json);
                }
                shape.model(self.stored_head)?
            }
            None => self.model.checkpoint()?,
        };
        interrupt::ends_program(|| {})?;
        let name = self.shape.clone().unwrap_or_else(|| checkpoint.path().display().to_string());
        measure(&self, checkpoint, &name)
    }

    /// The work that the options request, for a model with `context` positions.
    fn work(&self, context: usize) -> Result<Work> {
        let prompt = self.prompt.unwrap_or(512.min(context - context / 5));
        let tokens = self.tokens.unwrap_or(128.min(context.saturating_sub(prompt)));
        if prompt == 0 || tokens == 0 || self.repeat == 0 {
            bail!(Misuse("-p, -n and -r must be at least 1, and leave room for each other in the context".into()));
        }
        if prompt.saturating_add(tokens) > context {
            bail!(Misuse(format!("-p {prompt} and -n {tokens} exceed the model's context of {context}")));
        }
        let streams = self.streams.iter().map(|&n| n as usize).collect();
        Ok(Work { streams, prompt, tokens, repeat: self.repeat, kv: self.kv.kv.into(), speculation: self.speculation })
    }
}

fn measure(args: &Bench, checkpoint: Checkpoint, name: &str) -> Result<()> {
    let cores = pool::default_threads();
    let mut counts: Vec<usize> = args.threads.iter().map(|&n| n as usize).collect();
    if counts.is_empty() {
        counts = if cores > 1 { vec![1, cores] } else { vec![1] };
    }
    let work = args.work(checkpoint.config().context)?;
    work.check_memory(&checkpoint)?;
    if args.gate_zeros.is_some() && checkpoint.config().architecture.hidden_act != "relu2" {
        bail!("zeros of the gate can be simulated only in models whose gate is ReLU²");
    }
    let settings = Settings { head: args.head, ffn: args.ffn.ffn.into(), ..Settings::default() };
    let gate_hook = args.gate_zeros.map(zeros::simulated);
    let progress = output::spinner("loading");
    let cpu = Cpu::new(0)?;
    let isa = cpu.isa();
    let model: Arc<dyn Network> = model::load_with_hook(&checkpoint, &cpu, settings, gate_hook)?.into();
    drop((checkpoint, cpu));
    let (mut results, mut streams) = (Vec::new(), Vec::new());
    for &threads in &counts {
        let (threads, runs) = work.decode(&model, threads, 1, &progress)?;
        let figures = Figures::new(threads, 1, &work, &runs);
        // A pass that checks drafts generates several tokens, so its bytes are not those of one token.
        results.push((figures, (!work.speculation).then(|| work.bytes_per_token(&*model))));
    }
    for (&threads, &count) in counts.iter().flat_map(|threads| work.streams.iter().map(move |count| (threads, count))) {
        let (threads, runs) = work.decode(&model, threads, count, &progress)?;
        streams.push(Figures::new(threads, count, &work, &runs));
    }
    // Read before the bandwidth test allocates its buffer.
    let peak = memory::peak_resident();
    let (weights, config, density) = (model.weights(), model.config().clone(), density::report(&*model));
    let (stored_head, stored_bytes) = model.head().map_or(("", 0), |head| (head.stored_type(), head.stored_bytes()));
    drop(model);
    let limits: Vec<f64> = counts.iter().map(|&threads| read_memory(isa, threads, &progress)).collect();
    progress.finish_and_clear();
    let rows = results.iter().zip(&limits).map(|((figures, bytes), &limit)| figures.row(&work, *bytes, limit));
    let by_threads = counts.iter().zip(&limits).map(|(n, gb)| (n.to_string(), json!(report::round(*gb))));
    let report = json!({
        "shape": name,
        "isa": isa.name(),
        "cost": { "attention_per_weight": isa.cost().attention_per_weight, "rows_for_two": isa.cost().rows_for_two },
        "head": args.head.name(),
        "stored_head": stored_head,
        "kv": work.kv.name(),
        "speculation": if work.speculation { "on" } else { "off" },
        "gate_zeros": args.gate_zeros.map(|share| json!({ "simulated": share })),
        "ffn": density,
        "machine": { "cores": cores, "read_gb_per_s": by_threads.collect::<serde_json::Map<_, _>>() },
        "energy": energy::source(),
        "peak_rss_bytes": peak,
        "weight_bytes": weights.body_bytes + stored_bytes,
        "body_bytes": weights.body_bytes,
        "head_bytes": stored_bytes,
        "head_bytes_per_token": weights.head_bytes,
        "kv_bytes_per_position": KvCache::bytes_per_position(&config, work.kv),
        "results": rows.collect::<Vec<_>>(),
        "streams": streams.iter().map(Figures::streams_row).collect::<Vec<_>>(),
    });
    if args.json { output::json(&report) } else { output::text(&report::table(&report)) }
}

/// Memory bandwidth in GB/s.
fn read_memory(isa: Isa, threads: usize, progress: &ProgressBar) -> f64 {
    progress.set_message(format!("reading memory on {}", output::count(threads, "thread")));
    bandwidth::read(&Cpu::with(isa, threads), 1 << 30)
}
