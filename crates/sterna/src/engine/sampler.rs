//! The sampler chain: penalties, temperature, top-k, typical, top-p, min-p, draw.
//!
//! Every filter sees the softmax of what the filter before it left, and leaves its survivors in the order of their
//! ids, so that sums and draws have one order on every machine. Number `n` of a request is a function of its seed and
//! `n` alone: what else is in the batch does not matter.

use std::collections::HashMap;

use sterna_kernels::math::{exp, ln64};

use super::Sampling;
use super::logprob::{clean, greatest};

/// Draws the tokens of one request.
pub(super) struct Sampler {
    sampling: Sampling,
    /// Tokens of the prompt and the answer, with the times each was generated.
    seen: HashMap<u32, u32>,
    drawn: u64,
    logits: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    /// (logit − greatest logit) / temperature, at most 0.
    delta: f32,
    /// e^delta, above 0.
    weight: f32,
}

impl Sampler {
    /// A sampler whose repetition penalty knows `prompt`.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let seen = prompt.iter().map(|&id| (id, 0)).collect();
        Self { sampling, seen, drawn: 0, logits: Vec::new() }
    }

    /// Draws the next token from the logits of the whole vocabulary.
    pub fn draw(&mut self, logits: &[f32]) -> u32 {
        self.logits.clear();
        self.logits.extend(logits.iter().map(|&logit| clean(logit)));
        self.penalise();
        let id = if self.sampling.temperature == 0.0 {
            argmax(&self.logits)
        } else {
            let candidates = filter(&self.logits, &self.sampling);
            pick(&candidates, uniform(self.sampling.seed, self.drawn))
        };
        *self.seen.entry(id).or_default() += 1;
        self.drawn += 1;
        id
    }

    fn penalise(&mut self) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        for (&id, &count) in &self.seen {
            let logit = &mut self.logits[id as usize];
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if count > 0 {
                *logit -= presence_penalty + frequency_penalty * count as f32;
            }
            *logit = clean(*logit);
        }
    }
}

/// The greatest logit's id, the lowest of equal ones; 0 if no logit is a number.
pub(super) fn argmax(logits: &[f32]) -> u32 {
    let greatest = greatest(logits);
    logits.iter().position(|&logit| logit >= greatest).unwrap_or(0) as u32
}

/// The ids of the `count` greatest logits, best first, equal ones by id. Costs one pass and a selection, not a sort.
pub(super) fn best(logits: &[f32], count: usize) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    let mut keys: Vec<u64> = (0..).zip(logits).map(|(id, &logit)| key(-clean(logit), id)).collect();
    if count < keys.len() {
        keys.select_nth_unstable(count - 1);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u32).collect()
}

/// An integer that sorts like (`value`, `id`); −0 is 0.
fn key(value: f32, id: u32) -> u64 {
    let bits = (value + 0.0).to_bits();
    let sortable = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(sortable) << 32 | u64::from(id)
}

/// What temperature and filters leave of the vocabulary, by id; never nothing.
fn filter(logits: &[f32], sampling: &Sampling) -> Vec<Candidate> {
    let greatest = greatest(logits);
    let candidate = |id: u32| {
        let delta = (logits[id as usize] - greatest) / sampling.temperature;
        Candidate { id, delta, weight: if delta < -87.0 { 0.0 } else { exp(delta) } }
    };
    let mut candidates: Vec<Candidate> = if (1..logits.len()).contains(&sampling.top_k) {
        let mut ids = best(logits, sampling.top_k);
        ids.sort_unstable();
        ids.into_iter().map(candidate).collect()
    } else {
        (0..logits.len() as u32).map(candidate).collect()
    };
    candidates.retain(|candidate| candidate.weight > 0.0);
    if sampling.typical_p < 1.0 {
        typical(&mut candidates, sampling.typical_p);
    }
    if sampling.top_p < 1.0 {
        nucleus(&mut candidates, sampling.top_p, |candidate| -candidate.delta);
    }
    if sampling.min_p > 0.0 {
        let heaviest = candidates.iter().map(|candidate| candidate.weight).fold(0.0, f32::max);
        candidates.retain(|candidate| candidate.weight >= sampling.min_p * heaviest);
    }
    candidates
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// Locally typical sampling (Meister et al., arXiv:2202.00666): the tokens whose surprise is nearest to the entropy.
fn typical(candidates: &mut Vec<Candidate>, mass: f32) {
    let total = total(candidates);
    let log_total = ln64(total);
    let surprise = |candidate: &Candidate| log_total - f64::from(candidate.delta);
    let entropy: f64 = candidates.iter().map(|c| f64::from(c.weight) / total * surprise(c)).sum();
    nucleus(candidates, mass, |candidate| (surprise(candidate) - entropy).abs() as f32);
}

/// Keeps the candidates of lowest `rank` whose weights reach the share `mass`; equal ranks by id.
///
/// Sorts block by block, each four times the one before: a nucleus is rarely large, a vocabulary is.
fn nucleus(candidates: &mut Vec<Candidate>, mass: f32, rank: impl Fn(&Candidate) -> f32) {
    let goal = f64::from(mass) * total(candidates);
    let order = |candidate: &Candidate| key(rank(candidate), candidate.id);
    let (mut kept, mut covered, mut sorted) = (0, 0.0, 0);
    while kept < candidates.len() && covered < goal {
        if kept == sorted {
            let rest = &mut candidates[sorted..];
            let block = rest.len().min((3 * sorted).max(64));
            if block < rest.len() {
                rest.select_nth_unstable_by_key(block - 1, order);
            }
            rest[..block].sort_unstable_by_key(order);
            sorted += block;
        }
        covered += f64::from(candidates[kept].weight);
        kept += 1;
    }
    candidates.truncate(kept);
    candidates.sort_unstable_by_key(|candidate| candidate.id);
}

/// The candidate at `share` (0..1) of the summed weights.
fn pick(candidates: &[Candidate], share: f64) -> u32 {
    let mut left = share * total(candidates);
    for candidate in candidates {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return candidate.id;
        }
    }
    candidates.last().map_or(0, |candidate| candidate.id)
}

