//! From data files to batches: training targets, cuts of documents, and refusals.

use std::path::{Path, PathBuf};

use sterna::checkpoint::{Config, RopeScaling, TextFiles};
use sterna::kernels::Pool;
use sterna::model::BITNET;
use sterna::text::{ChatTemplate, Message, Tokenizer, to_gguf};
use sterna_train::batch::NONE;
use sterna_train::data::{Cursor, Dataset, Packer, Sampler, Weighted, sample};
use sterna_train::tokenizer::{self, Files};
use sterna_train::{Batch, Error, Result};

const BOS: u32 = 0;
const EOS: u32 = 1;
const EOT: u32 = 2;
const VOCAB: usize = 380;

/// Text with many repeated words; `n` makes documents differ.
fn story(n: usize) -> String {
    let animals = ["tern", "fox", "owl", "hare", "seal", "crab"];
    let places = ["the pier", "a cold beach", "the old mill", "an island", "the lighthouse"];
    let (animal, place) = (animals[n % animals.len()], places[n % places.len()]);
    format!(
        "One day the {animal} went to {place}. It counted {n} stones and {} shells!\n\"What a day,\" said the {animal}. \
         Then it slept at {place} until the morning came.\n",
        n * 7 + 3
    )
}

fn stories(count: usize) -> String {
    (0..count).map(story).collect()
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn config() -> Config {
    Config {
        architecture: &BITNET,
        hidden: 64,
        intermediate: 128,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        vocab: VOCAB,
        context: 256,
        rms_eps: 1e-5,
        rope_theta: 10000.0,
        rope_scaling: RopeScaling::None,
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: vec![EOS, EOT],
        hybrid: None,
    }
}

struct Model {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Model {
    fn new() -> Self {
        let mut texts: Vec<String> = (0..200).map(story).collect();
        texts.push("User:\nHello, who are you? Assistant:\nI am Sterna. ".repeat(20));
        Self::of(&tokenizer::train(&texts, VOCAB, 256).expect("trains"))
    }

    fn of(files: &Files) -> Self {
        let config = config();
        let tokenizer = Tokenizer::new(Path::new("new"), &files.text(), &config).expect("tokenizer");
        let template = ChatTemplate::new(&files.text()).expect("compiles").expect("template");
        Self { tokenizer, template }
    }

    fn packer(&self, context: usize) -> Packer<'_> {
        Packer::new(&self.tokenizer, Some(&self.template), VOCAB, context).expect("fits")
    }

    fn read(&self, path: &Path, context: usize) -> Result<Dataset> {
        Dataset::read(path, &self.packer(context), &Pool::new(2), |_| {})
    }

    /// Reads a file with this name and content.
    fn read_as(&self, name: &str, content: impl AsRef<[u8]>, context: usize) -> Result<Dataset> {
        let folder = tempfile::tempdir().expect("folder");
        self.read(&put(&folder, name, content), context)
    }

    fn refuse(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let error = self.read_as(name, content, 64).expect_err("must be refused").to_string();
        error.split_once(&format!("{name}: ")).expect("names the file").1.to_owned()
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens).expect("decodes")
    }
}

fn put(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn row(messages: &[Message]) -> String {
    serde_json::json!({ "messages": messages }).to_string() + "\n"
}

fn whole(data: &Dataset) -> Batch {
    data.batches(usize::MAX, 1).next().expect("a batch")
}

#[test]
fn a_new_tokenizer_has_its_layout() {
    let model = Model::new();
    let tokenizer = &model.tokenizer;
    assert_eq!(tokenizer.vocab_size(), VOCAB);
    let special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"].map(|token| tokenizer.id(token));
    assert_eq!(special, [Some(BOS), Some(EOS), Some(EOT)]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(BOS), Some(EOS)));
    assert_eq!(tokenizer.stop_tokens(), [EOS, EOT]);
    let tokens = tokenizer.encode_prompt("12345 678").expect("encodes");
    let words: Vec<String> = tokens.iter().map(|token| model.text(&[*token])).collect();
    assert_eq!(words, ["<|begin_of_text|>", "1", "2", "3", "4", "5", " ", "6", "7", "8"]);
    for text in ["", " \n\n x", "naïve 你好 🦊\r\n", "\u{0}\u{7f}", "'s Assistant: Assistant:  a"] {
        let tokens = tokenizer.encode(text).expect("encodes");
        assert_eq!(model.text(&tokens), text);
    }
}

