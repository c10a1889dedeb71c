//! Log-probabilities of raw logits: log-softmax before penalties, temperature and filters.

use super::logits::{best, clean, log_sum_exp};

/// A token and its log-probability before temperature and filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// Token id.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// The log-probability of `id` and of the `alternatives` best tokens, best first (`id` may be among them).
pub(super) fn logprobs(logits: &[f32], id: u32, alternatives: usize) -> (Logprob, Vec<Logprob>) {
    let total = log_sum_exp(logits);
    let of = |id: u32| Logprob { id, logprob: (f64::from(clean(logits[id as usize])) - total) as f32 };
    (of(id), best(logits, alternatives).into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let logits: Vec<f32> = (0..1_003).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
        let (own, all) = logprobs(&logits, 17, 2_000);
        assert_eq!(all.len(), logits.len());
        let sum: f64 = all.iter().map(|p| f64::from(p.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert!(all.contains(&own));
        assert!(all.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
        let exact = f64::from(logits[17]) - logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((f64::from(own.logprob) - exact).abs() < 1e-6, "{} {exact}", own.logprob);
    }

    #[test]
    fn no_alternatives_are_none() {
        assert_eq!(logprobs(&[0.0, 0.0], 1, 0), (Logprob { id: 1, logprob: -std::f32::consts::LN_2 }, vec![]));
    }

    #[test]
    fn broken_logits_have_finite_sums() {
        for logits in [[f32::NAN; 20], [f32::NEG_INFINITY; 20], [f32::INFINITY; 20], [f32::MAX; 20]] {
            assert!(log_sum_exp(&logits).is_finite(), "{logits:?}");
        }
        let (own, _) = logprobs(&[1.0, f32::NAN, f32::NEG_INFINITY], 0, 0);
        assert_eq!(own.logprob, 0.0);
    }
}
