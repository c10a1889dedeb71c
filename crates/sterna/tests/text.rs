//! Tokenizers, chat templates and streaming against what Hugging Face computes (`testdata/golden`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sterna::checkpoint::{Checkpoint, Config, GgufVocabulary, TextFiles};
use sterna::text::stream::Piece;
use sterna::text::{ChatTemplate, Message, TextStream, Tokenizer, to_gguf};
use sterna::{Error, Result};

fn golden(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden")).join(path)
}

fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// Hugging Face's ids without the second BOS, which a BOS in the text or from the template adds.
fn begun_once(value: &Value) -> Vec<u32> {
    let mut ids = ids(value);
    if ids.get(0..2).is_some_and(|first| first[0] == first[1]) {
        ids.remove(0);
    }
    ids
}

/// A checkpoint's tokenizer and template, and the golden data of its directory.
struct Case {
    name: String,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    golden: Value,
}

impl Case {
    fn open(directory: &str, file: &str) -> Self {
        let checkpoint = Checkpoint::open(&golden(directory).join(file)).expect("opens");
        let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).expect("tokenizer");
        let template = ChatTemplate::new(checkpoint.text()).expect("template");
        let golden = read_json(&golden(directory).join("tokenizer_golden.json"));
        Self { name: format!("{directory}/{file}"), tokenizer, template, golden }
    }

    /// The directory's tokenizer, converted to the form of a GGUF file.
    fn converted(directory: &str) -> Self {
        let source = Checkpoint::open(&golden(directory)).expect("opens");
        let vocabulary = to_gguf(source.path(), source.text(), source.config()).expect("GGUF can hold it");
        let text = TextFiles::Gguf(vocabulary.expect("a vocabulary"));
        let tokenizer = Tokenizer::new(source.path(), &text, source.config()).expect("tokenizer");
        let template = ChatTemplate::new(&text).expect("template");
        Self { name: format!("{directory} converted"), tokenizer, template, ..Self::open(directory, "") }
    }

    fn texts(&self) -> impl Iterator<Item = &Value> {
        self.golden["cases"].as_array().expect("cases").iter()
    }

    fn stream(&self, ids: &[u32]) -> String {
        let mut stream = TextStream::new(&self.tokenizer, &[], &[]);
        let mut text = String::new();
        for id in ids {
            match stream.push(*id) {
                Piece::Text(piece) => text += &piece,
                Piece::Stop { .. } => panic!("there are no stop strings"),
            }
        }
        text + &stream.finish()
    }
}

/// One checkpoint for each tokenizer: as a directory, as a GGUF file, and converted.
fn cases() -> Vec<Case> {
    [
        ("bitnet-packed-offline", "gguf/i2_s.gguf"),
        ("bitnet-1bitllm", "gguf/i2_s.gguf"),
        ("llama-bitlinear-packed", "gguf/i2_s-q8_0.gguf"),
        ("llama-headdim256", "gguf/i2_s-q8_0.gguf"),
        ("qwen3-causal", "gguf/i2_s-q8_0.gguf"),
    ]
    .into_iter()
    .flat_map(|(directory, gguf)| [Case::open(directory, ""), Case::open(directory, gguf), Case::converted(directory)])
    .collect()
}

/// Networks without a head make embeddings of texts, and are trained with EOS at their end.
#[test]
fn texts_end_with_eos_for_networks_without_a_head() {
    let checkpoint = Checkpoint::open(&golden("qwen3-causal")).expect("opens");
    let headless = sterna::model::known().into_iter().find(|arch| !arch.head).expect("one without a head");
    let tokens = |config: &Config, text: &TextFiles| {
        let tokenizer = Tokenizer::new(checkpoint.path(), text, config).expect("tokenizer");
        (tokenizer.encode_prompt("The king.").expect("encoded"), tokenizer.eos().expect("it has one"))
    };
    let (plain, eos) = tokens(checkpoint.config(), checkpoint.text());
    let mut config = Config { architecture: headless, eos: vec![], ..checkpoint.config().clone() };
    let ended = |end: u32| [&plain[..], &[end]].concat();
    assert_eq!(tokens(&config, checkpoint.text()).0, ended(eos));
    let vocabulary = to_gguf(checkpoint.path(), checkpoint.text(), &config).expect("GGUF can hold it");
    assert_eq!(tokens(&config, &TextFiles::Gguf(vocabulary.expect("a vocabulary"))).0, ended(eos), "converted");
    config.eos = vec![7, 8];
    assert_eq!(tokens(&config, checkpoint.text()).0, ended(eos), "several tokens may end an answer");
    config.eos = vec![7];
    assert_eq!(tokens(&config, checkpoint.text()).0, ended(7), "the only one that the configuration names");
}