#[test]
fn the_end_of_a_name_has_letters_of_either_case() {
    let model = Model::new();
    let text = model.read_as("a.txt", "one two", 64).expect("reads");
    assert_eq!(whole(&model.read_as("A.TXT", "one two", 64).expect("reads")), whole(&text));
    let row = "{\"text\": \"one two\"}\n";
    for name in ["A.JSONL", "a.JsonL"] {
        assert_eq!(whole(&model.read_as(name, row, 64).expect("reads")), whole(&text), "{name}");
    }
}

#[test]
fn a_git_lfs_pointer_is_no_data() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1187780840\n";
    for name in ["a.txt", "a.jsonl"] {
        let error = Model::new().refuse(name, pointer);
        assert!(error.contains("a Git LFS pointer") && error.contains("git lfs pull"), "{error}");
    }
}

#[test]
fn written_special_tokens_are_no_words() {
    let texts = ["<|begin_of_text|>1<|eot_id|>2<|end_of_text|>".repeat(50)];
    let files = tokenizer::train(&texts, 300, 64).expect("trains");
    assert_eq!(Model::of(&files).tokenizer.vocab_size(), 259);
}

#[test]
fn training_a_tokenizer_twice_gives_the_same_bytes() {
    let texts: Vec<String> = (0..300).map(story).collect();
    let bytes = || tokenizer::train(&texts, 500, 128).expect("trains").tokenizer;
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_vocabulary_has_room_for_all_bytes() {
    let error = tokenizer::train(&[], 258, 64).expect_err("too small").to_string();
    assert!(error.contains("258") && error.contains("use 259 or more"), "{error}");
    let files = tokenizer::train(&[], 259, 64).expect("bytes alone");
    assert_eq!(Model::of(&files).tokenizer.vocab_size(), 259);
}

#[test]
fn gguf_files_can_hold_a_new_tokenizer() {
    let files = tokenizer::train(&[stories(50)], 300, 128).expect("trains");
    let (path, text, config) = (Path::new("new"), files.text(), config());
    let vocabulary = to_gguf(path, &text, &config).expect("GGUF can hold it").expect("a vocabulary");
    assert_eq!((vocabulary.bos, vocabulary.eos, &*vocabulary.tokens[2]), (Some(BOS), Some(EOS), "<|eot_id|>"));
    let (new, converted) = (Model::of(&files), Tokenizer::new(path, &TextFiles::Gguf(vocabulary), &config));
    let text = stories(3) + "12345 中文 <|eot_id|>\n\n  x";
    let ids = new.tokenizer.encode_prompt(&text).expect("encodes");
    assert_eq!(converted.expect("tokenizer").encode_prompt(&text).expect("encodes"), ids);
}

#[test]
fn written_files_are_a_tokenizer() {
    let folder = tempfile::tempdir().expect("folder");
    let files = tokenizer::train(&[stories(50)], 300, 128).expect("trains");
    files.write(folder.path()).expect("written");
    assert_eq!(std::fs::read(folder.path().join("tokenizer.json")).expect("there"), files.tokenizer);
    let settings = std::fs::read(folder.path().join("tokenizer_config.json")).expect("there");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&settings).expect("JSON"), files.settings);
}

#[test]
fn a_text_is_learned_with_its_end() {
    let model = Model::new();
    let data = model.read_as("a.txt", story(1), 256).expect("reads");
    let batch = whole(&data);
    let mut expected = model.tokenizer.encode_prompt(&story(1)).expect("encodes");
    expected.push(EOS);
    assert_eq!(batch.tokens, expected);
    assert_eq!(batch.targets[..batch.len() - 1], expected[1..]);
    assert_eq!(batch.targets.last(), Some(&NONE));
    assert_eq!((data.learned(), batch.learned()), (expected.len() - 1, expected.len() - 1));
}

