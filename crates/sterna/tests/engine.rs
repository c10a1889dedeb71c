//! The engine over a toy network: what comes out must not depend on chunks, batches, queues or who else asks.

mod toy;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use sterna::Error;
use sterna::checkpoint::Checkpoint;
use sterna::engine::{
    Embed, Engine, EngineBuilder, Evaluate, Event, FinishReason, Generation, Logprob, Pooling, Request, Sampling, Score,
};
use sterna::kernels::Cpu;
use sterna::model::{Batch, HeadMode, KvType, Network, Settings};
use sterna::text::{Message, Tokenizer};

use toy::{Answer, CONTEXT, Toy, VOCAB, answer, builder, collect, counting, engine, gated, prompt, request};

/// The loop in its simplest form: the whole history in one forward pass for every token.
fn naive_greedy(prompt: &[u32], count: usize) -> Vec<u32> {
    let (toy, cpu) = (Toy::new(|_| ()), Cpu::new(1).unwrap());
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let mut batch = Batch::of(&tokens);
        batch.want_last();
        let hidden = toy.forward(&cpu, &batch, &mut toy.state(KvType::F16));
        let logits = toy.head().unwrap().logits(&cpu, &hidden);
        let mut best = 0;
        for (id, logit) in logits.row(0).iter().enumerate() {
            if *logit > logits.row(0)[best] {
                best = id;
            }
        }
        tokens.push(best as u32);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn greedy_answers_are_those_of_the_naive_loop() {
    let engine = engine(&builder());
    for (seed, len) in [(1, 1), (2, 16), (3, 17), (4, 70)] {
        let request = Request::new(prompt(seed, len)).max_tokens(40);
        assert_eq!(answer(&engine, request).ids, naive_greedy(&prompt(seed, len), 40), "prompt of {len}");
    }
}

#[test]
fn seeds_reproduce_and_differ() {
    let engine = engine(&builder());
    let with = |seed| {
        let mut request = request(1, 20, 30);
        request.sampling.seed = seed;
        answer(&engine, request)
    };
    assert_eq!(with(5), with(5));
    assert_ne!(with(5), with(6));
}

/// Samplings that each make the head leave out other rows.
fn samplings() -> Vec<Sampling> {
    let warm = Sampling::default().temperature(0.8);
    let penalties = warm.clone().repetition_penalty(1.3).presence_penalty(0.4).frequency_penalty(0.2);
    vec![
        Sampling::default(),
        warm.clone(),
        penalties.clone().temperature(0.0),
        warm.clone().temperature(0.0).repetition_penalty(0.7),
        warm.clone().temperature(0.0).presence_penalty(-0.5),
        warm.clone().top_k(1),
        warm.clone().top_k(40),
        penalties.clone().top_k(40).top_p(0.9).min_p(0.05).typical_p(0.9),
        warm.clone().top_k(1_000_000).top_p(0.5),
        warm.clone().top_p(0.9),
        warm.clone().top_p(0.9).temperature(3.0),
        warm.clone().top_p(0.9999).temperature(0.2),
        penalties.clone().top_p(0.95).min_p(0.1),
        warm.clone().min_p(0.02),
        penalties.min_p(0.9).temperature(2.0),
        warm.typical_p(0.5),
    ]
}

#[test]
fn a_screened_head_draws_what_the_full_product_draws() {
    let engine = |mode| builder().build(Toy::with_head(3_000, mode, |_| ()), None, None).unwrap();
    let (exact, full, two_plane) = (engine(HeadMode::Exact), engine(HeadMode::F16), engine(HeadMode::TwoPlane));
    for (seed, sampling) in samplings().into_iter().enumerate() {
        let sampling = sampling.seed(seed as u64);
        let request = Request::new(prompt(seed, 30)).max_tokens(60).sampling(sampling.clone());
        let expected = answer(&full, request.clone());
        assert_eq!(answer(&exact, request.clone()), expected, "{sampling:?}");
        // Not proven, but no row of 16 weights comes near its margin.
        if sampling.temperature == 0.0 {
            assert_eq!(answer(&two_plane, request), expected, "two-plane, {sampling:?}");
        }
    }
}

#[test]
fn chunks_do_not_change_answers() {
    let ask = |chunk| {
        let request = request(1, 75, 30).logprobs(3);
        answer(&engine(&builder().chunk(chunk)), request)
    };
    let expected = ask(1);
    assert_eq!(expected.logprobs.len(), 30);
    for chunk in [0, 7, 32, 1_000] {
        assert_eq!(ask(chunk), expected, "chunk {chunk}");
    }
}

#[test]
fn interleaved_requests_equal_the_same_requests_alone() {
    // 255 tokens of prompts take 17 steps, one more if the engine meets the first alone: all answers are longer.
    let requests: Vec<Request> = (0..5).map(|i| request(i, 5 + 23 * i, 30 + 5 * i).logprobs(1)).collect();
    let alone = engine(&builder());
    let expected: Vec<Answer> = requests.iter().map(|request| answer(&alone, request.clone())).collect();

    let (engine, open, widths) = gated(&builder().sequences(5));
    let generations: Vec<Generation> = requests.into_iter().map(|request| engine.generate(request).unwrap()).collect();
    drop(open);
    let answers: Vec<Answer> = generations.into_iter().map(|generation| collect(generation).0).collect();
    assert_eq!(answers, expected);
    let widths = widths.lock().unwrap();
    assert!(widths.iter().any(|rows| rows.len() == 5), "the requests never shared a forward pass: {widths:?}");
    assert!(widths.iter().all(|rows| rows.iter().sum::<usize>() <= 16), "more rows than a chunk: {widths:?}");
}

#[test]
fn requests_beyond_the_cache_wait_their_turn() {
    // 256 positions: each request takes 160, so they run one after another.
    let (engine, open, widths) = gated(&builder());
    let generations: Vec<Generation> = (0..3).map(|i| engine.generate(request(i, 100, 60)).unwrap()).collect();
    drop(open);
    for (i, generation) in generations.into_iter().enumerate() {
        assert_eq!(collect(generation).0, answer(&engine, request(i, 100, 60)), "request {i}");
    }
    assert!(widths.lock().unwrap().iter().all(|rows| rows.len() == 1), "two ran at a time");
}

#[test]
fn dropping_a_generation_gives_its_pages_back() {
    let (engine, open, steps) = gated(&builder());
    // Takes the whole cache and would run for 250 steps.
    let mut hog = engine.generate(request(1, 6, 250)).unwrap();
    let waiting = engine.generate(request(2, 6, 250)).unwrap();
    let last = engine.generate(request(3, 6, 2)).unwrap();
    open.send(()).unwrap();
    assert!(matches!(hog.next(), Some(Ok(Event::Token { .. }))));
    drop(hog);
    drop(waiting);
    drop(open);
    assert_eq!(collect(last).0.ids.len(), 2);
    // One step of the first request, perhaps one more until its end is noticed, and two of the last.
    let steps = steps.lock().unwrap().len();
    assert!(steps <= 4, "{steps} steps: a dropped request went on");
}

#[test]
fn stop_tokens_end_answers_and_are_not_part_of_them() {
    let engine = engine(&builder());
    let free = answer(&engine, request(1, 20, 30)).ids;
    let stop = free[10];
    let first = free.iter().position(|&id| id == stop).unwrap();
    let stopped = answer(&engine, request(1, 20, 30).stop_tokens(vec![96, stop]));
    assert!(!free.contains(&96), "choose another token that is not generated");
    assert_eq!((stopped.ids.as_slice(), stopped.reason), (&free[..first], FinishReason::Stop));
}

#[test]
fn the_models_own_end_tokens_count_unless_ignored() {
    let free = answer(&engine(&builder()), request(1, 20, 30)).ids;
    let mut toy = Toy::new(|_| ());
    toy.config.eos = vec![free[4]];
    let engine = builder().build(toy, None, None).unwrap();
    let first = free.iter().position(|&id| id == free[4]).unwrap();
    assert_eq!(answer(&engine, request(1, 20, 30)).ids, free[..first]);
    assert_eq!(answer(&engine, request(1, 20, 30).ignore_eos(true)).ids, free);
}

#[test]
fn usage_counts_tokens_and_lengths_end_answers() {
    let engine = engine(&builder());
    let (limited, usage) = collect(engine.generate(request(1, 20, 7)).unwrap());
    assert_eq!((limited.ids.len(), limited.reason), (7, FinishReason::Length));
    assert_eq!((usage.prompt_tokens, usage.tokens), (20, 7));
    assert!(usage.prefill_tokens_per_s() > 0.0 && usage.decode_tokens_per_s() > 0.0, "{usage:?}");

    let full = answer(&engine, request(1, 20, 1).max_tokens(None::<usize>));
    assert_eq!((full.ids.len(), full.reason), (CONTEXT - 20, FinishReason::Length));
    assert_eq!(answer(&engine, request(1, CONTEXT - 1, 9)).ids.len(), 1);
    let single = collect(engine.generate(request(1, 20, 1)).unwrap()).1;
    assert_eq!(single.decode_tokens_per_s(), 0.0);
}

#[test]
fn prompts_that_are_too_long_are_refused_or_shortened() {
    let engine = engine(&builder().context(64));
    let long = request(1, 100, 8);
    let error = engine.generate(long.clone()).unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { tokens: 100, context: 64 }), "{error}");
    let shortened = answer(&engine, long.clone().truncate(true));
    let newest = long.prompt[100 - 56..].to_vec();
    let newest = long.prompt(newest);
    assert_eq!(shortened, answer(&engine, newest));
}

