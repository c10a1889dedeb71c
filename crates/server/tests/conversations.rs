//! How requests become prompts: templates, tools and special tokens.

mod running;

use serde_json::{Value, json};
use sterna::checkpoint::{Checkpoint, TextFiles};
use sterna::engine::Engine;
use sterna::text::{ChatTemplate, Tokenizer};
use sterna::{Cpu, model};
use sterna_server::Settings;

use running::{EMBEDDED, Running};

/// The built-in model with another chat template; `None` for none.
fn with_template(template: Option<&str>) -> Running {
    let checkpoint = Checkpoint::open(EMBEDDED.as_ref()).unwrap();
    let TextFiles::Gguf(mut vocabulary) = checkpoint.text().clone() else { panic!("a GGUF file") };
    vocabulary.chat_template = template.map(str::to_owned);
    let text = TextFiles::Gguf(vocabulary);
    let network = model::load(&checkpoint, &Cpu::new(1).unwrap(), Default::default()).unwrap();
    let tokenizer = Tokenizer::new(checkpoint.path(), &text, checkpoint.config()).unwrap();
    let engine = Engine::builder().sequences(4).build(network, Some(tokenizer), ChatTemplate::new(&text).unwrap());
    Running::start(engine.unwrap(), Settings::default())
}

fn prompt_tokens(server: &Running, path: &str, body: Value) -> u64 {
    let answer = server.post(path, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let counts = ["/usage/prompt_tokens", "/usage/input_tokens", "/prompt_eval_count"];
    counts.iter().find_map(|count| answer.pointer(count)?.as_u64()).unwrap()
}

/// Mistral's way: roles alternate, beginning with the user, and there is no other role.
const ALTERNATING: &str = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
    {% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %}{{ m.content }}<|eot_id|>\
    {% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

/// Knows roles, but prints no system message.
const SILENT: &str = "{% for m in messages if m.role != 'system' %}{{ m.content }}<|eot_id|>{% endfor %}";

/// The same figures as one by one from the logits, and as `sterna eval` adds up.
#[test]
fn echoed_prompts_have_their_log_probabilities() {
    let engine = Engine::builder().sequences(4).open(EMBEDDED).unwrap();
    let prompt = engine.tokenizer().unwrap().encode_prompt("The fox met a cat. 🦊!").unwrap();
    let rows: Vec<f32> = engine.logits(&prompt).unwrap().flat_map(|rows| rows.unwrap().data().to_vec()).collect();
    let vocab = engine.config().vocab;
    let exact = |at: usize| {
        let row: Vec<f64> = rows[(at - 1) * vocab..at * vocab].iter().map(|logit| f64::from(*logit)).collect();
        let most = row.iter().copied().fold(f64::MIN, f64::max);
        row[prompt[at] as usize] - most - row.iter().map(|logit| (logit - most).exp()).sum::<f64>().ln()
    };
    let evaluation = sterna::Evaluate::new(prompt.len()).run(&engine, &prompt).unwrap();
    let server = Running::start(engine, Settings::default());
    let ask = |more: Value| {
        let mut body = json!({ "prompt": prompt, "echo": true, "logprobs": 2, "temperature": 0, "max_tokens": 1 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    };
    let one = ask(json!({})).json();
    let logprobs = &one["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), prompt.len() + 1, "{list}");
    }
    assert_eq!((&logprobs["token_logprobs"][0], &logprobs["top_logprobs"][0]), (&Value::Null, &Value::Null));
    let found: Vec<f64> = (1..prompt.len()).map(|at| logprobs["token_logprobs"][at].as_f64().unwrap()).collect();
    for (at, found) in (1..).zip(&found) {
        assert!((found - exact(at)).abs() < 1e-5, "token {at}: {found}, {}", exact(at));
    }
    let nll = -found.iter().sum::<f64>() / found.len() as f64;
    assert!((nll - evaluation.nll).abs() < 1e-6, "{nll}, {}", evaluation.nll);
    let text: Vec<char> = one["choices"][0]["text"].as_str().unwrap().chars().collect();
    for at in 1..=prompt.len() {
        let offset = logprobs["text_offset"][at].as_u64().unwrap() as usize;
        let token: Vec<char> = logprobs["tokens"][at].as_str().unwrap().chars().collect();
        if !token.contains(&char::REPLACEMENT_CHARACTER) {
            assert!(text[offset..].starts_with(&token), "{token:?} at {offset} of {text:?}");
        }
    }

    let alone = ask(json!({ "max_tokens": 0 })).json();
    let choice = &alone["choices"][0];
    assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), prompt.len());
    assert_eq!((&choice["finish_reason"], &alone["usage"]["completion_tokens"]), (&json!("length"), &json!(0)));
    assert_eq!(alone["usage"]["prompt_tokens"], prompt.len());
    for index in 0..prompt.len() {
        assert_eq!(choice["logprobs"]["token_logprobs"][index], logprobs["token_logprobs"][index]);
    }
    let several = ask(json!({ "prompt": [prompt, [prompt[0]]], "n": 2, "max_tokens": 0 })).json();
    let counts = [0, 1, 2, 3].map(|at| several["choices"][at]["logprobs"]["tokens"].as_array().unwrap().len());
    assert_eq!(counts, [prompt.len(), prompt.len(), 1, 1]);
    let unreported = ask(json!({ "logprobs": null, "max_tokens": 0 })).json();
    assert_eq!(unreported["choices"][0]["logprobs"], Value::Null);
    let streamed = ask(json!({ "stream": true, "max_tokens": 3 })).body;
    let first = streamed.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let first: Value = serde_json::from_str(first).unwrap();
    assert_eq!(first["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), prompt.len() + 1);
    assert_eq!(server.chat(json!({ "max_tokens": 0 })).status, 400, "a conversation is not scored");
}

/// A client that scores drops the last entry, so an answer that ends at once must have one too.
#[test]
fn one_token_after_a_scored_prompt_is_reported_though_it_ends_the_answer() {
    let server = Running::embedded(Settings::default());
    let ended = json!({ "prompt": "User: Hi<|eot_id|>Assistant: Hello!", "echo": true, "logprobs": 0, "max_tokens": 1,
        "temperature": 0 });
    let answer = server.post("/v1/completions", &ended).json();
    let scored = server
        .post("/v1/completions", &{
            let mut alone = ended.clone();
            alone["max_tokens"] = 0.into();
            alone
        })
        .json();
    let count = |answer: &Value| answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().len();
    assert_eq!(count(&answer), count(&scored) + 1);
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "weather", "description": "The weather of a city.",
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } }])
}