#[test]
fn only_answers_are_learned() {
    let model = Model::new();
    let messages = [
        message("system", "Be brief."),
        message("user", "Hello"),
        message("assistant", "I am Sterna."),
        message("user", "2+2?"),
        message("assistant", "4"),
    ];
    let batch = whole(&model.read_as("a.jsonl", row(&messages), 256).expect("reads"));
    assert_eq!(
        model.text(&batch.tokens),
        "<|begin_of_text|>System:\nBe brief.<|eot_id|>User:\nHello<|eot_id|>Assistant:\nI am Sterna.<|eot_id|>\
         User:\n2+2?<|eot_id|>Assistant:\n4<|eot_id|>"
    );
    let learned: Vec<u32> = batch.targets.iter().copied().filter(|target| *target != NONE).collect();
    assert_eq!(model.text(&learned), "I am Sterna.<|eot_id|>4<|eot_id|>");
}

/// Training puts the same tokens before an answer as the prompt that `sterna chat` makes for it.
#[test]
fn prompts_are_prefixes_of_what_is_trained() {
    let model = Model::new();
    for answer in [
        "Hello",
        " 7 stones ",
        "\"What a day,\"",
        "'s",
        "\n- one\n- two\n",
        "你好",
        "",
        "Assistant:\nyes",
        ":",
        "\u{a0}x",
    ] {
        let turns = ["user", "assistant", "user", "assistant", "user", "assistant"];
        let messages = turns.map(|role| message(role, if role == "user" { "Count the shells!" } else { answer }));
        let batch = whole(&model.read_as("a.jsonl", row(&messages), 256).expect("reads"));
        for turn in [1, 3, 5] {
            let prompt = model.template.encode(&model.tokenizer, &messages[..turn]).expect("encodes");
            assert_eq!(batch.tokens[..prompt.len()], prompt, "before answer {turn}: {answer:?}");
            assert_ne!(batch.targets[prompt.len() - 1], NONE, "the answer is learned from its first token on");
            assert_eq!(batch.targets[prompt.len() - 2], NONE);
        }
    }
}

#[test]
fn long_documents_are_cut_after_lines() {
    let model = Model::new();
    let text = stories(60);
    let context = 100;
    let data = model.read_as("a.txt", &text, context).expect("reads");
    let mut joined = Vec::new();
    for piece in 0..data.pieces() {
        let tokens = data.piece(piece);
        assert!(tokens.len() <= context && tokens.len() >= context / 4);
        assert_eq!(tokens[0], BOS);
        joined.extend_from_slice(&tokens[1..]);
        let ends_well = model.text(tokens).ends_with(['\n', '.', '!', '"']);
        assert!(ends_well || piece + 1 == data.pieces(), "{:?}", model.text(tokens));
    }
    let mut expected = model.tokenizer.encode(&text).expect("encodes");
    expected.push(EOS);
    assert_eq!(joined, expected);
}

#[test]
fn texts_of_several_parts_have_the_same_tokens() {
    let model = Model::new();
    let text = stories(2400);
    assert!(text.len() > 5 << 16, "more than a part");
    let row = serde_json::json!({ "text": text }).to_string();
    let folder = tempfile::tempdir().expect("folder");
    let (txt, jsonl) = (put(&folder, "a.txt", &text), put(&folder, "a.jsonl", row));
    let one = Dataset::read(&txt, &model.packer(256), &Pool::new(1), |_| {}).expect("reads");
    let mut seen = 0;
    let three =
        Dataset::read(&jsonl, &model.packer(256), &Pool::new(3), |progress| seen = progress.read).expect("reads");
    assert_eq!(whole(&one), whole(&three));
    assert_eq!(seen, std::fs::metadata(&jsonl).expect("there").len());
    let mut expected = model.tokenizer.encode(&text).expect("encodes");
    expected.push(EOS);
    let mut joined: Vec<u32> = (0..one.pieces()).flat_map(|piece| one.piece(piece)[1..].to_vec()).collect();
    assert_eq!(joined.len(), expected.len());
    joined.retain(|token| *token != BOS);
    assert_eq!(joined, expected);
}

