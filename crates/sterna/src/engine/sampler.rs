//! The sampler chain: penalties, temperature, top-k, typical, top-p, min-p, draw.
//!
//! Every filter gets the softmax of the tokens left by the filter before it, and keeps the order of their ids, so that
//! sums and draws have the same order on every machine. Random number `n` of a request depends only on its seed and
//! `n`, never on the rest of the batch.
//!
//! A draw gets only the candidates that [`Sampler::query`] requires. It gives the same token as the whole vocabulary
//! would, or reports that it cannot decide.

use std::collections::HashMap;

use sterna_kernels::math::{exp, ln64};
use sterna_kernels::random::{STEP, mix};

use super::Sampling;
use super::logits::{argmax, best, clean, greatest, key};
use crate::model::{Candidates, LogitQuery, Need};

/// Draws the tokens of one request.
pub(super) struct Sampler {
    sampling: Sampling,
    /// Tokens of the prompt and the answer, with the number of times each was generated.
    seen: HashMap<u32, u32>,
    drawn: u64,
    logits: Vec<f32>,
}

/// A token that can be drawn.
#[derive(Clone, Copy)]
struct Choice {
    /// Index among the candidates, which are ordered by id.
    place: u32,
    /// (logit − greatest logit) / temperature, at most 0.
    delta: f32,
    /// e^delta, above 0.
    weight: f32,
}

impl Sampler {
    /// A sampler for a prompt, whose tokens count for the repetition penalty.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let seen = prompt.iter().map(|&id| (id, 0)).collect();
        Self { sampling, seen, drawn: 0, logits: Vec::new() }
    }

    /// The logits needed for the draw after the next tokens `next`. `vocab` is the size of the vocabulary.
    pub fn query(&self, vocab: usize, next: &[u32]) -> LogitQuery {
        let &Sampling { temperature, top_k, top_p, min_p, typical_p, .. } = &self.sampling;
        let need = if temperature == 0.0 {
            Need::Best(1)
        } else if (1..vocab).contains(&top_k) {
            Need::Best(top_k)
        } else if typical_p < 1.0 {
            Need::All
        } else if top_p < 1.0 {
            // The smaller the mass left out, the more rarely it affects the cut, and the more rows are read.
            Need::Mass { temperature, rest: (f64::from(1.0 - top_p) / 16.0).min(1e-3) }
        } else if min_p > 0.0 {
            // The rounding error of weights is less than 0.01 in the exponent.
            Need::Within((temperature * (0.01 - ln64(f64::from(min_p)) as f32)).max(f32::MIN_POSITIVE))
        } else {
            Need::All
        };
        let also = if need == Need::All {
            Vec::new()
        } else {
            let biased = self.sampling.bias.iter().map(|(id, _)| *id);
            self.penalised().map(|(&id, _)| id).chain(biased).chain(next.iter().copied()).collect()
        };
        LogitQuery { need, also }
    }

    /// Draws the next token. `None`, without any change, if the result depends on tokens that are not candidates.
    pub fn draw(&mut self, candidates: &Candidates) -> Option<u32> {
        self.logits.clear();
        self.logits.extend(candidates.logits.iter().map(|&logit| clean(logit)));
        self.penalise(&candidates.ids);
        let place = if self.sampling.temperature == 0.0 {
            argmax(&self.logits)
        } else {
            let choices = filter(&self.logits, &self.sampling, candidates)?;
            pick(&choices, uniform(self.sampling.seed, self.drawn)) as usize
        };
        let id = candidates.ids[place];
        *self.seen.entry(id).or_default() += 1;
        self.drawn += 1;
        Some(id)
    }

    /// The tokens that a penalty applies to, with the number of times each was generated.
    fn penalised(&self) -> impl Iterator<Item = (&u32, &u32)> {
        let &Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = &self.sampling;
        let again = presence_penalty != 0.0 || frequency_penalty != 0.0;
        self.seen.iter().filter(move |(_, count)| repetition_penalty != 1.0 || again && **count > 0)
    }

    /// Applies bias and penalties to `self.logits`, the logits of `ids`.
    fn penalise(&mut self, ids: &[u32]) {
        let &Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = &self.sampling;
        let mut logits = std::mem::take(&mut self.logits);
        for (id, bias) in &self.sampling.bias {
            if let Ok(place) = ids.binary_search(id) {
                logits[place] = clean(logits[place] + bias);
            }
        }
        for (id, &count) in self.penalised() {
            let Ok(place) = ids.binary_search(id) else { continue };
            let logit = &mut logits[place];
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if count > 0 {
                *logit -= presence_penalty + frequency_penalty * count as f32;
            }
            *logit = clean(*logit);
        }
        self.logits = logits;
    }
}

