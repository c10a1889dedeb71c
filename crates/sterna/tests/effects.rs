//! Keys and tensors that change nothing: the file opens, and the model is the one of the file without them.

use std::path::Path;

use serde_json::{Value, json};
use sterna::checkpoint::write::{WriteOptions, write_gguf};
use sterna::checkpoint::{Checkpoint, Config, GgufVocabulary, RopeScaling, TextFiles};
use sterna::kernels::format::F16;
use sterna::kernels::{Cpu, sets};
use sterna::model::{self, LLAMA};

const TINY: Config = Config {
    architecture: &LLAMA,
    hidden: 32,
    intermediate: 32,
    layers: 1,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    vocab: 8,
    context: 64,
    rms_eps: 1e-5,
    rope_theta: 10_000.0,
    rope_scaling: RopeScaling::None,
    pooling: None,
    windows: None,
    scalings: None,
    tied: true,
    eos: Vec::new(),
    hybrid: None,
};

/// A value of a GGUF file.
enum Item {
    Text(&'static str),
    Float(f32),
    Unsigned(u32),
    Signed(i32),
}

impl Item {
    fn bytes(&self) -> Vec<u8> {
        let number = |kind: u32, bytes: [u8; 4]| [kind.to_le_bytes(), bytes].concat();
        match self {
            Self::Unsigned(value) => number(4, value.to_le_bytes()),
            Self::Signed(value) => number(5, value.to_le_bytes()),
            Self::Float(value) => number(6, value.to_le_bytes()),
            Self::Text(value) => [&8_u32.to_le_bytes()[..], &text(value)].concat(),
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn tiny(arch: &str) -> Vec<u8> {
    let vocabulary = GgufVocabulary {
        model: "gpt2".into(),
        tokens: "a b c d ab cd abcd e".split(' ').map(String::from).collect(),
        types: vec![1; 8],
        merges: vec!["a b".into(), "c d".into(), "ab cd".into()],
        add_bos: Some(true),
        bos: Some(0),
        ..GgufVocabulary::default()
    };
    let arch = model::by_gguf_name(arch).expect("it is known");
    let model = Checkpoint::synthetic(Config { architecture: arch, ..TINY }, &F16, 1).expect("possible");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("tiny.gguf");
    let cpu = Cpu::with(sets::portable(), 1);
    write_gguf(&model, &cpu, &out, WriteOptions::default().vocabulary(&vocabulary)).expect("written");
    std::fs::read(out).expect("written")
}

fn count(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*file[at..].first_chunk().expect("in the file"))
}

fn set_count(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The file with more keys, and with more tensors of `f32`. The data stays aligned: a last key fills up to 32 bytes.
fn with(arch: &str, keys: &[(&str, Item)], tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let mut file = tiny(arch);
    let first = text("token_embd.weight");
    let infos = file.windows(first.len()).position(|window| window == first).expect("the first tensor");
    let mut added: Vec<u8> = keys.iter().flat_map(|(name, item)| [text(name), item.bytes()].concat()).collect();
    let mut described = Vec::new();
    // The data begins at a multiple of 32, and so does each tensor in it.
    file.resize(file.len().next_multiple_of(32), 0);
    let mut offset = file.len() - (file.len() - data_len(&file));
    for (name, values) in tensors {
        described.extend(text(name));
        described.extend(1_u32.to_le_bytes());
        described.extend((values.len() as u64).to_le_bytes());
        described.extend(0_u32.to_le_bytes());
        described.extend((offset as u64).to_le_bytes());
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        file.resize(file.len().next_multiple_of(32), 0);
        offset += (values.len() * 4).next_multiple_of(32);
    }
    let filler = 8 + 1 + 4 + 8;
    let missing =
        (added.len() + described.len() + filler).next_multiple_of(32) - added.len() - described.len() - filler;
    added.extend([text("x"), 8_u32.to_le_bytes().into(), text(&"-".repeat(missing))].concat());
    let (tensor_count, key_count) = (count(&file, 8), count(&file, 16));
    set_count(&mut file, 8, tensor_count + tensors.len() as u64);
    set_count(&mut file, 16, key_count + keys.len() as u64 + 1);
    file.splice(infos..infos, described);
    file.splice(24..24, added);
    file
}

/// Bytes of data of a file without added tensors.
fn data_len(file: &[u8]) -> usize {
    let bytes = sterna::kernels::Bytes::from(file.to_vec());
    sterna::checkpoint::gguf::Header::parse(Path::new("tiny.gguf"), &bytes).expect("a header").data_len()
}

fn open(file: Vec<u8>) -> sterna::Result<Checkpoint> {
    Checkpoint::from_files("tiny.gguf", &[("tiny.gguf", file.into())])
}

#[track_caller]
fn opens(arch: &str, keys: &[(&str, Item)], tensors: &[(&str, &[f32])]) -> Checkpoint {
    let plain = open(tiny(arch)).expect("opens");
    let checkpoint = open(with(arch, keys, tensors)).expect("opens");
    assert_eq!(checkpoint.config(), plain.config());
    let names = |checkpoint: &Checkpoint| checkpoint.tensors().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&checkpoint), names(&plain));
    checkpoint
}

#[track_caller]
fn refused(keys: &[(&str, Item)], tensors: &[(&str, &[f32])], words: &str) {
    let error = open(with("llama", keys, tensors)).expect_err("refused").to_string();
    assert!(error.contains(words), "{error:?} lacks {words:?}");
}

/// llama.cpp's and bitnet.cpp's converters write both keys into every BitNet file.
#[test]
fn rotary_scaling_by_one_is_no_scaling() {
    use Item::{Float, Text};
    for (arch, kind, factor) in [
        ("bitnet", "linear", 1.0),
        ("bitnet-b1.58", "linear", 1.0),
        ("llama", "yarn", 1.0),
        ("llama", "linear", 0.0),
        ("llama", "none", 2.0),
    ] {
        let keys = ["type", "factor"].map(|key| format!("{arch}.rope.scaling.{key}"));
        opens(arch, &[(&keys[0], Text(kind)), (&keys[1], Float(factor))], &[]);
    }
    opens("llama", &[("llama.rope.scaling.type", Text("linear"))], &[]);
    opens("llama", &[("llama.rope.scale_linear", Float(1.0)), ("llama.rope.scaling.attn_factor", Float(1.0))], &[]);
    let by = |kind: &'static str, factor: f32| {
        [("llama.rope.scaling.type", Text(kind)), ("llama.rope.scaling.factor", Float(factor))]
    };
    refused(&by("longrope", 1.0), &[], "`longrope`");
    refused(&by("linear", 2.0), &[], "scaling of the type `linear` by 2");
    refused(&by("linear", 2.0)[1..], &[], "scaling of the type `linear` by 2");
    refused(&[("llama.rope.scale_linear", Float(0.5))], &[], "by 0.5");
    let [kind, factor] = by("linear", 1.0);
    refused(&[kind, factor, ("llama.rope.scaling.attn_factor", Float(1.2))], &[], "`linear`");
    let [kind, factor] = by("yarn", 4.0);
    refused(&[kind, factor, ("llama.rope.scaling.yarn_ext_factor", Float(0.5))], &[], "yarn_ext_factor");
}

#[test]
fn scalings_are_read() {
    use Item::{Float, Text};
    let scaling = |keys: &[(&str, Item)], tensors: &[(&str, &[f32])]| {
        open(with("llama", keys, tensors)).expect("opens").config().rope_scaling.clone()
    };
    let divisors = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 8.0];
    assert_eq!(
        scaling(&[], &[("rope_freqs.weight", &divisors)]),
        RopeScaling::Divisors { divisors: divisors.to_vec(), attention: 1.0 }
    );
    let keys = [
        ("llama.rope.scaling.type", Text("yarn")),
        ("llama.rope.scaling.factor", Float(4.0)),
        ("llama.rope.scaling.attn_factor", Float(0.5)),
    ];
    let RopeScaling::Yarn(yarn) = scaling(&keys, &[]) else { panic!("YaRN") };
    assert_eq!((yarn.factor, yarn.original, yarn.fast, yarn.slow), (4.0, TINY.context as f64, 32.0, 1.0));
    assert!((yarn.attention - 0.5 * 1.138_629_4).abs() < 1e-6, "{}", yarn.attention);
}

