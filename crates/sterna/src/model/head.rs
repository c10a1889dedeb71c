//! The head: computes logits from hidden states.
//!
//! ```text
//! hidden state ──► screen: every row, from small codes ──► logit ± margin ──► rows that can still matter
//!                                                                                  │ read as stored
//!                                                                 ids + logits ◄───┘
//! ```
//! A large part of the weights read per token belongs to the head, and nearly all of its rows cannot be drawn.
//! [`HeadMode::Exact`] skips the rows that provably cannot be drawn. The logits it computes, and every token drawn from
//! them, are those of the full product.

use std::borrow::Cow;

use sterna_kernels::screen::{Bits, Estimates, Margin};
use sterna_kernels::{Cpu, DenseMatrix, Rows, Screen};

use super::packed_head::PackedHead;

/// How logits are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadMode {
    /// Screens rows with 6-bit codes and proven margins in two steps, then reads the remaining rows as stored. The
    /// drawn tokens and their logits are the same as in mode `F16`.
    #[default]
    Exact,
    /// Screens rows with 4-bit codes and a margin of [`SIGMAS`] standard deviations. Reads half the bytes; a drawn
    /// token may differ from the exact mode's. docs/benchmarks.md counts how often.
    TwoPlane,
    /// Uses the products of 8-bit codes as logits.
    Int8,
    /// Reads every row as stored, for every token.
    F16,
}

impl HeadMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Exact, Self::TwoPlane, Self::Int8, Self::F16];

    /// The name for `--head` and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::TwoPlane => "two-plane",
            Self::Int8 => "int8",
            Self::F16 => "f16",
        }
    }
}

/// Margin of a 4-bit screen, in standard deviations of its error, assuming that the errors of a row's codes are random.
///
/// A row is lost when its error and that of the row it competes with differ by two margins, which is 8 · √2 = 11
/// standard deviations of their difference. That leaves room for errors that are not random. A wide margin costs
/// little: only a few rows in a thousand are within it, and reading them takes less time than reading the codes.
pub const SIGMAS: f64 = 8.0;

/// Which logits are needed to draw a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// All logits.
    All,
    /// This many of the greatest logits.
    Best(usize),
    /// All logits at most this far below the greatest.
    Within(f32),
    /// All logits except those of tokens whose e^((logit − greatest) / `temperature`) add up to at most `rest`.
    Mass {
        /// Temperature, above 0.
        temperature: f32,
        /// Mass that may be left out, above 0.
        rest: f64,
    },
}

impl Need {
    /// The need that a coarse screen must meet if its estimates are refined afterwards.
    fn coarse(self) -> Self {
        match self {
            // The other half is for rows that the refined estimates rule out.
            Self::Mass { temperature, rest } => Self::Mass { temperature, rest: rest / 2.0 },
            need => need,
        }
    }
}

/// A query for logits: those needed to draw from one hidden state.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitQuery {
    /// Which logits are needed of the tokens that are not in `also`.
    pub need: Need,
    /// Tokens whose logits are needed in any case, because a penalty may change them.
    pub also: Vec<u32>,
}

/// Tokens and their logits. No other token matters to the [`Need`].
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// Token ids, in ascending order.
    pub ids: Vec<u32>,
    /// The logits of `ids`.
    pub logits: Vec<f32>,
    /// The logit of every other token is below this.
    pub floor: f32,
    /// For [`Need::Mass`]: the other tokens add up to at most this.
    pub rest: f64,
}

impl Candidates {
    /// The candidates that are `allowed`; all other tokens are excluded.
    pub(crate) fn only(&self, allowed: impl Fn(u32) -> bool) -> Self {
        let kept = self.ids.iter().zip(&self.logits).filter(|(id, _)| allowed(**id));
        let (ids, logits) = kept.map(|(id, logit)| (*id, *logit)).unzip();
        Self { ids, logits, floor: f32::NEG_INFINITY, rest: 0.0 }
    }

    /// Candidates for the whole vocabulary.
    pub(crate) fn all(logits: &[f32]) -> Self {
        Self { ids: (0..logits.len() as u32).collect(), logits: logits.to_vec(), floor: f32::NEG_INFINITY, rest: 0.0 }
    }
}

/// The output projection of a network.
pub struct Head(Kind);

enum Kind {
    Screened(Box<ScreenedHead>),
    Packed(PackedHead),
}

impl Head {
    /// A head with the rows of a checkpoint, `(vocab, hidden)`.
    pub fn new(cpu: &Cpu, stored: DenseMatrix, mode: HeadMode) -> Self {
        Self(Kind::Screened(Box::new(ScreenedHead::new(cpu, stored, mode))))
    }

