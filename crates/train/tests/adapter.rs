//! Low-rank adapters: gradients compared with PyTorch's, logits with the engine's, and whole runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sterna::checkpoint::{Adapter, Checkpoint, adapter::write};
use sterna::engine::Engine;
use sterna::kernels::Cpu;
use sterna::kernels::gradient::LossTerms;
use sterna_train::adapter;
use sterna_train::network::{Network, Parameter, Role};
use sterna_train::pass::Pass;
use sterna_train::precision::Precision;
use sterna_train::recipe::{self, Recipe, Schedule, Shape};
use sterna_train::session::{Event, Session};
use sterna_train::weights::Weight;
use sterna_train::{Batch, Result};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");

fn golden(name: &str) -> PathBuf {
    Path::new(GOLDEN).join(name)
}

fn cpu() -> Cpu {
    Cpu::new(2).expect("a set")
}

/// The parameters of an adapter, and the network that it adapts.
fn adapted(cpu: &Cpu, checkpoint: &Checkpoint, adapter: &Adapter) -> (Network<Parameter>, Network<Weight>) {
    let (network, shape) = (Network::of(checkpoint.config()), shape(adapter));
    let parameters = adapter::slots(&network, adapter.rank).map(|slot| {
        let pair = adapter.layers.get(slot.name.trim_end_matches(".weight"));
        let values = pair.map(|pair| [&pair.a[..], &pair.b].concat()).unwrap_or_default();
        Parameter { slot: slot.clone(), values }
    });
    let base = adapter::base(cpu, checkpoint, &network).expect("a base");
    let weights = adapter::prepare(cpu, &base, &parameters, shape.scale());
    (parameters, weights)
}

fn shape(adapter: &Adapter) -> recipe::Adapter {
    recipe::Adapter { rank: adapter.rank, alpha: adapter.alpha }
}

/// A tensor of numbers.
fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("well-formed");
    let tensor = file.tensor(name).unwrap_or_else(|_| panic!("{name}"));
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// |a − b| / |b|
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn gradients_are_those_of_pytorch() {
    let (cpu, checkpoint) = (cpu(), Checkpoint::open(&golden("train")).expect("a checkpoint"));
    let adapter = Adapter::open(&golden("adapter")).expect("an adapter");
    let expected = golden("adapter").join("ref.safetensors");
    let given: Value = serde_json::from_slice(&fs::read(golden("train/batch.json")).unwrap()).unwrap();
    let numbers = |key: &str| given[key].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32);
    let batch = Batch {
        tokens: numbers("tokens").collect(),
        targets: numbers("targets").collect(),
        starts: numbers("starts").map(|start| start as usize).collect(),
    };
    let (parameters, weights) = adapted(&cpu, &checkpoint, &adapter);
    let mut pass = Pass::new(checkpoint.config());
    let all: Vec<usize> = (0..batch.len()).collect();
    let logits = pass.logits(&cpu, &weights, Precision::Adapted, &batch, &all);
    let error = relative(logits.data(), &tensor(&expected, "logits"));
    assert!(error < 1e-5, "logits: {error}");

    let mut gradients = parameters.map(|parameter| vec![0.0; parameter.values.len()]);
    let terms =
        LossTerms { scale: 1.0 / batch.learned() as f32, z: given["recipe"]["z_loss"].as_f64().unwrap() as f32 };
    let sums = pass.gradients(&cpu, &weights, Precision::Adapted, &batch, terms, &mut gradients);
    let loss = sums.cross_entropy / batch.learned() as f64;
    assert!((loss - f64::from(tensor(&expected, "loss")[0])).abs() < 1e-5, "{loss}");
    let mut layers = 0;
    for (parameter, gradient) in parameters.all().into_iter().zip(gradients.all()) {
        let Role::LowRank(rank) = parameter.slot.role else {
            assert!(gradient.is_empty());
            continue;
        };
        let name = parameter.slot.name.trim_end_matches(".weight");
        let (a, b) = gradient.split_at(rank * parameter.slot.cols);
        for (which, gradient) in [("A", a), ("B", b)] {
            // Products use bf16 operands, as in training without adapters.
            let error = relative(gradient, &tensor(&expected, &format!("grad.{name}.lora_{which}")));
            assert!(error < 0.02, "{name}.lora_{which}: {error}");
        }
        layers += 1;
    }
    assert_eq!(layers, 14);
}

/// An adapter that contributes a good part of every layer's output.
fn strong(checkpoint: &Checkpoint, rank: usize) -> Adapter {
    let mut parameters = adapter::random(&adapter::slots(&Network::of(checkpoint.config()), rank), 3);
    for parameter in parameters.all_mut() {
        let len = parameter.values.len();
        (0..len).for_each(|i| parameter.values[i] += 0.1 * ((i * i) as f32 * 0.37).sin());
    }
    let recipe = recipe(Path::new("base"), Path::new("data"), rank);
    let shape = recipe.adapter.expect("it has one");
    adapter::result(&recipe, shape, &parameters)
}

