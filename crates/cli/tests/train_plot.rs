//! `sterna train plot`: the points in the picture match the numbers in the log.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn plot(args: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(["train", "plot"]).args(args).current_dir(directory).output().unwrap()
}

fn failure(args: &[&str], directory: &Path) -> (Option<i32>, String) {
    let output = plot(args, directory);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn picture(args: &[&str], directory: &Path, file: &str) -> String {
    let output = plot(args, directory);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(directory.join(file)).unwrap()
}

fn step(step: usize, loss: f64, precision: &str) -> Value {
    json!({
        "step": step, "tokens": 1000, "targets": 900, "loss": loss, "squared_log_z": 1.0,
        "gradient_norm": 0.5, "rate": 0.001, "precision": precision, "tokens_per_s": 100.0,
    })
}

fn log(directory: &Path, name: &str, lines: &[Value]) {
    fs::create_dir_all(directory.join(name)).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(directory.join(name).join("log.jsonl"), text).unwrap();
}

/// The points of every line of a class, in order.
fn lines(svg: &str, class: &str) -> Vec<Vec<(f64, f64)>> {
    let begin = format!("<polyline class=\"{class}\" points=\"");
    let points = svg.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap());
    let pair = |pair: &str| pair.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap();
    points.map(|points| points.split_whitespace().map(pair).collect()).collect()
}

#[test]
fn points_are_where_the_numbers_are() {
    let directory = tempfile::tempdir().unwrap();
    let steps: Vec<_> = (1..=10).map(|i| step(i, 11.0 - i as f64, "ternary")).collect();
    log(directory.path(), "run", &steps);
    let svg = picture(&["run"], directory.path(), "run/curves.svg");
    // Tokens 0 to 10k over 828 units, loss 0 to 10 over 250; the gradient's norm 0 to 0.6 over 120.
    let raw = lines(&svg, "raw run0");
    let expected: Vec<_> = (1..=10).map(|i| (f64::from(i) * 82.8, f64::from(i - 1) * 25.0)).collect();
    assert_eq!(raw.len(), 2, "loss and gradient");
    for (point, expected) in raw[0].iter().zip(&expected) {
        assert!((point.0 - expected.0).abs() < 0.06 && (point.1 - expected.1).abs() < 0.06, "{point:?} {expected:?}");
    }
    assert!(raw[1].iter().all(|(_, y)| *y == 20.0), "{:?}", raw[1]);
    let smooth = lines(&svg, "line run0");
    assert_eq!(smooth.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10], "loss, rate, gradient");
    assert!(smooth[0].is_sorted_by(|a, b| a.1 < b.1), "the loss falls: {:?}", smooth[0]);
    for label in [">10k</text>", ">0.0010</text>", ">0.6</text>", "run: 10 steps, 10.0k tokens, loss"] {
        assert!(svg.contains(label), "{label} in {svg}");
    }
    assert!(!svg.contains("validation") && !svg.contains("class=\"ternary"), "there is none of both");
}

#[test]
fn validation_and_the_end_of_full_precision_are_marked() {
    let directory = tempfile::tempdir().unwrap();
    let mut all: Vec<_> = (1..=4).map(|i| step(i, 3.0, if i <= 2 { "full" } else { "ternary" })).collect();
    for (at, bits) in [(2, 2.0), (5, 1.0)] {
        all.insert(at, json!({ "step": at, "validation": { "tokens": 9, "loss": 3.0, "bits_per_byte": bits } }));
    }
    log(directory.path(), "run", &all);
    let svg = picture(&["run", "--out", "p.svg"], directory.path(), "p.svg");
    assert!(!directory.path().join("run/curves.svg").exists());
    assert_eq!(svg.matches("<circle").count(), 2);
    // 2 and 4 of 4 thousand tokens over 381 units; 2 bits at the top, 1 bit at the bottom.
    assert_eq!(lines(&svg, "line run0")[1], [(190.5, 0.0), (381.0, 250.0)]);
    let mark = "<line class=\"ternary run0\" x1=\"190.5\" x2=\"190.5\"";
    assert_eq!(svg.matches(mark).count(), 3, "loss, validation, gradient: {svg}");
    assert!(svg.contains("validation 1.000 bits per byte"), "{svg}");
}

#[test]
fn long_runs_are_thinned_and_wild_steps_cut() {
    let directory = tempfile::tempdir().unwrap();
    let loss = |i| if i == 2500 { 1000.0 } else { 3.0 - f64::from(i) / 5000.0 };
    log(directory.path(), "long", &(1..=5000).map(|i| step(i as usize, loss(i), "full")).collect::<Vec<_>>());
    let svg = picture(&["long"], directory.path(), "long/curves.svg");
    let raw = &lines(&svg, "raw run0")[0];
    assert!((900..=1002).contains(&raw.len()), "{}", raw.len());
    let outside: Vec<_> = raw.iter().filter(|(_, y)| !(-0.1..=250.1).contains(y)).collect();
    assert!(outside.len() == 1 && outside[0].1 < -1000.0, "only the wild step, above: {outside:?}");
}

#[test]
fn runs_have_names_and_colours() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a&<b>", "x/same", "y/same"] {
        log(directory.path(), name, &[step(1, 3.0, "full")]);
    }
    let svg = picture(&["a&<b>", "x/same", "y/same", "--out", "p.svg"], directory.path(), "p.svg");
    assert!(svg.contains("a&amp;&lt;b&gt;: 1 steps") && !svg.contains("<b>"), "{svg}");
    assert!(svg.contains(">x/same: ") && svg.contains(">y/same: "), "told apart: {svg}");
    assert_eq!((0..4).map(|i| lines(&svg, &format!("line run{i}")).len()).collect::<Vec<_>>(), [3, 3, 3, 0]);
    assert_eq!(svg.matches(".run2 { stroke: ").count(), 2, "for light and for dark ground");
}

#[test]
fn a_line_that_is_being_written_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), "run", &[step(1, 3.0, "full"), step(2, 2.0, "full")]);
    let path = directory.path().join("run/log.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"step\":3,\"tok")).unwrap();
    let svg = picture(&["run"], directory.path(), "run/curves.svg");
    assert!(svg.contains("run: 2 steps"), "{svg}");
}

#[test]
fn what_is_no_log_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    log(path, "empty", &[]);
    log(path, "bad", &[step(1, 3.0, "full"), json!([1])]);
    log(path, "short", &[json!({ "step": 1, "tokens": 5 })]);
    log(path, "good", &[step(1, 3.0, "full")]);
    for (args, code, expected) in [
        (&["missing"][..], 1, "missing/log.jsonl: `sterna train` leaves a log there"),
        (&["empty"], 1, "empty/log.jsonl: contains no step yet"),
        (&["good", "bad"], 1, "bad/log.jsonl: line 2 is not a JSON object"),
        (&["short"], 1, "short/log.jsonl: line 1 has no number `loss`"),
        (&["good", "--out", "nowhere/p.svg"], 1, "nowhere/p.svg"),
        (&[], 2, "<DIR>"),
        (&["1", "2", "3", "4", "5", "6", "7", "8", "9"], 2, "unexpected value '9'"),
    ] {
        let (status, stderr) = failure(args, path);
        assert_eq!(status, Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
    assert!(!path.join("good/curves.svg").exists(), "nothing is written if one run fails");
}