/// Applies temperature and filters to the candidates, whose penalised logits are `logits`. The result keeps their order
/// and is never empty. `None` if it depends on tokens that are not candidates.
fn filter(logits: &[f32], sampling: &Sampling, candidates: &Candidates) -> Option<Vec<Choice>> {
    let greatest = greatest(logits);
    let choice = |place: u32| {
        let delta = (logits[place as usize] - greatest) / sampling.temperature;
        Choice { place, delta, weight: if delta < -87.0 { 0.0 } else { exp(delta) } }
    };
    let mut others = (candidates.rest, candidates.floor);
    let mut choices: Vec<Choice> = if (1..logits.len()).contains(&sampling.top_k) {
        others = (0.0, f32::NEG_INFINITY);
        let mut places = best(logits, sampling.top_k);
        places.sort_unstable();
        places.into_iter().map(choice).collect()
    } else {
        (0..logits.len() as u32).map(choice).collect()
    };
    choices.retain(|choice| choice.weight > 0.0);
    if sampling.typical_p < 1.0 {
        typical(&mut choices, sampling.typical_p);
    }
    if sampling.top_p < 1.0 {
        nucleus(&mut choices, sampling.top_p, others.0, |choice| -choice.delta)?;
        // A candidate below the floor may rank below other tokens.
        if choices.iter().any(|choice| logits[choice.place as usize] < others.1) {
            return None;
        }
    }
    if sampling.min_p > 0.0 {
        let heaviest = choices.iter().map(|choice| choice.weight).fold(0.0, f32::max);
        choices.retain(|choice| choice.weight >= sampling.min_p * heaviest);
    }
    Some(choices)
}

fn total(choices: &[Choice]) -> f64 {
    choices.iter().map(|choice| f64::from(choice.weight)).sum()
}

/// Locally typical sampling (Meister et al., arXiv:2202.00666): keeps the tokens whose surprise is nearest to the
/// entropy.
fn typical(choices: &mut Vec<Choice>, mass: f32) {
    let total = total(choices);
    let log_total = ln64(total);
    let surprise = |choice: &Choice| log_total - f64::from(choice.delta);
    let entropy: f64 = choices.iter().map(|c| f64::from(c.weight) / total * surprise(c)).sum();
    nucleus(choices, mass, 0.0, |choice| (surprise(choice) - entropy).abs() as f32);
}

/// Keeps the choices of lowest `rank` whose weights reach the share `mass`; equal ranks keep their order. `rest` is an
/// upper bound for the weights of other tokens. `None` if the result depends on their actual weight.
///
/// Sorts in blocks, each four times the size of the one before, because a nucleus is usually much smaller than the
/// vocabulary.
fn nucleus(choices: &mut Vec<Choice>, mass: f32, rest: f64, rank: impl Fn(&Choice) -> f32) -> Option<()> {
    // Sums that include other tokens, or have another order, round differently.
    let slack = if rest > 0.0 { 1e-9 } else { 0.0 };
    let total = total(choices);
    let (least, most) = (f64::from(mass) * total * (1.0 - slack), f64::from(mass) * (total + rest) * (1.0 + slack));
    let order = |choice: &Choice| key(rank(choice), choice.place);
    let (mut kept, mut covered, mut sorted) = (0, 0.0, 0);
    while kept < choices.len() && covered < least {
        if kept == sorted {
            let rest = &mut choices[sorted..];
            let block = rest.len().min((3 * sorted).max(64));
            if block < rest.len() {
                rest.select_nth_unstable_by_key(block - 1, order);
            }
            rest[..block].sort_unstable_by_key(order);
            sorted += block;
        }
        covered += f64::from(choices[kept].weight);
        kept += 1;
    }
    choices.truncate(kept);
    choices.sort_unstable_by_key(|choice| choice.place);
    (rest == 0.0 || covered >= most).then_some(())
}

