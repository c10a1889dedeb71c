//! Sixteen `f32` lanes in two AVX2 registers.

use std::arch::x86_64::*;

use super::prefetch;
use crate::op::vector::{Lanes, Vector};

/// Lanes 0 … 7 and 8 … 15. A value exists only where the CPU has AVX2 and F16C: see [`Vector::zeros`].
#[derive(Clone, Copy)]
pub(super) struct F32x16([__m256; 2]);

/// Converts eight f16 values to f32, as `f16_to_f32` does.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(x: __m128i) -> __m256 {
    let halves = _mm256_cvtepu16_epi32(x);
    let magnitude = _mm256_slli_epi32::<13>(_mm256_and_si256(halves, _mm256_set1_epi32(0x7fff)));
    let sign = _mm256_slli_epi32::<16>(_mm256_and_si256(halves, _mm256_set1_epi32(0x8000)));
    // Multiplies by 2¹¹².
    let scaled = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), _mm256_set1_ps(f32::from_bits(239 << 23)));
    _mm256_castsi256_ps(_mm256_or_si256(_mm256_castps_si256(scaled), sign))
}

impl Vector for F32x16 {
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn zeros() -> Self {
        // SAFETY: the caller vouches for AVX2.
        Self([unsafe { _mm256_setzero_ps() }; 2])
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self {
        // SAFETY: `self` proves AVX2.
        Self([unsafe { _mm256_set1_ps(x) }; 2])
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> Self {
        assert!(x.len() >= 16);
        // SAFETY: `self` proves AVX2, and 8 + 8 of the 16 values are read.
        Self(unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] })
    }

    #[inline(always)]
    fn load_f16(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX2, and 16 + 16 of the 32 bytes are read.
        unsafe {
            let (low, high) = (_mm_loadu_si128(x.as_ptr().cast()), _mm_loadu_si128(x.as_ptr().add(16).cast()));
            Self([halves(low), halves(high)])
        }
    }

    #[inline(always)]
    fn load_half(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX2 and F16C, and 16 + 16 of the 32 bytes are read.
        unsafe {
            let (low, high) = (_mm_loadu_si128(x.as_ptr().cast()), _mm_loadu_si128(x.as_ptr().add(16).cast()));
            Self([_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)])
        }
    }

    #[inline(always)]
    fn load_bf16(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX2, and 16 + 16 of the 32 bytes are read.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().add(16).cast()));
            Self([
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ])
        }
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u32]) -> (Self, Self) {
        assert!(x.len() >= 16);
        // SAFETY: `self` proves AVX2, and 8 + 8 of the 16 dwords are read.
        unsafe {
            let pairs = [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x.as_ptr().add(8).cast())];
            let high = _mm256_set1_epi32(!0xffff);
            let even = [_mm256_slli_epi32::<16>(pairs[0]), _mm256_slli_epi32::<16>(pairs[1])];
            let odd = [_mm256_and_si256(pairs[0], high), _mm256_and_si256(pairs[1], high)];
            (
                Self([_mm256_castsi256_ps(even[0]), _mm256_castsi256_ps(even[1])]),
                Self([_mm256_castsi256_ps(odd[0]), _mm256_castsi256_ps(odd[1])]),
            )
        }
    }

    #[inline(always)]
    fn load_f32(self, x: &[u8]) -> Self {
        assert!(x.len() >= 64);
        // SAFETY: `self` proves AVX2, and 32 + 32 of the 64 bytes are read.
        Self(unsafe { [_mm256_loadu_ps(x.as_ptr().cast()), _mm256_loadu_ps(x.as_ptr().add(32).cast())] })
    }

    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` proves AVX2.
        Self(unsafe {
            [
                _mm256_add_ps(self.0[0], _mm256_mul_ps(a.0[0], b.0[0])),
                _mm256_add_ps(self.0[1], _mm256_mul_ps(a.0[1], b.0[1])),
            ]
        })
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        let mut out = [0.0; 16];
        // SAFETY: `self` proves AVX2, and 8 + 8 of the 16 places are written.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), self.0[1]);
        }
        out
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], ahead: usize) {
        prefetch::prefetch(bytes, ahead);
    }

    #[inline(always)]
    fn prefetch_scattered(self, bytes: &[u8], ahead: usize) {
        prefetch::prefetch_scattered(bytes, ahead);
    }
}
