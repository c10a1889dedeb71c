//! Requests that share the cache, follow grammars or use callbacks give the same answers as alone.

mod toy;

use std::sync::{Arc, mpsc};

use sterna::engine::{Event, FinishReason, Generation, Grammar, Reader, Request, Sampling, TokenSet};
use sterna::{Error, Result};

use toy::{VOCAB, answer, builder, collect, counting, engine, gated, prompt, request};

/// A request whose prompt continues another request's answer.
fn continued(seed: usize, before: &[u32], more: usize, max_tokens: usize) -> Request {
    let tokens = [before, &prompt(seed + 100, more)].concat();
    request(seed, 1, max_tokens).prompt(tokens)
}

#[test]
fn a_prompt_is_computed_from_where_the_cache_does_not_know_it() {
    let (shared, rows) = counting(&builder());
    let first = request(1, 75, 30);
    let (one, usage) = collect(shared.generate(first.clone()).unwrap());
    assert_eq!((usage.prompt_tokens, usage.cached_tokens), (75, 0));
    let history = [first.prompt.clone(), one.ids].concat();
    // The last of the 105 tokens was never computed, so three pages of 32 are full. The second request shares two pages
    // of its own prompt.
    for (request, cached) in [(continued(2, &history, 20, 25), 96), (first.clone(), 64)] {
        let alone = answer(&engine(&builder()), request.clone());
        rows.lock().unwrap().clear();
        let (got, usage) = collect(shared.generate(request.clone()).unwrap());
        assert_eq!((got, usage.cached_tokens), (alone, cached));
        let computed: usize = rows.lock().unwrap().iter().sum();
        assert_eq!(computed, request.prompt.len() - cached + usage.tokens - 1, "cached tokens are not computed again");
    }
    // The same prompt except for one token in the second page.
    let mut other = first;
    other.prompt[40] ^= 1;
    let alone = answer(&engine(&builder()), other.clone());
    let (got, usage) = collect(shared.generate(other).unwrap());
    assert_eq!((got, usage.cached_tokens), (alone, 32));
}

#[test]
fn a_whole_prompt_in_the_cache_still_computes_its_last_token() {
    let shared = engine(&builder());
    for (len, cached) in [(64, 32), (65, 64), (33, 32), (32, 0)] {
        let request = request(len, len, 5);
        let expected = answer(&shared, request.clone());
        let (again, usage) = collect(shared.generate(request).unwrap());
        assert_eq!((again, usage.cached_tokens), (expected, cached), "prompt of {len}");
    }
}

#[test]
fn what_is_forgotten_is_computed_again() {
    // The cache has eight pages, and two of these requests do not fit together.
    let shared = engine(&builder());
    let requests: Vec<Request> = (0..6).map(|i| request(i % 3, 150, 20)).collect();
    let mut cached = 0;
    for request in requests {
        let alone = answer(&engine(&builder()), request.clone());
        let (got, usage) = collect(shared.generate(request).unwrap());
        assert_eq!(got, alone);
        cached += usage.cached_tokens;
    }
    assert_eq!(cached, 0, "each was evicted by the two after it");
    let (_, usage) = collect(shared.generate(request(2, 150, 20)).unwrap());
    assert_eq!(usage.cached_tokens, 128);
}

#[test]
fn running_requests_share_what_is_computed_already() {
    let (shared, open, steps) = gated(&builder().sequences(4));
    let system = prompt(7, 64);
    let requests: Vec<Request> = (0..4).map(|i| continued(i, &system, 10 + i, 60)).collect();
    let first = shared.generate(requests[0].clone()).unwrap();
    // After five steps of 16 rows the first request's prompt is in the cache; then the others arrive.
    (0..6).for_each(|_| open.send(()).unwrap());
    while steps.lock().unwrap().len() < 6 {
        std::thread::yield_now();
    }
    let others: Vec<Generation> = requests[1..].iter().map(|r| shared.generate(r.clone()).unwrap()).collect();
    drop(open);
    assert_eq!(collect(first).0, answer(&engine(&builder()), requests[0].clone()));
    for (generation, request) in others.into_iter().zip(&requests[1..]) {
        let (got, usage) = collect(generation);
        assert_eq!((got, usage.cached_tokens), (answer(&engine(&builder()), request.clone()), 64));
    }
}

