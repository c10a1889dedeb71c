//! Errors name the place and the remedy, and leave the last checkpoint unchanged.

mod tiny;

use std::fs;
use std::path::{Path, PathBuf};

use sterna::kernels::Pool;
use sterna::text::{ChatTemplate, Tokenizer};
use sterna_train::data::{Dataset, Packer};
use sterna_train::session::Event;
use sterna_train::tokenizer;
use sterna_train::{Error, Result};
use tiny::{SHAPE, Tiny, run, story};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");

/// Checks that the failure's message contains all of these.
fn says(result: Result<()>, parts: &[&str]) {
    let message = result.expect_err("must fail").to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} in: {message}");
    }
}

/// The bytes of the checkpoint and of the result.
fn kept(out: &Path) -> Vec<Vec<u8>> {
    ["state.safetensors", "model/model.safetensors", "train.json"]
        .map(|name| fs::read(out.join(name)).expect("there"))
        .into()
}

fn parts_left(out: &Path) -> Vec<PathBuf> {
    let files =
        [out.to_owned(), out.join("model")].into_iter().flat_map(|directory| fs::read_dir(directory).expect("there"));
    files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "part"))
        .collect()
}

#[test]
fn a_run_that_cannot_begin_leaves_its_directory_to_another() {
    let tiny = Tiny::new();
    let files: [(&str, &[u8], &str); 4] = [
        ("empty.txt", b"", "the file is empty"),
        ("binary.txt", b"\x7fELF\0\0", "a zero byte"),
        ("latin.txt", b"caf\xe9\n", "not UTF-8"),
        ("data.csv", b"a,b", "unknown kind of data file"),
    ];
    for (name, content, problem) in files {
        let path = tiny.path(name);
        fs::write(&path, content).expect("written");
        for validate in [false, true] {
            let mut recipe = tiny.recipe.clone();
            if validate {
                recipe.validate = Some(path.clone());
            } else {
                recipe.data.push((path.clone(), 1.0));
            }
            says(run(recipe, &tiny.path("out"), 2, 1, &mut |_| {}), &[name, problem]);
        }
    }
    assert!(!tiny.path("out/train.json").exists() && !tiny.path("out/model/tokenizer.json").exists());
    tiny.run("out").expect("another run finds nothing in its way");
}

#[test]
fn another_recipe_is_another_run() {
    let mut tiny = Tiny::new();
    tiny.run("out").expect("runs");
    let before = kept(&tiny.path("out"));
    tiny.recipe.seed = 2;
    says(tiny.run("out"), &["out: holds a run with another recipe", "choose another --out"]);
    assert!(kept(&tiny.path("out")) == before);
    fs::write(tiny.path("out/train.json"), "{").expect("written");
    says(tiny.run("out"), &["train.json", "EOF"]);
}

#[test]
fn changed_data_are_noticed() {
    let tiny = Tiny::new();
    let out = tiny.path("out");
    run(tiny.recipe.clone(), &out, 2, 4, &mut |_| {}).expect("runs");
    let before = kept(&out);
    let data = &tiny.recipe.data[1].0;
    let old = fs::read_to_string(data).expect("text");
    fs::write(data, old.replace("What is 7?", "What is 8?")).expect("written");
    says(tiny.run("out"), &["the data changed", "data file 2"]);
    assert!(kept(&out) == before);
    fs::write(data, old).expect("written");
    tiny.run("out").expect("goes on");
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let mut tiny = Tiny::new();
    let state = tiny.path("out/state.safetensors");
    tiny.run("out").expect("runs");
    let good = fs::read(&state).expect("there");
    for bad in [&good[..good.len() - 5], &good[..40], b"", &[b"\xff\xff\xff\xff\xff\xff\xff\xff", &good[8..]].concat()]
    {
        fs::write(&state, bad).expect("written");
        says(tiny.run("out"), &["state.safetensors", "remove it to restart the run"]);
    }
    // A checkpoint of a network of another size.
    tiny.recipe.shape.intermediate += 4;
    tiny.run("other").expect("runs");
    fs::copy(tiny.path("other/state.safetensors"), &state).expect("copied");
    tiny.recipe.shape.intermediate -= 4;
    says(tiny.run("out"), &["state.safetensors", "gate_proj", "does not have the size"]);
}

#[test]
fn a_tokenizer_must_fit() {
    let tiny = Tiny::new();
    let texts: Vec<String> = (0..200).map(story).collect();
    fs::create_dir_all(tiny.path("out/model")).expect("made");
    tokenizer::train(&texts, 320, 32).expect("trains").write(&tiny.path("out/model")).expect("written");
    says(tiny.run("out"), &["has id 319", "300 tokens"]);
    tokenizer::train(&texts, 290, 32).expect("trains").write(&tiny.path("out/model")).expect("written");
    tiny.run("out").expect("a smaller one does");
    assert!(parts_left(&tiny.path("out")).is_empty());
}

