//! Sixteen `f32` lanes in one AVX-512 register.

use std::arch::x86_64::*;

use super::prefetch;
use crate::op::vector::{Lanes, Vector};

/// One register. A value exists only where the CPU has AVX-512 (F, BW, VL and DQ): see [`Vector::zeros`].
#[derive(Clone, Copy)]
pub(super) struct F32x16(__m512);

impl Vector for F32x16 {
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn zeros() -> Self {
        // SAFETY: the caller vouches for AVX-512.
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self {
        // SAFETY: `self` proves AVX-512.
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> Self {
        assert!(x.len() >= 16);
        // SAFETY: `self` proves AVX-512, and 16 values are read.
        Self(unsafe { _mm512_loadu_ps(x.as_ptr()) })
    }

    #[inline(always)]
    fn load_f16(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX-512, and 32 bytes are read.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            let magnitude = _mm512_slli_epi32::<13>(_mm512_and_si512(halves, _mm512_set1_epi32(0x7fff)));
            let sign = _mm512_slli_epi32::<16>(_mm512_and_si512(halves, _mm512_set1_epi32(0x8000)));
            // Multiplies by 2¹¹², as in `f16_to_f32`.
            let scaled = _mm512_mul_ps(_mm512_castsi512_ps(magnitude), _mm512_set1_ps(f32::from_bits(239 << 23)));
            Self(_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(scaled), sign)))
        }
    }

    #[inline(always)]
    fn load_half(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX-512, and 32 bytes are read.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) })
    }

    #[inline(always)]
    fn load_bf16(self, x: &[u8]) -> Self {
        assert!(x.len() >= 32);
        // SAFETY: `self` proves AVX-512, and 32 bytes are read.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
        }
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u32]) -> (Self, Self) {
        assert!(x.len() >= 16);
        // SAFETY: `self` proves AVX-512, and 16 dwords are read.
        unsafe {
            let pairs = _mm512_loadu_si512(x.as_ptr().cast());
            let (even, odd) = (_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff)));
            (Self(_mm512_castsi512_ps(even)), Self(_mm512_castsi512_ps(odd)))
        }
    }

    #[inline(always)]
    fn load_f32(self, x: &[u8]) -> Self {
        assert!(x.len() >= 64);
        // SAFETY: `self` proves AVX-512, and 64 bytes are read.
        Self(unsafe { _mm512_loadu_ps(x.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        Self(unsafe { _mm512_add_ps(self.0, _mm512_mul_ps(a.0, b.0)) })
    }

    #[inline(always)]
    fn lanes(self) -> Lanes {
        let mut out = [0.0; 16];
        // SAFETY: `self` proves AVX-512, and the 16 places are written.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) };
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