#[test]
fn frequencies_times_one_and_biases_of_zero_change_nothing() {
    opens("llama", &[], &[("rope_freqs.weight", &[1.0; 8])]);
    opens("llama", &[], &[("blk.0.attn_q.bias", &[0.0, -0.0, 0.0])]);
    refused(&[], &[("rope_freqs.weight", &[0.0; 8])], "scaled rotary embedding (tensor `rope_freqs.weight`)");
    refused(&[], &[("blk.0.attn_q.bias", &[0.0, 0.1])], "a bias (tensor `blk.0.attn_q.bias`)");
}

#[test]
fn a_vision_tower_is_passed_over() {
    let tower: [(&str, &[f32]); 2] = [("v.blk.0.attn_q.bias", &[1.0]), ("mm.0.bias", &[1.0, 2.0])];
    let checkpoint = opens("llama", &[], &tower);
    assert_eq!(checkpoint.remarks(), ["a vision tower is passed over (2 tensors): pictures are not read"]);
}

#[test]
fn a_window_as_long_as_the_context_is_none() {
    let window = |size: u32| [("llama.attention.sliding_window", Item::Unsigned(size))];
    for size in [0, 64, 65] {
        opens("llama", &window(size), &[]);
    }
    refused(&window(63), &[], "sliding_window = 63");
}

