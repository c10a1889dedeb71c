//! `sterna serve` as a process: settings, startup and shutdown.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf");

fn sterna(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STERNA_")) {
        command.env_remove(name);
    }
    command.arg("serve").args(args).stdin(Stdio::null());
    command
}

fn settings(mut command: Command) -> Value {
    let Output { status, stdout, stderr } = command.arg("--dry-run").output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

/// A listening server, and its address.
fn listening(args: &[&str]) -> (Child, String) {
    started(sterna(&[args, &["--port", "0"]].concat()))
}

fn started(mut command: Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
    (child, address.to_owned())
}

fn ask(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    );
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.toml");
    fs::write(&file, "port = 1\nqueue = 2\ntimeout = 3\nmodel-name = \"file\"\napi-key = [\"secret\"]\n").unwrap();
    let file = file.to_str().unwrap();
    let mut command = sterna(&["--config", file, "--port", "7"]);
    command.env("STERNA_PORT", "8").env("STERNA_QUEUE", "9");
    let settings = settings(command);
    assert_eq!((&settings["port"], &settings["queue"], &settings["timeout_s"]), (&7.into(), &9.into(), &3.into()));
    assert_eq!((&settings["model"], &settings["api_keys"]), (&"file".into(), &vec!["…"].into()));
    assert_eq!(self::settings(sterna(&[]))["host"], "127.0.0.1");
    let mut named = sterna(&[]);
    named.env("STERNA_CONFIG", file);
    assert_eq!(self::settings(named)["port"], 1);
}

