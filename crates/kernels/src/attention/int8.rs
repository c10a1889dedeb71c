//! Storage of and attention to the int8 cache; `op/attention/int8.rs` has the formulas.

use super::{PAGE, SEGMENT, Segment};
use crate::op::attention::int8::{Dots, Scale, Terms};
use crate::op::vector::LANES;
use crate::set::Isa;

/// Prefetch distance in pages: 8 KiB of keys or values.
const AHEAD: usize = 2;

/// Number of queries whose sums are computed together.
const QUERIES: usize = 8;

/// Largest head size for which no sum of products overflows.
const MAX_DIM: usize = 1 << 15;

/// Stores one position's key and value in the bytes of its head. See [`super`] for the layout.
pub(super) fn store(isa: Isa, padded: usize, bytes: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    assert!(padded <= MAX_DIM, "heads of up to {MAX_DIM} values");
    // The bias is 128 or 0, so adding it flips one bit.
    let bias = u32::from_le_bytes([isa.bias(); 4]);
    let mut codes = vec![0; padded];
    let (keys, rest) = bytes.split_at_mut(PAGE * padded);
    let (values, scales) = rest.split_at_mut(PAGE * padded);
    let (key_scales, value_scales) = scales.split_at_mut(PAGE * 4);
    let (tile, lane) = (&mut keys[slot / LANES * padded * LANES..][..padded * LANES], slot % LANES);
    let scale = quantize(isa, k, &mut codes[..k.len()]);
    key_scales[4 * slot..][..4].copy_from_slice(&scale.step.to_le_bytes());
    for (line, codes) in tile.as_chunks_mut::<64>().0.iter_mut().zip(codes.as_chunks::<4>().0) {
        let codes = u32::from_le_bytes(codes.map(|code| code as u8)) ^ bias;
        line[4 * lane..4 * lane + 4].copy_from_slice(&codes.to_le_bytes());
    }
    let scale = quantize(isa, v, &mut codes[..v.len()]);
    value_scales[4 * slot..][..4].copy_from_slice(&scale.step.to_le_bytes());
    for (block, codes) in values.chunks_exact_mut(PAGE * LANES).zip(codes.as_chunks::<LANES>().0) {
        let line = &mut block[slot / 4 * 64..][..64];
        for (to, code) in line.as_chunks_mut::<4>().0.iter_mut().zip(codes) {
            to[slot % 4] = *code as u8 ^ isa.bias();
        }
    }
}

/// Quantises a head. As with f16, values beyond ±65504 saturate.
fn quantize(isa: Isa, x: &[f32], codes: &mut [i8]) -> Scale {
    let (scale, sum) = isa.quantize(x, codes);
    let (step, most) = (1.0 / scale, 65504.0 / 127.0);
    Scale { step: if step < most { step } else { most }, offset: i32::from(isa.bias()) * sum }
}

/// Query heads in int8.
pub(super) struct Queries {
    codes: Vec<i8>,
    scales: Vec<Scale>,
}

impl Queries {
    pub fn new(isa: Isa, q: &[f32], padded: usize) -> Self {
        let mut codes = vec![0; q.len()];
        let rows = q.chunks_exact(padded).zip(codes.chunks_exact_mut(padded));
        let scales = rows.map(|(q, codes)| quantize(isa, q, codes)).collect();
        Self { codes, scales }
    }
}

/// Attends to one segment for all queries of a tile; `out` holds `padded_dim + 16` values per query.
pub(super) fn attend(isa: Isa, segment: &Segment<'_>, q: &Queries, out: &mut [f32]) {
    let dim = segment.padded_dim;
    let (mut key_scales, mut value_scales) = ([0.0; SEGMENT], [0.0; SEGMENT]);
    for &number in segment.after.iter().take(segment.numbers.len()) {
        isa.prefetch(&segment.numbered(number)[2 * segment.side..]);
    }
    for page in 0..segment.numbers.len() {
        let (keys, values) = segment.page(page)[2 * segment.side..].split_at(PAGE * 4);
        for (scales, bytes) in [(&mut key_scales, keys), (&mut value_scales, values)] {
            for (scale, bytes) in scales[page * PAGE..][..PAGE].iter_mut().zip(bytes.as_chunks::<4>().0) {
                *scale = f32::from_le_bytes(*bytes);
            }
        }
    }
    let len = segment.numbers.len() * PAGE;
    let rows = q.codes.chunks(QUERIES * dim).zip(q.scales.chunks(QUERIES)).zip(segment.seen.chunks(QUERIES));
    for (((codes, scales), seen), out) in rows.zip(out.chunks_mut(QUERIES * (dim + LANES))) {
        let mut dots = [0; QUERIES * SEGMENT];
        score(isa, segment, codes, scales.len(), &mut dots);
        let mut weights = [0i8; 2 * QUERIES * SEGMENT];
        let mut steps = [Scale::default(); QUERIES];
        for (i, (&query, seen)) in scales.iter().zip(seen).enumerate() {
            let terms = Terms {
                key_scales: &key_scales[..len],
                value_scales: &value_scales[..len],
                query,
                bias: i32::from(isa.bias()),
                seen: seen.clone(),
            };
            let weights = &mut weights[2 * i * SEGMENT..][..2 * SEGMENT];
            let out = &mut out[i * (dim + LANES) + dim..][..2];
            steps[i] = isa.int8_weights(&terms, &dots[i * SEGMENT..][..len], weights, out);
        }
        weigh(isa, segment, &weights, &steps[..scales.len()], out);
    }
}

/// `dots[query][position] += Σ code_q · (code_k + bias)`
fn score(isa: Isa, segment: &Segment<'_>, codes: &[i8], queries: usize, dots: &mut [i32]) {
    let dim = segment.padded_dim;
    for page in 0..segment.numbers.len() {
        let ahead = segment.keys_ahead(page, AHEAD);
        let lines = segment.keys(page);
        let product = Dots { lines, depth: dim, x: codes, x_stride: dim, rows: queries, acc_stride: SEGMENT, ahead };
        isa.int8_dot(&product, &mut dots[page * PAGE..]);
    }
}

/// `out[query] = Σ weight · value`; the two parts of a weight are rows of one product.
fn weigh(isa: Isa, segment: &Segment<'_>, weights: &[i8], steps: &[Scale], out: &mut [f32]) {
    let (dim, rows) = (segment.padded_dim, 2 * steps.len());
    let mut dots = vec![0; rows * dim];
    for page in 0..segment.numbers.len() {
        let (lines, ahead) = (segment.values(page), segment.values_ahead(page, AHEAD));
        let x = &weights[page * PAGE..];
        let product = Dots { lines, depth: PAGE, x, x_stride: SEGMENT, rows, acc_stride: dim, ahead };
        isa.int8_dot(&product, &mut dots);
    }
    for ((dots, step), out) in dots.chunks_exact(2 * dim).zip(steps).zip(out.chunks_exact_mut(dim + LANES)) {
        isa.int8_values(dots, *step, &mut out[..dim]);
    }
}