#[test]
fn ids_and_texts_are_those_of_hugging_face() {
    for case in cases() {
        for golden in case.texts() {
            let text = golden["text"].as_str().expect("text");
            let bare = case.tokenizer.encode(text).expect("encodes");
            assert_eq!(bare, ids(&golden["ids_no_special"]), "{}: {text:?}", case.name);
            let full = case.tokenizer.encode_prompt(text).expect("encodes");
            assert_eq!(full, begun_once(&golden["ids"]), "{}: {text:?} with special tokens", case.name);
            let decoded = case.tokenizer.decode(&bare).expect("decodes");
            assert_eq!(Some(decoded.as_str()), golden["decoded"].as_str(), "{}", case.name);
            let decoded = case.tokenizer.decode_without_special(&full).expect("decodes");
            assert_eq!(Some(decoded.as_str()), golden["decoded_skip_special"].as_str(), "{}", case.name);
        }
    }
}

#[test]
fn conversations_begin_with_one_bos_where_the_model_uses_one() {
    let mut conversations = 0;
    for case in cases() {
        for golden in case.golden["chat"].as_array().into_iter().flatten() {
            let template = case.template.as_ref().expect("a template");
            let messages: Vec<Message> = serde_json::from_value(golden["messages"].clone()).expect("messages");
            let prompt = golden["add_generation_prompt"] == true;
            let text =
                if prompt { template.render_prompt(&messages) } else { template.render(&messages) }.expect("renders");
            assert_eq!(Some(text.as_str()), golden["text"].as_str(), "{}", case.name);
            if prompt {
                let encoded = template.encode(&case.tokenizer, &messages).expect("encodes");
                assert_eq!(encoded, begun_once(&golden["ids"]), "{}", case.name);
                conversations += 1;
            }
        }
    }
    assert!(conversations >= 16, "{conversations} conversations");
}

#[test]
fn the_first_token_and_the_last_ones() {
    let llama3 = Some("<|begin_of_text|>");
    let expected: [(&str, &str, Option<&str>, &[&str]); 5] = [
        ("bitnet-packed-offline", "gguf/i2_s.gguf", llama3, &["<|end_of_text|>", "<|eot_id|>"]),
        ("bitnet-1bitllm", "gguf/i2_s.gguf", Some("<s>"), &["</s>"]),
        ("llama-bitlinear-packed", "gguf/i2_s-q8_0.gguf", llama3, &["<|end_of_text|>", "<|eot_id|>"]),
        ("llama-headdim256", "gguf/i2_s-q8_0.gguf", None, &["<|endoftext|>"]),
        ("qwen3-causal", "gguf/i2_s-q8_0.gguf", None, &["<|endoftext|>", "<|im_end|>"]),
    ];
    for (directory, gguf, bos, stops) in expected {
        for case in [Case::open(directory, ""), Case::open(directory, gguf), Case::converted(directory)] {
            let Case { tokenizer, name, .. } = case;
            assert_eq!(tokenizer.bos(), bos.map(|token| tokenizer.id(token).expect("in the vocabulary")), "{name}");
            let tokens = tokenizer.stop_tokens().into_iter().map(|id| tokenizer.token(id).expect("a token"));
            assert_eq!(tokens.collect::<Vec<_>>(), stops, "{name}");
            assert_eq!(tokenizer.vocab_size(), 512);
            assert_eq!(tokenizer.token(512), None);
        }
    }
}

#[test]
fn a_bos_in_the_prompt_is_not_doubled() {
    let Case { tokenizer, .. } = Case::open("bitnet-packed-offline", "");
    let once = tokenizer.encode_prompt("Hello").expect("encodes");
    assert_eq!(tokenizer.encode_prompt("<|begin_of_text|>Hello").expect("encodes"), once);
}