#[test]
fn requests_that_come_together_compute_what_they_share_once() {
    let (shared, open, steps) = gated(&builder().sequences(4));
    let system = prompt(7, 64);
    let requests: Vec<Request> = (0..4).map(|i| continued(i, &system, 10 + i, 1)).collect();
    let generations: Vec<Generation> = requests.iter().map(|r| shared.generate(r.clone()).unwrap()).collect();
    drop(open);
    let mut cached = Vec::new();
    for (generation, request) in generations.into_iter().zip(&requests) {
        let (got, usage) = collect(generation);
        assert_eq!(got, answer(&engine(&builder()), request.clone()));
        cached.push(usage.cached_tokens);
    }
    cached.sort_unstable();
    assert_eq!(cached, [0, 64, 64, 64]);
    assert_eq!(steps.lock().unwrap().iter().flatten().sum::<usize>(), 64 + 10 + 11 + 12 + 13);
}

#[test]
fn cancelled_requests_leave_nothing_behind_but_what_they_computed() {
    let (shared, open, _) = gated(&builder());
    let hog = request(1, 100, 150);
    let mut generation = shared.generate(hog.clone()).unwrap();
    (0..7).for_each(|_| open.send(()).unwrap());
    assert!(matches!(generation.next(), Some(Ok(Event::Token { .. }))));
    drop(generation);
    drop(open);
    let (got, usage) = collect(shared.generate(hog.clone()).unwrap());
    assert_eq!((got, usage.cached_tokens), (answer(&engine(&builder()), hog), 96));
}

#[test]
fn a_short_prompt_overtakes_a_long_one() {
    let (shared, open, steps) = gated(&builder().sequences(2));
    let (long, short) = (request(1, 200, 5), request(2, 10, 5));
    let generations = [long.clone(), short.clone()].map(|request| shared.generate(request).unwrap());
    drop(open);
    let [first, second] = generations.map(|generation| collect(generation).0);
    assert_eq!((first, second), (answer(&engine(&builder()), long), answer(&engine(&builder()), short)));
    let steps = steps.lock().unwrap();
    assert!(
        steps[..2].contains(&vec![10]),
        "a step computes the whole short prompt and no part of the long one: {steps:?}"
    );
}

/// A grammar that allows one list of tokens after another; after the last list only the end token may follow.
#[derive(Debug)]
struct Lists {
    lists: Vec<Vec<u32>>,
    end: u32,
}

struct ListReader(Vec<Vec<u32>>, u32);

impl Grammar for Lists {
    fn start(&self) -> Result<Box<dyn Reader>> {
        if self.lists.is_empty() {
            return Err(Error::request("grammar", "no list"));
        }
        Ok(Box::new(ListReader(self.lists.iter().rev().cloned().collect(), self.end)))
    }
}

impl Reader for ListReader {
    fn allowed(&mut self) -> Result<TokenSet> {
        let mut set = TokenSet::default();
        self.0.last().map_or(&[self.1][..], |list| list).iter().for_each(|&id| set.insert(id));
        Ok(set)
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        match self.0.pop() {
            Some(list) if list.contains(&token) => Ok(()),
            Some(_) => Err(Error::request("grammar", format!("{token} was not allowed"))),
            None => panic!("nothing follows the end"),
        }
    }
}

fn guided(seed: usize, lists: Vec<Vec<u32>>) -> Request {
    let grammar: Arc<dyn Grammar> = Arc::new(Lists { lists, end: 90 });
    request(seed, 20, 40).grammar(grammar).stop_tokens(vec![90])
}

fn lists(seed: usize) -> Vec<Vec<u32>> {
    let list = |i: usize| prompt(1000 * seed + i, 1 + 2 * i).into_iter().filter(|id| *id != 90).collect();
    (0..12).map(list).filter(|list: &Vec<u32>| !list.is_empty()).collect()
}