#[test]
fn unusable_files_are_refused_with_their_place() {
    let model = Model::new();
    let bad_row = |second: &str| format!("{{\"text\": \"fine\"}}\n{second}\n");
    let cases = [
        ("a.txt", String::new(), "the file is empty; give it text"),
        ("a.jsonl", "\n \n".into(), "the file is empty"),
        ("a.jsonl", "{\"text\": \"\"}\n".into(), "no document has a token to learn"),
        ("a.csv", "a,b".into(), "use .txt (one document) or .jsonl"),
        ("a.jsonl", bad_row("{\"text\": 1"), "line 2: no valid row (column 10): "),
        ("a.jsonl", bad_row("{\"prompt\": \"x\"}"), "line 2: neither \"text\" nor \"messages\"; a row is"),
        ("a.jsonl", bad_row("{\"messages\": []}"), "line 2: the conversation is empty"),
        (
            "a.jsonl",
            bad_row("{\"messages\": [{\"role\": \"user\"}]}"),
            "line 2: no valid row (column 30): missing field",
        ),
        ("a.jsonl", bad_row(&row(&[message("bot", "x")])), "line 2: unknown role \"bot\"; use \"system\""),
        (
            "a.jsonl",
            bad_row(&row(&[message("user", "x"), message("assistant", "y"), message("user", "z")])),
            "line 2: the conversation ends with the role \"user\"; end it with an answer",
        ),
    ];
    for (name, content, expected) in cases {
        let error = model.refuse(name, &content);
        assert!(error.contains(expected), "{content:?}: {error}");
    }
    let error = model.refuse("a.txt", b"fine\nbad \xff\xfe\n");
    assert_eq!(error, "line 2, byte 9 of the file: bytes that are not UTF-8 text; save the file as UTF-8 text");
    let error = model.refuse("a.jsonl", b"\x7fELF\x02\0\0");
    assert!(error.starts_with("line 1, byte 5 of the file: a zero byte"), "{error}");
    let error = model.read(Path::new("absent.txt"), 64).expect_err("absent");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn empty_documents_are_left_out() {
    let model = Model::new();
    let data = model.read_as("a.jsonl", "{\"text\": \"\"}\n\n{\"text\": \"The tern.\"}\r\n", 64).expect("reads");
    assert_eq!((data.pieces(), data.left_out()), (1, 1));
}

#[test]
fn long_conversations_are_cut_after_answers() {
    let model = Model::new();
    let turns = (0..20).flat_map(|n| [message("user", &format!("{n}+1?")), message("assistant", &(n + 1).to_string())]);
    let data = model.read_as("a.jsonl", row(&turns.collect::<Vec<_>>()), 100).expect("reads");
    assert!(data.pieces() > 2);
    for piece in 0..data.pieces() {
        let text = model.text(data.piece(piece));
        assert!(text.starts_with("<|begin_of_text|>User:\n") && text.ends_with("<|eot_id|>"), "{text}");
    }
}

#[test]
fn pieces_without_an_answer_are_left_out() {
    let model = Model::new();
    let messages = [message("user", &stories(10)), message("assistant", "Yes.")];
    let data = model.read_as("a.jsonl", row(&messages), 64).expect("reads");
    assert!(data.left_out() > 0);
    assert_eq!(data.pieces(), 1);
    assert!(model.text(data.piece(0)).ends_with("Assistant:\nYes.<|eot_id|>"));
}

#[test]
fn a_tokenizer_must_fit_the_model() {
    let model = Model::new();
    let error = Packer::new(&model.tokenizer, None, VOCAB - 1, 64).err().expect("too large").to_string();
    assert!(error.contains("the tokenizer has 380 tokens, but the model's vocabulary has 379"), "{error}");
    let error = Packer::new(&model.tokenizer, None, VOCAB, 2).err().expect("too short").to_string();
    assert!(error.contains("use 8 or more"), "{error}");
}

#[test]
fn templates_that_rewrite_turns_are_refused() {
    let mut files = tokenizer::train(&[], 259, 64).expect("bytes alone");
    let refuse = |files: &Files, messages: &[Message]| Model::of(files).refuse("a.jsonl", row(messages));
    let messages = [message("user", "a"), message("assistant", "b"), message("user", "c"), message("assistant", "d")];
    files.settings["chat_template"] = "{{ messages | length }}{{ messages[-1].content if messages }}".into();
    assert!(refuse(&files, &messages).contains("line 1: chat template: it writes earlier turns differently"));
    let (model, folder) = (Model::of(&files), tempfile::tempdir().expect("folder"));
    let packer = Packer::new(&model.tokenizer, None, VOCAB, 64).expect("fits");
    let path = put(&folder, "a.jsonl", row(&messages));
    let error = Dataset::read(&path, &packer, &Pool::new(1), |_| {}).expect_err("no template").to_string();
    assert!(error.contains("line 1: chat template: the model has none; use rows with \"text\""), "{error}");
    files.settings["chat_template"] = "{{ raise_exception('no systems') }}".into();
    assert!(refuse(&files, &messages).contains("line 1: chat template: no systems"));
}

/// Three sources: texts of two lengths, and conversations.
fn sources(model: &Model) -> Vec<Weighted> {
    let rows = |from: usize, count: usize, times: usize| -> String {
        let rows =
            (from..from + count).map(|n| serde_json::json!({ "text": story(n).repeat(times) }).to_string() + "\n");
        rows.collect()
    };
    let chats: String =
        (0..7).map(|n| row(&[message("user", &format!("What is {n}?")), message("assistant", &story(n))])).collect();
    let files = [(rows(0, 11, 1), 1.0), (rows(50, 5, 3), 2.5), (chats, 0.5)];
    let data =
        files.map(|(rows, weight)| Weighted { data: model.read_as("a.jsonl", rows, 128).expect("reads"), weight });
    data.into()
}

fn pieces(batch: &Batch) -> Vec<Vec<u32>> {
    batch.sequences().map(|rows| batch.tokens[rows].to_vec()).collect()
}

#[test]
fn batches_have_whole_pieces_and_positions() {
    let model = Model::new();
    let mut sampler = Sampler::new(sources(&model), 1).expect("sampler");
    let mut known: Vec<Vec<u32>> = Vec::new();
    for source in sources(&model) {
        known.extend((0..source.data.pieces()).map(|piece| source.data.piece(piece).to_vec()));
    }
    for _ in 0..40 {
        let batch = sampler.next(300);
        assert!(batch.len() <= 300 && batch.len() > 300 - 128, "{}", batch.len());
        assert_eq!(batch.starts[0], 0);
        assert!(pieces(&batch).iter().all(|piece| known.contains(piece)));
        let positions = batch.positions();
        assert_eq!((positions.len(), batch.targets.len()), (batch.len(), batch.len()));
        for rows in batch.sequences() {
            assert_eq!(positions[rows.clone()], (0..rows.len()).collect::<Vec<_>>());
            assert_eq!(batch.targets[rows.end - 1], NONE);
            assert!(batch.targets[rows].iter().any(|target| *target != NONE));
        }
    }
    assert_eq!(sampler.next(1).starts, [0], "a piece longer than a batch is one of its own");
}

#[test]
fn an_epoch_has_every_piece_once() {
    let model = Model::new();
    let source = || sources(&model).swap_remove(0);
    let data = source().data;
    let mut sampler = Sampler::new(vec![source()], 9).expect("sampler");
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let mut seen: Vec<Vec<u32>> = Vec::new();
        while seen.len() < data.pieces() {
            seen.extend(pieces(&sampler.next(1)));
        }
        epochs.push(seen);
    }
    let mut all: Vec<Vec<u32>> = (0..data.pieces()).map(|piece| data.piece(piece).to_vec()).collect();
    assert!(epochs[0] != all && epochs[1] != all && epochs[0] != epochs[1]);
    all.sort();
    for mut epoch in epochs {
        epoch.sort();
        assert_eq!(epoch, all);
    }
    let other = Sampler::new(vec![source()], 10).expect("sampler").next(1 << 10);
    assert_ne!(other, Sampler::new(vec![source()], 9).expect("sampler").next(1 << 10));
}

