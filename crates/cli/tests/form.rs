//! Constrained answers: `--schema`, `--regex` and `--grammar`.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn sterna(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sterna")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn answer(args: &[&str]) -> String {
    let Output { status, stdout, stderr } = sterna(args);
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let schema = file(
        "person.json",
        r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"enum": [7, 70]}},
            "required": ["name", "age"], "additionalProperties": false}"#,
    );
    let lark = file("list.lark", "start: word (\", \" word){2}\nword: /[a-z]+/\n");
    for seed in ["1", "2", "3"] {
        let person: Value =
            serde_json::from_str(&answer(&["run", "A person: ", "--schema", &schema, "--seed", seed])).unwrap();
        assert!(person["name"].is_string() && (person["age"] == 7 || person["age"] == 70), "{person}");
        let yes = answer(&["chat", "Is the sky blue?", "--regex", "(Yes|No), I think so\\.", "--seed", seed]);
        assert!(["Yes, I think so.\n", "No, I think so.\n"].contains(&yes.as_str()), "{yes}");
        let words = answer(&["run", "Animals: ", "--grammar", &lark, "--seed", seed, "--temperature", "0.3"]);
        assert!(words.matches(", ").count() == 2 || words.len() > 100, "{words}");
    }
    for (args, code, words) in [
        (&["--regex", "("][..], 2, "the regular expression `(`: unclosed group, at character 1"),
        (&["--schema", &lark], 1, "list.lark: not valid JSON"),
        (&["--schema", "nowhere.json"], 1, "nowhere.json"),
        (&["--schema", &schema, "--regex", "a"], 2, "cannot be used with"),
    ] {
        let Output { status, stdout, stderr } = sterna(&[&["run", "x"], args].concat());
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(code) && stdout.is_empty() && stderr.contains(words), "{args:?}: {stderr}");
    }
}