#[test]
fn answers_follow_their_grammar() {
    let shared = engine(&builder().sequences(6).speculation(true));
    for logprobs in [None, Some(2)] {
        let requests: Vec<Request> = (0..6)
            .map(|seed| match seed % 3 {
                2 => request(seed, 30, 40),
                _ => guided(seed, lists(seed)).logprobs(logprobs),
            })
            .collect();
        let together: Vec<_> = requests.iter().map(|request| shared.generate(request.clone()).unwrap()).collect();
        for (seed, (generation, request)) in together.into_iter().zip(requests).enumerate() {
            let (got, _) = collect(generation);
            assert_eq!(got, answer(&engine(&builder()), request.clone()), "{seed}: alone and beside others");
            if request.grammar.is_some() {
                let lists = lists(seed);
                assert_eq!((got.ids.len(), got.reason), (lists.len(), FinishReason::Stop));
                assert!(got.ids.iter().zip(&lists).all(|(id, list)| list.contains(id)), "{:?} of {lists:?}", got.ids);
                assert_eq!(got.logprobs.len(), logprobs.map_or(0, |_| lists.len()));
            }
        }
    }
}

/// The likeliest allowed token is drawn, whatever the logits of the others.
#[test]
fn grammars_choose_among_the_models_own_logits() {
    let free = engine(&builder());
    let greedy = request(3, 25, 1).sampling(Sampling::default()).logprobs(VOCAB);
    let all = answer(&free, greedy.clone()).logprobs[0].1.clone();
    for wanted in [3, 50, 96] {
        let worse: Vec<u32> = all[wanted..].iter().map(|choice| choice.id).collect();
        let request = guided(3, vec![worse]).logprobs(None::<usize>);
        let request = request.sampling(Sampling::default()).prompt(greedy.prompt.clone());
        assert_eq!(answer(&free, request).ids, [all[wanted].id]);
    }
}

#[test]
fn a_grammar_that_breaks_ends_the_answer_with_an_error() {
    let shared = engine(&builder().sequences(3));
    let other = shared.generate(request(1, 30, 60)).unwrap();
    let cases = [
        (vec![], "no list"),
        (vec![vec![5], vec![], vec![6]], "it allows no token"),
        (vec![vec![5], vec![VOCAB as u32], vec![6]], "vocabulary does not have"),
        (vec![vec![5], vec![7, 1_000_000], vec![6]], "vocabulary does not have"),
    ];
    for (lists, problem) in cases {
        let items: Vec<_> = shared.generate(guided(1, lists)).unwrap().collect();
        let error = items.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert!(items[..items.len() - 1].iter().all(Result::is_ok) && items.len() <= 2);
    }
    // Here the end is an ordinary token, and the reader panics after it.
    let request = guided(2, vec![vec![4]]).stop_tokens(vec![]);
    let last = shared.generate(request).unwrap().last().unwrap();
    assert!(last.unwrap_err().to_string().contains("could not be followed"));
    // The grammar thread survives, and other requests are served.
    assert_eq!(answer(&shared, guided(1, vec![vec![7], vec![8]])).ids, [7, 8]);
    assert_eq!(collect(other).0, answer(&engine(&builder()), self::request(1, 30, 60)));
}

#[test]
fn biased_tokens_are_drawn_or_never() {
    let shared = engine(&builder());
    let with = |bias| {
        let mut request = request(4, 20, 30);
        request.sampling = request.sampling.top_k(5).bias(bias);
        request
    };
    let free = answer(&shared, with(vec![])).ids;
    assert_eq!(answer(&shared, with(vec![(17, 1e9)])).ids, [17; 30]);
    let banned: Vec<(u32, f32)> = free.iter().map(|id| (*id, -1e9)).collect();
    assert!(answer(&shared, with(banned)).ids.iter().all(|id| !free.contains(id)));
    let told = |bias| shared.generate(with(bias)).unwrap_err().to_string();
    assert!(told(vec![(VOCAB as u32, 1.0)]).contains("logit_bias has the token 97"));
    assert!(told(vec![(1, f32::NAN)]).contains("logit_bias of token 1"));
}

#[test]
fn callbacks_get_what_generations_get() {
    let shared = engine(&builder());
    let (sender, events) = mpsc::channel();
    let ticket = shared.submit(request(1, 20, 30), move |event| drop(sender.send(event))).unwrap();
    let mut ids = Vec::new();
    for event in events {
        if let Event::Token { id, .. } = event.unwrap() {
            ids.push(id);
        }
    }
    drop(ticket);
    assert_eq!(ids, answer(&shared, request(1, 20, 30)).ids);
}
