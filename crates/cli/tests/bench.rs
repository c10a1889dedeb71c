//! `sterna bench` prints consistent figures, and nothing else on stdout.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_sterna");
    Command::new(binary).arg("bench").args(arguments).output().expect("the program starts")
}

#[test]
fn the_report_names_and_relates_its_figures() {
    let output = bench(&["-p", "24", "-n", "8", "-t", "1,2", "-r", "1", "--ffn", "dense", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    let keys = [
        "shape",
        "isa",
        "head",
        "stored_head",
        "kv",
        "speculation",
        "gate_zeros",
        "ffn",
        "machine",
        "peak_rss_bytes",
        "cost",
    ];
    for key in keys {
        assert!(report.get(key).is_some(), "{key} in {report}");
    }
    assert_eq!(report["streams"], Value::Array(vec![]));
    assert!(report["energy"].as_str().is_some_and(|source| source.contains("RAPL") || source.contains("energy_uj")));
    // 8 layers of 7 linears, 256 wide, at 2 bits with a scale each, and 4096 rows of 8 blocks of 32 codes and their
    // scale.
    let body = 8 * (256 * (256 + 128 + 128 + 256) + 3 * 256 * 768) / 4 + 8 * 7 * 4;
    assert_eq!(report["weight_bytes"], body + 4096 * 8 * (32 + 2));
    assert_eq!((&report["head"], &report["stored_head"]), (&"exact".into(), &"q8_0".into()));
    assert_eq!(report["speculation"], "off");
    // The exact head reads 6-bit codes, and three numbers per row.
    let head = f64::from(4096 * 256 / 4 * 3 + 4096 * 3 * 4);
    assert_eq!(report["head_bytes_per_token"], head as u64);
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.iter().map(|row| row["threads"].clone()).collect::<Vec<_>>(), [1, 2]);
    for row in results {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
        // Keys and values: 8 layers × 2 × 2 heads of 64 f16 values, at the 28 positions before a token on average.
        assert_eq!(number("bytes_per_decoded_token"), f64::from(body + 28 * 8 * 2 * 2 * 64 * 2) + head);
        let achieved = number("bytes_per_decoded_token") * number("decode_tokens_per_s") / 1e9;
        assert!((achieved - number("achieved_gb_per_s")).abs() < 0.02, "{row}");
        let limit = report["machine"]["read_gb_per_s"][row["threads"].to_string()].as_f64().expect("a bandwidth");
        assert!((achieved / limit - number("fraction_of_read_bandwidth")).abs() < 0.02, "{row}");
        assert!(number("prefill_tokens_per_s") > 0.0);
    }
}

/// The defaults of a saved shape fit each other: what is missing here is only the folder.
#[test]
fn a_shape_is_saved_with_its_own_defaults() {
    for shape in ["bitnet_b1_58-large", "falcon-e-1b"] {
        let output = bench(&["--shape", shape, "--save", "missing-folder/x.gguf"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("error: missing-folder/x.gguf: No such file"), "{shape}: {error}");
    }
}

#[test]
fn streams_are_timed_while_all_decode() {
    let output = bench(&["-p", "120", "-n", "130", "-t", "2", "-r", "1", "--streams", "1,3", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    assert_eq!(report["results"].as_array().map(Vec::len), Some(1), "one stream, as without --streams");
    let rows = report["streams"].as_array().expect("a list");
    let counts: Vec<_> = rows.iter().map(|row| (row["threads"].as_u64(), row["streams"].as_u64())).collect();
    assert_eq!(counts, [(Some(2), Some(1)), (Some(2), Some(3))]);
    for row in rows {
        // All but the first token of a single stream. With several streams, the first may generate tokens before the
        // last starts.
        let timed = row["timed_tokens"].as_u64().expect("a number");
        assert!(if row["streams"] == 1 { timed == 129 } else { (1..=3 * 129).contains(&timed) }, "{row}");
        assert!(row["decode_tokens_per_s"].as_f64() > Some(0.0) && row["drafted"] == 0, "{row}");
        assert!(row.get("joules_per_token").is_some(), "{row}");
    }
}

#[test]
fn speculation_is_counted_and_reads_no_known_bytes() {
    let output = bench(&["-p", "100", "-n", "100", "-t", "1", "-r", "2", "--streams", "2", "--speculation", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    assert_eq!(report["speculation"], "on");
    for row in [&report["results"][0], &report["streams"][0]] {
        let (drafted, accepted) = (row["drafted"].as_u64(), row["accepted"].as_u64());
        assert!(Some(0) < drafted && accepted <= drafted, "the greedy answer repeats itself: {row}");
    }
    assert!(report["results"][0]["bytes_per_decoded_token"].is_null());
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_that_of_all_streams() {
    let output = bench(&["--streams", "1,1000000"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("lower --streams (it is 1000000)"), "{stderr}");
}

#[test]
fn an_int8_cache_reads_half_as_much() {
    let output = bench(&["-p", "24", "-n", "8", "-t", "1", "-r", "1", "--kv", "int8", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    assert_eq!(report["kv"], "int8");
    // 8 layers × 2 × 2 heads of 64 codes and one f32 scale.
    assert_eq!(report["kv_bytes_per_position"], 8 * 2 * 2 * (64 + 4));
}

#[test]
fn simulated_zeros_are_called_simulated_and_are_not_counted_as_read() {
    let zeros = ["-p", "24", "-n", "8", "-t", "1", "-r", "1", "--gate-zeros", "0.8"];
    let report = |ffn: &str| -> Value {
        let output = bench(&[&zeros[..], &["--ffn", ffn, "--json"]].concat());
        serde_json::from_slice(&output.stdout).expect("stdout is one JSON object")
    };
    let (dense, sparse) = (report("dense"), report("sparse"));
    for report in [&dense, &sparse] {
        assert_eq!(report["gate_zeros"]["simulated"], 0.8);
    }
    assert!(dense["ffn"].is_null());
    let share = |of: &str| sparse["ffn"][of].as_f64().expect("a share");
    assert!((share("gates") - 0.2).abs() < 0.02 && share("codes") <= share("gates"), "{}", sparse["ffn"]);
    let bytes = |report: &Value| report["results"][0]["bytes_per_decoded_token"].as_f64().expect("bytes");
    // 8 layers with up_proj and down_proj of 256 × 768 at 2 bits.
    let skipped = 8.0 * f64::from(256 * 768 / 4) * (2.0 - share("gates") - share("codes"));
    assert!((bytes(&dense) - bytes(&sparse) - skipped).abs() < 100.0, "{} {}", bytes(&dense), bytes(&sparse));

    let table = String::from_utf8(bench(&zeros).stdout).expect("text");
    assert!(table.contains("80 % zeros of the gate are simulated"), "{table}");
    assert!(table.contains("% of up_proj"), "{table}");
}

#[test]
fn zeros_are_simulated_only_in_gates_that_have_some() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/qwen3-causal");
    let output = bench(&["-m", model, "-p", "4", "-n", "1", "--gate-zeros", "0.5"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("ReLU²"), "{stderr}");
}

#[test]
fn misuse_is_explained() {
    for (arguments, expected) in [
        (&["-p", "2000", "-n", "100"][..], "exceed the model's context of 2048"),
        (&["--shape", "gpt-5"], "bitnet-b1.58-2b-4t"),
        (&["--save", "x.gguf"], "--shape"),
        (&["-t", "0"], "0"),
        (&["-n", "0"], "at least 1"),
        (&["-p", "18446744073709551615", "-n", "1"], "exceed the model's context of 2048"),
        (&["--streams", "0"], "0 is not in 1..=1000000"),
        (&["--streams", "4,x"], "x"),
        (&["--kv", "q4"], "int8"),
        (&["--gate-zeros", "1.5"], "from 0 to 1"),
        (&["--gate-zeros", "NaN"], "from 0 to 1"),
        (&["--ffn", "both"], "sparse"),
    ] {
        let output = bench(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}