    /// A head with packed rows.
    pub(super) fn packed(head: PackedHead) -> Self {
        Self(Kind::Packed(head))
    }

    /// A head with the same rows in another mode. A packed head has one mode only.
    pub fn with_mode(&self, cpu: &Cpu, mode: HeadMode) -> Self {
        match &self.0 {
            Kind::Screened(head) => Self::new(cpu, head.stored.clone(), mode),
            Kind::Packed(head) => Self::packed(head.clone()),
        }
    }

    /// The mode of the head.
    pub fn mode(&self) -> HeadMode {
        match &self.0 {
            Kind::Screened(head) => head.mode,
            Kind::Packed(_) => HeadMode::Exact,
        }
    }

    /// The logits of the whole vocabulary: `(hidden state, vocab)`.
    ///
    /// In mode `two-plane` they are estimates, except for the tokens that can be the greatest.
    pub fn logits(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        match &self.0 {
            Kind::Screened(head) => head.logits(cpu, hidden),
            Kind::Packed(head) => head.logits(cpu, hidden),
        }
    }

    /// For each hidden state, the tokens that its query needs, with their logits.
    pub fn candidates(&self, cpu: &Cpu, hidden: &Rows, queries: &[LogitQuery]) -> Vec<Candidates> {
        match &self.0 {
            Kind::Screened(head) => head.candidates(cpu, hidden, queries),
            Kind::Packed(head) => head.candidates(cpu, hidden, queries),
        }
    }

    /// All tokens for every hidden state. The rows are read as stored, except in mode `int8`.
    pub fn all(&self, cpu: &Cpu, hidden: &Rows) -> Vec<Candidates> {
        if hidden.is_empty() {
            return Vec::new();
        }
        let logits = match &self.0 {
            Kind::Screened(head) => head.exact(cpu, hidden),
            Kind::Packed(head) => head.logits(cpu, hidden),
        };
        (0..logits.len()).map(|i| Candidates::all(logits.row(i))).collect()
    }

    /// Bytes of the stored rows.
    pub fn stored_bytes(&self) -> usize {
        match &self.0 {
            Kind::Screened(head) => head.stored.bytes(),
            Kind::Packed(head) => head.bytes(),
        }
    }

    /// Bytes that the product of one hidden state reads, not counting the few rows left by a screen.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Screened(head) => head.screen.as_ref().map_or(head.stored.bytes(), Screen::bytes),
            Kind::Packed(head) => head.bytes(),
        }
    }

    /// The number type of the rows ("bf16", "q6_k", …).
    pub fn stored_type(&self) -> &'static str {
        match &self.0 {
            Kind::Screened(head) => head.stored.format().name,
            Kind::Packed(head) => head.stored_type(),
        }
    }
}

/// A head whose rows are numbers.
struct ScreenedHead {
    stored: DenseMatrix,
    mode: HeadMode,
    /// `None` in mode `f16`, and for rows longer than a screen supports: then all rows are read as stored.
    screen: Option<Screen>,
}

impl ScreenedHead {
    fn new(cpu: &Cpu, stored: DenseMatrix, mode: HeadMode) -> Self {
        let bits = match mode {
            HeadMode::Exact => Some(Bits::Six),
            HeadMode::Int8 => Some(Bits::Eight),
            HeadMode::TwoPlane => Some(Bits::Four),
            HeadMode::F16 => None,
        };
        let screen = bits.and_then(|bits| Screen::build(cpu, &stored, bits));
        Self { stored, mode, screen }
    }

    /// [`Head::logits`].
    fn logits(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        match (self.mode, &self.screen) {
            (HeadMode::Int8, Some(screen)) => screen.estimate(cpu, hidden, Margin::Proven).values,
            (HeadMode::TwoPlane, Some(screen)) => {
                let mut estimates = screen.estimate(cpu, hidden, self.margin());
                let best = LogitQuery { need: Need::Best(1), also: Vec::new() };
                let picked = self.pick(cpu, hidden, &mut estimates, &vec![&best; hidden.len()]);
                for (i, (ids, ..)) in picked.iter().enumerate() {
                    let logits = self.stored.products(cpu, hidden.row(i), ids);
                    for (&id, logit) in ids.iter().zip(logits) {
                        estimates.values.row_mut(i)[id as usize] = logit;
                    }
                }
                estimates.values
            }
            _ => self.stored.matmul(cpu, hidden),
        }
    }