#[test]
fn impossible_requests_are_refused_before_they_run() {
    let engine = engine(&builder());
    for bad in [Request::new(vec![]), Request::new(vec![1, VOCAB as u32]), request(1, 20, 0)] {
        assert!(matches!(engine.generate(bad), Err(Error::Request { .. })));
    }
    assert!(engine.tokenizer().is_err() && engine.template().is_err());
    for context in [0, 1, CONTEXT + 1] {
        let error = builder().context(context).build(Toy::new(|_| ()), None, None).err().unwrap().to_string();
        assert!(error.contains(&CONTEXT.to_string()), "{error}");
    }
}

#[test]
fn logprobs_are_those_of_the_raw_logits() {
    let engine = engine(&builder());
    let mut request = request(1, 20, 5).logprobs(VOCAB);
    request.sampling.top_k = 2;
    let answer = answer(&engine, request.clone());
    let mut tokens = request.prompt;
    for (&id, (own, all)) in answer.ids.iter().zip(&answer.logprobs) {
        let logits = logits(&engine, &tokens).split_off((tokens.len() - 1) * VOCAB);
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        assert_eq!((own.id, all.len()), (id, VOCAB));
        for Logprob { id, logprob } in all.iter().chain([own]) {
            let exact = f64::from(logits[*id as usize]) - total.ln();
            assert!((f64::from(*logprob) - exact).abs() < 1e-5, "{id}: {logprob} {exact}");
        }
        tokens.push(id);
    }
}