#[test]
fn sources_get_their_shares() {
    let model = Model::new();
    let sources = sources(&model);
    let own: Vec<Vec<Vec<u32>>> = sources
        .iter()
        .map(|source| (0..source.data.pieces()).map(|piece| source.data.piece(piece).to_vec()).collect())
        .collect();
    let mut sampler = Sampler::new(sources, 5).expect("sampler");
    let mut given = [0; 3];
    for _ in 0..200 {
        for piece in pieces(&sampler.next(400)) {
            let source = own.iter().position(|pieces| pieces.contains(&piece)).expect("known");
            given[source] += piece.len();
        }
    }
    let total: usize = given.iter().sum();
    for (given, share) in given.iter().zip([0.25, 0.625, 0.125]) {
        let off = *given as f64 - total as f64 * share;
        assert!(off.abs() <= 128.0, "{given} of {total} instead of {share}");
    }
}

#[test]
fn a_cursor_restores_exactly() {
    let model = Model::new();
    let mut sampler = Sampler::new(sources(&model), 3).expect("sampler");
    for steps in [0, 1, 17] {
        (0..steps).for_each(|_| drop(sampler.next(300)));
        let saved = serde_json::to_string(&sampler.cursor()).expect("JSON");
        let expected: Vec<Batch> = (0..30).map(|_| sampler.next(300)).collect();
        let mut restored = Sampler::new(sources(&model), 4).expect("sampler");
        restored.next(500);
        restored.restore(&serde_json::from_str::<Cursor>(&saved).expect("cursor")).expect("restores");
        let batches: Vec<Batch> = (0..30).map(|_| restored.next(300)).collect();
        assert_eq!(batches, expected);
        assert_eq!(restored.cursor(), sampler.cursor());
    }
    let mut fewer = sources(&model);
    fewer.pop();
    let mut fewer = Sampler::new(fewer, 3).expect("sampler");
    let error = fewer.restore(&sampler.cursor()).expect_err("fewer").to_string();
    assert!(error.contains("there were 3 data files, now there are 2"), "{error}");
    let mut swapped = sources(&model);
    swapped.swap(0, 1);
    let mut swapped = Sampler::new(swapped, 3).expect("sampler");
    let error = swapped.restore(&sampler.cursor()).expect_err("swapped").to_string();
    assert!(error.contains("data file 1 has other tokens"), "{error}");
}

