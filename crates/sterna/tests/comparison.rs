//! Divergence of two models, and log-likelihoods of continuations, against naive formulas.

mod toy;

use sterna::engine::{Engine, Evaluate};
use sterna::model::{Batch, Head, Network, State, Weights};
use sterna::{Config, Cpu, Error, Rows};

use toy::{Toy, VOCAB, builder, counting, engine, hash, prompt};

/// ln p of every token, after every token of the text.
fn log_softmax(engine: &Engine, tokens: &[u32]) -> Vec<Vec<f64>> {
    let rows: Vec<Rows> = engine.logits(tokens).unwrap().map(Result::unwrap).collect();
    let row = |row: &[f32]| {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let total = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        row.iter().map(|x| x - total).collect()
    };
    rows.iter().flat_map(|part| (0..part.len()).map(|i| row(part.row(i))).collect::<Vec<_>>()).collect()
}

fn greatest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The toy with noise on its hidden states, which depends on the token and its position.
struct Noisy(Box<Toy>);

impl Network for Noisy {
    fn config(&self) -> &Config {
        self.0.config()
    }

    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        let mut hidden = self.0.forward(cpu, batch, state);
        for (row, &output) in batch.outputs.iter().enumerate() {
            let noise = |i| 0.2 * hash([8, batch.tokens[output] as usize, batch.positions[output], i]);
            hidden.row_mut(row).iter_mut().enumerate().for_each(|(i, x)| *x += noise(i));
        }
        hidden
    }

    fn head(&self) -> Option<&Head> {
        self.0.head()
    }

    fn weights(&self) -> Weights {
        self.0.weights()
    }
}

#[test]
fn divergence_is_that_of_the_formula_in_every_window() {
    let noisy = builder().chunk(7).build(Box::new(Noisy(Toy::new(|_| ()))), None, None).unwrap();
    let (model, reference) = (noisy, engine(&builder()));
    let tokens = prompt(5, 150);
    for (context, stride) in [(150, 150), (32, 16), (31, 30), (2, 1)] {
        let found = Evaluate::new(context).stride(stride).against(&model, &reference, &tokens).unwrap();
        let (mut kls, mut same, mut scored) = (vec![None; 150], 0, 1);
        let mut begin = 0;
        while scored < tokens.len() {
            let window = &tokens[begin..tokens.len().min(begin + context)];
            let (p, q) = (log_softmax(&reference, window), log_softmax(&model, window));
            for at in scored.max(begin + 1)..begin + window.len() {
                let (p, q) = (&p[at - 1 - begin], &q[at - 1 - begin]);
                kls[at] = Some(p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
                same += usize::from(greatest(p) == greatest(q));
            }
            (scored, begin) = (begin + window.len(), begin + stride);
        }
        let all: Vec<f64> = kls.iter().flatten().copied().collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let max = all.iter().copied().fold(0.0, f64::max);
        assert_eq!((found.model.tokens, found.reference.tokens), (all.len(), all.len()));
        assert!((found.mean_kl - mean).abs() < 1e-6 * mean + 1e-9, "{context} {stride}: {} {mean}", found.mean_kl);
        assert!((found.max_kl - max).abs() < 1e-6 && kls[found.max_at].is_some_and(|kl| (kl - max).abs() < 1e-6));
        assert!((found.agreement() - same as f64 / all.len() as f64).abs() < 1e-12);
        assert!(mean > 1e-3 && (1..all.len()).contains(&same), "the models differ: {mean} {same}");
        let alone = Evaluate::new(context).stride(stride).run(&reference, &tokens).unwrap();
        assert!((found.reference.perplexity - alone.perplexity).abs() < 1e-9);
    }
}

#[test]
fn equal_models_do_not_diverge_and_others_cannot_be_compared() {
    let (model, reference) = (engine(&builder().chunk(3)), engine(&builder()));
    let tokens = prompt(6, 40);
    let mut told = 0;
    let windows = Evaluate::new(40).progress(|both| told = both[0].tokens.min(both[1].tokens));
    let found = windows.against(&model, &reference, &tokens).unwrap();
    assert_eq!((found.mean_kl, found.max_kl, found.agreement(), found.max_at), (0.0, 0.0, 1.0, 0));
    assert_eq!((found.model, told), (found.reference, 39));
    let small = builder().build(Toy::with_vocab(50, |_| ()), None, None).unwrap();
    let refused = Evaluate::new(40).against(&model, &small, &tokens).unwrap_err();
    assert!(refused.to_string().contains("97 and 50 tokens"), "{refused}");
    let short = engine(&builder().context(16));
    assert!(matches!(Evaluate::new(40).against(&model, &short, &tokens), Err(Error::Option { .. })));
}

#[test]
fn loglikelihoods_are_sums_of_log_probabilities() {
    let (engine, steps) = counting(&builder().sequences(8));
    let pairs: Vec<_> = (0..90).map(|i| (prompt(i, 1 + i % 9), prompt(i + 100, i % 5))).collect();
    let found: Vec<f64> = engine.loglikelihoods(pairs.clone()).map(Result::unwrap).collect();
    assert!(steps.lock().unwrap().len() < 60, "several in a step");
    for ((context, continuation), found) in pairs.iter().zip(&found) {
        let rows = log_softmax(&engine, &[&context[..], continuation].concat());
        let of = |(i, &id): (usize, &u32)| rows[context.len() - 1 + i][id as usize];
        let expected: f64 = continuation.iter().enumerate().map(of).sum();
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let mixed = [(vec![1], vec![2]), (vec![], vec![2]), (vec![1], vec![VOCAB as u32]), (vec![1], vec![])];
    let results: Vec<_> = engine.loglikelihoods(mixed).map(|sum| sum.is_ok()).collect();
    assert_eq!(results, [true, false, false, true], "an error is that of its pair");
}
