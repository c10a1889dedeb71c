//! The curves in a run's `log.jsonl`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

/// An exponentially weighted mean.
#[derive(Clone, Copy)]
pub struct Smooth {
    share: f64,
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// A mean over about the last `span` values.
    pub fn over(span: f64) -> Self {
        Self { share: 1.0 / span.max(1.0), sum: 0.0, weight: 0.0 }
    }

    /// Adds a value, and returns the mean with it.
    pub fn and(&mut self, value: f64) -> Self {
        self.sum += self.share * (value - self.sum);
        self.weight += self.share * (1.0 - self.weight);
        *self
    }

    /// The mean of the values of both means.
    fn beside(self, other: Self) -> f64 {
        (self.sum + other.sum) / (self.weight + other.weight)
    }

    /// The mean; the weights always sum to 1, so that it has no bias towards 0. NaN before the first value.
    pub fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

/// Points of a curve; x is the number of tokens read so far.
pub type Line = Vec<(f64, f64)>;

/// The curves of one run.
pub struct Curves {
    /// Name in the legend.
    pub name: String,
    /// Steps done.
    pub steps: u64,
    /// Cross-entropy of a token, in nats.
    pub loss: Line,
    /// Bits per byte of the validation text.
    pub validation: Line,
    /// Learning rate of the ternary layers.
    pub rate: Line,
    /// Norm of the gradient before it was clipped.
    pub gradient: Line,
    /// Tokens read when rounding to trits began, if the run began in full precision.
    pub ternary: Option<f64>,
}

impl Curves {
    /// Reads the log of the run in `directory`.
    pub fn read(name: String, directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("log.jsonl");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: `sterna train` leaves a log there", path.display()))?;
        let mut curves = Self {
            name,
            steps: 0,
            loss: Vec::new(),
            validation: Vec::new(),
            rate: Vec::new(),
            gradient: Vec::new(),
            ternary: None,
        };
        // A last line without a line break is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let (mut tokens, mut full) = (0.0, false);
        for (i, line) in whole.lines().enumerate() {
            let place = || format!("{}: line {}", path.display(), i + 1);
            let line = serde_json::from_str(line).ok().filter(Value::is_object);
            let line = line.with_context(|| format!("{} is not a JSON object", place()))?;
            let number = |value: &Value, name: &str| {
                let number = value[name].as_f64();
                number.with_context(|| format!("{} has no number `{name}`", place()))
            };
            if let Some(validation) = line.get("validation") {
                curves.validation.push((tokens, number(validation, "bits_per_byte")?));
                continue;
            }
            let begin = tokens;
            tokens += number(&line, "tokens")?;
            curves.steps = number(&line, "step")? as u64;
            curves.loss.push((tokens, number(&line, "loss")?));
            curves.rate.push((tokens, number(&line, "rate")?));
            curves.gradient.push((tokens, number(&line, "gradient_norm")?));
            let now_full = line["precision"] == "full";
            if full && !now_full {
                curves.ternary = Some(begin);
            }
            full = now_full;
        }
        if curves.loss.is_empty() {
            bail!("{}: contains no step yet", path.display());
        }
        Ok(curves)
    }
}

/// Smooths a line over a fiftieth of its points (at least 5), in both directions so that it does not lag.
pub fn smooth(line: &Line) -> Line {
    let mut mean = Smooth::over((line.len() as f64 / 100.0).max(2.5));
    let mut after = mean;
    let mut ahead: Vec<_> = line.iter().rev().map(|(_, y)| after.and(*y)).collect();
    ahead.reverse();
    line.iter().zip(ahead).map(|((x, y), after)| (*x, mean.and(*y).beside(after))).collect()
}

/// Reduces a line to about `most` points: the lowest and highest of every stretch, and both ends.
pub fn thin(line: &Line, most: usize) -> Line {
    if line.len() <= most {
        return line.clone();
    }
    let mut points = Vec::with_capacity(most + 2);
    points.extend(line.first());
    for stretch in line.chunks((2 * line.len()).div_ceil(most)) {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [stretch.iter().min_by(by_y), stretch.iter().max_by(by_y)];
        let mut ends: Line = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.extend(ends);
    }
    points.extend(line.last());
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_begin_with_the_first_value_and_follow() {
        let mut mean = Smooth::over(10.0);
        assert!(mean.mean().is_nan());
        assert_eq!(mean.and(8.0).mean(), 8.0);
        // Weights 0.9 · 0.1 and 0.1, 0.19 in total.
        assert!((mean.and(0.0).mean() - 8.0 * 0.09 / 0.19).abs() < 1e-12);
        (0..200).for_each(|_| _ = mean.and(3.0));
        assert!((mean.mean() - 3.0).abs() < 1e-6);
    }

    #[test]
    fn smooth_lines_do_not_lag() {
        let falls: Line = (0..1000).map(|i| (f64::from(i), 9.0 - 0.001 * f64::from(i))).collect();
        let smoothed = smooth(&falls);
        assert!((smoothed[500].1 - falls[500].1).abs() < 1e-9, "{:?}", smoothed[500]);
        let noise: Line = (0..1000).map(|i| (f64::from(i), 2.0 + f64::from(i % 2))).collect();
        assert!(smooth(&noise).iter().all(|(_, y)| (y - 2.5).abs() < 0.15), "the ends too");
    }

    #[test]
    fn thin_lines_keep_ends_and_peaks() {
        let mut line: Line = (0..10_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        line[4321].1 = 99.0;
        line[8765].1 = -99.0;
        let thinned = thin(&line, 500);
        assert!(thinned.len() <= 502, "{}", thinned.len());
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0), "in order, nothing twice");
        assert_eq!((thinned.first(), thinned.last()), (line.first(), line.last()));
        assert!(thinned.contains(&(4321.0, 99.0)) && thinned.contains(&(8765.0, -99.0)));
        assert_eq!(thin(&line, 10_000), line);
    }
}
