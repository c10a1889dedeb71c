//! Tokenizers of Hugging Face directories give the same ids after conversion to GGUF vocabularies, or conversion fails.

use std::path::Path;

use serde_json::{Value, json};
use sterna::Result;
use sterna::checkpoint::{Checkpoint, Config, GgufVocabulary, TextFiles};
use sterna::text::{ChatTemplate, Message, Tokenizer, to_gguf};

const DIGITS: &str = "digits 0 7 42 1234567 3.14 x1y22z333 ٣٤٥ Ⅷ ½ ²³ １２３ a1 ' 5";
const TEXTS: [&str; 9] = [
    DIGITS,
    "你好，世界！这是一个测试。第3章，共100页。中文 English 混合",
    "👩‍👧‍👦 family, 😶‍🌫️ fog, 🇩🇪 flag, e\u{301} accent, \u{212b} \u{1e9b}\u{323}",
    "   a  b   c\n\n\n   \t\t d  \r\n\r\n e\u{a0}\u{a0}f \u{3000} ",
    "<|begin_of_text|>User: it's<|eot_id|> <|end_of_text|>x<|eot_id|><|eot",
    "[PAD7] [PAD4000] <0x0A> <unk> <s> ▁ Ġ Ċ",
    "DON'T you'LL we'Re I'm 'ſ naïve — “quotes” … 12345",
    "fn main() {\n\tlet x = vec![1, 2, 3];\r\n    println!(\"{x:?}\");\n}\n",
    "",
];

/// The text files and the configuration of a golden model.
fn golden(name: &str) -> (TextFiles, Config) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden"));
    let golden = Checkpoint::open(&folder.join(name)).expect("golden");
    (golden.text().clone(), golden.config().clone())
}

/// A Llama 3 tokenizer with parts of its `tokenizer.json` replaced.
fn llama3(change: impl FnOnce(&mut Value)) -> (TextFiles, Config) {
    let (text, config) = golden("bitnet-packed-offline");
    let TextFiles::HuggingFace { tokenizer, config: settings, chat_template } = text else { panic!("a directory") };
    let mut file = serde_json::from_slice(&tokenizer).expect("JSON");
    change(&mut file);
    let tokenizer = file.to_string().into_bytes().into();
    (TextFiles::HuggingFace { tokenizer, config: settings, chat_template }, config)
}

fn convert((text, config): &(TextFiles, Config)) -> sterna::Result<GgufVocabulary> {
    Ok(to_gguf(Path::new("model"), text, config)?.expect("a vocabulary"))
}

type Encode = fn(&Tokenizer, &str) -> Result<Vec<u32>>;
type Decode = fn(&Tokenizer, &[u32]) -> Result<String>;

/// Converts the tokenizer, compares the ids of every text and of a conversation, and returns the vocabulary.
#[track_caller]
fn assert_same(model: &(TextFiles, Config)) -> GgufVocabulary {
    let (text, config) = model;
    let vocabulary = convert(model).expect("GGUF can hold it");
    let converted = TextFiles::Gguf(vocabulary.clone());
    let tokenizer = |text| Tokenizer::new(Path::new("model"), text, config).expect("a tokenizer");
    let (a, b) = (tokenizer(text), tokenizer(&converted));
    for text in TEXTS {
        let codecs: [(Encode, Decode); 2] =
            [(Tokenizer::encode, Tokenizer::decode), (Tokenizer::encode_prompt, Tokenizer::decode_without_special)];
        for (encode, decode) in codecs {
            let ids = encode(&a, text).expect("encodes");
            assert_eq!(encode(&b, text).expect("encodes"), ids, "{text:?}");
            assert_eq!(decode(&b, &ids).expect("decodes"), decode(&a, &ids).expect("decodes"));
        }
    }
    assert_eq!((a.bos(), a.stop_tokens(), a.vocab_size()), (b.bos(), b.stop_tokens(), b.vocab_size()));
    let template = |text| ChatTemplate::new(text).expect("compiles").expect("a template");
    let messages = TEXTS.map(|text| Message { role: "user".into(), content: text.into() });
    let chat = |text, tokenizer| template(text).encode(tokenizer, &messages).expect("renders");
    assert_eq!(chat(text, &a), chat(&converted, &b));
    assert_eq!(vocabulary.tokens.len(), config.vocab, "a token for every row of the embedding");
    vocabulary
}

fn words(pattern: &str) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]})
}

/// Dense Hunyuan models split words three times.
fn hunyuan() -> Value {
    let patterns = [
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
    ];
    let mut steps: Vec<Value> = patterns.iter().map(|pattern| words(pattern)["pretokenizers"][0].clone()).collect();
    steps.push(words("")["pretokenizers"][1].clone());
    json!({"type": "Sequence", "pretokenizers": steps})
}

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn ways_to_split_words_keep_their_names() {
    let bytes =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let digits = json!({"type": "Digits", "individual_digits": true});
    for (name, steps, ignore_merges, normalizer) in [
        ("llama-bpe", None, true, Value::Null),
        ("smaug-bpe", None, false, Value::Null),
        ("qwen2", Some(words(QWEN2)), false, json!({"type": "NFC"})),
        ("stablelm2", Some(words(QWEN2)), false, Value::Null),
        ("gpt-2", Some(bytes(true)), false, Value::Null),
        ("mpt", Some(bytes(true)), false, json!({"type": "NFC"})),
        ("hunyuan-dense", Some(hunyuan()), false, Value::Null),
        ("smollm", Some(json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]})), false, Value::Null),
    ] {
        let vocabulary = assert_same(&llama3(|file| {
            if let Some(steps) = steps {
                file["pre_tokenizer"] = steps;
            }
            file["model"]["ignore_merges"] = ignore_merges.into();
            file["normalizer"] = normalizer;
        }));
        assert_eq!((vocabulary.model.as_str(), vocabulary.pre.as_deref()), ("gpt2", Some(name)));
    }
}

