//! Bytes of up to five trits, as a fraction in base 3.
//!
//! A byte is the fraction 0.abcde (base 3) times 256, rounded up; a … e are the codes, trit + 1. Multiplying it by 3ⁿ
//! (wrapping) moves trit n to the front, and the carry of one more multiplication by 3 is its code. Source: llama.cpp,
//! `ggml-quants.c`.

/// Decodes trit n of every byte, then trit n + 1 of every byte, until `out` is full.
#[inline(always)]
pub(super) fn unpack(bytes: &[u8], out: &mut [i8]) {
    let mut power = 1u8;
    for out in out.chunks_exact_mut(bytes.len()) {
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = trit(*byte, power);
        }
        power = power.wrapping_mul(3);
    }
}

/// The trit that `power`, a power of 3, moves to the front of a byte.
#[inline(always)]
pub(super) fn trit(byte: u8, power: u8) -> i8 {
    ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as i8 - 1
}

/// Appends `len` bytes of the trits, whose order is that of [`unpack`].
pub(super) fn pack(trits: &[i8], len: usize, out: &mut Vec<u8>) {
    out.extend((0..len).map(|byte| {
        let digit = |n: usize| trits.get(n * len + byte).map_or(0, |trit: &i8| u32::from((trit + 1).cast_unsigned()));
        let number = (0..5).fold(0u32, |number, n| 3 * number + digit(n));
        (256 * number).div_ceil(243) as u8
    }));
}
