//! `sterna eval` against another model, and on multiple choice.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sterna::engine::Engine;

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/bitnet-bf16-online");

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.arg("eval").args(args).env_remove("STERNA_ISA").stdin(Stdio::null()).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[args, &["--json"]].concat())).unwrap()
}

fn refused(args: &[&str], code: i32, words: &str) {
    let output = run(args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(code) && message.contains(words), "{args:?}: {message}");
}

/// A file of this text in a folder, and its path.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn a_model_is_compared_with_a_reference() {
    let (_folder, text) =
        file("Once upon a time there was a little bird who lived in a tall tree at the edge of the forest.");
    let same = json(&["--text", &text, "--against", EMBEDDED]);
    assert_eq!((&same["kl"]["mean"], &same["kl"]["max"], &same["agreement"]), (&0.0.into(), &0.0.into(), &1.0.into()));
    let alone = json(&["--text", &text]);
    assert_eq!((&same["perplexity"], &same["tokens"]), (&alone["perplexity"], &alone["tokens"]));
    let rounded = ["--text", &text, "--kv", "int8", "--against", EMBEDDED];
    let other = json(&rounded);
    let number = |name: &str| other["kl"][name].as_f64().unwrap();
    assert!(number("mean") > 1e-7 && number("max") >= number("mean") && number("max_at") >= 1.0, "{other}");
    assert_eq!(other["reference"]["perplexity"], alone["perplexity"], "the reference has an f16 cache");
    assert_ne!(other["perplexity"], alone["perplexity"]);
    let shown = stdout(&rounded);
    assert!(
        shown.starts_with("KL divergence from the reference: mean 0.000") && shown.contains("likeliest"),
        "{shown}"
    );
    refused(&["--text", &text, "--against", GOLDEN], 1, "gives other tokens");
    refused(&["--against", EMBEDDED], 2, "--text");
}

#[test]
fn choices_are_scored_and_counted() {
    let lines = [
        r#"{"context": "Once upon a", "choices": ["time", "lantern"], "answer": 0}"#,
        r#"{"context": "Once upon a ", "choices": ["time", "lantern"], "answer": 0, "delimiter": ""}"#,
        r#"{"context": "They lived happily ever", "choices": ["window", "after"], "answer": 0}"#,
        r#"{"context": "", "choices": ["The king was old."], "answer": 0, "delimiter": ""}"#,
    ];
    let (_folder, path) = file(&(lines.join("\n\n") + "\n"));
    let found = json(&["--choices", &path]);
    assert_eq!((&found["questions"], &found["choices"], &found["acc"]), (&4.into(), &7.into(), &0.75.into()));
    let sums =
        |at: usize| -> Vec<f64> { serde_json::from_value(found["results"][at]["loglikelihoods"].clone()).unwrap() };
    assert_eq!(sums(0), sums(1), "a space at the end of the context belongs to the choice");
    assert_eq!(found["results"][2]["chosen"]["acc"], 1);
    let engine = Engine::builder().threads(1).open(EMBEDDED).unwrap();
    let tokenizer = engine.tokenizer().unwrap();
    let own = |context: Vec<u32>, text: &str| {
        let rest = tokenizer.encode(text).unwrap();
        let whole = if context.len() > 1 { rest[context.len()..].to_vec() } else { rest };
        engine.loglikelihoods([(context, whole)]).next().unwrap().unwrap()
    };
    let context = tokenizer.encode("Once upon a").unwrap();
    assert_eq!(sums(0), [own(context.clone(), "Once upon a time"), own(context, "Once upon a lantern")]);
    assert_eq!(sums(3), [own(vec![tokenizer.bos().unwrap()], "The king was old.")], "an empty context is BOS");
    let shown = stdout(&["--choices", &path]);
    assert!(shown.starts_with("acc       0.7500 ± 0.2500 (standard error)\nacc_norm "), "{shown}");
    refused(&["--choices", &path, "--ctx", "4"], 1, "question 1 has");
    refused(&["--choices", &path, "--text", "x"], 2, "--text");
    let (_folder, wrong) = file("{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 1}");
    refused(&["--choices", &wrong], 1, "file: line 1: answer is 1");
    let (_folder, empty) = file("\n");
    refused(&["--choices", &empty], 2, "there is no question");
}
