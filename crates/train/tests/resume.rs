//! A run that was stopped at any point resumes with the same results.

mod tiny;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sterna_train::session::{Event, Session};
use tiny::{Tiny, run};

/// Every file of a run, without the parts of the log that depend on the machine's speed.
fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for directory in [out.to_owned(), out.join("model")] {
        for entry in fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_file() {
                let name = entry.strip_prefix(out).expect("inside").display().to_string();
                files.insert(name, fs::read(&entry).expect("readable"));
            }
        }
    }
    let log = files.get_mut("log.jsonl").expect("a log");
    *log = without_speed(log);
    files
}

fn without_speed(log: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(log).expect("text");
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).expect("a line is an object");
        line.as_object_mut().expect("an object").remove("tokens_per_s");
        line.to_string() + "\n"
    };
    text.lines().map(line).collect::<String>().into_bytes()
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in a {
        assert!(b[name] == *bytes, "{what}: {name}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        let to = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() { copy(&entry, &to) } else { fs::copy(&entry, to).map(drop).expect("copied") }
    }
}

#[test]
fn a_run_has_its_files() {
    let tiny = Tiny::new();
    tiny.run("out").expect("runs");
    let files = files(&tiny.path("out"));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let model =
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let model = model.map(|name| format!("model/{name}"));
    let expected = ["log.jsonl", model[0].as_str(), &model[1], &model[2], &model[3], &model[4]];
    assert_eq!(names, [&expected[..], &["state.safetensors", "train.json"]].concat());
    let log = String::from_utf8(files["log.jsonl"].clone()).expect("text");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let steps: Vec<(u64, bool)> =
        lines.iter().map(|l| (l["step"].as_u64().expect("a step"), l.get("validation").is_some())).collect();
    let [step, score] = [|n| (n, false), |n| (n, true)];
    assert_eq!(steps, [step(1), step(2), step(3), score(3), step(4), step(5), step(6), score(6), step(7), score(7)]);
    let of = |i: usize, name: &str| lines[i][name].clone();
    assert_eq!((of(1, "precision"), of(2, "precision")), ("full".into(), "ternary".into()));
    assert!(of(9, "validation")["bits_per_byte"].as_f64().expect("a number") > 0.0);
}

#[test]
fn stopped_after_any_step() {
    let tiny = Tiny::new();
    tiny.run("unbroken").expect("runs");
    let unbroken = files(&tiny.path("unbroken"));
    for steps in 1..=tiny.recipe.steps {
        let name = format!("stopped-{steps}");
        let out = tiny.path(&name);
        run(tiny.recipe.clone(), &out, 2, steps, &mut |_| {}).expect("runs");
        let session = Session::open(tiny.recipe.clone(), &out, 2, &mut |_| {}).expect("opens");
        assert_eq!(session.trainer().step_number(), steps, "a stop loses nothing");
        tiny.run(&name).expect("goes on");
        assert_same(&files(&out), &unbroken, &name);
    }
    tiny.run("unbroken").expect("nothing left to do");
    assert_same(&files(&tiny.path("unbroken")), &unbroken, "opened once more");
}

/// Copies the files at each event, as a kill at that moment would leave them.
#[test]
fn killed_at_any_event() {
    let tiny = Tiny::new();
    let (out, count) = (tiny.path("unbroken"), Cell::new(0));
    let mut snapshot = |event: Event<'_>| {
        let saved = matches!(event, Event::Saved(..));
        // Includes the checkpoint before its score was written.
        for scored in if saved { &[true, false][..] } else { &[true] } {
            let to = tiny.path(&format!("killed-{}", count.get()));
            count.set(count.get() + 1);
            copy(&out, &to);
            if !matches!(event, Event::Saved(step, _) if step == tiny.recipe.steps) {
                fs::write(to.join("state.safetensors.1.part"), b"half").expect("written");
                fs::create_dir_all(to.join("model")).expect("made");
                fs::write(to.join("model/tokenizer.json.1.part"), b"{").expect("written");
            }
            if let Ok(log) = fs::read_to_string(to.join("log.jsonl")) {
                let end = if *scored { log.len() } else { log.trim_end().rfind('\n').expect("several lines") + 1 };
                fs::write(to.join("log.jsonl"), log[..end].to_owned() + "{\"step\":1,\"tok").expect("written");
            }
        }
    };
    run(tiny.recipe.clone(), &out, 2, usize::MAX, &mut snapshot).expect("runs");
    let unbroken = files(&out);
    assert!(count.get() > 13, "reading, steps, checkpoints, scores");
    for i in 0..count.get() {
        let name = format!("killed-{i}");
        tiny.run(&name).expect("goes on");
        assert_same(&files(&tiny.path(&name)), &unbroken, &name);
    }
}

#[test]
fn threads_change_nothing() {
    let tiny = Tiny::new();
    let of = |threads| {
        let out = tiny.path(&format!("threads-{threads}"));
        run(tiny.recipe.clone(), &out, threads, usize::MAX, &mut |_| {}).expect("runs");
        files(&out)
    };
    let one = of(1);
    assert_same(&of(2), &one, "two threads");
    assert_same(&of(3), &one, "three threads");
}

/// Training from a checkpoint starts with its exact weights, and keeps its tokenizer and the epsilon of its norms.
#[test]
fn another_run_begins_with_the_result() {
    let mut tiny = Tiny::new();
    tiny.run("first").expect("runs");
    let config = tiny.path("first/model/config.json");
    let mut object: Value = serde_json::from_slice(&fs::read(&config).expect("there")).expect("JSON");
    assert_eq!(object["rms_norm_eps"], serde_json::json!(1e-5));
    object["rms_norm_eps"] = serde_json::json!(3e-6);
    fs::write(&config, object.to_string()).expect("written");
    tiny.recipe.from = Some(tiny.path("first/model"));
    (tiny.recipe.full_precision, tiny.recipe.rate, tiny.recipe.other_rate) = (0, 1e-30, 1e-30);
    tiny.run("second").expect("runs");
    let [first, second] = ["first", "second"].map(|name| files(&tiny.path(name)));
    for name in ["model/model.safetensors", "model/tokenizer.json"] {
        assert!(first[name] == second[name], "{name}");
    }
    let object: Value = serde_json::from_slice(&second["model/config.json"]).expect("JSON");
    assert_eq!(object["rms_norm_eps"], serde_json::json!(3e-6));
}