#[test]
fn functions_are_described_to_templates_without_a_system_role() {
    for template in [ALTERNATING, SILENT] {
        let server = with_template(Some(template));
        let ask = |more: Value| {
            let mut body = json!({ "messages": [{ "role": "user", "content": "Weather in Oslo?" }], "max_tokens": 1 });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            prompt_tokens(&server, "/v1/chat/completions", body)
        };
        let (without, with) = (ask(json!({})), ask(json!({ "tools": tools() })));
        assert!(with > without + 40, "the description is in the prompt: {without}, {with}");
        let call =
            |id: &str| json!({ "id": id, "type": "function", "function": { "name": "weather", "arguments": "{}" } });
        let history = json!([
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "tool_calls": [call("a"), call("b")] },
            { "role": "tool", "tool_call_id": "a", "content": "rain" },
            { "role": "tool", "tool_call_id": "b", "content": "sun" },
            { "role": "user", "content": "Thanks. And tomorrow?" },
        ]);
        assert!(
            ask(json!({ "messages": history, "tools": tools() })) > with,
            "results are joined where roles alternate"
        );
    }
}

#[test]
fn what_the_client_itself_sends_wrong_is_refused_by_the_template() {
    let server = with_template(Some(ALTERNATING));
    let system = json!([{ "role": "system", "content": "x" }, { "role": "user", "content": "y" }]);
    let twice = json!([{ "role": "user", "content": "x" }, { "role": "user", "content": "y" }]);
    for messages in [system, twice] {
        for tools in [json!([]), tools()] {
            let answer = server.chat(json!({ "messages": messages, "tools": tools }));
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(answer.body.contains("roles must alternate"), "{}", answer.body);
        }
    }
}

/// The same number of tokens with and without: a special token would be one token, its spelling is several.
#[test]
fn special_tokens_come_from_templates_only() {
    let server = with_template(Some("{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}"));
    let (special, spelled) = ("x<|eot_id|>y", "x<|eot_id|y");
    let chat = |role: &str, content: &str| json!([{ "role": role, "content": content }, { "role": "user", "content": "hello" }]);
    let more = |path: &str, body: &dyn Fn(&str) -> Value| {
        let (special, spelled) =
            (prompt_tokens(&server, path, body(special)), prompt_tokens(&server, path, body(spelled)));
        special as i64 - spelled as i64
    };
    for role in ["system", "user", "assistant", "tool"] {
        let body = |content: &str| json!({ "messages": chat(role, content), "max_tokens": 1 });
        assert!(more("/v1/chat/completions", &body) >= 0, "{role}");
        let body = |content: &str| json!({ "model": "sterna", "messages": chat(role, content), "stream": false, "options": { "num_predict": 1 } });
        assert!(more("/api/chat", &body) >= 0, "{role}");
    }
    let body = |content: &str| json!({ "input": content, "instructions": content, "max_output_tokens": 16 });
    assert!(more("/v1/responses", &body) >= 0);
    let generate = |raw: bool| move |content: &str| json!({ "model": "sterna", "prompt": content, "raw": raw, "stream": false, "options": { "num_predict": 1 } });
    assert!(more("/api/generate", &generate(false)) >= 0);
    assert!(more("/api/generate", &generate(true)) < 0, "raw prompts may have special tokens");
    assert!(more("/v1/completions", &|content| json!({ "prompt": content, "max_tokens": 1 })) < 0);
    let plain = with_template(None);
    let tokens = |content: &str| prompt_tokens(&plain, "/api/generate", generate(false)(content));
    assert!(tokens(special) >= tokens(spelled), "also without a template");
}