/// The logits of all tokens, `(token, vocab)`.
fn logits(engine: &Engine, tokens: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    for rows in engine.logits(tokens).unwrap() {
        all.extend_from_slice(rows.unwrap().data());
    }
    all
}

#[test]
fn logits_come_for_every_token_whatever_the_chunk() {
    let tokens = prompt(3, 70);
    let expected = logits(&engine(&builder().chunk(70)), &tokens);
    assert_eq!(expected.len(), 70 * VOCAB);
    for chunk in [1, 9, 32] {
        let engine = engine(&builder().chunk(chunk));
        assert!(engine.logits(&tokens).unwrap().all(|rows| rows.unwrap().len() <= chunk));
        assert_eq!(logits(&engine, &tokens), expected, "chunk {chunk}");
    }
    let error = engine(&builder()).logits(&prompt(1, CONTEXT + 1)).err().unwrap();
    assert!(error.to_string().contains("257"), "{error}");
    assert!(matches!(engine(&builder()).logits(&[]), Err(Error::Request { field: "tokens", .. })));
}

#[test]
fn logits_that_are_dropped_are_not_computed_further() {
    let (engine, open, steps) = gated(&builder());
    let mut parts = engine.logits(&prompt(1, 200)).unwrap();
    open.send(()).unwrap();
    assert_eq!(parts.next().unwrap().unwrap().len(), 16);
    drop(parts);
    drop(open);
    assert_eq!(answer(&engine, request(2, 10, 2)).ids.len(), 2);
    let steps = steps.lock().unwrap().len();
    assert!(steps <= 4, "one or two of the text, two of the answer: {steps}");
}

