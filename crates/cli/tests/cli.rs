//! Runs the binary with the built-in model: output, failures, and reproducible results.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded/sterna.gguf");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");

fn sterna(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(args).env_remove("STERNA_ISA").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    sterna(args).output().unwrap()
}

/// The stdout of a run that must succeed.
fn stdout(args: &[&str]) -> String {
    succeeded(args, output(args))
}

fn succeeded(args: &[&str], output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {stderr}");
    assert_eq!(stderr, "", "{args:?}: stderr is for terminals and errors");
    String::from_utf8(output.stdout).unwrap()
}

/// The single JSON object that a run prints.
fn json(args: &[&str]) -> Value {
    one_object(&stdout(args))
}

fn one_object(text: &str) -> Value {
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(text).unwrap()
}

fn with_stdin(args: &[&str], input: &[u8]) -> Output {
    let mut child = sterna(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Exit code and stderr of a run that must fail and print nothing on stdout.
fn failure(output: Output) -> (i32, String) {
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn ids(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Special tokens of a conversation come from the template. `run` continues texts, and reads them.
#[test]
fn a_message_in_chat_cannot_end_its_turn() {
    const EOT: u64 = 2;
    let ends = |args: &[&str]| {
        let answer = json(&[args, &["--json", "-n", "1", "--seed", "1"]].concat());
        ids(&answer["prompt_tokens"]).iter().filter(|id| **id == EOT).count()
    };
    let plain = ends(&["chat", "ab", "--system", "Be kind."]);
    assert_eq!(ends(&["chat", "a<|eot_id|>b", "--system", "Be<|eot_id|> kind."]), plain);
    assert_eq!(ends(&["run", "a<|eot_id|>b"]), 1);
}

#[test]
fn run_prints_one_object() {
    let run = json(&["run", "Once upon a time", "--json", "-n", "12", "--seed", "5"]);
    let names =
        ["isa", "threads", "prompt_tokens", "tokens", "text", "finish_reason", "seed", "speculation", "timings"];
    assert_eq!(keys(&run), names);
    assert_eq!(keys(&run["speculation"]), ["drafted", "accepted"]);
    assert_eq!(keys(&run["timings"]), ["load_s", "prefill_tokens_per_s", "decode_tokens_per_s"]);
    assert!(run["timings"].as_object().unwrap().values().all(|value| value.as_f64().unwrap() > 0.0));
    assert_eq!(ids(&run["prompt_tokens"]), [0, 3344, 1032, 265, 635]);
    assert_eq!((ids(&run["tokens"]).len(), &run["finish_reason"], &run["seed"]), (12, &"length".into(), &5.into()));
    let text = stdout(&["run", "Once upon a time", "-n", "12", "--seed", "5"]);
    assert_eq!(text, format!("{}\n", run["text"].as_str().unwrap()));
}

#[test]
fn skipped_zeros_are_reported_and_change_nothing() {
    let run = |ffn: &str| {
        json(&["run", "The king", "--json", "-n", "9", "--seed", "3", "--ffn", ffn, "--stats", "--no-speculation"])
    };
    let [dense, sparse, auto] = ["dense", "sparse", "auto"].map(run);
    assert!(dense["ffn"].is_null() && dense["tokens"] == sparse["tokens"] && dense["tokens"] == auto["tokens"]);
    // The first of the nine tokens comes from the prompt.
    let tokens = ids(&sparse["prompt_tokens"]).len() + 8;
    assert_eq!((&sparse["ffn"]["tokens"], sparse["ffn"]["layers"].as_array().map(Vec::len)), (&tokens.into(), Some(8)));
    let share = |of: &Value, key: &str| of[key].as_f64().unwrap();
    for layer in sparse["ffn"]["layers"].as_array().unwrap().iter().chain([&sparse["ffn"]]) {
        assert!(share(layer, "gates") < 0.6 && 0.0 < share(layer, "codes"), "{layer}");
        assert!(share(layer, "codes") <= share(layer, "gates"), "{layer}");
    }
    let output = output(&["run", "The king", "-n", "9", "--seed", "3", "--stats", "--no-speculation"]);
    let text = auto["text"].as_str().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", text.strip_suffix('\n').unwrap_or(text)));
    let stats = String::from_utf8(output.stderr).unwrap();
    assert!(
        stats.starts_with(&format!("needed for a token, mean of {tokens}:\n")) && stats.lines().count() == 11,
        "{stats}"
    );
    let silu = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/qwen3-causal");
    let args = ["logits", "--tokens", "1,2", "--out", "never", "-m", silu, "--ffn", "sparse"];
    let (code, message) = failure(sterna(&args).output().unwrap());
    assert!(code == 1 && message.contains("SiLU"), "{message}");
}

#[test]
fn stats_count_drafts() {
    let usual = ["run", "The fox ran home. The fox ran home. The fox ran", "-n", "24", "--temperature", "0"];
    let counts = json(&[&usual[..], &["--json"]].concat())["speculation"].clone();
    assert!(counts["drafted"].as_u64() > Some(0), "{counts}");
    let stats = String::from_utf8(output(&[&usual[..], &["--stats"]].concat()).stderr).unwrap();
    let expected = format!("speculation: {} of {} draft tokens accepted\n", counts["accepted"], counts["drafted"]);
    assert!(stats.ends_with(&expected), "{stats}");
}

#[test]
fn the_built_in_model_gives_the_reference_tokens() {
    let golden: Value = serde_json::from_slice(&fs::read(Path::new(GOLDEN).join("embedded.json")).unwrap()).unwrap();
    let prompt = golden["prompt"].as_str().unwrap();
    for model in [&[][..], &["-m", EMBEDDED]] {
        let run = json(&[&["run", prompt, "--json", "-n", "16", "--temperature", "0"], model].concat());
        assert_eq!(run["prompt_tokens"], golden["input_ids"]);
        assert_eq!(run["tokens"], golden["greedy"]);
    }
}

#[test]
fn seeds_reproduce_answers() {
    let run = |seed: &[&str]| json(&[&["run", "The bird", "--json", "-n", "32"], seed].concat());
    let first = run(&[]);
    let again = run(&["--seed", &first["seed"].to_string()]);
    assert_eq!(first["tokens"], again["tokens"]);
    assert_ne!(run(&["--seed", "1"])["tokens"], run(&["--seed", "2"])["tokens"]);
}

#[test]
fn tokens_do_not_depend_on_instruction_set_or_threads() {
    let args = ["run", "A long time ago", "--json", "-n", "24", "--seed", "9"];
    let expected = json(&args);
    let portable = succeeded(&args, sterna(&args).env("STERNA_ISA", "portable").output().unwrap());
    let portable = one_object(&portable);
    assert_eq!((&portable["isa"], &portable["tokens"]), (&"portable".into(), &expected["tokens"]));
    let threads = json(&[&args[..], &["--threads", "3"]].concat());
    assert_eq!((&threads["threads"], &threads["tokens"]), (&3.into(), &expected["tokens"]));
}

#[test]
fn prompts_come_from_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    for prompt in ["The sea", "很久以前，有一只鸟", "🦜🌊 and 👩‍👩‍👧", "two\n\nlines"] {
        let options = ["--json", "-n", "4", "--seed", "1"];
        let expected = json(&[&["run", prompt], &options[..]].concat());
        let same = |output| {
            let run = one_object(&succeeded(&[prompt], output));
            assert_eq!(run["prompt_tokens"], expected["prompt_tokens"], "{prompt}");
            assert_eq!(run["text"], expected["text"], "{prompt}");
        };
        let args = [&["run"], &options[..]].concat();
        same(with_stdin(&args, prompt.as_bytes()));
        same(with_stdin(&args, format!("{prompt}\n").as_bytes()));
        same(with_stdin(&[&["run", "-"], &options[..]].concat(), prompt.as_bytes()));
        fs::write(&file, format!("{prompt}\n")).unwrap();
        same(output(&[&["run", "--file", file.to_str().unwrap()], &options[..]].concat()));
        let tokenized = json(&["tokenize", prompt]);
        assert_eq!(tokenized["tokens"], expected["prompt_tokens"]);
    }
}

#[test]
fn an_empty_prompt_begins_with_bos() {
    let run = json(&["run", "", "--json", "-n", "3"]);
    assert_eq!((ids(&run["prompt_tokens"]), ids(&run["tokens"]).len()), (vec![0], 3));
}

#[test]
fn stop_strings_end_the_answer_before_them() {
    let greedy = ["run", "Once upon a time", "--json", "-n", "24", "--temperature", "0"];
    let whole = json(&greedy);
    let text = whole["text"].as_str().unwrap();
    let stop: String = text.chars().skip(20).take(6).collect();
    let run = json(&[&greedy[..], &["--stop", "never there", "--stop", &stop]].concat());
    assert_eq!(run["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
    assert_eq!(run["finish_reason"], "stop");
}

#[test]
fn logprobs_are_reported_with_each_token() {
    let run = json(&["run", "The king", "--json", "-n", "5", "--temperature", "0", "--logprobs", "3"]);
    let logprobs = run["logprobs"].as_array().unwrap();
    assert_eq!(
        logprobs.iter().map(|item| &item["id"]).collect::<Vec<_>>(),
        run["tokens"].as_array().unwrap().iter().collect::<Vec<_>>()
    );
    for item in logprobs {
        assert_eq!(keys(item), ["id", "logprob", "top"]);
        let top = item["top"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["id"], &top[0]["logprob"]), (3, &item["id"], &item["logprob"]));
        assert!(item["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn a_prompt_that_is_too_long_is_refused_or_cut() {
    let long = "the bird and the sea ".repeat(40_000);
    let (code, message) = failure(with_stdin(&["run"], long.as_bytes()));
    assert_eq!(code, 1);
    assert!(message.starts_with("error: the prompt has ") && message.contains("--truncate"), "{message}");
    let run = succeeded(&[], with_stdin(&["run", "--truncate", "--json", "--ctx", "32", "-n", "8"], long.as_bytes()));
    let prompt = ids(&one_object(&run)["prompt_tokens"]);
    assert_eq!((prompt.len(), prompt[0]), (24, 0));
}

#[test]
fn chat_answers_one_message() {
    let chat = json(&["chat", "Hello 你好", "--json", "-n", "6", "--seed", "3"]);
    let run = json(&["run", "User:\nHello 你好<|eot_id|>Assistant:\n", "--json", "-n", "6", "--seed", "3"]);
    assert_eq!(keys(&chat), keys(&run));
    assert_eq!(chat["prompt_tokens"], run["prompt_tokens"], "the template, and BOS once");
    assert_eq!(chat["tokens"], run["tokens"]);
    let piped = with_stdin(&["chat", "--json", "-n", "6", "--seed", "3"], "Hello 你好\n".as_bytes());
    assert_eq!(one_object(&succeeded(&[], piped))["tokens"], chat["tokens"]);
    let system = json(&["chat", "Hello", "--system", "Be brief.", "--json", "-n", "1"]);
    let spelled = json(&["tokenize", "System:\nBe brief.<|eot_id|>User:\nHello<|eot_id|>Assistant:\n"]);
    assert_eq!(system["prompt_tokens"], spelled["tokens"]);
}

#[test]
fn tokenize_equals_the_reference() {
    for model in ["qwen3-causal", "llama-headdim256", "bitnet-1bitllm"] {
        let folder = Path::new(GOLDEN).join(model);
        let golden: Value = serde_json::from_slice(&fs::read(folder.join("tokenizer_golden.json")).unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap().iter().step_by(4) {
            let text = case["text"].as_str().unwrap();
            let args = ["tokenize", "-m", folder.to_str().unwrap()];
            let printed = one_object(&succeeded(&args, with_stdin(&args, text.as_bytes())));
            assert_eq!(keys(&printed), ["tokens"]);
            let mut expected = ids(&case["ids"]);
            if text.starts_with("<s>") && expected.starts_with(&[1, 1]) {
                // A text that contains BOS: Hugging Face then adds a second one, Sterna does not.
                assert_eq!(expected.remove(0), 1);
            }
            assert_eq!(ids(&printed["tokens"]), expected, "{model}: {text:?}");
        }
    }
}

#[test]
fn logits_are_the_same_bytes_however_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = "4093,3924,745, 258,559,486,311,258,1310,13,410,311,258,491,461,320,336";
    let file = |name: &str, isa: &str, options: &[&str]| {
        let path = folder.path().join(name);
        let fixed = ["logits", "--tokens", tokens, "--json", "--out", path.to_str().unwrap()];
        let args = [&fixed[..], options].concat();
        let printed = one_object(&succeeded(&args, sterna(&args).env("STERNA_ISA", isa).output().unwrap()));
        assert_eq!(keys(&printed), ["out", "tensor", "dtype", "shape", "isa", "threads"]);
        assert_eq!((&printed["out"], ids(&printed["shape"])), (&path.to_str().unwrap().into(), vec![17, 4096]));
        fs::read(path).unwrap()
    };
    let expected = file("all", "", &[]);
    let header = u64::from_le_bytes(expected[..8].try_into().unwrap()) as usize;
    assert!(header.is_multiple_of(8));
    let header: Value = serde_json::from_slice(&expected[8..8 + header]).unwrap();
    assert_eq!(keys(&header), ["logits"]);
    assert_eq!((&header["logits"]["dtype"], ids(&header["logits"]["shape"])), (&"F32".into(), vec![17, 4096]));
    assert_eq!(expected.len() as u64 % 8, 0);
    assert!(expected[expected.len() - 17 * 4096 * 4..].chunks(4).all(|b| {
        let value = f32::from_le_bytes(b.try_into().unwrap());
        value.is_finite() && value != 0.0
    }));
    assert!(expected == file("chunk", "", &["--chunk", "1", "--threads", "1"]));
    assert!(expected == file("threads", "", &["--chunk", "5", "--threads", "3"]));
    assert!(expected == file("portable", "portable", &["-m", EMBEDDED]));
    assert_eq!(folder.path().read_dir().unwrap().count(), 4, "nothing else is left");
}

#[test]
fn eval_states_what_it_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("story.txt");
    fs::write(&file, "Once upon a time there was a little bird. It lived in a tree by the sea.\n".repeat(8)).unwrap();
    let file = file.to_str().unwrap();
    let eval = json(&["eval", "--text", file, "--json", "--ctx", "64"]);
    let names = ["perplexity", "standard_error", "nll", "tokens", "context", "stride", "bos", "head", "heads"];
    assert_eq!(keys(&eval), [&names[..], &["kv", "isa", "threads"]].concat());
    assert_eq!((&eval["context"], &eval["stride"], &eval["bos"]), (&64.into(), &32.into(), &true.into()));
    let scored = ids(&json(&["tokenize", "--file", file])["tokens"]).len() - 1;
    assert_eq!(eval["tokens"], scored);
    let perplexity = eval["perplexity"].as_f64().unwrap();
    assert!((perplexity.ln() - eval["nll"].as_f64().unwrap()).abs() < 1e-9);
    assert!(perplexity > 1.0 && perplexity < 4096.0, "{perplexity}: better than guessing");
    assert!(eval["standard_error"].as_f64().unwrap() > 0.0);
    let text = stdout(&["eval", "--text", file, "--ctx", "64", "--threads", "1"]);
    assert!(text.starts_with(&format!("perplexity {perplexity:.4} ± ")), "{text}");
    assert!(text.contains("context 64, stride 32, BOS at the start"), "{text}");
    assert_eq!(keys(&eval["heads"]), ["exact", "two-plane", "int8"]);
    assert_eq!((&eval["head"], &eval["heads"]["exact"]["perplexity"]), (&"exact".into(), &eval["perplexity"]));
    assert_eq!(eval["heads"]["exact"]["disagreements"], 0);
    assert!(text.contains(&format!("\nexact, f16   {perplexity:>12.4}")) && text.contains("\ntwo-plane "), "{text}");
    let int8 = json(&["eval", "--text", file, "--json", "--ctx", "64", "--head", "int8"]);
    assert_eq!((&int8["heads"], &int8["perplexity"]), (&eval["heads"], &eval["heads"]["int8"]["perplexity"]));
}

#[test]
fn info_has_stable_names() {
    let info = json(&["info", "--json"]);
    let names = [
        "path",
        "format",
        "architecture",
        "parameters",
        "layers",
        "hidden",
        "intermediate",
        "heads",
        "kv_heads",
        "head_dim",
        "vocab",
        "context",
        "rope_theta",
        "rms_eps",
        "tied",
        "eos",
        "encodings",
        "activations",
        "problem",
        "remarks",
        "tokenizer",
        "chat_template",
        "kv_bytes_per_token",
        "memory_bytes",
    ];
    assert_eq!(keys(&info), names);
    assert_eq!(info["rms_eps"], 1e-5);
    assert_eq!(keys(&info["encodings"]["i2_s"]), ["tensors", "parameters", "bytes"]);
    assert!(info["memory_bytes"].as_u64() > info["kv_bytes_per_token"].as_u64());
    assert_eq!((&info["architecture"], &info["layers"], &info["vocab"]), (&"bitnet".into(), &8.into(), &4096.into()));
    assert_eq!((&info["activations"], &info["chat_template"]), (&"int8".into(), &true.into()));
    let gguf = format!("{GOLDEN}/bitnet-packed-offline/gguf/tq2_0-q8_0.gguf");
    let positional = json(&["info", &gguf, "--json"]);
    assert_eq!(positional, json(&["info", "-m", &gguf, "--json"]));
    assert_eq!((&positional["path"], &positional["layers"]), (&gguf.clone().into(), &2.into()));
    let text = stdout(&["info", &gguf]);
    assert!(text.contains("tq2_0: ") && text.contains("activations   int8"), "{text}");
}

/// A model that does not run is described all the same, and the reasons make the command fail.
#[test]
fn info_describes_models_that_do_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.gguf");
    let mut bytes = std::fs::read(format!("{GOLDEN}/bitnet-packed-offline/gguf/i2_s.gguf")).unwrap();
    while let Some(at) = bytes.windows(12).position(|window| window == b"bitnet-b1.58") {
        bytes[at..at + 12].copy_from_slice(b"mamba2-b1.58");
    }
    std::fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    let text = output(&["info", file]);
    assert_eq!(text.status.code(), Some(1));
    let (page, error) = (String::from_utf8(text.stdout).unwrap(), String::from_utf8(text.stderr).unwrap());
    for line in ["architecture  mamba2-b1.58", "layers        2", "hidden        256", "stored as     i2_s: 14 tensors"]
    {
        assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
    }
    assert!(error.contains("the architecture `mamba2-b1.58` is not supported"), "{error}");
    let facts = output(&["info", file, "--json"]);
    let facts = (facts.status.code(), one_object(&String::from_utf8(facts.stdout).unwrap()));
    assert_eq!(
        (facts.0, &facts.1["layers"], &facts.1["encodings"]["i2_s"]["tensors"]),
        (Some(1), &2.into(), &14.into())
    );
    assert!(facts.1["problem"].as_str().is_some_and(|problem| problem.contains("mamba2")));

    // Ordinary numbers: the file opens, but its weights are not ternary.
    let source = format!("{GOLDEN}/llama-bf16-online");
    let mut config: Value = serde_json::from_slice(&std::fs::read(format!("{source}/config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("quantization_config");
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(format!("{source}/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let text = output(&["info", folder.path().to_str().unwrap()]);
    assert_eq!(text.status.code(), Some(1));
    let (page, error) = (String::from_utf8(text.stdout).unwrap(), String::from_utf8(text.stderr).unwrap());
    assert!(page.contains("architecture  llama\n") && page.contains("activations   cannot run: "), "{page}");
    assert!(error.contains("weights that are not ternary"), "{error}");
}

/// What is assumed about a file is said once, on stderr; `info` prints it with the rest.
#[test]
fn remarks_about_a_file_are_shown() {
    const MODEL: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/bitnet-packed-offline/gguf/i2_s.gguf");
    let remark = "I2_S is read in the layout of Arm machines, as --i2s-layout says";
    let with = |args: &[&'static str], layout| [args, &["-m", MODEL, "--i2s-layout", layout]].concat();
    let told = output(&with(&["tokenize", "a"], "arm"));
    assert_eq!(String::from_utf8_lossy(&told.stderr), format!("remark: {remark}\n"));
    let run = output(&with(&["run", "a", "-n", "1", "--json"], "arm"));
    assert_eq!(String::from_utf8_lossy(&run.stderr).matches(remark).count(), 1);
    assert!(stdout(&with(&["info"], "arm")).contains(&format!("remark        {remark}\n")));
    assert_eq!(json(&with(&["info", "--json"], "x86"))["remarks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn gguf_files_run() {
    let folder = format!("{GOLDEN}/llama-bitlinear-packed");
    let gguf = format!("{folder}/gguf/i2_s-q8_0.gguf");
    let run = |model: &str| json(&["run", "-m", model, "Hello world", "--json", "-n", "4", "--temperature", "0"]);
    let (file, directory) = (run(&gguf), run(&folder));
    assert_eq!(file["prompt_tokens"], directory["prompt_tokens"]);
    assert_eq!(file["tokens"], directory["tokens"]);
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let text = folder.path().join("notes.gguf");
    fs::write(&text, "hello").unwrap();
    let text = text.to_str().unwrap();
    for (args, code, expected) in [
        (&["run", "-m", "nowhere.gguf", "x"][..], 1, "error: nowhere.gguf: no such file or directory; -m takes"),
        (&["run", "-m", "microsoft/bitnet-b1.58-2B-4T", "x"], 1, "hf download microsoft/bitnet-b1.58-2B-4T"),
        (&["info", &format!("{GOLDEN}/text")], 1, "a directory without config.json and without .gguf files"),
        (&["info", &format!("{GOLDEN}/llama-headdim256/gguf")], 1, "-m "),
        (&["info", empty], 1, "notes.gguf"),
        (&["chat", "-m", text, "x"], 1, "notes.gguf"),
        (&["run", "-m", &format!("{GOLDEN}/bitnet-bf16-online/config.json"), "x"], 1, "pass the directory: -m "),
        (&["run", "--file", "nowhere.txt"], 1, "nowhere.txt: "),
        (&["run", "x", "--ctx", "100000"], 1, "this model supports 2 to 2048"),
        (&["logits", "--tokens", "1,5000", "--out", &format!("{empty}/x")], 1, "the id 5000"),
        (&["logits", "--tokens", "1", "--out", &format!("{empty}/no/x")], 1, "no/x"),
        (&["eval", "--text", "/dev/null"], 1, "fewer than two tokens"),
        (&["chat", "x", "--stop", ""], 2, "--stop"),
        (&["run", "x", "--temperature", "-1"], 2, "temperature is -1"),
        (&["run", "x", "--top-p", "NaN"], 2, "top_p"),
        (&["run", "x", "--max-tokens", "0"], 2, "--max-tokens"),
        (&["run", "x", "--threads", "0"], 2, "--threads"),
        (&["run", "x", "--logprobs", "1"], 2, "--json"),
        (&["run", "x", "--file", "y"], 2, "--file"),
        (&["logits", "--tokens", "1,a", "--out", "x"], 2, "`a` is not a token id"),
        (&["run", "x", "--head", "int3"], 2, "two-plane"),
        (&["fly"], 2, "fly"),
    ] {
        for json in [&[][..], &["--json"]] {
            if code == 2 && !json.is_empty() {
                continue;
            }
            let (status, message) = failure(output(&[args, json].concat()));
            assert_eq!(status, code, "{args:?}: {message}");
            assert!(message.starts_with("error: ") && message.contains(expected), "{args:?}: {message}");
        }
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "failures leave no files");
}

#[test]
fn damaged_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::copy(Path::new(GOLDEN).join("bitnet-bf16-online").join(file), folder.path().join(file)).unwrap();
    }
    let weights = fs::read(folder.path().join("model.safetensors")).unwrap();
    fs::write(folder.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let (code, message) = failure(output(&["run", "-m", folder.path().to_str().unwrap(), "x"]));
    assert_eq!(code, 1);
    assert!(message.starts_with("error: ") && message.contains("model.safetensors"), "{message}");
}

#[test]
fn text_must_be_utf8() {
    for verb in ["run", "chat", "tokenize"] {
        let (code, message) = failure(with_stdin(&[verb], b"ab\xffcd"));
        assert_eq!((code, message.starts_with("error: stdin: byte 2 is not UTF-8")), (1, true), "{message}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child =
        sterna(&["run", "Once", "--seed", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn processes_do_not_disturb_each_other() {
    let start = || {
        let mut command = sterna(&["run", "The wind", "-n", "48", "--seed", "4"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let (one, two) = (one.wait_with_output().unwrap(), two.wait_with_output().unwrap());
    assert_eq!(succeeded(&[], one), succeeded(&[], two));
}

#[test]
fn the_version_names_the_commit_and_the_instruction_set() {
    let portable = sterna(&["--version"]).env("STERNA_ISA", "portable").output().unwrap();
    let portable = succeeded(&[], portable);
    let version = concat!("sterna ", env!("CARGO_PKG_VERSION"), " (");
    let commit = portable.strip_prefix(version).and_then(|rest| rest.strip_suffix("portable)\n")).unwrap();
    if let Some(commit) = commit.strip_suffix(", ") {
        assert!(commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    }
    let git = |args: &[&str]| {
        let run = Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output();
        run.is_ok_and(|output| output.status.success())
    };
    // Without git or its repository, the version stands alone.
    if git(&["rev-parse", "HEAD"]) {
        let name = commit.strip_suffix(", ").unwrap();
        assert!(git(&["cat-file", "-e", &format!("{name}^{{commit}}")]), "{name} is no commit of this repository");
    }
    let best = stdout(&["--version"]);
    assert!(best.starts_with(&format!("{version}{commit}")) && best.ends_with(")\n"), "{best}");
    for args in [&["--version"][..], &["run", "x"], &["info"], &["tokenize", "x"]] {
        let (code, message) = failure(sterna(args).env("STERNA_ISA", "mmx").output().unwrap());
        assert_eq!(code, 1, "{args:?}");
        assert!(message.starts_with("error: STERNA_ISA: `mmx` is not") && message.contains("portable"), "{message}");
    }
}

#[test]
fn a_variable_without_effect_is_reported() {
    for (name, nearest) in
        [("STERNA_PROT", "STERNA_PORT"), ("STERNA_API_KYE", "STERNA_API_KEY"), ("STERNA_IS", "STERNA_ISA")]
    {
        for args in [&["tokenize", "a"][..], &["info"]] {
            let output = sterna(args).env(name, "secret").output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() && stderr.lines().count() == 1, "{stderr}");
            let words = format!(
                "warning: the environment variable {name} has no effect; the nearest name that has is {nearest}\n"
            );
            assert_eq!(stderr, words, "{args:?}");
        }
    }
    let known = sterna(&["tokenize", "a"]).env("STERNA_PORT", "1").env("STERNA_ISA", "").output().unwrap();
    assert_eq!(succeeded(&[], known), stdout(&["tokenize", "a"]));
}

#[test]
fn help_has_the_options_that_do_something() {
    assert!(stdout(&["--help"]).contains("STERNA_ISA"));
    // The output of `tokenize` is JSON without the option.
    assert!(stdout(&["run", "--help"]).contains("--json") && !stdout(&["tokenize", "--help"]).contains("--json"));
    let (code, message) = failure(sterna(&["tokenize", "--json", "x"]).output().unwrap());
    assert!(code == 2 && message.contains("--json"), "an option that would do nothing is refused: {message}");
}