    /// [`Head::candidates`].
    fn candidates(&self, cpu: &Cpu, hidden: &Rows, queries: &[LogitQuery]) -> Vec<Candidates> {
        let mut found: Vec<Option<Candidates>> = queries.iter().map(|_| None).collect();
        let (whole, mut left): (Vec<usize>, Vec<usize>) =
            (0..queries.len()).partition(|&i| queries[i].need == Need::All);
        if !whole.is_empty() {
            let logits = self.logits(cpu, &select(hidden, &whole));
            for (row, &i) in whole.iter().enumerate() {
                found[i] = Some(Candidates::all(logits.row(row)));
            }
        }
        if let (HeadMode::Exact | HeadMode::TwoPlane, Some(screen), false) = (self.mode, &self.screen, left.is_empty())
        {
            let hidden_left = select(hidden, &left);
            let mut estimates = screen.estimate(cpu, &hidden_left, self.margin());
            let queries_left: Vec<_> = left.iter().map(|&i| &queries[i]).collect();
            let picked = self.pick(cpu, &hidden_left, &mut estimates, &queries_left);
            for (&i, (ids, floor, rest)) in left.iter().zip(picked) {
                // If many rows are left, a product of all rows is faster than one of single rows.
                if ids.len() <= self.stored.rows() / 4 {
                    let logits = self.stored.products(cpu, hidden.row(i), &ids);
                    found[i] = Some(Candidates { ids, logits, floor, rest });
                }
            }
            left.retain(|&i| found[i].is_none());
        }
        if !left.is_empty() {
            let logits = self.exact(cpu, &select(hidden, &left));
            for (row, &i) in left.iter().enumerate() {
                found[i] = Some(Candidates::all(logits.row(row)));
            }
        }
        found.into_iter().flatten().collect()
    }

    /// The logits of the whole vocabulary, from the rows as stored, except in mode `int8`.
    fn exact(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        match (self.mode, &self.screen) {
            (HeadMode::Int8, Some(_)) => self.logits(cpu, hidden),
            _ => self.stored.matmul(cpu, hidden),
        }
    }

    /// Selects the rows of the vocabulary that each row of estimates leaves. The rows are divided among the threads.
    fn pick(&self, cpu: &Cpu, hidden: &Rows, estimates: &mut Estimates, queries: &[&LogitQuery]) -> Vec<Picked> {
        for (i, query) in queries.iter().enumerate() {
            for &id in &query.also {
                // An infinite margin: the token neither counts as great nor is left out.
                estimates.margins.row_mut(i)[id as usize] = f32::INFINITY;
            }
        }
        let Estimates { values, margins } = estimates;
        let mut found: Vec<Vec<u32>> = vec![Vec::new(); queries.len()];
        cpu.pool().pieces(&mut found, 1, |i, found| found[0] = scouts(values.row(i), margins.row(i), queries[i].need));
        let scouts: Vec<_> = (0..).zip(&found).map(|(i, ids)| self.stored.products(cpu, hidden.row(i), ids)).collect();
        let survivors = |values: &Rows, margins: &Rows, need: fn(Need) -> Need| {
            let mut picked: Vec<Picked> = queries.iter().map(|_| Picked::default()).collect();
            cpu.pool().pieces(&mut picked, 1, |i, picked| {
                picked[0] = survivors(values.row(i), margins.row(i), need(queries[i].need), &scouts[i]);
            });
            picked
        };
        if let Some(screen) = self.screen.as_ref().filter(|screen| screen.refines()) {
            for (i, (mut ids, floor, _)) in survivors(values, margins, Need::coarse).into_iter().enumerate() {
                // Tokens without a finite margin stay.
                ids.retain(|&id| floor > f32::NEG_INFINITY && margins.row(i)[id as usize] < f32::INFINITY);
                screen.refine(cpu, hidden.row(i), self.margin(), &ids, values.row_mut(i), margins.row_mut(i));
            }
        }
        survivors(values, margins, |need| need)
    }

    fn margin(&self) -> Margin {
        if self.mode == HeadMode::TwoPlane { Margin::Sigmas(SIGMAS) } else { Margin::Proven }
    }
}

/// These rows of `hidden`, in ascending order. Nothing is copied if they are all.
fn select<'a>(hidden: &'a Rows, rows: &[usize]) -> Cow<'a, Rows> {
    if rows.len() == hidden.len() { Cow::Borrowed(hidden) } else { Cow::Owned(hidden.select(rows)) }
}

/// The rows left by a screen, the floor of their logits, and the mass of the others.
pub(super) type Picked = (Vec<u32>, f32, f64);