#[test]
fn hidden_states_come_from_where_they_are_wanted() {
    let engine = engine(&builder());
    let tokens = prompt(3, 70);
    let all: Vec<f32> =
        engine.score(Score::new(&tokens[..])).unwrap().flat_map(|part| part.unwrap().1.data().to_vec()).collect();
    for from in [0, 1, 40, 64, 69] {
        let (mut next, mut got) = (from, Vec::new());
        for part in engine.score(Score::new(&tokens[..]).from(from)).unwrap() {
            let (first, rows) = part.unwrap();
            assert_eq!(first, next);
            next += rows.len();
            got.extend_from_slice(rows.data());
        }
        assert!(next == 70 && got == all[from * 16..], "from {from}");
    }
    assert!(matches!(engine.score(Score::new(tokens).from(70)), Err(Error::Request { field: "from", .. })));
}

#[test]
fn embeddings_are_pooled_hidden_states() {
    let tokens = prompt(3, 70);
    let hidden: Vec<f32> = (engine(&builder()).score(Score::new(&tokens[..])).unwrap())
        .flat_map(|part| part.unwrap().1.data().to_vec())
        .collect();
    let mean: Vec<f32> =
        (0..16).map(|i| ((0..70).fold(0f32, |sum, row| sum + hidden[16 * row + i]) as f64 / 70.0) as f32).collect();
    for chunk in [1, 16, 100] {
        let engine = engine(&builder().chunk(chunk));
        // The second time, the prefix cache has a part of it.
        for _ in 0..2 {
            assert_eq!(engine.embed(Embed::new(&tokens[..])).unwrap(), hidden[69 * 16..]);
            assert_eq!(engine.embed(Embed::new(&tokens[..]).pooling(Pooling::Mean)).unwrap(), mean);
        }
        let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let unit = engine.embed(Embed::new(&tokens[..]).pooling(Pooling::Mean).normalized()).unwrap();
        assert!((length(&unit) - 1.0).abs() < 1e-6);
        let ratio = f64::from(unit[3]) / f64::from(mean[3]);
        assert!((ratio * length(&mean) - 1.0).abs() < 1e-5, "the direction is that of the mean");
    }
}

#[test]
fn many_embeddings_come_in_order_and_share_steps() {
    let (engine, steps) = counting(&builder().sequences(8));
    let texts: Vec<_> = (0..90).map(|i| prompt(i, 1 + i % 7)).collect();
    let alone: Vec<_> = texts.iter().map(|text| engine.embed(Embed::new(&text[..]).normalized()).unwrap()).collect();
    let before = steps.lock().unwrap().len();
    let mut read = 0;
    let embeds = texts.iter().inspect(|_| read += 1).map(|text| Embed::new(&text[..]).normalized());
    let together: Vec<_> = engine.embed_all(embeds).map(Result::unwrap).collect();
    assert!(together == alone && read == 90);
    let taken = steps.lock().unwrap().len() - before;
    assert!(taken < 45, "90 texts in {taken} steps");
    let mixed = [Embed::new([1]), Embed::new([VOCAB as u32]), Embed::new([2])];
    let results: Vec<_> = engine.embed_all(mixed).map(|vector| vector.is_ok()).collect();
    assert_eq!(results, [true, false, true], "an error is that of its text");
}