/// Digits are split one by one or in groups of three: the texts tell the pre-tokenizers apart.
#[test]
fn another_name_gives_other_ids() {
    let model = llama3(|_| ());
    let ids = |pre: &str| {
        let vocabulary = GgufVocabulary { pre: Some(pre.into()), ..convert(&model).expect("GGUF can hold it") };
        let tokenizer =
            Tokenizer::new(Path::new("model"), &TextFiles::Gguf(vocabulary), &model.1).expect("a tokenizer");
        tokenizer.encode(&TEXTS.concat()).expect("encodes")
    };
    let names = ["llama-bpe", "qwen2", "stablelm2", "gpt-2", "mpt", "smollm"].map(ids);
    for (i, a) in names.iter().enumerate() {
        assert!(names[..i].iter().all(|b| a != b), "name {i} changes nothing");
    }
}

#[test]
fn rows_without_a_token_are_unused() {
    let mut model = llama3(|_| ());
    model.1.vocab += 3;
    let vocabulary = assert_same(&model);
    assert_eq!(vocabulary.tokens[512..], ["[PAD512]", "[PAD513]", "[PAD514]"]);
    assert_eq!(vocabulary.types[508..], [1, 3, 3, 3, 5, 5, 5]);
    assert_eq!((vocabulary.bos, vocabulary.eos, vocabulary.add_bos), (Some(509), Some(510), Some(true)));
}

/// Older converters of SentencePiece vocabularies put the pair with the shortest left part first. All pairs of a token have
/// one score.
#[test]
fn the_order_of_the_pairs_of_a_token_does_not_matter() {
    let (text, config) = golden("bitnet-1bitllm");
    let TextFiles::HuggingFace { tokenizer, config: settings, chat_template } = text else { panic!("a directory") };
    let mut file: Value = serde_json::from_slice(&tokenizer).expect("JSON");
    let pair = |merge: &Value| match merge.as_str() {
        Some(pair) => pair.split_once(' ').map(|(left, right)| [left.to_owned(), right.to_owned()]).expect("a pair"),
        None => serde_json::from_value(merge.clone()).expect("a pair"),
    };
    let mut merges: Vec<[String; 2]> = file["model"]["merges"].as_array().expect("a list").iter().map(pair).collect();
    let before = merges.clone();
    merges.chunk_by_mut(|a, b| a.concat() == b.concat()).for_each(<[_]>::reverse);
    assert_ne!(merges, before, "some token has several pairs");
    file["model"]["merges"] = json!(merges);
    let files = |file: &Value| TextFiles::HuggingFace {
        tokenizer: file.to_string().into_bytes().into(),
        config: settings.clone(),
        chat_template: chat_template.clone(),
    };
    let vocabulary = convert(&(files(&file), config.clone())).expect("GGUF can hold it");
    let tokenizer = |text: &TextFiles| Tokenizer::new(Path::new("model"), text, &config).expect("a tokenizer");
    let (directory, converted) = (tokenizer(&files(&file)), tokenizer(&TextFiles::Gguf(vocabulary)));
    for text in TEXTS {
        assert_eq!(converted.encode_prompt(text).expect("encodes"), directory.encode_prompt(text).expect("encodes"));
    }
    // Pairs of different tokens keep their order, which decides what is merged first.
    merges.reverse();
    file["model"]["merges"] = json!(merges);
    let error = convert(&(files(&file), config)).map(|found| found.merges.len());
    assert!(error.is_ok(), "scores hold any order of tokens: {error:?}");
}

#[test]
fn a_bos_token_that_only_the_settings_add_is_added() {
    let (text, config) = llama3(|file| file["post_processor"] = Value::Null);
    let TextFiles::HuggingFace { tokenizer, config: mut settings, chat_template } = text else { panic!("a directory") };
    settings["add_bos_token"] = true.into();
    let vocabulary = assert_same(&(TextFiles::HuggingFace { tokenizer, config: settings, chat_template }, config));
    assert_eq!((vocabulary.add_bos, vocabulary.bos), (Some(true), Some(509)));
}

/// An error names whatever GGUF cannot store; nothing is left out silently.
#[test]
fn what_gguf_cannot_say_is_refused() {
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 7] = [
        ("splits words in a way", &|file| file["pre_tokenizer"] = words(r"\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}]+")),
        ("as \"qwen2\", but with another", &|file| {
            file["pre_tokenizer"] = words(QWEN2);
            file["normalizer"] = json!({"type": "NFKC"});
        }),
        ("added tokens", &|file| file["added_tokens"][2]["lstrip"] = true.into()),
        ("post_processor", &|file| {
            file["post_processor"] = json!({"type": "TemplateProcessing", "special_tokens": {"e": {"ids": [510]}},
                "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "e"}}]});
        }),
        ("decoder", &|file| file["decoder"] = Value::Null),
        ("unknown token", &|file| file["model"]["unk_token"] = "a".into()),
        ("tokens", &|file| file["model"]["vocab"]["second name"] = 7.into()),
    ];
    for (part, change) in cases {
        let error = convert(&llama3(change)).expect_err(part).to_string();
        assert!(error.contains(part) && error.contains("GGUF files") && error.contains("tokenizer.json"), "{error}");
    }
    let (text, config) = llama3(|_| ());
    let error = convert(&(text, Config { vocab: 500, ..config })).expect_err("too few rows").to_string();
    assert!(error.contains("the model has 500 tokens"), "{error}");
}
