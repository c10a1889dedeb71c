//! One run: streams that decode side by side, timed while all of them do.
//!
//! ```text
//! stream 0   prompt│t t t t t t t t│
//! stream 1         prompt│t t t t t t t t│
//! stream 2               prompt│t t t t t t t t│
//!                              └─timed─┘
//! ```
//! The engine computes the oldest prompt first, and draws the tokens of a step in the same order. So the stream that
//! was started last begins to decode last, and its token is the last one of each step.

use std::time::Instant;

use anyhow::{Context, Result};
use sterna::engine::{Engine, Event, Generation, Request, Usage};

use super::energy::Meter;

/// Times and counts of one run.
pub struct Run {
    /// Prompt tokens per second of the last stream, including its wait for the others.
    pub prefill_per_s: f64,
    /// Joules from the requests until all streams decode; `None` without energy counters.
    pub prefill_joules: Option<f64>,
    /// Tokens of all streams from the last stream's first token until any stream ends; 0 if one ended before that.
    pub tokens: usize,
    /// Seconds from the first to the last of `tokens`.
    pub seconds: f64,
    /// Power while streams decode; `None` without energy counters.
    pub watts: Option<f64>,
    /// Draft tokens of all streams, over the whole run.
    pub drafted: usize,
    /// Draft tokens that were accepted.
    pub accepted: usize,
}

impl Run {
    /// Starts the requests and waits for all of them. There must be at least one, they must be equally long, and they
    /// must fit into the cache together.
    pub fn of(engine: &Engine, requests: Vec<Request>) -> Result<Self> {
        let meter = Meter::start().ok();
        let joules = || meter.as_ref().and_then(Meter::joules);
        let start = |request| Ok(Stream { generation: engine.generate(request)?, drawn: Vec::new(), usage: None });
        let mut streams = requests.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        streams.last_mut().context("a run has at least one stream")?.next()?;
        let (decoding, prefill_joules) = (Instant::now(), joules());
        // This thread may take events late: power is measured by its clock, speed by the times in the events.
        let mut power = None;
        let mut usages = Vec::new();
        for stream in &mut streams {
            usages.push(stream.finish()?);
            power = power.or_else(|| Some((joules()? - prefill_joules?) / decoding.elapsed().as_secs_f64()));
        }
        let (tokens, seconds) = side_by_side(&streams.iter().map(|stream| &stream.drawn[..]).collect::<Vec<_>>());
        Ok(Self {
            prefill_per_s: usages.last().map_or(0.0, Usage::prefill_tokens_per_s),
            prefill_joules,
            tokens,
            seconds,
            watts: power.filter(|watts| watts.is_finite()),
            drafted: usages.iter().map(|usage| usage.drafted).sum(),
            accepted: usages.iter().map(|usage| usage.accepted).sum(),
        })
    }
}

/// Tokens drawn while all streams decoded, and the seconds they took. `drawn` holds the times of each stream in order;
/// the stream started last comes last.
fn side_by_side(drawn: &[&[Instant]]) -> (usize, f64) {
    let start = drawn.iter().filter_map(|times| times.first()).max();
    let first_end = drawn.iter().filter_map(|times| times.last()).min();
    let (Some(&start), Some(first_end), Some(last)) = (start, first_end, drawn.last()) else { return (0, 0.0) };
    // The step that ends a stream ends with the last stream's token.
    let end = *last.iter().find(|at| *at >= first_end).unwrap_or(first_end);
    let tokens = drawn.iter().flat_map(|times| times.iter()).filter(|&&at| start < at && at <= end).count();
    (tokens, end.saturating_duration_since(start).as_secs_f64())
}

struct Stream {
    generation: Generation,
    /// When each token was drawn.
    drawn: Vec<Instant>,
    /// Present once the stream has ended.
    usage: Option<Usage>,
}

impl Stream {
    /// Waits for one event.
    fn next(&mut self) -> Result<()> {
        match self.generation.next().context("the generation ended without a result")?? {
            Event::Token { at, .. } => self.drawn.extend(at),
            Event::Finished { usage, .. } => self.usage = Some(usage),
            _ => {}
        }
        Ok(())
    }

    /// Waits for all remaining events.
    fn finish(&mut self) -> Result<Usage> {
        loop {
            match self.usage {
                Some(usage) => return Ok(usage),
                None => self.next()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Times of two streams, in ticks of a quarter second.
    fn timed(first: &[u64], last: &[u64]) -> (usize, f64) {
        let base = Instant::now();
        let times = |ticks: &[u64]| ticks.iter().map(|&n| base + Duration::from_millis(n * 250)).collect::<Vec<_>>();
        side_by_side(&[&times(first), &times(last)])
    }

    #[test]
    fn only_what_all_streams_decode_is_timed() {
        // Steps of 4 ticks; the first stream draws one tick before the last one.
        assert_eq!(timed(&[7, 11, 15, 19], &[12, 16, 20, 24]), (4, 2.0));
        assert_eq!(timed(&[7, 11], &[8, 12]), (2, 1.0));
    }

    #[test]
    fn streams_that_never_meet_give_nothing() {
        assert_eq!(timed(&[3, 7], &[12, 16]), (0, 0.0));
        assert_eq!(timed(&[7, 11], &[12, 16]), (0, 0.0), "the first one ended in the step in which the last began");
        assert_eq!(timed(&[7], &[8]), (0, 0.0));
    }

    #[test]
    fn several_tokens_of_a_step_count() {
        // The last stream's drafts are accepted, and it ends first.
        assert_eq!(timed(&[3, 7, 11, 15], &[4, 8, 8, 8]), (4, 1.0));
    }

    #[test]
    fn a_stream_alone_is_timed_from_its_first_token_to_its_last() {
        let base = Instant::now();
        let times = [0, 2, 3].map(|seconds| base + Duration::from_secs(seconds));
        assert_eq!(side_by_side(&[&times]), (2, 3.0));
    }
}