#[test]
fn embeddings_are_cut_before_their_length_is_taken() {
    let engine = engine(&builder());
    let whole = engine.embed(Embed::new([3, 4, 5])).unwrap();
    let cut = engine.embed(Embed::new([3, 4, 5]).dimensions(4).normalized()).unwrap();
    let length = whole[..4].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let expected: Vec<f32> = whole[..4].iter().map(|x| (f64::from(*x) / length) as f32).collect();
    assert!(cut.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{cut:?} {expected:?}");
    for dimensions in [0, 17] {
        let error = engine.embed(Embed::new([3]).dimensions(dimensions)).unwrap_err();
        assert!(matches!(error, Error::Request { field: "dimensions", .. }));
        assert!(error.to_string().contains("give 1 to 16"), "{error}");
    }
}

#[test]
fn perplexity_is_that_of_the_windows() {
    let engine = engine(&builder().chunk(5));
    let tokens = prompt(3, 90);
    for (context, stride) in [(90, 90), (256, 1), (32, 32), (32, 8), (31, 30), (2, 1)] {
        let mut nll = Vec::new();
        let (mut begin, mut scored) = (0, 1);
        loop {
            let window = &tokens[begin..tokens.len().min(begin + context)];
            let logits = logits(&engine, window);
            for target in scored.max(begin + 1)..begin + window.len() {
                let row = &logits[(target - 1 - begin) * VOCAB..][..VOCAB];
                let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                nll.push(total.ln() - f64::from(row[tokens[target] as usize]));
            }
            scored = begin + window.len();
            if scored == tokens.len() {
                break;
            }
            begin += stride;
        }
        let n = nll.len() as f64;
        let mean = nll.iter().sum::<f64>() / n;
        let deviation = (nll.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();

        let mut reported = 0;
        let windows = Evaluate::new(context).stride(stride).progress(|so_far| reported = so_far[0].tokens);
        let result = windows.run(&engine, &tokens).unwrap();
        assert_eq!((result.tokens, reported), (nll.len(), nll.len()), "{context} {stride}");
        assert!((result.nll - mean).abs() < 1e-6, "{} {mean}", result.nll);
        assert!((result.perplexity - mean.exp()).abs() < 1e-5 * mean.exp());
        assert!((result.standard_error - mean.exp() * deviation / n.sqrt()).abs() < 1e-5 * mean.exp());
    }
}

#[test]
fn impossible_evaluations_are_refused() {
    let engine = engine(&builder());
    let refused = |len, context, stride| Evaluate::new(context).stride(stride).run(&engine, &prompt(1, len)).is_err();
    assert!(refused(1, 32, 16) && refused(50, 1, 1) && refused(50, CONTEXT + 1, 16));
    assert!(refused(50, 32, 0) && refused(50, 32, 33));
    assert!(!refused(50, 32, 32));
}

#[test]
fn an_engine_starts_anew_after_a_panic_of_its_network() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let toy = Toy::new(move |batch| {
        let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
        assert!(!batch.tokens.contains(&13), "the toy does not like 13");
    });
    let engine = builder().sequences(2).build(toy, None, None).unwrap();
    let without_13 = |request: &mut Request| request.prompt.retain(|id| *id != 13);
    let mut expected = request(2, 30, 5);
    without_13(&mut expected);
    expected.sampling.bias = vec![(13, -1e9)];
    let health = engine.health();
    assert_eq!((health.up, health.restarts, health.failed_requests), (true, 0, 0));

    let beside = engine.generate(expected.clone()).unwrap();
    let mut broken = engine.generate(request(1, 2, 200).prompt(vec![13; 2])).unwrap();
    // Its worst case does not fit beside those of the first two.
    let waiting = engine.generate(expected.clone().max_tokens(None::<usize>)).unwrap();
    drop(open);
    assert!(matches!(broken.next(), Some(Err(Error::EngineFailed))), "what ran fails");
    assert!(broken.next().is_none());
    assert!(matches!(beside.last(), Some(Err(Error::EngineFailed))), "what ran beside it fails, too");
    assert_eq!(collect(waiting).0.ids.len(), CONTEXT - expected.prompt.len(), "what waited is served");
    let health = engine.health();
    assert_eq!((health.up, health.restarts, health.failed_requests), (true, 1, 2));
    let plain = self::engine(&builder());
    assert_eq!(answer(&engine, expected.clone()), answer(&plain, expected), "later requests are served as ever");
}

#[test]
fn a_sink_that_panics_ends_its_own_request_only() {
    let engine = engine(&builder().sequences(2));
    let (sender, items) = mpsc::channel();
    let ticket = engine.submit(request(1, 20, 100), move |item| {
        let token = item.is_ok();
        sender.send(item.map(|_| ())).unwrap();
        assert!(!token, "this sink takes no tokens");
    });
    let beside = engine.generate(request(2, 20, 30)).unwrap();
    let items: Vec<_> = items.iter().collect();
    assert_eq!(items.len(), 2, "the token, and an error instead of the rest");
    assert!(matches!(items[1], Err(Error::Request { field: "sink", .. })), "{:?}", items[1]);
    assert_eq!(collect(beside).0, answer(&engine, request(2, 20, 30)));
    assert_eq!(engine.health().restarts, 0);
    drop(ticket);
}

#[test]
fn a_sink_that_panics_at_every_item_ends_its_own_request_only() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("and as it is dropped");
        }
    }
    let engine = engine(&builder());
    let panics = Panics;
    let ticket = engine.submit(request(1, 20, 100), move |_| {
        let _panics = &panics;
        panic!("this sink takes nothing");
    });
    assert_eq!(answer(&engine, request(2, 20, 30)).ids.len(), 30);
    assert_eq!(engine.health().restarts, 0);
    drop(ticket);
}

