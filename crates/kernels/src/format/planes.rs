//! 2-bit codes (trit + 1): each byte holds four, one for each of the four planes of a block.

/// Appends `len` bytes of four codes each; `trit(byte, plane)` is the trit of plane 0 (lowest bits) to 3.
pub(super) fn pack(len: usize, trit: impl Fn(usize, usize) -> i8, out: &mut Vec<u8>) {
    let code = |byte, plane| (trit(byte, plane) + 1).cast_unsigned() << (2 * plane);
    out.extend((0..len).map(|byte| (0..4).fold(0, |packed, plane| packed | code(byte, plane))));
}

/// Decodes one plane: code `(byte >> shift) & 3`, trit = code − 1. The unused code 3 becomes 0 and makes the result
/// `true`.
#[must_use]
pub(super) fn unpack(shift: usize, bytes: &[u8], out: &mut [i8]) -> bool {
    // The shift is a constant in each instance: SSE2 has no byte shift, but a constant shift becomes a word shift and a
    // mask.
    match shift {
        0 => unpack_at::<0>(bytes, out),
        2 => unpack_at::<2>(bytes, out),
        4 => unpack_at::<4>(bytes, out),
        _ => unpack_at::<6>(bytes, out),
    }
}

#[inline(always)]
fn unpack_at<const SHIFT: usize>(bytes: &[u8], out: &mut [i8]) -> bool {
    let mut unused = 0;
    for (out, byte) in out.iter_mut().zip(bytes) {
        let code = byte >> SHIFT & 3;
        let three = code & code >> 1;
        unused |= three;
        *out = code.wrapping_sub(1).wrapping_sub(three << 1) as i8;
    }
    unused != 0
}

/// Decodes the four planes of 32 bytes one after another, beginning with the lowest or the highest bits. Works like
/// [`unpack`], but with the constant length a block takes a few vector instructions.
#[must_use]
#[inline(always)]
pub(super) fn unpack_block<const LOWEST_FIRST: bool>(bytes: &[u8; 32], out: &mut [i8; 128]) -> bool {
    let [a, b, c, d] = out.as_chunks_mut::<32>().0 else { return false };
    let [a, b, c, d] = if LOWEST_FIRST { [a, b, c, d] } else { [d, c, b, a] };
    unpack_at::<0>(bytes, a) | unpack_at::<2>(bytes, b) | unpack_at::<4>(bytes, c) | unpack_at::<6>(bytes, d)
}