const TEXTS: [&str; 6] = [
    "你好，世界！这是一个测试。",
    "👩‍👧‍👦 family, 😶‍🌫️ fog, 🇩🇪 flag, e\u{301} accent",
    "fn main() {\n\tlet x = vec![1, 2, 3];\r\n    println!(\"{x:?}\");\n}\n",
    "   a  b   c\n\n\n   \t\t d  ",
    "naïve — “quotes” … 12345 3.14",
    "\u{FFFD} is a character too",
];

#[test]
fn streaming_gives_what_decoding_at_once_does() {
    for case in cases() {
        for text in TEXTS {
            let ids = case.tokenizer.encode_prompt(text).expect("encodes");
            let whole = case.tokenizer.decode_without_special(&ids).expect("decodes");
            assert_eq!(case.stream(&ids), whole, "{}", case.name);
        }
    }
}

#[test]
fn any_ids_stream_to_their_decoding() {
    // Byte-level decoding replaces invalid bytes one by one, so even random ids must come out the same.
    let case = Case::open("bitnet-packed-offline", "");
    let mut state = 7_u64;
    for _ in 0..200 {
        let random = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32 % 520
        };
        let ids: Vec<u32> = (0..60).map(random).collect();
        assert_eq!(case.stream(&ids), case.tokenizer.decode_without_special(&ids).expect("decodes"), "{ids:?}");
    }
}

/// Text files of a checkpoint with the given template.
fn with_template(template: &Value, bos: &Value, eos: &Value) -> TextFiles {
    let config = json!({"chat_template": template, "bos_token": bos, "eos_token": eos});
    TextFiles::HuggingFace { tokenizer: Vec::new().into(), config, chat_template: None }
}

fn compile(files: &TextFiles) -> Result<Option<ChatTemplate>> {
    ChatTemplate::new(files)
}

fn render(template: &str, content: &str) -> Result<String> {
    let message = Message { role: "user".into(), content: content.into() };
    let template = compile(&with_template(&json!(template), &json!("<s>"), &json!("</s>")))?;
    template.expect("a template").render_prompt(&[message])
}

#[test]
fn thinking_is_switched_where_a_template_has_a_switch() {
    let compiled = |source: &str| {
        let files = with_template(&json!(source), &json!(null), &json!(null));
        ChatTemplate::new(&files).expect("compiles").expect("a template")
    };
    let text = |template: &ChatTemplate| {
        template.render_prompt_values(&[json!({ "role": "user", "content": "x" })], &[]).expect("renders")
    };
    let qwen = compiled("{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}");
    assert!(qwen.knows_thinking());
    assert_eq!(
        [text(&qwen), text(&qwen.with_thinking(true, Some("low"))), text(&qwen.with_thinking(false, None))],
        ["on", "on", "off"]
    );
    let granite = compiled("{% if thinking %}on{% else %}off{% endif %}");
    assert_eq!([text(&granite), text(&granite.with_thinking(true, None))], ["off", "on"]);
    let levels = compiled("{{ reasoning_effort | default('medium') }}");
    assert!(levels.knows_thinking());
    let low = levels.with_thinking(true, Some("low"));
    assert_eq!([text(&levels), text(&low), text(&levels.with_thinking(false, None))], ["medium", "low", "medium"]);
    assert!(!compiled("{{ messages[0].content }}").knows_thinking());
}

#[test]
fn templates_render_as_in_transformers() {
    let cases = read_json(&golden("text/chat_templates.json"));
    let mut rendered = 0;
    for case in cases.as_array().expect("cases") {
        // Some conversations have structured content, which a `Message` cannot hold.
        let Ok(messages) = serde_json::from_value::<Vec<Message>>(case["messages"].clone()) else { continue };
        let files = with_template(&case["template"], &case["bos_token"], &case["eos_token"]);
        let template = compile(&files).expect("compiles").expect("a template");
        let prompt = case["add_generation_prompt"] == true;
        let text = if prompt { template.render_prompt(&messages) } else { template.render(&messages) };
        match case["expected"].as_str() {
            Some(expected) => assert_eq!(text.expect("renders"), expected, "{}", case["name"]),
            None => {
                let error = text.expect_err("refuses").to_string();
                let words = case["error"].as_str().expect("the template's words");
                assert!(error.contains(words), "{}: {error:?} lacks {words:?}", case["name"]);
            }
        }
        rendered += 1;
    }
    assert!(rendered >= 44, "{rendered} conversations");
}

