//! `--adapter`: the built-in model with a low-rank adapter.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sterna::checkpoint::Checkpoint;
use sterna::checkpoint::adapter::{self, Adapter, LowRank};

fn sterna(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sterna")).args(args).output().unwrap()
}

/// Writes an adapter for every o_proj of the built-in model; all values of B are `b`.
fn write(dir: &Path, b: f32, missing_rows: usize) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf"));
    let config = Checkpoint::open(path).unwrap().config().clone();
    let a: Vec<f32> = (0..2 * config.heads * config.head_dim).map(|k| (k % 7) as f32 / 7.0 - 0.5).collect();
    let pair = LowRank { a, b: vec![b; 2 * (config.hidden - missing_rows)] };
    let layers = (0..config.layers).map(|i| (format!("model.layers.{i}.self_attn.o_proj"), pair.clone())).collect();
    let adapter = Adapter { base: Some("some/base".into()), rank: 2, alpha: 4.0, layers, ..Adapter::default() };
    adapter::write(dir, &adapter).unwrap();
}

#[test]
fn an_adapter_changes_every_verb_that_computes() {
    let folder = tempfile::tempdir().unwrap();
    let (nothing, something) = (folder.path().join("nothing"), folder.path().join("something"));
    let text = folder.path().join("text");
    fs::write(&text, "The fox and the lantern went down to the river.").unwrap();
    write(&nothing, 0.0, 0);
    write(&something, 1.0, 0);
    let text = text.to_str().unwrap();
    let verbs: [&[&str]; 3] = [
        &["run", "The king", "-n", "12", "--temperature", "0"],
        &["chat", "Hello", "-n", "12", "--temperature", "0"],
        &["eval", "--text", text, "--ctx", "32"],
    ];
    for args in verbs {
        let run = |adapter: &[&str]| {
            let output = sterna(&[args, adapter].concat());
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let base = run(&[]);
        assert_eq!(run(&["--adapter", nothing.to_str().unwrap()]), base, "{args:?}");
        assert_ne!(run(&["--adapter", something.to_str().unwrap()]), base, "{args:?}");
    }
    let logits = |adapter: &[&str]| {
        let out = folder.path().join("logits");
        let args = ["logits", "--tokens", "5,6,7", "--out", out.to_str().unwrap()];
        assert!(sterna(&[&args, adapter].concat()).status.success());
        fs::read(out).unwrap()
    };
    let (same, other) = (["--adapter", nothing.to_str().unwrap()], ["--adapter", something.to_str().unwrap()]);
    assert!(logits(&same) == logits(&[]) && logits(&other) != logits(&[]));
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (wrong, none) = (folder.path().join("wrong"), folder.path().join("none"));
    write(&wrong, 0.5, 1);
    for (dir, said) in [
        (folder.path(), "adapter_config.json: there is no such file; pass the directory that holds"),
        (&none, "none: No such file"),
        (&wrong, "trained on `some/base`; use the adapter with the model it was trained on"),
    ] {
        let output = sterna(&["run", "x", "--adapter", dir.to_str().unwrap()]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{message}");
        assert!(message.starts_with("error: ") && message.contains(said), "{message}");
    }
}
