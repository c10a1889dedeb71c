//! The engine computes what was trained: a saved checkpoint, loaded as any other, gives the trainer's results.

mod tiny;

use sterna::checkpoint::Checkpoint;
use sterna::engine::Engine;
use sterna::kernels::layout::T16;
use sterna::kernels::{Activations, Rows, ternary};
use sterna::kernels::{Cpu, sets};
use sterna::model::kv::PAGE;
use sterna::model::{self, KvType, Settings};
use sterna_train::batch::NONE;
use sterna_train::data::{Dataset, Packer};
use sterna_train::files::RunDir;
use sterna_train::network::{Network, Role};
use sterna_train::pass::Pass;
use sterna_train::precision::Precision;
use sterna_train::session::Session;
use sterna_train::text::Text;
use sterna_train::trainer::{Trainer, random};
use sterna_train::validation::{self, Validation};
use sterna_train::weights::{Input, Weight, forward, prepare};
use sterna_train::{Batch, tokenizer};
use tiny::{SHAPE, Tiny, story};

/// Sequences of 1, 5, 32 and 20 tokens; some rows have no target.
fn batch() -> Batch {
    let mut batch = Batch::default();
    for length in [1, 5, 32, 20] {
        batch.starts.push(batch.len());
        for _ in 0..length {
            let i = batch.len();
            batch.tokens.push((i * i * 7 % SHAPE.vocab) as u32);
            batch.targets.push(if i % 4 == 1 { NONE } else { (i * 13 % SHAPE.vocab) as u32 });
        }
    }
    batch
}

/// Latent weights: some lie on thresholds, some are already ternary, and some are all zero.
fn trainer(tiny: &Tiny) -> Trainer {
    let config = SHAPE.config(vec![1, 2]).expect("possible");
    let mut parameters = random(&Network::of(&config), 5);
    let [first, second] = &mut parameters.layers[..] else { panic!("two layers") };
    // The mean is 1: a half rounds to even, to 0, and so does a value that bf16 rounds to a half.
    let ties = [0.5, -0.5, 1.5, -1.5, 0.5 + 2f32.powi(-11), -0.5, 1.5, 1.5 - 2f32.powi(-11)];
    first.q.values.iter_mut().zip(ties.into_iter().cycle()).for_each(|(value, tie)| *value = tie);
    first.gate.values.iter_mut().enumerate().for_each(|(i, value)| *value = [0.3, 0.0, -0.3][i % 3]);
    second.up.values.iter_mut().enumerate().for_each(|(i, value)| *value *= (1 + i % 50) as f32);
    second.k.values.fill(0.0);
    Trainer::new(Cpu::new(2).expect("a set"), tiny.recipe.clone(), config, parameters)
}

fn save(tiny: &Tiny, trainer: &Trainer) -> RunDir {
    let out = RunDir::create(&tiny.path("run")).expect("made");
    let texts: Vec<String> = (0..100).map(story).collect();
    tokenizer::train(&texts, SHAPE.vocab, SHAPE.context).expect("trains").write(&out.model()).expect("written");
    let text = Text::find_or_train(&out.model(), &[], trainer.config()).expect("there");
    out.save_result(trainer, &text).expect("saved");
    out
}

/// The products of a trainer's layer with the unit vectors: trits times scale, both to the last bit.
fn products(cpu: &Cpu, layer: &Weight, cols: usize) -> Rows {
    let [out] = forward(cpu, [layer], &Input::Codes(units(cpu, cols)));
    out
}

fn units(cpu: &Cpu, cols: usize) -> Activations {
    let data = (0..cols * cols).map(|i| f32::from(u8::from(i % (cols + 1) == 0))).collect();
    Activations::quantize(cpu, &Rows::from_vec(cols, data))
}

#[test]
fn trits_and_scales_are_those_that_are_loaded() {
    let tiny = Tiny::new();
    let trainer = trainer(&tiny);
    let checkpoint = Checkpoint::open(&save(&tiny, &trainer).model()).expect("opens");
    let cpu = trainer.cpu();
    let weights = prepare(cpu, trainer.parameters(), Precision::Ternary).expect("finite");
    for (parameter, weight) in trainer.parameters().all().into_iter().zip(weights.all()) {
        let slot = &parameter.slot;
        if slot.role != Role::Linear {
            continue;
        }
        let loaded = checkpoint.ternary(cpu, &slot.name, (slot.rows, slot.cols), &T16).expect("loads");
        let expected = ternary::matmul(cpu, &[&loaded], &units(cpu, slot.cols)).remove(0);
        assert!(products(cpu, weight, slot.cols).data() == expected.data(), "{}", slot.name);
        let trits: Vec<i8> = (0..slot.rows).flat_map(|row| loaded.trits(row)).collect();
        match slot.name.as_str() {
            "model.layers.0.self_attn.q_proj.weight" => {
                assert_eq!((&trits[..8], loaded.scale()), (&[0, 0, 1, -1, 0, 0, 1, 1][..], Some(1.0)));
            }
            "model.layers.0.mlp.gate_proj.weight" => {
                assert_eq!(&trits[..6], [1, 0, -1, 1, 0, -1]);
                assert!(
                    (loaded.scale().expect("one scale") - 0.3).abs() < 1e-3,
                    "as it is, not the mean of it and zeros"
                );
            }
            "model.layers.1.self_attn.k_proj.weight" => assert!(trits.iter().all(|trit| *trit == 0)),
            _ => assert!([-1, 0, 1].iter().all(|trit| trits.contains(trit)), "{}", slot.name),
        }
    }
}

