//! Rotary position embedding, rotate-half: pairs (i, i + dim/2) turn by position · theta^(−2i/dim), or by a scaled
//! frequency.

use sterna_kernels::{Cpu, Rows, math};

use crate::arch::{Config, RopeScaling};

/// The rotation of each pair of a head from one position to the next.
pub struct Rope {
    inverse_frequencies: Vec<f32>,
    /// The factor of cosines and sines.
    attention: f32,
}

/// Cosines and sines for some positions, `(position, rotated features of a head / 2)`.
pub struct Rotation {
    cos: Rows,
    sin: Rows,
}

impl Rope {
    /// The rotary embedding of a model's heads.
    pub fn new(config: &Config) -> Self {
        Self::scaled(config, config.rope_theta, &config.rope_scaling)
    }

    /// The rotary embedding of layers with a window, if there are any.
    pub fn of_windows(config: &Config) -> Option<Self> {
        config.windows.map(|windows| Self::scaled(config, windows.rope_theta, &RopeScaling::None))
    }

    fn scaled(config: &Config, theta: f64, scaling: &RopeScaling) -> Self {
        let dim = config.rotary_dim();
        let frequency = |i: usize| {
            let plain = math::pow64(theta, -2.0 * i as f64 / dim as f64);
            scaling.inverse_frequency(plain, i, dim, theta) as f32
        };
        Self { inverse_frequencies: (0..dim / 2).map(frequency).collect(), attention: scaling.attention() as f32 }
    }

    /// The rotation of each position; all layers share it.
    pub fn at(&self, positions: &[usize]) -> Rotation {
        let half = self.inverse_frequencies.len();
        let (mut cos, mut sin) = (Rows::zeros(positions.len(), half), Rows::zeros(positions.len(), half));
        for (row, &position) in positions.iter().enumerate() {
            for (i, frequency) in self.inverse_frequencies.iter().enumerate() {
                // The angle in f32, as the reference computes it.
                let (sine, cosine) = math::sin_cos(position as f32 * frequency);
                (sin.row_mut(row)[i], cos.row_mut(row)[i]) = (sine * self.attention, cosine * self.attention);
            }
        }
        Rotation { cos, sin }
    }
}

impl Rotation {
    /// Rotates every head of every row.
    pub fn apply(&self, cpu: &Cpu, mut x: Rows) -> Rows {
        cpu.rotate(&mut x, &self.cos, &self.sin);
        x
    }

    /// Rotates the first features of every head of `dim` features.
    pub fn apply_to_heads(&self, cpu: &Cpu, mut x: Rows, dim: usize) -> Rows {
        cpu.rotate_heads(&mut x, dim, &self.cos, &self.sin);
        x
    }

    /// The rotations of the rows `picked`, in that order.
    pub fn select(&self, picked: &[usize]) -> Self {
        Self { cos: self.cos.select(picked), sin: self.sin.select(picked) }
    }

    /// The inverse rotation, for gradients.
    pub fn inverse(&self) -> Self {
        let sin = self.sin.data().iter().map(|sin| -sin).collect();
        Self { cos: self.cos.clone(), sin: Rows::from_vec(self.sin.dim(), sin) }
    }
}
