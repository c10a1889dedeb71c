//! Sixteen `f32` lanes: the unit of every float reduction.
//!
//! Each instruction set implements the same few exact operations, so a reduction written once over [`Vector`] gives
//! the same bytes everywhere. (Left to itself the compiler vectorises nested reductions across the wrong axis.)

use super::math::{bf16_to_f32, f16_to_f32};

/// Lanes of every float reduction.
pub(crate) const LANES: usize = 16;
pub(crate) type Lanes = [f32; LANES];

/// Folds 16 partial sums: i + (i+8), then 4, 2, 1.
#[inline(always)]
pub(crate) fn fold(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The next 16 values of `x`, zeros where it ends.
#[inline(always)]
pub(crate) fn lanes(x: &[f32]) -> Lanes {
    let mut out = [0.0; LANES];
    if x.len() >= LANES {
        out.copy_from_slice(&x[..LANES]);
    } else {
        out[..x.len()].copy_from_slice(x);
    }
    out
}

/// Sixteen lanes in the registers of one instruction set.
///
/// A value is the proof that the CPU has the instructions: the first one comes from [`Vector::zeros`], which is unsafe,
/// and the methods that make others ask for one. So a function that is given a vector needs no `unsafe`. For speed it
/// is `inline(always)`, and so compiled with the features of the function that made the first vector.
pub(crate) trait Vector: Copy {
    /// How many vectors the registers hold: what a loop may keep there. The bytes do not depend on it.
    const REGISTERS: usize;
    /// Zeros: the first vector.
    ///
    /// # Safety
    /// This CPU has every instruction that the implementation uses.
    unsafe fn zeros() -> Self;
    /// The same value in every lane.
    fn splat(self, x: f32) -> Self;
    /// 16 values.
    fn load(self, x: &[f32]) -> Self;
    /// 16 halves, little endian, read as [`f16_to_f32`] reads them.
    fn load_f16(self, x: &[u8]) -> Self;
    /// 16 halves of the key/value cache, little endian. [`super::math::f32_to_f16`] made them, so none is infinite or a
    /// NaN, and the CPU's own conversion agrees with [`f16_to_f32`].
    #[inline(always)]
    fn load_half(self, x: &[u8]) -> Self {
        self.load_f16(x)
    }
    /// 16 bfloat16, little endian.
    fn load_bf16(self, x: &[u8]) -> Self;
    /// 16 pairs of bfloat16, as [`mod@crate::bf16`] keeps them: the even ones and the odd ones.
    fn load_pairs(self, x: &[u32]) -> (Self, Self);
    /// 16 singles, little endian.
    fn load_f32(self, x: &[u8]) -> Self;
    /// `self + a · b`, rounded after the product and after the sum.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// The lanes, in order.
    fn lanes(self) -> Lanes;
    /// Asks for the cache line `ahead` bytes behind the start of `bytes`, which may lie beyond their end. Changes no
    /// value, and does nothing where the set has no instruction for it.
    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _ahead: usize) {}
    /// As [`Vector::prefetch`], as far as the second-level cache: more such requests can be under way at a time, for
    /// data that lies scattered.
    #[inline(always)]
    fn prefetch_scattered(self, _bytes: &[u8], _ahead: usize) {}
}

/// Plain Rust.
impl Vector for Lanes {
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn zeros() -> Self {
        [0.0; LANES]
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> Self {
        let mut out = [0.0; LANES];
        out.copy_from_slice(&x[..LANES]);
        out
    }

    #[inline(always)]
    fn load_f16(self, x: &[u8]) -> Self {
        let x = &x[..2 * LANES];
        std::array::from_fn(|i| f16_to_f32(u16::from_le_bytes([x[2 * i], x[2 * i + 1]])))
    }

    #[inline(always)]
    fn load_bf16(self, x: &[u8]) -> Self {
        let x = &x[..2 * LANES];
        std::array::from_fn(|i| bf16_to_f32(u16::from_le_bytes([x[2 * i], x[2 * i + 1]])))
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u32]) -> (Self, Self) {
        let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
        let x = &x[..LANES];
        for i in 0..LANES {
            even[i] = f32::from_bits(x[i] << 16);
            odd[i] = f32::from_bits(x[i] & !0xffff);
        }
        (even, odd)
    }

    #[inline(always)]
    fn load_f32(self, x: &[u8]) -> Self {
        let x = &x[..4 * LANES];
        std::array::from_fn(|i| f32::from_le_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]]))
    }

    #[inline(always)]
    fn add_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..LANES {
            self[i] += a[i] * b[i];
        }
        self
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        self
    }
}
