//! A runner driven by hand: one thread, no engine, no clock.

mod toy;

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use sterna::checkpoint::Config;
use sterna::engine::{Embed, Evaluate, Event, Grammar, Pooling, Reader, Request, Runner, Score, TokenSet, Work};
use sterna::kernels::{Cpu, Rows};
use sterna::model::{Batch, Head, HeadMode, Mask, Network, State, Weights};
use sterna::{Error, Result};

use toy::{Toy, VOCAB, answer, builder, engine, prompt, request};

/// What a piece of work gave.
type Items = Arc<Mutex<Vec<Result<Event>>>>;

fn runner() -> Runner {
    builder().sequences(4).build_runner(Toy::new(|_| ()), None, None).unwrap()
}

/// Pushes work and leaves what comes of it in the list.
fn push(runner: &mut Runner, work: impl Into<Work>) -> (Items, sterna::engine::Ticket) {
    let items = Items::default();
    let sink = items.clone();
    let ticket = runner.push(work, move |item| sink.lock().unwrap().push(item)).unwrap();
    (items, ticket)
}

fn ids(items: &Items) -> Vec<u32> {
    let items = items.lock().unwrap();
    let id = |item: &Result<Event>| match item {
        Ok(Event::Token { id, at, .. }) => {
            assert!(at.is_none(), "a runner has no clock");
            Some(*id)
        }
        _ => None,
    };
    items.iter().filter_map(id).collect()
}

/// Alternates between two tokens.
#[derive(Debug)]
struct Alternating;

struct Turn(u32);

impl Grammar for Alternating {
    fn start(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Turn(5)))
    }
}

impl Reader for Turn {
    fn allowed(&mut self) -> Result<TokenSet> {
        let mut set = TokenSet::default();
        set.insert(self.0);
        Ok(set)
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.0 = 11 - token;
        Ok(())
    }
}

#[test]
fn three_kinds_of_work_run_together_by_hand() {
    thread_local! {
        static STEPS: RefCell<usize> = const { RefCell::new(0) };
    }
    let here = std::thread::current().id();
    let toy = Toy::new(move |_| {
        assert_eq!(std::thread::current().id(), here, "everything happens on the thread that steps");
        STEPS.with_borrow_mut(|steps| *steps += 1);
    });
    let mut runner = builder().sequences(4).build_runner(toy, None, None).unwrap();
    assert!(runner.is_idle() && !runner.step());
    let tokens = prompt(3, 70);
    let (generated, _a) = push(&mut runner, request(1, 40, 20));
    let grammar: Arc<dyn Grammar> = Arc::new(Alternating);
    let (guided, _b) = push(&mut runner, request(2, 10, 5).grammar(grammar));
    let (embedded, _c) = push(&mut runner, Embed::new(&tokens[..]).pooling(Pooling::Mean));
    let (scored, _d) = push(&mut runner, Score::new(&tokens[..]).from(50));
    while runner.step() {}
    assert!(runner.is_idle());

    let reference = engine(&self::builder());
    assert_eq!(ids(&generated), answer(&reference, request(1, 40, 20)).ids);
    assert_eq!(ids(&guided), [5, 6, 5, 6, 5]);
    let embedded = embedded.lock().unwrap();
    let [Ok(Event::Embedding(vector)), Ok(Event::Finished { usage, .. })] = &embedded[..] else {
        panic!("a vector, and the end: {embedded:?}");
    };
    assert_eq!(*vector, reference.embed(Embed::new(&tokens[..]).pooling(Pooling::Mean)).unwrap());
    assert_eq!((usage.prompt_tokens, usage.prefill_seconds), (70, 0.0));
    let mut hidden = Vec::new();
    for item in scored.lock().unwrap().iter() {
        if let Ok(Event::Hidden { rows, .. }) = item {
            hidden.extend_from_slice(rows.data());
        }
    }
    let expected = reference.score(Score::new(&tokens[..]).from(50)).unwrap();
    assert!(hidden == expected.flat_map(|part| part.unwrap().1.data().to_vec()).collect::<Vec<_>>());
    assert!(STEPS.with_borrow(|steps| *steps) < 70, "they share their forward passes");
}