/// The ids whose logits may be needed, if each logit lies within its margin. `scouts` are the exact logits of the
/// tokens from [`scouts`], in any order.
///
/// The logits of the scouts alone reach the threshold of [`Need::Best`] as often as required. So each of the greatest
/// logits reaches it, and so does its upper bound, equal logits included.
pub(super) fn survivors(values: &[f32], margins: &[f32], need: Need, scouts: &[f32]) -> Picked {
    // NaN counts as −∞.
    let least = scouts.iter().map(|x| x.max(f32::NEG_INFINITY)).fold(f32::INFINITY, f32::min);
    let greatest = scouts.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (floor, rest) = match need {
        Need::All => (f32::NEG_INFINITY, 0.0),
        Need::Best(count) if scouts.len() < count => (f32::NEG_INFINITY, 0.0),
        Need::Best(_) => (least, 0.0),
        Need::Within(distance) => (greatest - distance, 0.0),
        Need::Mass { temperature, rest } => mass_floor(values, margins, greatest, f64::from(temperature), rest),
    };
    // NaN becomes −∞.
    let floor = floor.max(f32::NEG_INFINITY);
    let reaches = |upper: f32| upper >= floor || upper.is_nan();
    (places(values, margins, |value, margin| reaches(value + margin)), floor, rest)
}

/// The ids for which `keep` is true. They are few, so most blocks are rejected as a whole.
fn places(values: &[f32], margins: &[f32], keep: impl Fn(f32, f32) -> bool) -> Vec<u32> {
    const BLOCK: usize = 64;
    let mut ids = Vec::new();
    for (block, (values, margins)) in values.chunks(BLOCK).zip(margins.chunks(BLOCK)).enumerate() {
        let mut kept = 0;
        for (value, margin) in values.iter().zip(margins) {
            kept += u32::from(keep(*value, *margin));
        }
        if kept > 0 {
            let ends = values.iter().zip(margins).enumerate();
            ids.extend(ends.filter(|(_, (v, m))| keep(**v, **m)).map(|(i, _)| (block * BLOCK + i) as u32));
        }
    }
    ids
}

/// The tokens with the greatest estimates, as many as `need` requires. Their exact logits tell what is near the
/// greatest logits; margins are wider than the differences between estimates.
pub(super) fn scouts(values: &[f32], margins: &[f32], need: Need) -> Vec<u32> {
    /// Number of groups that tokens are dealt into. The greatest of each group are nearly the greatest of all, without
    /// sorting.
    const GROUPS: usize = 1024;
    let count = match need {
        Need::All | Need::Best(0) => return Vec::new(),
        Need::Best(count) => count,
        Need::Within(_) | Need::Mass { .. } => 1,
    };
    // A token without a finite margin is unknown.
    let known = |value: f32, margin: f32| if margin < f32::INFINITY { value } else { f32::NEG_INFINITY };
    let mut groups = [f32::NEG_INFINITY; GROUPS];
    for (values, margins) in values.chunks(GROUPS).zip(margins.chunks(GROUPS)) {
        for ((group, value), margin) in groups.iter_mut().zip(values).zip(margins) {
            let value = known(*value, *margin);
            *group = if value > *group { value } else { *group };
        }
    }
    let mut least = f32::NEG_INFINITY;
    if count <= GROUPS {
        least = *groups.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1;
    }
    let mut ids = places(values, margins, |value, margin| margin < f32::INFINITY && value >= least);
    if count < ids.len() {
        let value = |id: u32| values[id as usize];
        ids.select_nth_unstable_by(count - 1, |a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
        ids.truncate(count);
    }
    ids
}

/// A floor such that e^((logit − greatest) / temperature) of the logits below it adds up to at most `most`; also the
/// actual sum.
fn mass_floor(values: &[f32], margins: &[f32], greatest: f32, temperature: f64, most: f64) -> (f32, f64) {
    /// Number of steps of the exponent, and their width: tokens are counted by the step of their upper bound.
    const STEPS: usize = 400;
    const STEP: f64 = 0.25;
    let greatest = f64::from(greatest);
    if !greatest.is_finite() {
        return (f32::NEG_INFINITY, 0.0);
    }
    let steps = 1.0 / (temperature * STEP);
    let mut counts = [0u32; STEPS + 1];
    for (value, margin) in values.iter().zip(margins) {
        // The cast saturates: unknown and greater tokens count as step 0.
        let below = ((greatest - f64::from(value + margin)) * steps) as usize;
        counts[below.min(STEPS)] += 1;
    }
    let (mut step, mut rest) = (STEPS + 1, 0.0);
    while step > 0 {
        // A thousandth more covers the roundings of the exponential function where the sum is used.
        let more = f64::from(counts[step - 1]) * 1.001 * sterna_kernels::math::exp64(-STEP * (step - 1) as f64);
        if rest + more > most {
            break;
        }
        (step, rest) = (step - 1, rest + more);
    }
    // Rounded down, so that every token is either above the floor or counted.
    (((greatest - step as f64 * STEP * temperature) as f32).next_down(), rest)
}