#[test]
fn logits_are_the_engines_on_every_kind_of_base() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cpu, tokens) = (cpu(), (0..40).map(|i| i * 37 % 160).collect::<Vec<u32>>());
    let bases = [
        "train",
        "bitnet-packed-offline",
        "bitnet-packed-offline/gguf/i2_s.gguf",
        "bitnet-packed-offline/gguf/tq2_0-q8_0.gguf",
        "bitnet-headdim96-sharded",
    ];
    for base in bases.map(golden) {
        let checkpoint = Checkpoint::open(&base).expect("a checkpoint");
        let adapter = strong(&checkpoint, 5);
        let dir = folder.path().join("adapter");
        write(&dir, &adapter).expect("written");
        let engine = |adapter| Engine::builder().threads(2).adapter(adapter).open(&base).expect("opened");
        let (plain, expected) = (logits(&engine(None), &tokens), logits(&engine(Some(dir)), &tokens));

        let (_, weights) = adapted(&cpu, &checkpoint, &adapter);
        let batch = Batch { tokens: tokens.clone(), targets: vec![0; 40], starts: vec![0] };
        let all: Vec<usize> = (0..40).collect();
        let got = Pass::new(checkpoint.config()).logits(&cpu, &weights, Precision::Adapted, &batch, &all);
        let differences = got.data().iter().zip(&expected).map(|(got, expected)| (got - expected).abs());
        let most = differences.fold(0f32, f32::max);
        assert!(most < 2e-4, "{}: {most}", base.display());
        assert!(relative(&plain, &expected) > 0.05, "{}: the adapter changes little", base.display());
    }
}

fn logits(engine: &Engine, tokens: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    for rows in engine.logits(tokens).expect("logits") {
        all.extend_from_slice(rows.expect("logits").data());
    }
    all
}

fn recipe(from: &Path, data: &Path, rank: usize) -> Recipe {
    let shape = Shape {
        vocab: 512,
        hidden: 256,
        intermediate: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        context: 64,
        rope_theta: 10_000.0,
    };
    Recipe {
        shape,
        data: vec![(data.into(), 1.0)],
        validate: Some(data.into()),
        from: Some(from.into()),
        adapter: Some(recipe::Adapter { rank, alpha: 2.0 * rank as f64 }),
        steps: 12,
        batch: 256,
        rate: 0.005,
        other_rate: 0.001,
        schedule: Schedule::Wsd,
        warm_up: 0,
        decay: 0.25,
        weight_decay: 0.0,
        clip: 1.0,
        z_loss: 0.0,
        full_precision: 0,
        save_every: 4,
        seed: 1,
    }
}

/// Runs until the recipe's end or step `stop`. Returns the validation losses.
fn run(recipe: &Recipe, out: &Path, threads: usize, stop: usize) -> Result<Vec<f64>> {
    let mut losses = Vec::new();
    let step = std::cell::Cell::new(0);
    let mut tell = |event: Event<'_>| match event {
        Event::Step(report, _) => step.set(report.step),
        Event::Saved(_, Some(validation)) => losses.push(validation.loss),
        _ => {}
    };
    Session::open(recipe.clone(), out, threads, &mut tell)?.run(&|| step.get() == stop, &mut tell)?;
    Ok(losses)
}

#[test]
fn a_run_learns_its_text_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data.txt");
    fs::write(&data, "The heron waits where the river bends, and the river does not wait. ".repeat(30)).unwrap();
    for base in ["bitnet-packed-offline", "bitnet-packed-offline/gguf/tq2_0-q8_0.gguf"].map(golden) {
        let recipe = recipe(&base, &data, 4);
        let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
        let losses = run(&recipe, &whole, 2, usize::MAX).expect("a run");
        assert!(losses.len() == 3 && losses[2] < 0.8 * losses[0], "{losses:?}");
        assert!(whole.join("adapter/adapter_config.json").exists() && !whole.join("model").exists());

        run(&recipe, &parts, 1, 5).expect("a part");
        run(&recipe, &parts, 2, usize::MAX).expect("the rest");
        let same = |name: &str, part: fn(&[u8]) -> &[u8]| {
            let [whole, parts] = [&whole, &parts].map(|dir| fs::read(dir.join(name)).unwrap());
            assert!(part(&whole) == part(&parts), "{name}");
        };
        same("adapter/adapter_model.safetensors", |bytes| bytes);
        same("adapter/adapter_config.json", |bytes| bytes);
        // The order of step and cursor in the header varies.
        same("state.safetensors", |bytes| &bytes[8 + usize::from_le_bytes(bytes[..8].try_into().unwrap())..]);
        [whole, parts].iter().for_each(|dir| fs::remove_dir_all(dir).unwrap());
    }
}

#[test]
fn what_cannot_be_adapted_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, out) = (folder.path().join("data.txt"), folder.path().join("out"));
    fs::write(&data, "A heron.").unwrap();
    let base = golden("bitnet-packed-offline");
    let refusal = |recipe: Recipe| run(&recipe, &out, 1, 0).expect_err("a refusal").to_string();
    for (rank, alpha, said) in [
        (0, 1.0, "--adapter 0: the rank has to be from 1 to 256"),
        (257, 1.0, "--adapter 257: the rank"),
        (4, f64::NAN, "--alpha NaN: has to be a number above 0"),
        (4, -1.0, "--alpha -1: has to be"),
    ] {
        let adapter = Some(recipe::Adapter { rank, alpha });
        let message = refusal(Recipe { adapter, ..recipe(&base, &data, 4) });
        assert!(message.starts_with(said), "{message}");
    }
    let message = refusal(Recipe { from: None, ..recipe(&base, &data, 4) });
    assert!(message.contains("--from"), "{message}");
    let message = refusal(recipe(&golden("llama-bitlinear-packed"), &data, 4));
    assert!(message.contains("only models like BitNet b1.58 2B4T"), "{message}");
}
