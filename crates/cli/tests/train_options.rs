//! `sterna train`: accepted options, changes on resume, and output.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A network small enough for a test; a batch is four sequences.
const SMALL: &str =
    "--vocab 300 --hidden 16 --intermediate 32 --layers 1 --heads 2 --kv-heads 1 --context 32 --batch 128 -t 1";

fn train(args: &str, directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.arg("train").args(args.split_whitespace()).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

/// The stdout and stderr of a run that must succeed.
fn done(args: &str, directory: &Path) -> (String, String) {
    let output = train(args, directory);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args}: {err}");
    (out, err)
}

fn data(directory: &Path) {
    let line = |i: usize| format!("{{\"text\": \"Fox number {i} saw lantern {} at the river.\"}}\n", i * 7);
    let text = |of: std::ops::Range<usize>| of.map(line).collect::<String>();
    fs::write(directory.join("data.jsonl"), text(0..60)).unwrap();
    fs::write(directory.join("held.jsonl"), text(60..64)).unwrap();
}

fn recipe(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("run/train.json")).unwrap()).unwrap()
}

#[test]
fn impossible_values_are_misuse_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    data(directory.path());
    for (given, expected) in [
        ("--rate 0", "--rate 0"),
        ("--rate NaN", "--rate NaN"),
        ("--rate -1", "--rate -1"),
        ("--other-rate inf", "--other-rate inf"),
        ("--decay 1.5", "from 0 to 1"),
        ("--decay NaN", "from 0 to 1"),
        ("--weight-decay -0.1", "--weight-decay -0.1"),
        ("--clip 0", "--clip 0"),
        ("--z-loss -1", "--z-loss -1"),
        ("--batch 100", "--batch 100 --context 512"),
        ("--vocab 258", "259 or more"),
        ("--heads 3", "--hidden 256 --heads 3"),
        ("--layers 0", "--layers is 0"),
        ("--steps 0", "--steps 0"),
        ("--save-every 0", "--save-every 0"),
        ("--data data.jsonl=0", "data.jsonl=0: a share"),
        ("--data data.jsonl=-2", "data.jsonl=-2: a share"),
        ("--data held.jsonl=much", "`much` is not a number"),
        ("--from model --vocab 300", "cannot be used with"),
    ] {
        let output = train(&format!("--data data.jsonl --out run {given}"), directory.path());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{given}: {stderr}");
        assert!(stderr.contains(expected), "{given}: {stderr}");
        assert!(!directory.path().join("run").exists(), "{given}");
    }
}

#[test]
fn a_run_prints_a_line_for_every_checkpoint_and_one_object() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    data(path);
    let args = format!("--data data.jsonl --validate held.jsonl --out run {SMALL} --steps 5 --save-every 2 --json");
    let (out, err) = done(&args, path);
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 4, "{err}");
    for (line, begin) in lines.iter().zip(["step 2/5: loss ", "step 4/5: loss ", "step 5/5: loss "]) {
        assert!(line.starts_with(begin) && line.contains("bits per byte") && line.contains("tokens/s"), "{line}");
    }
    assert_eq!(lines[3], "5 steps done; try the model: sterna chat -m run/model");
    let object: Value = serde_json::from_str(&out).unwrap();
    let keys: Vec<_> = object.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["step", "steps", "loss", "validation", "model", "adapter", "tokens", "seconds"]);
    let log = fs::read_to_string(path.join("run/log.jsonl")).unwrap();
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tokens: u64 = log.iter().filter_map(|line| line["tokens"].as_u64()).sum();
    assert_eq!((&object["step"], &object["steps"], &object["tokens"]), (&5.into(), &5.into(), &tokens.into()));
    assert_eq!(object["validation"], log.last().unwrap()["validation"]);
    let losses: Vec<f64> = log.iter().filter_map(|line| line["loss"].as_f64()).collect();
    let loss = object["loss"].as_f64().unwrap();
    assert!(losses.iter().any(|one| *one >= loss) && losses.iter().any(|one| *one <= loss), "{loss} of {losses:?}");
}

#[test]
fn a_run_can_be_made_longer_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    data(path);
    let first = format!("--data data.jsonl --out run {SMALL} --steps 3 --save-every 2");
    done(&first, path);
    let (out, err) = done("--out run --steps 5 --save-every 5 --json", path);
    assert!(err.starts_with("step 5/5: loss "), "one checkpoint, at the end: {err}");
    let object: Value = serde_json::from_str(&out).unwrap();
    let log = fs::read_to_string(path.join("run/log.jsonl")).unwrap();
    let steps: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps.iter().filter_map(|line| line["step"].as_u64()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let these: u64 = steps[3..].iter().filter_map(|line| line["tokens"].as_u64()).sum();
    assert_eq!(object["tokens"], these, "only what this process read");
    assert_eq!((&recipe(path)["steps"], &recipe(path)["save_every"]), (&5.into(), &5.into()));
    // Repeating the whole command with more steps resumes the same run.
    done(&first.replace("--steps 3", "--steps 6"), path);
    assert_eq!((&recipe(path)["steps"], &recipe(path)["save_every"]), (&6.into(), &2.into()));
    let before = recipe(path);
    for (args, code, expected) in [
        ("--out run --steps 4", 1, "--steps 4: the run in run has done 6 steps already"),
        ("--out run --rate 0.1", 2, "--rate: run holds a run"),
        ("--out run --kv-heads 2", 2, "--kv-heads: run holds a run"),
        ("--out run --steps 9 --seed 1", 2, "--seed: run holds a run"),
        ("--out elsewhere", 1, "there is no run to resume"),
        ("--data data.jsonl --out run --steps 9", 1, "another recipe"),
        ("--steps 9", 2, "--out <DIR>"),
    ] {
        let output = train(args, path);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {stderr}");
        assert!(stderr.contains(expected), "{args}: {stderr}");
    }
    assert_eq!(recipe(path), before, "what was refused is not written");
    let (out, _) = done("--out run --json", path);
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["step"], &object["loss"], &object["tokens"]), (&6.into(), &Value::Null, &0.into()));
}

#[test]
fn a_twin_in_full_precision_stays_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    data(path);
    done(&format!("--data data.jsonl --out run {SMALL} --steps 2 --full-precision 2"), path);
    done("--out run --steps 3", path);
    let log = fs::read_to_string(path.join("run/log.jsonl")).unwrap();
    assert_eq!(log.matches("\"precision\":\"full\"").count(), 3, "{log}");
    assert_eq!(recipe(path)["full_precision"], 3);
}