#[test]
fn a_closed_engine_has_freed_its_memory() {
    let held = Arc::new(());
    let watched = Arc::downgrade(&held);
    let engine = builder().build(Toy::new(move |_| drop(held.clone())), None, None).unwrap();
    let clone = engine.clone();
    let generation = engine.generate(request(1, 20, 30)).unwrap();
    engine.close();
    assert_eq!(watched.strong_count(), 1, "a clone is left");
    clone.close();
    assert_eq!(watched.strong_count(), 0);
    assert_eq!(collect(generation).0.ids.len(), 30, "submitted work is finished first");
}

#[test]
fn answers_outlive_their_engine() {
    let engine = engine(&builder());
    let expected = answer(&engine, request(1, 20, 30));
    let generation = engine.generate(request(1, 20, 30)).unwrap();
    drop(engine);
    assert_eq!(collect(generation).0, expected);
}

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");

/// The toy with the vocabulary and the tokenizer of the embedded model.
fn speaking(builder: &EngineBuilder) -> Engine {
    let checkpoint = Checkpoint::open(Path::new(EMBEDDED)).unwrap();
    let tokenizer = Tokenizer::new(checkpoint.path(), checkpoint.text(), checkpoint.config()).unwrap();
    let toy = Toy::with_vocab(checkpoint.config().vocab, |_| ());
    builder.build(toy, Some(tokenizer), None).unwrap()
}

/// All text of an answer, its ids, and why it ended.
fn read(engine: &Engine, request: Request) -> (String, Vec<u32>, FinishReason) {
    let (mut all, mut ids) = (String::new(), Vec::new());
    for event in engine.generate(request).unwrap() {
        match event.unwrap() {
            Event::Token { id, text, .. } => {
                ids.push(id);
                all += &text;
            }
            Event::Finished { text, reason, .. } => return (all + &text, ids, reason),
            other => panic!("not an event of an answer: {other:?}"),
        }
    }
    unreachable!("an answer ends with Finished")
}

