//! `sterna convert`: contents of written files, and refusals.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");

fn output(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sterna")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The stdout of a run that must succeed and print nothing on stderr.
fn stdout(args: &[&str]) -> String {
    let output = output(args);
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn parse(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

fn logits(model: &str, out: &Path) -> Vec<u8> {
    let tokens = "1,2,300,4,77,6,7,500,9,10,11,12";
    assert_eq!(stdout(&["logits", "-m", model, "--tokens", tokens, "--out", out.to_str().unwrap()]), "");
    fs::read(out).unwrap()
}

fn info(model: &str) -> Value {
    let mut facts = parse(&["info", model, "--json"]);
    for name in ["path", "format", "encodings", "memory_bytes"] {
        assert!(facts.as_object_mut().unwrap().remove(name).is_some());
    }
    facts
}

/// Full-precision and packed weights of every network; tied and untied heads; rows that GGUF interleaves.
#[test]
fn nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.gguf");
    let (file, scratch) = (out.to_str().unwrap(), folder.path().join("logits"));
    let models = [
        "bitnet-bf16-online",
        "bitnet-1bitllm",
        "llama-bf16-online",
        "llama-headdim256",
        "qwen3-causal/gguf/i2_s-q8_0.gguf",
    ];
    for model in models.map(|name| format!("{GOLDEN}/{name}")) {
        let args = ["convert", "-m", &model, "--out", file, "--stored-head", "f32", "--force", "--json"];
        let report = parse(&args);
        let bytes = fs::metadata(&out).unwrap().len();
        assert_eq!(report, json!({ "out": file, "bytes": bytes, "encoding": "i2_s", "head": "f32" }));
        assert_eq!(info(file), info(&model), "{model}");
        assert!(logits(file, &scratch) == logits(&model, &scratch), "{model}: logits are the same bytes");
        let text = "It's 12345, 你好\n\n <|eot_id|> x";
        assert_eq!(stdout(&["tokenize", "-m", file, text]), stdout(&["tokenize", "-m", &model, text]), "{model}");
    }
}

#[test]
fn a_smaller_file_gives_the_same_answer_with_every_head() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small.gguf");
    let file = out.to_str().unwrap();
    let prompt = ["Once upon a time", "--temperature", "0", "-n", "24"];
    let answer = |model: &str, mode| stdout(&[&["run", "-m", model, "--head", mode], &prompt[..]].concat());
    for (encoding, head, most) in [("i2_s", "q8_0", 2_900_000), ("tq2_0", "q6_k", 2_700_000)] {
        assert_eq!(stdout(&["convert", "--out", file, "--encoding", encoding, "--stored-head", head, "--force"]), "");
        assert!(fs::metadata(&out).unwrap().len() < most);
        let stored = parse(&["info", file, "--json"])["encodings"].clone();
        assert_eq!((&stored[encoding]["tensors"], &stored[head]["tensors"]), (&56.into(), &1.into()));
        // The model's embedding is q8_0: rounding it again changes nothing; fewer bits may change the answer.
        let wanted = answer(if head == "q8_0" { EMBEDDED } else { file }, "f16");
        for mode in ["exact", "two-plane", "int8", "f16"] {
            assert_eq!(answer(file, mode), wanted, "{encoding} {head} {mode}");
        }
        let chat = ["chat", "Hello", "--temperature", "0", "-n", "4", "--json", "-m"];
        let ids = |model| parse(&[&chat[..], &[model]].concat())["prompt_tokens"].clone();
        assert_eq!(ids(file), ids(EMBEDDED));
    }
}

#[test]
fn files_are_replaced_only_when_asked_and_only_by_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (out, damaged) = (folder.path().join("model.gguf"), folder.path().join("damaged"));
    let (file, damaged_name) = (out.to_str().unwrap(), damaged.to_str().unwrap());
    fs::write(&out, "mine").unwrap();
    // NaN in the last matrix, which is found when most of the file is written.
    fs::create_dir(&damaged).unwrap();
    let source = Path::new(GOLDEN).join("bitnet-bf16-online");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(source.join(name), damaged.join(name)).unwrap();
    }
    let mut weights = fs::read(source.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let at = tensors["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    weights[8 + header + at..][..2].fill(0xff);
    fs::write(damaged.join("model.safetensors"), weights).unwrap();
    for (args, expected) in [
        (&["convert", "--out", file][..], "model.gguf: exists; --force replaces it"),
        (&["convert", "--out", file, "-m", damaged_name, "--force"], "model.layers.1.mlp.down_proj.weight"),
    ] {
        let output = output(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && message.contains(expected), "{message}");
        assert_eq!(fs::read(&out).unwrap(), b"mine");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "{args:?} leaves nothing behind");
    }
    stdout(&["convert", "--out", file, "--force"]);
    assert_eq!(fs::read(&out).unwrap()[..4], *b"GGUF");
    // A model can replace its own file.
    stdout(&["convert", "-m", file, "--out", file, "--force", "--stored-head", "q8_0"]);
    assert_eq!(parse(&["info", file, "--json"])["encodings"]["q8_0"]["tensors"], 1);
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("folder.gguf")).unwrap();
    let odd = format!("{GOLDEN}/bitnet-bf16-online");
    for (args, code, expected) in [
        (&["--out", &path("model.bin")][..], 2, "model.bin: the name of a GGUF file ends with .gguf"),
        (&["--out", &path("folder.gguf")], 1, "folder.gguf: exists and is not a regular file"),
        (&["--out", &path("no/model.gguf")], 1, "no/model.gguf: "),
        (&["-m", &odd, "--out", &path("x.gguf"), "--head", "q6_k"], 1, "cannot be stored as i2_s or q6_k"),
        (&["-m", &odd, "--out", &path("x.gguf"), "--encoding", "tq2_0"], 1, "cannot be stored as tq2_0 or f16"),
        (&["-m", "nowhere.gguf", "--out", &path("x.gguf")], 1, "nowhere.gguf: no such file"),
        (&["--out", &path("x.gguf"), "--head", "q4_k"], 2, "q8_0"),
        (&["--out", &path("x.gguf"), "--encoding", "f16"], 2, "tq2_0"),
        (&[], 2, "--out"),
    ] {
        let output = output(&[&["convert"], args].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert!(message.starts_with("error: ") && message.contains(expected), "{args:?}: {message}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "failures leave no files");
}

/// A directory is written and compared with its source; one that has files is not written into without `--force`.
#[test]
fn directories_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let directory = out.to_str().unwrap();
    let args = ["convert", "--out", directory, "--to", "hf-packed", "--verify", "--json"];
    let report = parse(&args);
    assert_eq!((&report["encoding"], &report["verified"]["logits"]), (&json!("hf-packed"), &json!(0.0)), "{report}");
    assert_eq!(report["verified"]["scales"], json!(0.0));
    let (code, message) = failure(&args);
    assert_eq!(code, Some(1));
    assert!(message.contains("the directory is not empty; --force writes into it"), "{message}");
    let prompt = ["--temperature", "0", "-n", "8", "Once upon a time"];
    let run = |model: &[&str]| stdout(&[&["run"], model, &prompt].concat());
    assert_eq!(run(&["-m", directory]), run(&[]), "the same answer, so the same tokenizer");
}

/// Files of at most a size, each of which opens the model.
#[test]
fn a_model_is_written_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.gguf");
    let args = ["convert", "--out", out.to_str().unwrap(), "--split-max-size", "300K", "--verify", "--json"];
    let report = parse(&args);
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 2, "{files:?}");
    assert_eq!(report["out"], json!(files[0].to_str().unwrap()));
    assert!(files[0].ends_with(format!("model-00001-of-{:05}.gguf", files.len())), "{files:?}");
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!((&report["verified"]["scales"], &report["bytes"]), (&json!(0.0), &json!(bytes)));
    let model = |file: &Path| stdout(&["run", "-m", file.to_str().unwrap(), "--temperature", "0", "-n", "8", "Once"]);
    assert_eq!(model(&files[1]), model(&files[0]));
    let (code, message) = failure(&["convert", "--out", "x", "--to", "mlx", "--split-max-size", "1G"]);
    assert!(code == Some(2) && message.contains("for GGUF files"), "{message}");
}

/// The exit status and the message of a run that must fail.
fn failure(args: &[&str]) -> (Option<i32>, String) {
    let output = output(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
