//! Vectors of sixteen `f32` lanes, on which all float reductions are built.
//!
//! Each instruction set implements the same few exact operations, so a reduction written once over [`Vector`] gives the
//! same bytes on every set. (The compiler's own vectorisation would choose the wrong axis of nested reductions.)

use super::math::{bf16_to_f32, f16_to_f32};

/// Number of lanes in every float reduction.
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

/// The next 16 values of `x`, filled up with zeros at its end.
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
/// A value proves that the CPU has the instructions. The first value comes from [`Vector::zeros`], which is unsafe; the
/// methods that create others require a value. So functions with a vector argument need no `unsafe`. For speed they are
/// `inline(always)`, so that they are compiled with the features of the function that created the first vector.
pub(crate) trait Vector: Copy {
    /// Number of vectors that the registers hold, which loops may use. The results do not depend on it.
    const REGISTERS: usize;
    /// Zeros, the first vector.
    ///
    /// # Safety
    /// This CPU has every instruction that the implementation uses.
    unsafe fn zeros() -> Self;
    /// The same value in every lane.
    fn splat(self, x: f32) -> Self;
    /// Loads 16 values.
    fn load(self, x: &[f32]) -> Self;
    /// Loads 16 little-endian f16 values, converted like [`f16_to_f32`].
    fn load_f16(self, x: &[u8]) -> Self;
    /// Loads 16 little-endian f16 values from the key/value cache. They were made by [`super::math::f32_to_f16`], so
    /// none is infinite or NaN, and the CPU's own conversion agrees with [`f16_to_f32`].
    #[inline(always)]
    fn load_half(self, x: &[u8]) -> Self {
        self.load_f16(x)
    }
    /// Loads 16 little-endian bf16 values.
    fn load_bf16(self, x: &[u8]) -> Self;
    /// Loads 16 pairs of bf16 in the layout of [`mod@crate::bf16`]: the even values and the odd values.
    fn load_pairs(self, x: &[u32]) -> (Self, Self);
    /// Loads 16 little-endian `f32` values.
    fn load_f32(self, x: &[u8]) -> Self;
    /// `self + a · b`, rounded after the product and after the sum.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// Returns the lanes in order.
    fn lanes(self) -> Lanes;
    /// Prefetches the cache line `ahead` bytes after the start of `bytes`; it may lie beyond their end. Does nothing on
    /// sets without such an instruction.
    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _ahead: usize) {}
    /// As [`Vector::prefetch`], but only into the second-level cache: more such requests can be in flight, which suits
    /// scattered data.
    #[inline(always)]
    fn prefetch_scattered(self, _bytes: &[u8], _ahead: usize) {}
}

/// The portable implementation.
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