#[test]
fn streamed_text_is_the_decoded_answer() {
    let engine = speaking(&builder());
    let prompt = engine.tokenizer().unwrap().encode_prompt("Once upon a time").unwrap();
    let (text, ids, reason) = read(&engine, request(1, 0, 60).prompt(prompt.clone()).ignore_eos(true));
    let whole: Vec<u32> = prompt.iter().chain(&ids).copied().collect();
    let decoded = |ids| engine.tokenizer().unwrap().decode_without_special(ids).unwrap();
    assert_eq!((decoded(&prompt) + &text, reason), (decoded(&whole), FinishReason::Length));
}

#[test]
fn stop_strings_end_answers_wherever_tokens_break() {
    let engine = speaking(&builder());
    let ask = |stop: &str| {
        let stop = if stop.is_empty() { vec![] } else { vec!["never written".to_owned(), stop.to_owned()] };
        read(&engine, request(1, 0, 60).prompt(vec![7, 8, 9]).stop(stop).ignore_eos(true))
    };
    let (free, free_ids, _) = ask("");
    let characters: Vec<char> = free.chars().collect();
    for start in [0, 20, 55] {
        let stop: String = characters[start..start + 9].iter().collect();
        let (text, ids, reason) = ask(&stop);
        assert_eq!((text.as_str(), reason), (free.split(&stop).next().unwrap(), FinishReason::Stop));
        assert!(free_ids.starts_with(&ids) && ids.len() < free_ids.len());
    }
    let stopped = |stop: &[&str]| {
        let stop = stop.iter().map(|stop| (*stop).to_owned());
        let request = request(1, 0, 60).prompt(vec![7, 8, 9]).stop(stop.collect::<Vec<_>>()).ignore_eos(true);
        let last = engine.generate(request).unwrap().last();
        let Some(Ok(Event::Finished { stop, .. })) = last else { panic!("not the end of an answer: {last:?}") };
        stop
    };
    let written: String = characters[20..29].iter().collect();
    assert_eq!([stopped(&["never written", &written]), stopped(&["never written"])], [Some(1), None]);
}

#[test]
fn empty_prompts_begin_with_bos_and_shortened_ones_keep_it() {
    let engine = speaking(&builder().context(64));
    let bos = engine.tokenizer().unwrap().bos().unwrap();
    let ask = |prompt| read(&engine, request(1, 0, 16).prompt(prompt).truncate(true).ignore_eos(true)).1;
    assert_eq!(ask(vec![]), ask(vec![bos]));
    let long: Vec<u32> = [bos].into_iter().chain(prompt(1, 99)).collect();
    let short: Vec<u32> = [bos].into_iter().chain(long[100 - 47..].iter().copied()).collect();
    assert_eq!(ask(long), ask(short));
}

#[test]
fn the_embedded_model_speaks_the_same_on_any_threads_and_chunks() {
    let ask = |threads, chunk| {
        let engine = Engine::builder().threads(threads).chunk(chunk).open(EMBEDDED).unwrap();
        let messages = [Message { role: "user".into(), content: "Who are you?".into() }];
        let prompt = engine.template().unwrap().encode(engine.tokenizer().unwrap(), &messages).unwrap();
        let sampling = Sampling::default().temperature(0.7).top_p(0.9).seed(3);
        let answer = read(&engine, Request::new(prompt.clone()).max_tokens(40).sampling(sampling));
        let evaluation = Evaluate::new(8).stride(4).run(&engine, &prompt).unwrap();
        (answer, evaluation.perplexity.to_bits())
    };
    let expected = ask(1, 128);
    assert!(!expected.0.0.is_empty());
    assert_eq!(ask(2, 3), expected);
}

