//! Answers of a real model that follow schemas, expressions and grammars.

use serde_json::{Value, json};
use sterna::engine::{Engine, Event, FinishReason, Request, Sampling};
use sterna_grammar::{Form, Grammars};

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const NAMES: [&str; 8] = ["name", "age", "città", "tags", "a b", "ok", "名字", "x\"y"];

/// A schema whose values end soon.
fn schema(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 7 } else { 11 }) {
        0 => json!({ "type": "boolean" }),
        1 => json!({ "type": "null" }),
        2 => {
            let least = random.below(200) as i64 - 100;
            json!({ "type": "integer", "minimum": least, "maximum": least + random.below(500) as i64 })
        }
        3 => json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 10 }),
        4 => {
            let least = random.below(4);
            json!({ "type": "string", "minLength": least, "maxLength": least + random.below(12) })
        }
        5 => json!({ "enum": [random.pick(&["red", "grün", "蓝"]), random.below(9), null, [1, "a"]] }),
        6 => random.pick(&[
            json!({ "type": "string", "pattern": "^[a-c]{2,5}(-[0-9]+)?$", "maxLength": 9 }),
            json!({ "type": "string", "format": "date" }),
            json!({ "const": { "fixed": true } }),
            json!({ "type": ["string", "null"], "maxLength": 5 }),
        ]),
        7 => {
            let least = random.below(3);
            let items = schema(random, depth - 1);
            json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + random.below(3) })
        }
        8 => json!({ "anyOf": [schema(random, depth - 1), schema(random, depth - 1)] }),
        _ => {
            let names: Vec<&str> = NAMES.into_iter().filter(|_| random.below(3) == 0).collect();
            let properties: Vec<_> = names.iter().map(|name| ((*name).to_owned(), schema(random, depth - 1))).collect();
            let required: Vec<&str> = names.into_iter().filter(|_| random.below(3) > 0).collect();
            let properties: serde_json::Map<_, _> = properties.into_iter().collect();
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
        }
    }
}

struct Model {
    engine: Engine,
    grammars: Grammars,
}

impl Model {
    fn new() -> Self {
        let engine = Engine::builder().sequences(8).open(EMBEDDED).expect("opens");
        let grammars = Grammars::new(&engine).expect("has a vocabulary");
        Self { engine, grammars }
    }

    fn request(&self, form: &Form, seed: u64) -> sterna::Result<Request> {
        let prompt = self.engine.tokenizer()?.encode_prompt("Once upon a time")?;
        let sampling = Sampling::default().temperature(1.0).seed(seed);
        Ok(Request::new(prompt).grammar(self.grammars.compile(form)?).sampling(sampling))
    }

    fn answer(&self, form: &Form, seed: u64) -> (String, FinishReason) {
        let request = self.request(form, seed).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        read(self.engine.generate(request).expect("starts"))
    }
}

fn read(events: impl Iterator<Item = sterna::Result<Event>>) -> (String, FinishReason) {
    let mut answer = String::new();
    for event in events {
        match event.unwrap_or_else(|error| panic!("after {answer:?}: {error}")) {
            Event::Token { text, .. } => answer.push_str(&text),
            Event::Finished { text, reason, .. } => return (answer + &text, reason),
            _ => {}
        }
    }
    unreachable!("an answer ends with Finished")
}

#[test]
fn answers_are_valid_by_generated_schemas() {
    let model = Model::new();
    let mut random = Random(7);
    let schemas: Vec<Value> = (0..300).map(|_| schema(&mut random, 3)).collect();
    let (mut ended, mut seed) = (0, 0);
    for schemas in schemas.chunks(8) {
        let running: Vec<_> = schemas
            .iter()
            .map(|schema| {
                seed += 1;
                let request = model.request(&Form::Schema(schema.clone()), seed);
                let request = request.unwrap_or_else(|error| panic!("{schema}: {error}"));
                (schema, model.engine.generate(request).expect("starts"))
            })
            .collect();
        for (schema, generation) in running {
            let (answer, reason) = read(generation);
            if reason == FinishReason::Stop {
                let value: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"));
                assert!(jsonschema::is_valid(schema, &value), "{answer} by {schema}");
                ended += 1;
            }
        }
    }
    assert!(ended > 250, "{ended} of 300 ended before the context was full");
}