/// Compares before the first step and after some, on every instruction set: equal bits for hidden states, close logits.
#[test]
fn hidden_states_and_logits_are_the_engines() {
    let tiny = Tiny::new();
    let mut trainer = trainer(&tiny);
    let batch = batch();
    for round in 0..2 {
        let out = save(&tiny, &trainer);
        let cpu = trainer.cpu();
        let checkpoint = Checkpoint::open(&out.model()).expect("opens");
        let network = model::load(&checkpoint, cpu, Settings::default()).expect("loads");
        let (mut rows, mut first) = (model::Batch::default(), 0);
        for (number, sequence) in batch.sequences().enumerate() {
            let pages: Vec<usize> = (first..first + sequence.len().div_ceil(PAGE)).collect();
            first += pages.len();
            rows.push(number, &pages, 0, &batch.tokens[sequence]);
        }
        rows.outputs = (0..batch.len()).collect();
        let hidden = network.forward(cpu, &rows, &mut network.state(KvType::F16));
        for set in sets::available() {
            let cpu = Cpu::with(set, 2);
            let weights = prepare(&cpu, trainer.parameters(), Precision::Ternary).expect("finite");
            let mut pass = Pass::new(trainer.config());
            let own = pass.hidden(&cpu, &weights, Precision::Ternary, &batch);
            assert!(own.data() == hidden.data(), "{set:?}: hidden states, round {round}");

            let logits = pass.logits(&cpu, &weights, Precision::Ternary, &batch, &rows.outputs);
            let engine = Engine::builder().threads(2).open(out.model()).expect("opens");
            let mut off = 0f32;
            for sequence in batch.sequences() {
                let mut row = sequence.start;
                for part in engine.logits(&batch.tokens[sequence.clone()]).expect("computes") {
                    let part = part.expect("computes");
                    for i in 0..part.len() {
                        let pairs = part.row(i).iter().zip(logits.row(row + i));
                        off = pairs.map(|(a, b)| (a - b).abs()).fold(off, f32::max);
                    }
                    row += part.len();
                }
                assert_eq!(row, sequence.end);
            }
            println!("{set:?}, round {round}: logits off by {off:.1e}");
            assert!(off < 1e-4, "{set:?}: logits off by {off}");

            let sum = pass.loss(&cpu, &weights, Precision::Ternary, &batch).cross_entropy;
            let tokenizer = engine.tokenizer().expect("has one");
            let batches = std::slice::from_ref(&batch);
            let score = Validation::by_engine(&engine, &cpu, batches, tokenizer).expect("computes");
            assert_eq!(score.tokens, batch.learned());
            let off = (score.loss - sum / batch.learned() as f64).abs();
            assert!(off < 1e-5, "{set:?}: loss off by {off}");
        }
        for _ in 0..3 {
            trainer.step(std::slice::from_ref(&batch)).expect("a step");
        }
    }
}

/// The validation score in a run's log equals the loss of the trainer's network on the text.
#[test]
fn a_score_is_that_of_what_was_trained() {
    let tiny = Tiny::new();
    tiny.run("out").expect("runs");
    let out = tiny.path("out");
    let session = Session::open(tiny.recipe.clone(), &out, 2, &mut |_| {}).expect("opens");
    let (trainer, engine) = (session.trainer(), Engine::builder().open(out.join("model")).expect("opens"));
    let tokenizer = engine.tokenizer().expect("has one");
    let packer = Packer::new(tokenizer, None, SHAPE.vocab, SHAPE.context).expect("fits");
    let text = tiny.recipe.validate.as_deref().expect("a file");
    let data = Dataset::read(text, &packer, trainer.cpu().pool(), |_| {}).expect("reads");
    let weights = prepare(trainer.cpu(), trainer.parameters(), Precision::Ternary).expect("finite");
    let mut pass = Pass::new(trainer.config());
    let losses = validation::batches(&data).into_iter().map(|batch| {
        let sums = pass.loss(trainer.cpu(), &weights, Precision::Ternary, &batch);
        (sums.cross_entropy, batch.learned())
    });
    let (sum, count) = losses.fold((0.0, 0), |(sum, count), (loss, learned)| (sum + loss, count + learned));
    let log = std::fs::read_to_string(out.join("log.jsonl")).expect("a log");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    let logged = |name: &str| last["validation"][name].as_f64().expect("a number");
    assert_eq!(logged("tokens"), count as f64);
    assert!((logged("loss") - sum / count as f64).abs() < 1e-5);
    // Special tokens have no bytes.
    let bytes = std::fs::metadata(text).expect("there").len() as f64;
    let bits = sum / std::f64::consts::LN_2 / bytes;
    println!("{} bits per byte in the log, {bits} by hand", logged("bits_per_byte"));
    assert!((logged("bits_per_byte") / bits - 1.0).abs() < 1e-4);
}
