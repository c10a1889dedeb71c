//! Layers that attend to a part of the context.

/// Layers that attend to a window of the context, and have a rotary embedding of their own.
///
/// Of every `period` layers, the last one attends to the whole context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    /// Positions that a token of such a layer attends to, its own being the last.
    pub positions: usize,
    /// Layers from one that attends to the whole context to the next.
    pub period: usize,
    /// Base of the rotary embedding of such layers.
    pub rope_theta: f64,
}

impl Windows {
    /// Whether layer `layer` attends to a window.
    pub fn has(&self, layer: usize) -> bool {
        layer % self.period + 1 < self.period
    }

    /// The number that is not possible, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { positions, period, rope_theta } = *self;
        if positions == 0 || period == 0 {
            return Some(format!("a window of {positions} positions, repeated after {period} layers"));
        }
        let base = !(1.0..1e15).contains(&rope_theta);
        base.then(|| format!("the base of the windows' rotary embedding is {rope_theta}, not a number from 1 to 1e15"))
    }
}