/// Learning rates that make any network diverge: the first checkpoint or the step after it fails.
#[test]
fn divergence_keeps_the_last_checkpoint() {
    for (rate, warm_up, saves) in [(1e37, 1000, true), (f32::MAX, 0, false)] {
        for full_precision in [0, 100] {
            let mut tiny = Tiny::new();
            (tiny.recipe.save_every, tiny.recipe.full_precision) = (1, full_precision);
            (tiny.recipe.rate, tiny.recipe.other_rate, tiny.recipe.warm_up) = (rate, rate, warm_up);
            let out = tiny.path("out");
            let mut before = None;
            let mut tell = |event: Event<'_>| {
                if let Event::Saved(..) = event {
                    before = Some(kept(&out));
                }
            };
            let result = run(tiny.recipe.clone(), &out, 2, usize::MAX, &mut tell);
            says(result, &["training diverged", "lower --rate"]);
            assert_eq!((before.is_some(), out.join("state.safetensors").exists()), (saves, saves));
            assert!(before.is_none_or(|before| before == kept(&out)), "the last checkpoint is as it was");
            assert!(!saves || parts_left(&out).is_empty());
        }
    }
}

#[test]
fn models_that_cannot_be_trained_say_why() {
    let tiny = Tiny::new();
    let from = |path: PathBuf| {
        let checkpoint = sterna::checkpoint::Checkpoint::open(&path)?;
        let shape = sterna_train::recipe::Shape::of(checkpoint.config(), &path)?;
        let recipe = sterna_train::recipe::Recipe { shape, from: Some(path), batch: 512, ..tiny.recipe.clone() };
        run(recipe, &tiny.path("out"), 2, 1, &mut |_| {})
    };
    let golden = |name: &str| Path::new(GOLDEN).join(name);
    says(from(golden("bitnet-packed-offline")), &["only trits", "master weights"]);
    says(from(golden("llama-bf16-online")), &["only models like BitNet"]);
    says(from(golden("train")), &["no Hugging Face tokenizer", "tokenizer.json"]);
    assert!(!tiny.path("out/train.json").exists());

    // A linear layer with NaN.
    tiny.run("good").expect("runs");
    let path = tiny.path("good/model/model.safetensors");
    let good = fs::read(&path).expect("there");
    let header = u64::from_le_bytes(*good.first_chunk().expect("a length")) as usize;
    let text = std::str::from_utf8(&good[8..8 + header]).expect("JSON");
    let tensors: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
    for name in ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"] {
        let offset = tensors[name]["data_offsets"][0].as_u64().expect("a number") as usize;
        for inf in [0x7f80u16, 0x7fc0] {
            let mut bytes = good.clone();
            bytes[8 + header + offset..][..2].copy_from_slice(&inf.to_le_bytes());
            fs::write(&path, bytes).expect("written");
            says(from(tiny.path("good/model")), &[name, "finite"]);
        }
    }
}

#[test]
fn impossible_recipes_name_the_option() {
    let tiny = Tiny::new();
    type Change = fn(&mut sterna_train::recipe::Recipe);
    let changes: [(Change, &str); 16] = [
        (|r| r.steps = 0, "--steps 0"),
        (|r| r.batch = 0, "--batch 0"),
        (|r| r.rate = f32::NAN, "--rate NaN"),
        (|r| r.other_rate = -1.0, "--other-rate -1"),
        (|r| r.decay = 1.5, "--decay 1.5"),
        (|r| r.clip = f32::INFINITY, "--clip inf"),
        (|r| r.z_loss = -0.1, "--z-loss -0.1"),
        (|r| r.weight_decay = f32::NAN, "--weight-decay NaN"),
        (|r| r.shape.layers = 0, "--layers is 0"),
        (|r| r.shape.vocab = 1 << 60, "--vocab is"),
        (|r| r.shape.vocab = 200, "259 or more"),
        (|r| r.shape.hidden = 33, "--hidden 33 --heads 2"),
        (|r| r.shape.hidden = 1024, "256 features"),
        (|r| r.shape.intermediate = 63, "--intermediate"),
        (|r| r.shape.context = 7, "7 tokens is too short"),
        (|r| r.data[0].1 = 0.0, "a share has to be"),
    ];
    for (change, problem) in changes {
        let mut recipe = tiny.recipe.clone();
        change(&mut recipe);
        says(run(recipe, &tiny.path("out"), 2, 1, &mut |_| {}), &[problem]);
    }
    let mut recipe = tiny.recipe.clone();
    recipe.data.clear();
    says(run(recipe, &tiny.path("out"), 2, 1, &mut |_| {}), &["no data"]);
    assert!(!tiny.path("out/train.json").exists());
    fs::write(tiny.path("file"), "x").expect("written");
    let error = tiny.run("file").expect_err("no directory");
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("file")), "{error}");
}

/// A step of 0 pieces counts as 1, so that the iterator ends.
#[test]
fn batches_end() {
    let tiny = Tiny::new();
    let files = tokenizer::train(&[story(1)], 280, 32).expect("trains").text();
    let config = SHAPE.config(vec![1]).expect("possible");
    let tokenizer = Tokenizer::new(Path::new("new"), &files, &config).expect("a tokenizer");
    let template = ChatTemplate::new(&files).expect("compiles");
    let packer = Packer::new(&tokenizer, template.as_ref(), SHAPE.vocab, 32).expect("fits");
    let data = Dataset::read(&tiny.recipe.data[0].0, &packer, &Pool::new(1), |_| {}).expect("reads");
    let of = |step| data.batches(100, step).take(10_000).map(|batch| batch.tokens).collect::<Vec<_>>();
    assert_eq!(of(0), of(1));
}