/// The text of an answer whose next token is always the first of `tokens` that is allowed.
fn written(model: &Model, form: &Form, tokens: &[&str]) -> String {
    let tokenizer = model.engine.tokenizer().expect("has a tokenizer");
    let id = |text: &&str| (0..4096).find(|id| tokenizer.token_bytes(*id).as_deref() == Some(text.as_bytes()));
    let ids: Vec<u32> = tokens.iter().map(|text| id(text).unwrap_or_else(|| panic!("no token {text}"))).collect();
    let mut reader = model.grammars.compile(form).and_then(|grammar| grammar.start()).expect("starts");
    let mut text = String::new();
    while let Some(at) = {
        let allowed = reader.allowed().expect("can be followed");
        ids.iter().position(|id| allowed.contains(*id))
    } {
        reader.accept(ids[at]).expect("was allowed");
        text += tokens[at];
        assert!(text.len() < 100, "{text} does not end");
    }
    text
}

#[test]
fn numbers_of_json_end() {
    let model = Model::new();
    let nines = |n| "9".repeat(n);
    let of = |kind| Form::Schema(json!({ "type": kind }));
    assert_eq!(written(&model, &of("integer"), &["9"]), nines(19));
    assert_eq!(written(&model, &of("integer"), &["-", "9"]), format!("-{}", nines(19)));
    assert_eq!(written(&model, &of("number"), &[".", "9"]), format!("9.{}", nines(16)));
    assert_eq!(written(&model, &of("number"), &["e", "9"]), format!("9e{}", nines(3)));
    let calls = "start: \"<\" body\nbody: %json {\"type\": \"integer\"}";
    assert_eq!(written(&model, &Form::LarkOfJson(calls.into()), &["<", "9"]), format!("<{}", nines(19)));
    // Nothing else may stand there.
    assert_eq!(written(&model, &Form::Lark("start: /9{30}/".into()), &["9"]), nines(30));
    let wide = json!({ "const": 1e25 });
    assert_eq!(written(&model, &Form::Schema(wide), &["1", "0"]).len(), 26, "a constant has its digits");
    assert_eq!(written(&model, &of("string"), &["\"", "9"]).len(), 2, "the text ends at once");
}

#[test]
fn objects_expressions_and_grammars() {
    let model = Model::new();
    for seed in 0..5 {
        let (answer, reason) = model.answer(&Form::Object, seed);
        if reason == FinishReason::Stop {
            assert!(serde_json::from_str::<Value>(&answer).expect("JSON").is_object(), "{answer}");
        }
        let (answer, reason) = model.answer(&Form::Regex("(yes|no), [0-9]{3}( 你好)?".into()), seed);
        let (word, rest) = answer.split_once(", ").expect("a comma");
        let digits = rest.strip_suffix(" 你好").unwrap_or(rest);
        assert!(["yes", "no"].contains(&word) && digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()));
        assert_eq!(reason, FinishReason::Stop);
        let lark = "start: pair (\";\" pair){2}\npair: /[a-z]{1,3}/ \"=\" /[0-9]/";
        let (answer, _) = model.answer(&Form::Lark(lark.into()), seed);
        assert_eq!(answer.split(';').filter(|pair| pair.contains('=')).count(), 3, "{answer}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let model = Model::new();
    let refused = |form: Form| match model.grammars.compile(&form) {
        Ok(_) => panic!("{form:?} was accepted"),
        Err(error) => error.to_string(),
    };
    for schema in [json!(false), json!({ "type": "strange" })] {
        assert!(refused(Form::Schema(schema)).starts_with("the grammar of the answer: "));
    }
    assert!(refused(Form::Schema(json!({ "not": { "type": "string" } }))).contains("not"));
    for (pattern, problem) in [
        ("[0-9]{3}-(a", "the regular expression `[0-9]{3}-(a`: unclosed group, at character 10: `(`"),
        ("é[z-a]", "invalid character class range, the start must be <= the end, at character 3: `z-a`"),
        ("a(?=b)", "at character 2: `(?=`"),
        ("\\p{Nothing}", "the regular expression `\\p{Nothing}`: "),
    ] {
        let error = refused(Form::Regex(pattern.into()));
        assert!(error.contains(problem), "{error}");
        assert_eq!(refused(Form::Schema(json!({ "items": { "type": "string", "pattern": pattern } }))), error);
    }
    let unknown = json!({ "type": "object", "properties": { "n": { "type": "integer", "format": "int32" },
        "color": { "type": "string", "format": "color" } } });
    assert!(model.grammars.compile(&Form::Schema(unknown)).is_ok(), "unknown formats constrain nothing");
    refused(Form::Lark("start: missing".into()));
    let wide: serde_json::Map<_, _> = (0..40_000).map(|i| (format!("key {i}"), json!({ "type": "string" }))).collect();
    refused(Form::Schema(json!({ "type": "object", "properties": wide })));
}