#[test]
fn a_dropped_ticket_cancels() {
    let mut runner = runner();
    let (items, ticket) = push(&mut runner, request(1, 10, 100));
    (0..3).for_each(|_| assert!(runner.step()));
    drop(ticket);
    assert!(!runner.step());
    assert_eq!(ids(&items).len(), 3);
}

#[test]
fn impossible_work_is_refused_before_it_waits() {
    let mut runner = runner();
    let refused = |result: Result<_>| match result {
        Err(Error::Request { field, .. }) => field,
        Err(other) => panic!("another error: {other}"),
        Ok::<sterna::engine::Ticket, _>(_) => panic!("taken"),
    };
    assert_eq!(refused(runner.push(Embed::new([]), |_| ())), "tokens");
    assert_eq!(refused(runner.push(Score::new([1, VOCAB as u32]), |_| ())), "tokens");
    assert_eq!(refused(runner.push(Request::new(vec![1]).max_tokens(0), |_| ())), "max_tokens");
    assert!(runner.is_idle());
}

#[test]
fn a_network_that_panics_leaves_a_runner_that_runs() {
    let toy = Toy::new(|batch| assert!(!batch.tokens.contains(&13), "the toy does not like 13"));
    let mut runner = builder().build_runner(toy, None, None).unwrap();
    let (broken, _a) = push(&mut runner, Embed::new([13]));
    while runner.step() {}
    assert!(matches!(broken.lock().unwrap()[..], [Err(Error::EngineFailed)]));
    let (embedded, _b) = push(&mut runner, Embed::new([12]));
    while runner.step() {}
    assert!(matches!(embedded.lock().unwrap()[..], [Ok(Event::Embedding(_)), Ok(Event::Finished { .. })]));
}

/// A network without a head, whose every token sees the whole text.
struct Reading(Box<Toy>);

impl Network for Reading {
    fn config(&self) -> &Config {
        self.0.config()
    }

    fn forward(&self, _: &Cpu, batch: &Batch, _: &mut State) -> Rows {
        let mut hidden = Rows::zeros(batch.tokens.len(), 4);
        for run in batch.runs() {
            assert_eq!(batch.positions[run.rows.start], 0, "a text is in one batch");
            let sum: u32 = batch.tokens[run.rows.clone()].iter().sum();
            run.rows.clone().for_each(|row| hidden.row_mut(row)[row % 4] = sum as f32);
        }
        hidden.select(&batch.outputs)
    }

    fn head(&self) -> Option<&Head> {
        None
    }

    fn mask(&self, _: usize) -> Mask {
        Mask::Full
    }

    fn weights(&self) -> Weights {
        self.0.weights()
    }
}

#[test]
fn a_network_that_reads_texts_as_a_whole_gets_each_in_one_batch() {
    let engine = builder().chunk(16).sequences(3).build(Box::new(Reading(Toy::new(|_| ()))), None, None).unwrap();
    for len in [1, 60, 200, 200] {
        let tokens = prompt(len, len);
        let sum = tokens.iter().sum::<u32>() as f32;
        let mut expected = [0.0; 4];
        expected[(len - 1) % 4] = sum;
        assert_eq!(engine.embed(Embed::new(tokens)).unwrap(), expected, "{len} tokens");
    }
    let refused = |error: Error| matches!(error, Error::Request { field: "model", .. });
    assert!(refused(engine.generate(Request::new(vec![1])).unwrap_err()));
    assert!(refused(engine.logits(&[1, 2]).err().unwrap()));
    assert!(refused(engine.head(HeadMode::Exact).err().unwrap()));
    assert!(refused(Evaluate::new(8).run(&engine, &[1, 2, 3]).unwrap_err()));
}