#[test]
fn a_token_of_minus_one_is_none() {
    for none in [Item::Signed(-1), Item::Unsigned(u32::MAX)] {
        let [eos, pad] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"];
        let other = match none {
            Item::Signed(_) => Item::Signed(-1),
            _ => Item::Unsigned(u32::MAX),
        };
        let checkpoint = opens("llama", &[(eos, none), (pad, other)], &[]);
        let TextFiles::Gguf(vocabulary) = checkpoint.text() else { panic!("a vocabulary") };
        assert_eq!((vocabulary.eos, vocabulary.padding, vocabulary.bos), (None, None, Some(0)));
    }
}

/// Opens the golden model with fields of its `config.json` replaced.
fn directory(fields: Value) -> sterna::Result<Checkpoint> {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/qwen3-causal"));
    let folder = tempfile::tempdir().expect("a folder");
    for entry in golden.read_dir().expect("golden").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    let Value::Object(fields) = fields else { panic!("an object") };
    config.as_object_mut().expect("an object").extend(fields);
    std::fs::write(&path, format!("\u{feff}{config}")).expect("written");
    Checkpoint::open(folder.path())
}

#[test]
fn config_json_counts_by_its_effect() {
    let rope = |kind: &str, more: Value| {
        let mut rope = json!({ "rope_type": kind });
        rope.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "rope_scaling": rope })
    };
    for fields in [
        json!({}),
        json!({ "rope_scaling": null, "eos_token_id": -1, "pad_token_id": -1 }),
        rope("default", json!({})),
        rope("linear", json!({ "factor": 1.0 })),
        rope("dynamic", json!({ "factor": 1 })),
        rope("llama3", json!({ "factor": 1.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0 })),
        rope("yarn", json!({ "factor": 1.0, "beta_fast": 32 })),
        json!({ "rope_parameters": { "type": "linear", "factor": 1.0, "partial_rotary_factor": 1.0 } }),
        json!({ "use_sliding_window": true, "sliding_window": 1 << 30 }),
        json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 99 }),
    ] {
        directory(fields.clone()).unwrap_or_else(|error| panic!("{fields}: {error}"));
    }
    for (fields, words) in [
        (rope("linear", json!({ "factor": 2.0 })), "rope_scaling of the type `linear` by 2"),
        (rope("linear", json!({})), "`linear`"),
        (rope("yarn", json!({ "factor": 2.0, "attention_factor": -1.1 })), "`yarn` by 2 with impossible parameters"),
        (rope("llama3", json!({ "factor": 8.0 })), "`llama3` by 8 without its parameters"),
        (rope("longrope", json!({ "factor": 2.0 })), "`longrope` by 2"),
        (json!({ "rope_scaling": { "factor": 4.0 } }), "by 4"),
        (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "partial_rotary_factor = 0.5"),
        (json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 0 }), "use_sliding_window"),
        (json!({ "layer_types": ["sliding_attention"], "sliding_window": 8 }), "sliding_attention"),
    ] {
        let error = directory(fields).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}