#[test]
fn templates_may_use_what_transformers_offers() {
    let text = "a<b> & 'c' \"d\" \\u003c é";
    let same = |template: &str, content: &str, expected: &str| {
        assert_eq!(render(template, content).expect("renders"), expected, "{template}");
    };
    same("{{ messages[0]['content'] | tojson }}", text, &json!(text).to_string());
    same("{{ {'a': [1, 2.5, none, true], 'b': {}} | tojson }}", "", r#"{"a": [1, 2.5, null, true], "b": {}}"#);
    same("{{ {'a': [1]} | tojson(indent=2, ensure_ascii=false) }}", "", "{\n  \"a\": [\n    1\n  ]\n}");
    let marked =
        "{% for m in messages %}\n  {%- generation -%}\n  {{ m.content }}\n  {%- endgeneration %}\n{% endfor %}";
    same(marked, "x", "x");
    same("{{ messages | tojson(separators=(',', ':')) }}", "x", r#"[{"role":"user","content":"x"}]"#);
    same("{{ messages[0] | tojson(sort_keys=true) }}", "x", r#"{"content": "x", "role": "user"}"#);
    same(
        "{{ {'b': {'z': 1, 'a': []}} | tojson(indent=1, sort_keys=true) }}",
        "",
        "{\n \"b\": {\n  \"a\": [],\n  \"z\": 1\n }\n}",
    );
    same("{{ [1, {}] | tojson(separators=(' ; ', '='), indent='\t') }}", "", "[\n\t1 ; \n\t{}\n]");
    same("{{ messages[0].content | tojson(ensure_ascii=true) }}", "é😀\n", r#""\u00e9\ud83d\ude00\n""#);
    same("{{ 'é' | tojson(false) }}{{ 'é' | tojson(true, indent=none) }}", "", "\"é\"\"\\u00e9\"");
    for (value, sequence) in [("'text'", true), ("[1]", true), ("{'a': 1}", true), ("1", false), ("none", false)] {
        for test in ["sequence", "iterable"] {
            let shown = if sequence { "True" } else { "False" };
            same(&format!("{{{{ {value} is {test} }}}}"), "", shown);
        }
    }
    same("{{ bos_token }}{{ tools is none }}{{ unk_token is defined }}", "", "<s>TrueFalse");
    same("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "", "01");
    same("{{ messages[0].content.split(',')[-1].strip().upper() }}", "a, b ", "B");
    let year: u32 = render("{{ strftime_now('%Y') }}", "").expect("renders").parse().expect("a year");
    assert!((2024..10_000).contains(&year));
}

#[test]
fn bad_and_hostile_templates_are_refused() {
    let refused = |template: &str, words: &str| {
        let error = render(template, "x").expect_err(template);
        assert!(matches!(error, Error::Template(_)), "{template}: {error:?}");
        assert!(error.to_string().contains(words), "{template}: {error}");
    };
    refused("{% for m in messages %}", "line 1");
    refused("{{ raise_exception('no system role') }}", "no system role");
    refused("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "too many instructions");
    refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion");
    refused("{% for a in range(9999) %}{{ 'x' * 99999 }}{% endfor %}", "too much text");
    refused("{{ strftime_now('%Q') }}", "%Q");
}

#[test]
fn line_ends_and_byte_order_marks_are_read_as_jinja_reads_them() {
    let plain = "{% for m in messages %}\n{{ m.role }}\n\n{{ m.content }}\n{% endfor %}\nend\n";
    let expected = render(plain, "a\r\nb").expect("renders");
    assert_eq!(expected, "user\n\na\r\nb\nend");
    for written in [plain.replace('\n', "\r\n"), plain.replace('\n', "\r"), format!("\u{feff}{plain}")] {
        assert_eq!(render(&written, "a\r\nb").expect("renders"), expected, "{written:?}");
        let vocabulary = GgufVocabulary { chat_template: Some(written.clone()), ..Default::default() };
        let message = Message { role: "user".into(), content: "a\r\nb".into() };
        let template = compile(&TextFiles::Gguf(vocabulary)).expect("compiles").expect("a template");
        assert_eq!(template.render_prompt(&[message]).expect("renders"), expected, "{written:?} of a GGUF file");
    }
}

#[test]
fn an_empty_template_is_none() {
    let settings = |template: Value, file: Option<&str>| TextFiles::HuggingFace {
        tokenizer: Vec::new().into(),
        config: json!({ "chat_template": template }),
        chat_template: file.map(str::to_owned),
    };
    let gguf = GgufVocabulary { chat_template: Some("".into()), ..Default::default() };
    let empty =
        [settings(json!(""), None), settings(json!(" \r\n"), Some("")), settings(json!([]), Some("\u{feff}\n"))];
    for files in empty.into_iter().chain([TextFiles::Gguf(gguf)]) {
        assert!(compile(&files).expect("no error").is_none(), "{files:?}");
    }
    let below = compile(&settings(json!("x"), Some("\n"))).expect("compiles").expect("the other template");
    assert_eq!(below.render(&[]).expect("renders"), "x");
}

#[test]
fn the_default_of_several_templates_is_used() {
    let named = |name: &str, text: &str| json!({"name": name, "template": text});
    let files = |templates: Value| with_template(&templates, &json!("<s>"), &json!({"content": "</s>"}));
    let both = files(json!([named("tool_use", "tools"), named("default", "plain {{ eos_token }}")]));
    let template = compile(&both).expect("compiles").expect("a template");
    assert_eq!(template.render(&[]).expect("renders"), "plain </s>");
    let error = compile(&files(json!([named("a", ""), named("b", "")]))).expect_err("no default");
    assert!(error.to_string().contains("[\"a\", \"b\"]"), "{error}");
    assert!(compile(&files(Value::Null)).expect("no template").is_none());
    let TextFiles::HuggingFace { tokenizer, config, .. } = both else { unreachable!() };
    let own = TextFiles::HuggingFace { tokenizer, config, chat_template: Some("file".into()) };
    let template = compile(&own).expect("compiles").expect("a template");
    assert_eq!(template.render(&[]).expect("renders"), "file");
}

fn config(vocab: usize) -> Config {
    Config { vocab, ..Checkpoint::open(&golden("llama-headdim256")).expect("opens").config().clone() }
}

/// `tokenizer.json` of the byte-level golden after an edit.
fn edited(edit: impl Fn(&mut Value)) -> TextFiles {
    let mut tokenizer = read_json(&golden("bitnet-packed-offline/tokenizer.json"));
    edit(&mut tokenizer);
    let tokenizer = tokenizer.to_string().into_bytes().into();
    let config = read_json(&golden("bitnet-packed-offline/tokenizer_config.json"));
    TextFiles::HuggingFace { tokenizer, config, chat_template: None }
}

fn build(files: &TextFiles, vocab: usize) -> Result<Tokenizer> {
    Tokenizer::new(Path::new("model"), files, &config(vocab))
}

/// Checks that the message contains `words`, and names the file, the place and a remedy.
fn refusal(files: &TextFiles, words: &[&str]) {
    let error = build(files, 512).map(|_| ()).expect_err(words[0]).to_string();
    for word in words.iter().chain(&["model"]) {
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }
    assert!(error.contains("; "), "{error:?} has no remedy");
}

#[test]
fn damaged_tokenizer_files_are_refused_with_file_place_and_remedy() {
    type Edit = fn(&mut Value);
    let split = |t: &mut Value| {
        t["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(((a{999}){999}){999}"},
            "behavior": "Isolated", "invert": false});
    };
    let explosive = |t: &mut Value| {
        t["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(((a{999}){999}){999}){999}"},
            "behavior": "Isolated", "invert": false});
    };
    let edits: [(Edit, &[&str]); 18] = [
        (|t| t["model"]["vocab"] = json!({}), &["model.merges[0]"]),
        (|t| t["model"]["vocab"] = json!([1, 2]), &["line 1 column"]),
        (|t| t["model"]["vocab"]["he"] = json!(-1), &["line 1 column", "-1"]),
        (|t| t["model"]["vocab"]["gap"] = json!(4_000_000_000_u32), &["model.vocab", "4000000000", "512"]),
        (|t| t["added_tokens"][0]["id"] = json!(512), &["model.vocab", "512"]),
        (|t| t["model"]["merges"][3] = json!(["no", "where"]), &["model.merges[3]", "\"no\""]),
        (|t| t["model"]["merges"][3] = json!("nospace"), &["line 1 column", "nospace"]),
        (|t| t["model"]["merges"][3] = json!(["he"]), &["line 1 column", "two tokens"]),
        // Longer than any token.
        (|t| t["model"]["merges"] = json!([["Ġpeo", "Ġplus"]]), &["model.merges[0]", "\"ĠpeoĠplus\""]),
        (|t| t["model"]["unk_token"] = json!("<none>"), &["model.vocab", "<none>"]),
        (|t| t["model"] = json!({"type": "Unigram", "vocab": [["a", 0.5]]}), &["Unigram", "not supported"]),
        (|t| t["model"]["end_of_word_suffix"] = json!("</w>"), &["suffixes", "not supported"]),
        (split, &["pre_tokenizer"]),
        (explosive, &["pre_tokenizer"]),
        (|t| t["pre_tokenizer"] = json!("ByteLevel"), &["pre_tokenizer", "type"]),
        (|t| t["decoder"] = json!({"type": "Strip", "content": " ", "start": 0, "stop": 9}), &["decoder", "Strip"]),
        (|t| t["normalizer"] = json!({"type": "Precompiled"}), &["normalizer", "Precompiled"]),
        (|t| t["post_processor"]["processors"][1]["special_tokens"] = json!({}), &["post_processor", "begin_of_text"]),
    ];
    for (edit, words) in edits {
        refusal(&edited(edit), words);
    }
}

#[test]
fn every_truncation_is_refused() {
    let TextFiles::HuggingFace { tokenizer, config, .. } = edited(|_| ()) else { unreachable!() };
    for length in (0..tokenizer.len()).step_by(97) {
        let tokenizer = tokenizer.slice(0..length).expect("shorter");
        refusal(
            &TextFiles::HuggingFace { tokenizer, config: config.clone(), chat_template: None },
            &["tokenizer.json"],
        );
    }
}

#[test]
fn a_vocabulary_that_does_not_fit_the_model_is_refused() {
    let error = build(&edited(|_| ()), 511).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("wrong vocabulary") && error.contains("511 tokens"), "{error}");
    assert!(build(&edited(|_| ()), 512).is_ok());
}

#[test]
fn no_tokenizer_is_no_panic() {
    refusal(&TextFiles::None, &["not supported", "tokenizer.json"]);
}

#[test]
fn merges_may_be_strings_as_in_older_files() {
    let old = edited(|t| {
        for merge in t["model"]["merges"].as_array_mut().expect("merges") {
            *merge = json!(format!("{} {}", merge[0].as_str().expect("left"), merge[1].as_str().expect("right")));
        }
    });
    let (old, new) = (build(&old, 512).expect("builds"), build(&edited(|_| ()), 512).expect("builds"));
    assert_eq!(old.encode_prompt(TEXTS[2]).expect("encodes"), new.encode_prompt(TEXTS[2]).expect("encodes"));
}

#[test]
fn a_bos_that_only_the_configuration_asks_for_is_added() {
    let TextFiles::HuggingFace { tokenizer, mut config, .. } = edited(|t| t["post_processor"] = Value::Null) else {
        unreachable!()
    };
    let files = |config: &Value| {
        let (tokenizer, config) = (tokenizer.clone(), config.clone());
        TextFiles::HuggingFace { tokenizer, config, chat_template: None }
    };
    assert_eq!(build(&files(&config), 512).expect("builds").bos(), None);
    config["add_bos_token"] = json!(true);
    let tokenizer = build(&files(&config), 512).expect("builds");
    assert_eq!(tokenizer.encode_prompt("").expect("encodes"), [tokenizer.id("<|begin_of_text|>").expect("BOS")]);
}

/// The vocabulary of the byte-level golden's GGUF file after an edit.
fn gguf(edit: impl Fn(&mut GgufVocabulary)) -> TextFiles {
    let checkpoint = Checkpoint::open(&golden("bitnet-packed-offline/gguf/i2_s.gguf")).expect("opens");
    let TextFiles::Gguf(mut vocabulary) = checkpoint.text().clone() else { panic!("a GGUF vocabulary") };
    edit(&mut vocabulary);
    TextFiles::Gguf(vocabulary)
}

#[test]
fn damaged_gguf_vocabularies_are_refused() {
    type Edit = fn(&mut GgufVocabulary);
    let edits: [(Edit, &[&str]); 10] = [
        (|v| v.merges.clear(), &["tokenizer.ggml.merges"]),
        (|v| v.merges[5] = "alone".into(), &["tokenizer.ggml.merges[5]", "alone"]),
        (|v| v.merges[5] = "no where".into(), &["tokenizer.ggml.merges[5]", "\"no\""]),
        (|v| v.bos = Some(512), &["tokenizer.ggml.bos_token_id", "512"]),
        (|v| v.types.truncate(7), &["tokenizer.ggml.token_type", "7 entries"]),
        (|v| v.scores = vec![0.0], &["tokenizer.ggml.scores", "1 entries"]),
        (|v| v.model = "rwkv".into(), &["rwkv", "not supported"]),
        (|v| v.pre = Some("martian".into()), &["martian", "not supported"]),
        (|v| (v.model, v.scores) = ("llama".into(), vec![]), &["tokenizer.ggml.scores"]),
        (|v| v.tokens.truncate(0), &["tokenizer.ggml"]),
    ];
    for (edit, words) in edits {
        refusal(&gguf(edit), words);
    }
    let longer = |v: &mut GgufVocabulary| {
        v.tokens.push("one too many".into());
        (v.types, v.scores) = (vec![], vec![]);
    };
    refusal(&gguf(longer), &["tokenizer.ggml.tokens", "one too many", "512 tokens"]);
}

#[test]
fn a_gguf_vocabulary_without_names_is_recognised_as_llama_3() {
    let named = build(&gguf(|_| ()), 512).expect("builds");
    let nameless = build(&gguf(|v| (v.pre, v.add_bos) = (None, None)), 512).expect("builds");
    let untyped = build(&gguf(|v| v.types.clear()), 512).expect("builds");
    for text in TEXTS.iter().chain(&["<|eot_id|>User: 123456"]) {
        let expected = named.encode_prompt(text).expect("encodes");
        assert_eq!(nameless.encode_prompt(text).expect("encodes"), expected);
        assert_eq!(untyped.encode_prompt(text).expect("encodes"), expected);
        assert_eq!(
            untyped.decode_without_special(&expected).expect("decodes"),
            named.decode_without_special(&expected).expect("decodes")
        );
    }
    assert_eq!(nameless.stop_tokens(), named.stop_tokens());
}

#[test]
fn sentence_piece_takes_the_best_pair_and_splits_what_it_does_not_know() {
    let pieces = [("<unk>", 2, 0.0), ("<s>", 3, 0.0), ("▁", 1, -9.0), ("a", 1, -9.0), ("b", 1, -9.0), ("c", 1, -9.0)];
    let merged = [("ab", 1, -3.0), ("bc", 1, -1.0), ("abc", 1, -2.0), ("▁a", 1, -4.0), ("<tool>", 4, 0.0)];
    let bytes = (0..=255_u8).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0));
    let named = pieces.into_iter().chain(merged).map(|(text, kind, score)| (text.to_owned(), kind, score));
    let all: Vec<(String, i32, f32)> = named.chain(bytes).collect();
    let vocabulary = GgufVocabulary {
        model: "llama".into(),
        tokens: all.iter().map(|(text, ..)| text.clone()).collect(),
        types: all.iter().map(|(_, kind, _)| *kind).collect(),
        scores: all.iter().map(|(.., score)| *score).collect(),
        add_space_prefix: Some(false),
        ..Default::default()
    };
    let tokenizer = build(&TextFiles::Gguf(vocabulary), 300).expect("builds");
    let tokens = |text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text).expect("encodes");
        assert_eq!(tokenizer.decode_without_special(&ids).expect("decodes"), text);
        ids.into_iter().map(|id| tokenizer.token(id).expect("a token")).collect()
    };
    assert_eq!(tokens("abc"), ["abc"]);
    assert_eq!(tokens("abcab bc"), ["abc", "ab", "▁", "bc"]);
    assert_eq!(tokens("  a<tool>é"), ["▁", "▁a", "<tool>", "<0xC3>", "<0xA9>"]);
}
