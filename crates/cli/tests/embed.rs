//! `sterna embed`: every source of texts and every target give the library's vectors.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sterna::engine::{Embed, Engine, Pooling, instructed};

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf");

fn run(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.arg("embed").args(args).env_remove("STERNA_ISA");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(args: &[&str], input: &str) -> String {
    let output = run(args, input);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn vectors(args: &[&str], input: &str) -> Vec<Vec<f32>> {
    let value: Value = serde_json::from_str(&stdout(&[args, &["--json"]].concat(), input)).unwrap();
    assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["embeddings"]);
    serde_json::from_value(value["embeddings"].clone()).unwrap()
}

#[test]
fn every_source_and_option_gives_the_librarys_vectors() {
    let engine = Engine::builder().threads(1).open(EMBEDDED).unwrap();
    let tokens = |text: &str| engine.embedding_tokens(text).unwrap();
    let vector = |embed: Embed| engine.embed(embed.normalized()).unwrap();
    let own = |text: &str| vector(Embed::new(tokens(text)));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let both = [own("A fox."), own("A king.")];
    assert_eq!(vectors(&["A fox.", "A king."], ""), both);
    assert_eq!(vectors(&["--file", &path("a", "A fox.\n"), "--file", &path("b", "A king.")], ""), both);
    let lines = format!("\"A fox.\"\n\n{}\n", json!({ "id": 1, "text": "A king." }));
    assert_eq!(vectors(&["--jsonl", &path("c", &lines)], ""), both);
    assert_eq!(vectors(&["--jsonl", "-"], &lines), both);
    assert_eq!(vectors(&[], "A fox.\n"), both[..1]);
    assert_eq!(vectors(&["-"], "A king.\n"), both[1..]);
    // Ids are taken as given: no BOS is added.
    let ids = [vector(Embed::new([9, 8])), vector(Embed::new([7]))];
    assert_eq!(vectors(&["--tokens", "9,8", "--tokens", "7"], ""), ids);
    assert_eq!(vectors(&["--jsonl", "-"], "{\"tokens\": [9, 8]}\n{\"tokens\": [7]}"), ids);
    let query = instructed("Find it", "A fox.");
    assert_eq!(query, "Instruct: Find it\nQuery:A fox.");
    assert_eq!(vectors(&["--instruction", "Find it", "A fox."], ""), [own(&query)]);
    let mean = Embed::new(tokens("A fox.")).pooling(Pooling::Mean).dimensions(8);
    assert_eq!(vectors(&["--pooling", "mean", "--dimensions", "8", "A fox."], ""), [vector(mean)]);
}

#[test]
fn files_have_the_numbers_that_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["A fox.", "A king.", "--dimensions", "5"];
    let printed = vectors(&options, "");
    let lines = stdout(&options, "");
    let read = |line: &str| line.split(' ').map(|x| x.parse::<f32>().unwrap()).collect::<Vec<_>>();
    assert_eq!(lines.lines().map(read).collect::<Vec<_>>(), printed);
    let data: Vec<u8> = printed.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    for (name, expected) in [("x.npy", &b"\x93NUMPY\x01\x00"[..]), ("x.safetensors", b"")] {
        let path = folder.path().join(name);
        let path = path.to_str().unwrap();
        assert_eq!(stdout(&[&options[..], &["-o", path]].concat(), ""), "");
        let about = stdout(&[&options[..], &["--out", path, "--json"]].concat(), "");
        let about: Value = serde_json::from_str(&about).unwrap();
        assert_eq!(about, json!({ "out": path, "dtype": "F32", "shape": [2, 5] }));
        let file = fs::read(path).unwrap();
        assert!(file.starts_with(expected) && file.ends_with(&data) && file.len().is_multiple_of(8), "{name}");
        let header = String::from_utf8_lossy(&file[..file.len() - data.len()]).into_owned();
        assert!(header.contains("(2, 5)") || header.contains("\"shape\":[2,5]"), "{header}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);
}

#[test]
fn what_cannot_be_embedded_is_named() {
    let long = "fox ".repeat(40);
    for (args, input, code, words) in [
        (&["x", "--out", "x.csv"][..], "", 2, "x.csv: --out writes a .npy or a .safetensors file"),
        (&["x", "--tokens", "1"], "", 2, "cannot be used with"),
        (&["--tokens", "1", "--instruction", "y"], "", 2, "cannot be used with"),
        (&["--tokens", "1,x"], "", 2, "`x` is not a token id"),
        (&["--jsonl", "-"], "\n", 2, "stdin has no line"),
        (&["--jsonl", "-"], "\"a\"\n7\n", 1, "stdin: line 2: it is no text"),
        (&["--tokens", "4096"], "", 1, "token 0 has the id 4096"),
        (&["a", "--dimensions", "257"], "", 1, "embeddings have 256 numbers; leave it out, or give 1 to 256"),
        (&["a", &long, "--ctx", "32"], "", 1, "do not fit into the context of 32; set --ctx"),
        (&["a", "--ctx", "4096"], "", 1, "supports 2 to 2048"),
    ] {
        let output = run(args, input);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && message.contains(words), "{args:?}: {message}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