#[test]
fn weights_are_positive_numbers() {
    let model = Model::new();
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut sources = sources(&model);
        sources[1].weight = weight;
        assert!(matches!(Sampler::new(sources, 1), Err(Error::Recipe(_))));
    }
    assert!(matches!(Sampler::new(vec![], 1), Err(Error::Recipe(_))));
}

#[test]
fn validation_batches_are_all_pieces_in_order() {
    let model = Model::new();
    let data = sources(&model).swap_remove(0).data;
    let batches: Vec<Batch> = data.batches(200, 1).collect();
    assert!(batches.len() > 1 && batches.iter().all(|batch| batch.len() <= 200));
    let found: Vec<Vec<u32>> = batches.iter().flat_map(pieces).collect();
    let expected: Vec<Vec<u32>> = (0..data.pieces()).map(|piece| data.piece(piece).to_vec()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_sample_follows_weights_and_spreads() {
    let model = Model::new();
    let folder = tempfile::tempdir().expect("folder");
    let log: String = (0..2000).map(|n| format!("Line {n} in the log of a lighthouse.\n")).collect();
    let text = put(&folder, "a.txt", &log);
    let chat = row(&[message("user", "Hello"), message("assistant", "I am Sterna.")]);
    let chats = put(&folder, "b.jsonl", chat.repeat(1000));
    let files = [(text, 3.0), (chats, 1.0)];
    let lines = sample(&files, 20_000, &model.template).expect("samples");
    let is_chat = |line: &&String| !line.starts_with("Line ");
    let bytes = |lines: Vec<&String>| lines.iter().map(|line| line.len()).sum::<usize>();
    let (chat, text): (Vec<_>, Vec<_>) = lines.iter().partition(is_chat);
    let place = |line: Option<&&String>| log.find(line.expect("lines").as_str()).expect("a line of the file");
    assert!(place(text.first()) < log.len() / 50 && place(text.last()) > log.len() / 50 * 49);
    let (chat, text) = (bytes(chat), bytes(text));
    assert!((14_000..=15_000).contains(&text) && (3_500..=5_000).contains(&chat), "{text} {chat}");
    let all = sample(&files[..1], 1 << 30, &model.template).expect("samples");
    assert_eq!(all.concat(), log);
    let line = put(&folder, "c.txt", "shells and ".repeat(10_000));
    let part = sample(&[(line, 1.0)], 20_000, &model.template).expect("samples").concat();
    assert!((15_000..=20_000).contains(&part.len()), "a file of one line: {}", part.len());
}