#[test]
fn a_dry_run_shows_all_that_is_in_effect() {
    let shown = settings(sterna(&["--threads", "3", "--ffn", "dense"]));
    let Value::Object(shown) = shown else { panic!("{shown}") };
    let help = sterna(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in help.split_whitespace().filter_map(|word| word.trim_end_matches(',').strip_prefix("--")) {
        let name = match option {
            "config" | "dry-run" | "help" | "version" => continue,
            "model" => "model_path".into(),
            "model-name" => "model".into(),
            "api-key" | "name" | "origin" => format!("{}s", option.replace('-', "_")),
            "timeout" | "grace" => format!("{option}_s"),
            "keep-alive" => "keep_alive_s".into(),
            "tls-cert" | "tls-key" => "tls".into(),
            other => other.replace('-', "_"),
        };
        assert!(shown.contains_key(&name), "--{option} is not shown");
    }
    assert_eq!((&shown["threads"], &shown["ffn"], &shown["kv"]), (&3.into(), &"dense".into(), &"f16".into()));
    assert_eq!((&shown["ctx"], &shown["log"]), (&2048.into(), &"text".into()));

    let mut from_environment = sterna(&["--kv", "int8"]);
    from_environment.env("STERNA_KV", "f16").env("STERNA_FFN", "sparse").env("STERNA_MODEL", "nowhere.gguf");
    let refused = from_environment.arg("--dry-run").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nowhere.gguf: no such file"), "{refused:?}");
    let mut from_environment = sterna(&["--kv", "int8"]);
    from_environment
        .env("STERNA_KV", "f16")
        .env("STERNA_FFN", "sparse")
        .env("STERNA_LOG_TEXT", "1")
        .env("STERNA_STRICT", "1");
    let shown = settings(from_environment);
    assert_eq!((&shown["kv"], &shown["ffn"]), (&"int8".into(), &"sparse".into()));
    assert_eq!((&shown["log_text"], &shown["strict"]), (&true.into(), &true.into()));
}

#[test]
fn settings_that_cannot_be_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (odd, broken) = (file("odd.toml", "prot = 1\n"), file("broken.toml", "port = \n"));
    let many = file("many.toml", "threads = 5000\n");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let (cert, key) = (file("cert.pem", "no certificate"), file("key.pem", "no key"));
    for (args, code, words) in [
        (&["--host", "0.0.0.0"][..], 2, "--api-key"),
        (&["--host", "nowhere"], 2, "--host"),
        (&["--queue", "0"], 2, "--queue is 0"),
        (&["--chunk", "0"], 2, "--chunk is 0"),
        (&["--config", &many], 2, "--threads is 5000; it must be from 1 to 1024"),
        (&["--tls-cert", &cert], 2, "--tls-key"),
        (&["--tls-cert", &cert, "--tls-key", &key], 1, "certificate"),
        (&["--config", &odd], 1, "unknown field `prot`"),
        (&["--config", &broken], 1, "broken.toml"),
        (&["--config", "nowhere.toml"], 1, "nowhere.toml"),
        (&["-m", "nowhere.gguf"], 1, "no such file"),
        (&["--models", "nowhere"], 1, "--models takes a folder"),
        (&["--models", empty], 1, "no model is here"),
        (&["--models", empty, "--memory", "0"], 2, "--memory is \"0\""),
        (&["--models", empty, "--keep-alive", "soon"], 2, "--keep-alive: \"soon\""),
        (&["--memory", "8G"], 2, "need --models"),
    ] {
        let Output { status, stdout, stderr } = sterna(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(code) && stdout.is_empty() && stderr.contains(words), "{args:?}: {stderr}");
        assert!(stderr.matches("os error").count() <= 1, "{args:?} says its cause twice: {stderr}");
    }
    let (mut child, address) = listening(&[]);
    let port = address.rsplit_once(':').unwrap().1;
    let taken = sterna(&["--port", port]).output().unwrap();
    let taken = String::from_utf8_lossy(&taken.stderr);
    assert!(taken.trim_end().ends_with("or stop the program that uses it"), "{taken}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_server_answers_and_says_nothing_of_what_was_said() {
    let mut command = sterna(&["--model-name", "mine", "--log", "json", "--port", "0"]);
    command.env("STERNA_PROT", "9");
    let (mut child, address) = started(command);
    let body = r#"{"messages": [{"role": "user", "content": "A secret question"}], "max_tokens": 8, "temperature": 0}"#;
    let answer = ask(&address, "/v1/chat/completions", body);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"model\":\"mine\""), "{answer}");
    assert!(ask(&address, "/", "").contains("<!doctype html>"));
    end(&child);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!log.contains("secret") && log.contains("/v1/chat/completions"), "{log}");
    assert!(log.contains("\"client\":\"127.0.0.1\""), "{log}");
    assert!(log.contains("STERNA_PROT has no effect; the nearest name that has is STERNA_PORT"), "{log}");
    assert!(log.contains(concat!("\"version\":\"", env!("CARGO_PKG_VERSION"))), "{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn keys_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, "\u{feff}# of the editor\r\n\r\nfirst#1\r\n  # of the phone\nsecond  \n").unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(settings(sterna(&["--api-key-file", file]))["api_keys"], json!(["…", "…"]));
    assert_eq!(settings(sterna(&["--api-key-file", file, "--api-key", "third"]))["api_keys"], json!(["…", "…", "…"]));
    let mut from_environment = sterna(&["--host", "0.0.0.0"]);
    from_environment.env("STERNA_API_KEY_FILE", file);
    assert_eq!(settings(from_environment)["api_key_file"], file);
    let config = folder.path().join("serve.toml");
    fs::write(&config, format!("api-key-file = {file:?}\n")).unwrap();
    assert_eq!(settings(sterna(&["--config", config.to_str().unwrap()]))["api_keys"], json!(["…", "…"]));

    for (text, words) in [
        (&b"good\nsecret words\n"[..], "keys:2: not an API key; write one key a line"),
        (b"# a\n\nschl\xfcssel\n", "keys:3: not an API key"),
        (b"# none yet\n\n", "keys: holds no API key; write one key a line"),
        (&[b'x'; (1 << 20) + 1], "keys: larger than 1048576 bytes"),
    ] {
        fs::write(&path, text).unwrap();
        let Output { status, stdout, stderr } = sterna(&["--api-key-file", file]).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(1) && stdout.is_empty() && stderr.contains(words), "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    let missing = sterna(&["--api-key-file", "nowhere.keys"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.contains("nowhere.keys: the file of --api-key-file cannot be read"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_file_of_keys_guards_the_server_and_should_not_be_open_to_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, "one\ntwo\n").unwrap();
    for (mode, warned) in [(0o644, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (mut child, address) = listening(&["--api-key-file", path.to_str().unwrap()]);
        assert!(ask(&address, "/v1/models", "").starts_with("HTTP/1.1 401"));
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        stream.write_all(format!("{head}Authorization: Bearer two\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        end(&child);
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(log.contains("WARN") && log.contains("chmod 600"), warned, "{mode:o}: {log}");
    }
}

#[test]
fn a_folder_of_models_is_served_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(EMBEDDED, folder.path().join("one.gguf")).unwrap();
    fs::copy(EMBEDDED, folder.path().join("two.gguf")).unwrap();
    fs::write(folder.path().join("notes.txt"), "no model").unwrap();
    let path = folder.path().to_str().unwrap();
    let mut command = sterna(&["--models", path, "--keep-alive", "-1"]);
    command.env("STERNA_MEMORY", "1.5G").env("STERNA_CTX", "1000000");
    let shown = settings(command);
    assert_eq!((&shown["models"], &shown["model_path"]), (&path.into(), &Value::Null));
    assert_eq!((&shown["memory"], &shown["keep_alive_s"]), (&(3_u64 << 29).into(), &(-1).into()));

    // The model of -m is not offered twice.
    let one = folder.path().join("one.gguf");
    let (mut child, address) = listening(&["--models", path, "-m", one.to_str().unwrap()]);
    let tags = ask(&address, "/api/tags", "");
    assert_eq!(tags.matches("\"name\":").count(), 2, "{tags}");
    let resident = || ask(&address, "/api/ps", "").matches("\"name\":").count();
    assert_eq!(resident(), 1);
    let loaded = ask(&address, "/api/generate", r#"{"model": "two"}"#);
    assert!(loaded.contains("\"done_reason\":\"load\""), "{loaded}");
    assert_eq!(resident(), 2);
    end(&child);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(log.contains("notes.txt: skipped: neither a .gguf file nor a directory"), "{log}");
}

/// The signal that systemd sends.
fn end(child: &Child) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}
