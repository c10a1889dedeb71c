//! `sterna train` as a process: a run that was killed, interrupted or out of disk space resumes with the same results.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");
const STEPS: usize = 14;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let row = |n| format!("{{\"text\": \"The tern flew {n} miles over the cold sea, and {} back.\"}}\n", n * 3);
        fs::write(folder.path().join("data.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
        fs::write(folder.path().join("held-out.txt"), "The tern flew home over the sea.\n").unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Arguments for a tiny run in the directory `out`.
    fn args(&self, out: &str) -> Vec<String> {
        let size = "--vocab 280 --hidden 32 --intermediate 64 --layers 2 --heads 2 --kv-heads 1 --context 32";
        let steps = format!("--steps {STEPS} --batch 128 --save-every 3 --warm-up 2 --full-precision 2 -t 2");
        let paths = ["--data", "data.jsonl", "--validate", "held-out.txt", "--out", out];
        let paths =
            paths.map(|part| if part.starts_with('-') { part.into() } else { self.path(part).display().to_string() });
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        [vec!["train".to_owned()], words(size), words(&steps), paths.into()].concat()
    }

    fn train(&self, out: &str) -> Command {
        sterna(self.args(out))
    }

    /// `sterna train --out OUT`
    fn go_on(&self, out: &str) -> Command {
        sterna(
            ["train", "-t", "1", "--out"].map(str::to_owned).into_iter().chain([self.path(out).display().to_string()]),
        )
    }
}

fn sterna(args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(args).env_remove("STERNA_ISA").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn succeed(mut command: Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty() && stderr.contains(&format!("{STEPS} steps done")), "{stderr}");
}

/// The stderr of a run that must fail with this exit code.
fn failure(mut command: Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(code), 0), "{stderr}");
    stderr
}

fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        [out.to_owned(), out.join("model")].into_iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut files: BTreeMap<_, _> =
        paths.map(|path| (path.strip_prefix(out).unwrap().display().to_string(), fs::read(&path).unwrap())).collect();
    let log = String::from_utf8(files["log.jsonl"].clone()).unwrap();
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("tokens_per_s");
        line.to_string() + "\n"
    };
    files.insert("log.jsonl".into(), log.lines().map(line).collect::<String>().into());
    files
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in a {
        assert!(b[name] == *bytes, "{name}");
    }
}