/// Number `n` of the stream of `seed`, uniform in 0..1: SplitMix64 (Steele, Lea, Flood 2014) from a mixed seed.
fn uniform(seed: u64, n: u64) -> f64 {
    let mix = |mut z: u64| {
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
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

    /// (id, probability), best first.
    fn softmax(logits: &[(u32, f64)]) -> Vec<(u32, f64)> {
        let total: f64 = logits.iter().map(|(_, x)| x.exp()).sum();
        let mut probabilities: Vec<_> = logits.iter().map(|&(id, x)| (id, x.exp() / total)).collect();
        probabilities.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        probabilities
    }

    /// The definition of every filter, by full sorts in `f64`.
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
        let candidates = filter(logits, sampling);
        let total = total(&candidates);
        let expected = reference(logits, sampling);
        let ids: Vec<u32> = candidates.iter().map(|c| c.id).collect();
        assert!(ids.iter().eq(expected.iter().map(|(id, _)| id)), "{} of {}, {sampling:?}", ids.len(), expected.len());
        for (candidate, (id, p)) in candidates.iter().zip(expected) {
            assert!((f64::from(candidate.weight) / total - p).abs() < 1e-6, "{id} {p} {sampling:?}");
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
        let draw = |logits: &[f32]| Sampler::new(Sampling::default(), &[]).draw(logits);
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
            assert!(Sampler::new(all.clone(), &[]).draw(&logits) < 9, "{logits:?}");
        }
        let tiny = sampling(|s| s.temperature = f32::MIN_POSITIVE);
        assert_eq!(Sampler::new(tiny, &[]).draw(&[1.0, 2.0, f32::NAN]), 1);
    }

    #[test]
    fn penalties_follow_their_formulas() {
        let mut s = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        (s.presence_penalty, s.frequency_penalty) = (0.5, 0.25);
        let mut sampler = Sampler::new(s, &[0, 1]);
        sampler.seen.extend([(2, 1), (3, 2)]);
        sampler.logits = vec![3.0, -3.0, 3.0, 3.0, 3.0];
        sampler.penalise();
        assert_eq!(sampler.logits, [1.5, -6.0, 1.5 - 0.75, 1.5 - 1.0, 3.0]);
    }

    #[test]
    fn penalties_see_what_was_drawn() {
        let s = Sampling { presence_penalty: 1.0, ..Sampling::default() };
        let mut sampler = Sampler::new(s, &[2]);
        let drawn: Vec<u32> = (0..4).map(|_| sampler.draw(&[2.9, 2.5, 3.0, 0.0])).collect();
        assert_eq!(drawn, [2, 0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [1.0f32, 0.0, 2.0, -1.0];
        let mut sampler = Sampler::new(sampling(|s| s.seed = 7), &[]);
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[sampler.draw(&logits) as usize] += 1.0);
        for (id, p) in reference(&logits, &sampling(|_| ())) {
            assert!((counts[id as usize] / 20_000.0 - p).abs() < 0.01, "{id}: {counts:?} {p}");
        }
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