/// The index of the choice at `share` (0..1) of the summed weights.
fn pick(choices: &[Choice], share: f64) -> u32 {
    let mut left = share * total(choices);
    for choice in choices {
        left -= f64::from(choice.weight);
        if left < 0.0 {
            return choice.place;
        }
    }
    choices.last().map_or(0, |choice| choice.place)
}

/// Number `n` of the stream of `seed`, uniform in 0..1: SplitMix64 from a mixed seed.
fn uniform(seed: u64, n: u64) -> f64 {
    let state = mix(seed.wrapping_add(STEP)).wrapping_add(STEP.wrapping_mul(n.wrapping_add(1)));
    (mix(state) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_logits(seed: u64, len: usize) -> Vec<f32> {
        (0..len as u64).map(|n| (uniform(seed, n) * 24.0 - 12.0) as f32).collect()
    }

    fn sampling(change: impl FnOnce(&mut Sampling)) -> Sampling {
        let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        change(&mut sampling);
        sampling
    }

    fn draw(sampler: &mut Sampler, logits: &[f32]) -> u32 {
        sampler.draw(&Candidates::all(logits)).expect("the whole vocabulary decides")
    }

    /// Pairs (id, probability), best first.
    fn softmax(logits: &[(u32, f64)]) -> Vec<(u32, f64)> {
        let total: f64 = logits.iter().map(|(_, x)| x.exp()).sum();
        let mut probabilities: Vec<_> = logits.iter().map(|&(id, x)| (id, x.exp() / total)).collect();
        probabilities.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        probabilities
    }

    /// The definition of every filter, with full sorts in `f64`.
    fn reference(logits: &[f32], s: &Sampling) -> Vec<(u32, f64)> {
        let scaled = |id: u32| (id, f64::from(logits[id as usize]) / f64::from(s.temperature));
        let mut kept = softmax(&(0..logits.len() as u32).map(scaled).collect::<Vec<_>>());
        if s.top_k > 0 {
            kept.truncate(s.top_k);
        }
        let again = |kept: &[(u32, f64)]| softmax(&kept.iter().map(|&(id, p)| (id, p.ln())).collect::<Vec<_>>());
        let until = |kept: &mut Vec<(u32, f64)>, mass: f32| {
            let mut sum = 0.0;
            kept.retain(|(_, p)| {
                let keep = mass == 1.0 || sum < f64::from(mass);
                sum += p;
                keep
            });
        };
        kept = again(&kept);
        let entropy: f64 = kept.iter().map(|(_, p)| -p * p.ln()).sum();
        kept.sort_by(|a, b| (a.1.ln() + entropy).abs().total_cmp(&(b.1.ln() + entropy).abs()));
        until(&mut kept, s.typical_p);
        kept = again(&kept);
        until(&mut kept, s.top_p);
        let least = kept[0].1 * f64::from(s.min_p);
        kept.retain(|(_, p)| *p >= least);
        kept = again(&kept);
        kept.sort_by_key(|(id, _)| *id);
        kept
    }

    fn assert_like_reference(logits: &[f32], sampling: &Sampling) {
        let choices = filter(logits, sampling, &Candidates::all(logits)).unwrap();
        let total = total(&choices);
        let expected = reference(logits, sampling);
        let ids: Vec<u32> = choices.iter().map(|c| c.place).collect();
        assert!(ids.iter().eq(expected.iter().map(|(id, _)| id)), "{} of {}, {sampling:?}", ids.len(), expected.len());
        for (choice, (id, p)) in choices.iter().zip(expected) {
            assert!((f64::from(choice.weight) / total - p).abs() < 1e-6, "{id} {p} {sampling:?}");
        }
    }

    #[test]
    fn every_filter_keeps_what_its_definition_keeps() {
        for seed in 0..20 {
            let logits = random_logits(seed, 1_500);
            for temperature in [0.5, 1.0, 3.0] {
                let with = |change: &dyn Fn(&mut Sampling)| {
                    let sampling = sampling(|s| {
                        s.temperature = temperature;
                        change(s);
                    });
                    assert_like_reference(&logits, &sampling);
                };
                with(&|_| ());
                [1, 2, 40, 1_499, 1_500, 9_999].iter().for_each(|&k| with(&|s| s.top_k = k));
                [1e-6, 0.3, 0.9, 0.999].iter().for_each(|&p| with(&|s| s.top_p = p));
                [1e-6, 0.3, 0.9, 0.999].iter().for_each(|&p| with(&|s| s.typical_p = p));
                [1e-3, 0.1, 0.9].iter().for_each(|&p| with(&|s| s.min_p = p));
                with(&|s| (s.top_k, s.typical_p, s.top_p, s.min_p) = (50, 0.9, 0.8, 0.05));
            }
        }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_maxima() {
        let draw = |logits: &[f32]| draw(&mut Sampler::new(Sampling::default(), &[]), logits);
        assert_eq!(draw(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(draw(&[-0.0, 0.0]), 0);
        assert_eq!(draw(&[f32::NAN, -5.0, f32::NAN]), 1);
        assert_eq!(draw(&[1.0, f32::INFINITY, 2.0]), 1);
        assert_eq!(draw(&[f32::NAN; 4]), 0);
        assert_eq!(draw(&[f32::NEG_INFINITY; 4]), 0);
    }

    #[test]
    fn broken_logits_still_draw_a_token_of_the_vocabulary() {
        let all = sampling(|s| (s.top_k, s.typical_p, s.top_p, s.min_p) = (3, 0.5, 0.5, 0.5));
        for logits in [[f32::NAN; 9], [f32::NEG_INFINITY; 9], [f32::INFINITY; 9], [f32::MAX; 9]] {
            assert!(draw(&mut Sampler::new(all.clone(), &[]), &logits) < 9, "{logits:?}");
        }
        let tiny = sampling(|s| s.temperature = f32::MIN_POSITIVE);
        assert_eq!(draw(&mut Sampler::new(tiny, &[]), &[1.0, 2.0, f32::NAN]), 1);
    }

    #[test]
    fn penalties_follow_their_formulas() {
        let mut s = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        (s.presence_penalty, s.frequency_penalty) = (0.5, 0.25);
        let mut sampler = Sampler::new(s, &[0, 1]);
        sampler.seen.extend([(2, 1), (3, 2)]);
        sampler.logits = vec![3.0, -3.0, 3.0, 3.0, 3.0];
        sampler.penalise(&[0, 1, 2, 3, 4]);
        assert_eq!(sampler.logits, [1.5, -6.0, 1.5 - 0.75, 1.5 - 1.0, 3.0]);
    }

    #[test]
    fn penalties_see_what_was_drawn() {
        let s = Sampling { presence_penalty: 1.0, ..Sampling::default() };
        let mut sampler = Sampler::new(s, &[2]);
        let drawn: Vec<u32> = (0..4).map(|_| draw(&mut sampler, &[2.9, 2.5, 3.0, 0.0])).collect();
        assert_eq!(drawn, [2, 0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [1.0f32, 0.0, 2.0, -1.0];
        let mut sampler = Sampler::new(sampling(|s| s.seed = 7), &[]);
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[draw(&mut sampler, &logits) as usize] += 1.0);
        for (id, p) in reference(&logits, &sampling(|_| ())) {
            assert!((counts[id as usize] / 20_000.0 - p).abs() < 0.01, "{id}: {counts:?} {p}");
        }
    }

    /// Candidates as a head with margins up to `margin` could return them.
    fn screened(logits: &[f32], query: &LogitQuery, margin: f64, seed: u64) -> Candidates {
        let greatest = (0..).zip(logits).filter(|(id, _)| !query.also.contains(id)).map(|(_, &x)| x);
        let mut sorted: Vec<f32> = greatest.collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let (floor, rest) = match query.need {
            Need::All => (f32::MIN, 0.0),
            Need::Best(count) => (sorted[count.min(sorted.len()) - 1] - margin as f32, 0.0),
            Need::Within(distance) => (sorted[0] - distance - margin as f32, 0.0),
            Need::Mass { temperature, rest } => {
                let (mut floor, mut sum) = (f32::MIN, 0.0);
                for &x in sorted.iter().rev() {
                    let more = (f64::from(x - sorted[0]) / f64::from(temperature)).exp();
                    if sum + more > rest {
                        break;
                    }
                    (floor, sum) = (x + 1e-5, sum + more);
                }
                (floor, sum * 1.1)
            }
        };
        // Include some tokens below the floor.
        let kept = |id: u32| logits[id as usize] >= floor || uniform(seed, u64::from(id)) < 0.1;
        let ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| query.also.contains(&id) || kept(id)).collect();
        Candidates { logits: ids.iter().map(|&id| logits[id as usize]).collect(), ids, floor, rest }
    }

    #[test]
    fn candidates_draw_what_the_whole_vocabulary_draws() {
        let (mut undecided, mut draws) = (0, 0);
        for seed in 0..300u64 {
            let random = |n: u64| uniform(seed, 1_000_000 + n);
            let s = Sampling {
                temperature: [0.0, 0.3, 1.0, 2.0][(random(0) * 4.0) as usize],
                top_k: [0, 0, 0, 1, 7, 100][(random(1) * 6.0) as usize],
                top_p: [1.0, 0.5, 0.9, 0.99][(random(2) * 4.0) as usize],
                min_p: [0.0, 0.05, 0.5][(random(3) * 3.0) as usize],
                typical_p: [1.0, 1.0, 0.9][(random(4) * 3.0) as usize],
                repetition_penalty: [1.0, 1.2, 0.8][(random(5) * 3.0) as usize],
                presence_penalty: [0.0, 0.5, -0.5][(random(6) * 3.0) as usize],
                frequency_penalty: [0.0, 0.3][(random(7) * 2.0) as usize],
                bias: [vec![], vec![(5, 9.0), (17, -100.0)]][(random(9) * 2.0) as usize].clone(),
                seed,
            };
            let (mut whole, mut part) = (Sampler::new(s.clone(), &[1, 2, 3]), Sampler::new(s.clone(), &[1, 2, 3]));
            for step in 0..20 {
                let mut logits = random_logits(seed * 100 + step, 400);
                logits[17] = logits[399];
                let all = Candidates::all(&logits);
                let expected = whole.draw(&all);
                let got = part.draw(&screened(&logits, &part.query(400, &[]), random(8) * 3.0, seed));
                undecided += usize::from(got.is_none());
                draws += 1;
                assert_eq!(got.or_else(|| part.draw(&all)), expected, "{s:?}, draw {step}");
            }
        }
        assert!(undecided > 0 && undecided < draws / 20, "{undecided} of {draws}");
    }

    #[test]
    fn the_stream_of_numbers_is_written_down() {
        let stream: Vec<u64> = (0..3).map(|n| (uniform(42, n) * (1u64 << 53) as f64) as u64).collect();
        assert_eq!(stream, [3_092_098_744_885_774, 8_608_601_199_334_984, 4_380_647_180_739_872]);
        assert_ne!(uniform(0, 1), uniform(1, 0));
    }

    #[test]
    fn best_sorts_like_a_full_sort() {
        let mut logits = random_logits(3, 500);
        (logits[7], logits[9], logits[11]) = (f32::NAN, 1.0, 1.0);
        let mut ids: Vec<u32> = (0..500).collect();
        ids.sort_by(|&a, &b| clean(logits[b as usize]).total_cmp(&clean(logits[a as usize])).then(a.cmp(&b)));
        for count in [0, 1, 20, 499, 500, 501] {
            assert_eq!(best(&logits, count), ids[..count.min(500)], "{count}");
        }
    }
}