/// Waits until a file's contents differ from `before`; `false` if the run ended first.
fn waits_for_change(child: &mut Child, file: &Path, before: Option<u64>) -> bool {
    for _ in 0..50_000_000 {
        if fs::metadata(file).ok().map(|about| about.len()).filter(|len| *len > 0) != before {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    panic!("{} stays as it is", file.display());
}

/// Kills the run repeatedly while it reads, trains and writes checkpoints.
#[test]
fn a_killed_run_goes_on() {
    let folder = Folder::new();
    succeed(folder.train("unbroken"));
    let out = folder.path("killed");
    let watched =
        ["train.json", "log.jsonl", "state.safetensors.part", "log.jsonl", "model/tokenizer.json.part", "log.jsonl"];
    let mut kills = 0;
    for (round, name) in watched.into_iter().cycle().take(12).enumerate() {
        let mut command = if round % 2 == 0 || !out.join("train.json").exists() {
            folder.train("killed")
        } else {
            folder.go_on("killed")
        };
        let before = fs::metadata(out.join(name)).ok().map(|about| about.len()).filter(|len| *len > 0);
        let mut child = command.spawn().unwrap();
        let file = out.join(name.replace(".part", &format!(".{}.part", child.id())));
        // On resume the log is truncated to the saved step, then it grows.
        for _ in 0..=round % 3 {
            let before = if round % 3 == 0 { before } else { fs::metadata(&file).ok().map(|about| about.len()) };
            waits_for_change(&mut child, &file, before);
        }
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // It was faster: once more from the beginning.
            fs::remove_dir_all(&out).unwrap();
        } else {
            kills += 1;
        }
    }
    println!("{kills} kills came in time");
    assert!(kills > 0);
    succeed(folder.train("killed"));
    let names = files(&out);
    assert!(!names.keys().any(|name| name.ends_with(".part")), "{:?}", names.keys());
    assert_same(&names, &files(&folder.path("unbroken")));
    // A finished run does nothing.
    succeed(folder.go_on("killed"));
    assert_same(&files(&out), &names);
}

/// Starts a run, and sends Ctrl-C after its first step.
fn interrupt(folder: &Folder, name: &str) -> PathBuf {
    let out = folder.path(name);
    for _ in 0..20 {
        let mut child = folder.train(name).spawn().unwrap();
        waits_for_change(&mut child, &out.join("log.jsonl"), None);
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
        kill.unwrap();
        match child.wait().unwrap().code() {
            Some(130) => return out,
            // It was faster: once more from the beginning.
            code => assert_eq!(code, Some(0)),
        }
        fs::remove_dir_all(&out).unwrap();
    }
    panic!("it always ends first");
}

#[test]
fn an_interrupted_run_is_saved() {
    let folder = Folder::new();
    succeed(folder.train("unbroken"));
    let out = interrupt(&folder, "stopped");
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    // The checkpoint holds the last finished step.
    let state = fs::read(out.join("state.safetensors")).unwrap();
    let place = format!("\\\"step\\\":{}", last["step"]);
    assert!(state[..1000].windows(place.len()).any(|window| window == place.as_bytes()), "{place}");
    succeed(folder.go_on("stopped"));
    assert_same(&files(&out), &files(&folder.path("unbroken")));
}

/// The shell limits files to 100 or 200 KB: the model fits, its checkpoint does not.
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let folder = Folder::new();
    succeed(folder.train("unbroken"));
    let out = interrupt(&folder, "full");
    let state = fs::read(out.join("state.safetensors")).unwrap();
    assert!(state.len() > 210_000, "{}", state.len());
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_sterna"), "train", "--out"]).arg(&out);
    let stderr = failure(limited, 1);
    assert!(stderr.contains("state.safetensors") && stderr.contains("too large"), "{stderr}");
    assert!(fs::read(out.join("state.safetensors")).unwrap() == state);
    assert!(!files(&out).keys().any(|name| name.ends_with(".part")));
    succeed(folder.go_on("full"));
    assert_same(&files(&out), &files(&folder.path("unbroken")));
}

#[test]
fn failures_have_their_exit_codes() {
    let folder = Folder::new();
    let with = |more: &[&str]| sterna(folder.args("out").into_iter().chain(more.iter().map(|part| (*part).to_owned())));
    for misuse in [
        &["--no-such"][..],
        &["--layers", "two"],
        &["--from", "x"],
        &["--schedule", "cosine"],
        &["--data", "data.jsonl=x"],
    ] {
        failure(with(misuse), 2);
    }
    failure(sterna(["train", "--data", "x.txt"]), 2);

    let message = failure(folder.go_on("nothing"), 1);
    assert!(message.contains("no run to resume") && !folder.path("nothing").exists(), "{message}");
    for (more, problem) in [
        (["--data", "missing.txt"], "missing.txt: No such file"),
        (["--data", "data.csv"], "unknown kind of data file"),
    ] {
        let message = failure(with(&more), 1);
        assert!(message.starts_with("error: ") && message.contains(problem), "{message}");
    }
    fs::write(folder.path("file"), "x").unwrap();
    let message = failure(folder.train("file"), 1);
    assert!(message.contains("file: ") && fs::read(folder.path("file")).unwrap() == b"x", "{message}");

    let data = folder.path("data.jsonl").display().to_string();
    let from = |model: &str| {
        let (model, out) = (format!("{GOLDEN}/{model}"), folder.path("from").display().to_string());
        failure(sterna(["train", "--from", &model, "--data", &data, "--out", &out, "--steps", "1"]), 1)
    };
    assert!(from("bitnet-packed-offline").contains("only trits"));
    assert!(from("qwen3-causal").contains("only models like BitNet"));

    let mut wild = folder.args("wild");
    let rates = ["--rate", "1e37", "--other-rate", "1e37"].map(str::to_owned);
    wild.extend(rates);
    let message = failure(sterna(&wild), 1);
    assert!(message.contains("training diverged") && message.contains("lower --rate"), "{message}");
}