#[test]
fn the_embedded_model_speaks_the_same_with_a_screened_head() {
    let engine = |head| {
        let settings = Settings { head, ..Settings::default() };
        Engine::builder().settings(settings).open(EMBEDDED).unwrap()
    };
    let (exact, full) = (engine(HeadMode::Exact), engine(HeadMode::F16));
    let prompt = full.tokenizer().unwrap().encode_prompt("Once upon a time there was").unwrap();
    for (seed, sampling) in samplings().into_iter().enumerate() {
        let sampling = sampling.seed(seed as u64);
        let request = Request::new(prompt.clone()).max_tokens(24).sampling(sampling).ignore_eos(true);
        assert_eq!(read(&exact, request.clone()), read(&full, request.clone()), "{:?}", request.sampling);
    }
    let heads: Vec<_> = HeadMode::ALL.map(|mode| full.head(mode).unwrap()).into_iter().collect();
    let results = Evaluate::new(64).stride(32).heads(&heads).compare(&full, &prompt).unwrap();
    assert_eq!(results[0], results[3], "exact and f16 are the same logits");
    let [exact, two_plane, int8] = [0, 1, 2].map(|i| results[i].perplexity);
    assert!((two_plane / exact - 1.0).abs() < 0.2 && (int8 / exact - 1.0).abs() < 0.01, "{exact} {two_plane} {int8}");
    assert!(int8 != exact && two_plane != exact);
}

/// A prompt that says what the toy will answer: its own answers are found in it.
fn telling(seed: usize, request: &Request) -> Vec<u32> {
    let mut prompt = prompt(seed, 12);
    for _ in 0..2 {
        let answer = answer(&engine(&builder()), request.clone().prompt(prompt.clone()));
        prompt.extend(answer.ids);
    }
    prompt
}

#[test]
fn speculation_changes_no_token_and_no_logit() {
    let speculative = builder().speculation(true).sequences(4);
    let mut drafted = 0;
    for seed in 0..6 {
        let narrow = |s: &mut Sampling| match seed % 3 {
            0 => s.temperature = 0.0,
            1 => (s.temperature, s.top_k) = (0.3, 3),
            _ => (s.temperature, s.top_p, s.frequency_penalty, s.repetition_penalty) = (0.2, 0.5, 0.1, 1.1),
        };
        let mut request = request(seed, 1, 40).max_tokens(40);
        narrow(&mut request.sampling);
        request.logprobs = (seed >= 3).then_some(2);
        request.prompt = telling(seed, &request);
        let (plain, _) = collect(engine(&builder()).generate(request.clone()).unwrap());
        let engine = speculative.build(Toy::new(|_| ()), None, None).unwrap();
        // Alone, and beside others.
        let (alone, usage) = collect(engine.generate(request.clone()).unwrap());
        assert_eq!(alone, plain, "{seed}");
        drafted += usage.drafted;
        let together: Vec<_> = (0..3).map(|_| engine.generate(request.clone()).unwrap()).collect();
        for generation in together {
            assert_eq!(collect(generation).0, plain, "{seed}");
        }
    }
    assert!(drafted > 0, "something was proposed");
}

#[test]
fn right_drafts_save_steps() {
    let (engine, steps) = counting(&builder().speculation(true));
    let request = Request::new(vec![5; 16]).max_tokens(60);
    let (answer, usage) = collect(engine.generate(request).unwrap());
    assert_eq!(answer.ids.len(), 60);
    assert!(usage.accepted <= usage.drafted);
    assert!(usage.accepted > 0, "the toy repeats itself after a prompt that does");
    // One step for the prompt, which draws.
    let steps = steps.lock().unwrap();
    assert_eq!(steps.len() + usage.accepted, 60, "a step for every token that was not drafted: {steps:?}");
    assert_eq!(steps.iter().sum::<usize>(), 16 + steps.len() - 1 + usage.drafted, "{steps:?}");
}
