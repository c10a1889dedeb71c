//! Self-test of an instruction set before it is used: one small case of every kernel, compared with `portable`.
//!
//! A kernel that is wrong on some CPU would give wrong tokens without an error. AMX needs this test most: its kernels
//! have run only in an emulator (decision 009). The cases take about a millisecond, once per process.

use std::sync::{Mutex, PoisonError};

use crate::format::Row;
use crate::lines::{LINE, Lines};
use crate::op::attention::int8::{Dots, Terms};
use crate::op::attention::{PAGE, Page, SEGMENT, Segment};
use crate::op::bf16::{Operands, PANEL};
use crate::op::codes::Bits;
use crate::op::delta::{Heads, Inputs};
use crate::op::grouped::{Bits as GroupBits, Codes, Division, TOKENS, TileScales, Tiles};
use crate::op::loss::LossTerms;
use crate::op::operand::{Operand, arrange};
use crate::op::sparse::Columns;
use crate::op::ternary::TILE;
use crate::op::vector::LANES;
use crate::set::{Isa, kernels};
use crate::sets;

/// The first set of `ladder` whose kernels agree with `portable`, and a warning if sets before it were skipped. The
/// last set is not tested.
pub(crate) fn first_right(ladder: impl Iterator<Item = Isa>) -> (Isa, Option<String>) {
    let mut warnings = Vec::new();
    for isa in ladder {
        match wrong_kernel(isa) {
            Some(kernel) => warnings.push(format!(
                "the instruction set `{}` computes `{kernel}` wrongly on this CPU and is not used; please report this",
                isa.name()
            )),
            None => return (isa, (!warnings.is_empty()).then(|| warnings.join("\n"))),
        }
    }
    (sets::portable(), Some(warnings.join("\n")))
}

/// The first kernel of a set that disagrees with `portable`. The result is cached for the life of the process.
fn wrong_kernel(isa: Isa) -> Option<&'static str> {
    static KNOWN: Mutex<Vec<(&str, Option<&str>)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, answer)) = known.iter().find(|(name, _)| *name == isa.name()) {
        return *answer;
    }
    let wrong = CASES.iter().find(|(_, case)| case(isa) != case(sets::portable())).map(|(kernel, _)| *kernel);
    known.push((isa.name(), wrong));
    wrong
}

/// A kernel's name, and a function that returns the bits of its results.
type Case = (&'static str, fn(Isa) -> Vec<u32>);

/// Lists a case for each kernel of the table. A kernel without a case does not compile.
macro_rules! cases {
    ($($name:ident = $($op:ident)::+ $(<$v:ident>)? ($($argument:tt)*) $(-> $ret:ty)? $(, requires $check:expr)?;)*) => {
        const CASES: &[Case] = &[$((stringify!($name), cases::$name)),*];
    };
}

kernels! { cases! }

/// Pseudo-random integers from −`most` to `most`, so that no pattern can hide a mistake.
fn integers(seed: u32, len: usize, most: i32) -> impl Iterator<Item = i32> {
    let mut state = seed;
    (0..len).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as i32 % (most + 1) * if state & 128 == 0 { 1 } else { -1 }
    })
}

fn bytes(seed: u32, len: usize) -> Vec<u8> {
    integers(seed, len, 1 << 20).map(|x| x as u8).collect()
}

fn codes(seed: u32, len: usize) -> Vec<i8> {
    integers(seed, len, 127).map(|x| x as i8).collect()
}

fn floats(seed: u32, len: usize) -> Vec<f32> {
    integers(seed, len, 1 << 20).map(|x| x as f32 / 300_000.0).collect()
}

/// Packed trits; no field has the value 3.
fn trits(seed: u32, len: usize) -> Vec<u8> {
    bytes(seed, len).into_iter().map(|byte| byte & !((byte & byte >> 1 & 0x55) << 1)).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn words(x: &[i32]) -> Vec<u32> {
    x.iter().map(|x| *x as u32).collect()
}

mod cases {
    use super::*;

    /// Whole and partial tiles and blocks of tokens, and more tiles and lines than are processed together.
    pub(super) fn ternary_dot(isa: Isa) -> Vec<u32> {
        let tiles = 5;
        // (tokens, lines): long rows for few tokens only, since portable takes milliseconds for many.
        let products = [(1, 45), (2, 3), (4, 45), (5, 3), (37, 3)].map(|(tokens, lines)| {
            let (matrix, depth) = (trits(1, tiles * lines * LINE), lines * 16);
            let rows = codes(2, tokens * depth);
            let order = isa.order(tokens);
            let mut x = vec![0; order.len(tokens, depth)];
            let blocks = x.chunks_mut(order.tokens * order.stride(depth));
            for (rows, block) in rows.chunks(order.tokens * depth).zip(blocks) {
                arrange(order, rows, depth, block);
            }
            let mut sums = vec![0; tokens * tiles * TILE];
            isa.ternary_dot(&matrix, &Operand { codes: &x, order, tokens, depth }, &mut sums);
            words(&sums)
        });
        products.concat()
    }

    pub(super) fn ternary_dot_f32(isa: Isa) -> Vec<u32> {
        let mut out = [0.0; 2 * TILE];
        isa.ternary_dot_f32(&trits(1, 3 * LINE), 3, &floats(2, 2 * 41), 41, &mut out);
        bits(&out)
    }

    /// Tokens of a whole and of a partial block, with a zero among them.
    fn grouped_inputs(tokens: usize, cols: usize) -> Vec<f32> {
        floats(17, tokens * cols).into_iter().enumerate().map(|(i, x)| if i % 50 == 3 { 0.0 } else { x }).collect()
    }

    /// Codes of one block of tokens, in one part and in two: codes, inverses and offsets.
    fn group_codes(isa: Isa, x: &[f32], division: Division, parts: usize) -> (Vec<i8>, Vec<f32>, Vec<i32>) {
        let tokens = x.len() / division.cols;
        let mut codes = vec![0; tokens * division.depth() * parts];
        let (mut inverses, mut offsets) = (vec![0.0; tokens * division.groups()], vec![0; tokens * division.groups()]);
        isa.grouped_codes(x, division, parts, &mut codes, &mut inverses, &mut offsets);
        (codes, inverses, offsets)
    }

    pub(super) fn grouped_codes(isa: Isa) -> Vec<u32> {
        let division = Division::new(GroupBits::Two, 300, 64, 1);
        let of = |parts| {
            let (codes, inverses, offsets) = group_codes(isa, &grouped_inputs(3, 300), division, parts);
            [codes.into_iter().map(|code| code as u32).collect(), bits(&inverses), words(&offsets)].concat()
        };
        [1, 2].map(of).concat()
    }

    /// Divisions with several parts and a partial last group.
    fn divisions() -> [Division; 3] {
        [
            Division::new(GroupBits::Two, 300, 128, 1),
            Division::new(GroupBits::One, 300, 32, 1),
            Division::new(GroupBits::Two, 800, 256, 1),
        ]
    }

    /// Two tiles with these scales, passed to `product`.
    fn grouped_tiles(division: Division, halves: bool, product: impl Fn(&Tiles<'_>) -> Vec<u32>) -> Vec<u32> {
        let (lines, values) = (2 * division.lines() * LINE, 2 * division.groups() * TILE);
        let codes = if division.bits == GroupBits::Two { trits(5, lines) } else { bytes(5, lines) };
        let half: Vec<u16> = integers(7, values, 0x3fff).map(|x| x.unsigned_abs() as u16).collect();
        let float = floats(8, values);
        let scales = if halves { TileScales::Halves(&half) } else { TileScales::Floats(&float) };
        product(&Tiles { division, codes: &codes, scales })
    }

    pub(super) fn grouped_dot(isa: Isa) -> Vec<u32> {
        let of = |division: Division, parts, tokens: usize| {
            let x = grouped_inputs(tokens, division.cols);
            let blocks = x.chunks(TOKENS * division.cols).map(|x| group_codes(isa, x, division, parts));
            let (mut codes, mut inverses, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
            for block in blocks {
                codes.extend(block.0);
                inverses.extend(block.1);
                offsets.extend(block.2);
            }
            let x = Codes { codes: &codes, parts, tokens, inverses: &inverses, offsets: &offsets };
            grouped_tiles(division, parts == 2, |tiles| {
                let mut out = vec![0.0; tokens * 2 * TILE];
                isa.grouped_dot(tiles, &x, &mut out);
                bits(&out)
            })
        };
        let cases = [(1, 1), (1, 2), (2, 2), (3, 1), (6, 2)];
        divisions().map(|division| cases.map(|(tokens, parts)| of(division, parts, tokens)).concat()).concat()
    }

    pub(super) fn grouped_dot_f32(isa: Isa) -> Vec<u32> {
        let of = |division: Division| {
            grouped_tiles(division, true, |tiles| {
                let mut out = vec![0.0; 2 * 2 * TILE];
                isa.grouped_dot_f32(tiles, &grouped_inputs(2, division.cols), &mut out);
                bits(&out)
            })
        };
        divisions().map(of).concat()
    }

    pub(super) fn coded_dot(isa: Isa) -> Vec<u32> {
        let (depth, tiles) = (48, 5);
        let sums = [Bits::Four, Bits::Six, Bits::Eight].map(|bits| {
            // Eight-bit codes are stored with the set's bias.
            let flip = if bits == Bits::Eight { isa.bias() } else { 0 };
            let stored: Vec<u8> = bytes(3, tiles * bits.tile_bytes(depth)).into_iter().map(|x| x ^ flip).collect();
            let products = [1, 2, 11].map(|tokens| {
                let parts: Vec<[i8; 2]> = integers(4, tokens * depth, 63).map(|x| [x as i8, (x & 31) as i8]).collect();
                let mut sums = vec![0; tokens * tiles * TILE];
                // The tokens of a block are interleaved: high parts of four columns, then their low parts.
                let x: Vec<i8> = parts
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .flat_map(|x| [x.map(|x| x[0]), x.map(|x| x[1])])
                    .flatten()
                    .collect();
                isa.coded_dot(bits, &stored, depth, &x, &mut sums);
                let blocks = x.chunks(8 * 2 * depth).zip(sums.chunks_mut(8 * tiles * TILE));
                for (x, sums) in blocks {
                    let m = x.len() / (2 * depth);
                    for (t, sums) in sums.chunks_exact_mut(tiles * TILE).enumerate() {
                        let sum: i32 = (0..depth)
                            .map(|k| {
                                let at = (k / 4 * m + t) * 8 + k % 4;
                                (i32::from(x[at]) << 5) + i32::from(x[at + 4])
                            })
                            .sum();
                        sums.iter_mut().for_each(|x| *x = x.wrapping_sub(i32::from(flip) * sum));
                    }
                }
                words(&sums)
            });
            products.concat()
        });
        sums.concat()
    }

    pub(super) fn encode_row(isa: Isa) -> Vec<u32> {
        let rows = [Bits::Four, Bits::Six, Bits::Eight].map(|bits| {
            let mut stored = [0; 48];
            let row = isa.encode_row(bits, &floats(5, 41), &mut stored);
            let numbers = [row.scale, row.error, row.norm, row.fine_error].map(f32::to_bits);
            numbers.into_iter().chain(stored.map(u32::from)).collect::<Vec<_>>()
        });
        rows.concat()
    }

    pub(super) fn rows_dot(isa: Isa) -> Vec<u32> {
        let mut sums = [0; 5];
        isa.rows_dot(&bytes(6, 7 * 128), 128, &[0, 2, 3, 5, 6], &codes(7, 512), &mut sums);
        words(&sums)
    }

    pub(super) fn columns_dot(isa: Isa) -> Vec<u32> {
        let these = Columns { picked: &[0, 2, 3, 5, 6], codes: &[-128, 127, 5, -3, 90], next: &[7] };
        let mut sums = vec![0; 512];
        isa.columns_dot(&bytes(8, 8 * 128), 128, &these, &mut sums);
        let shift = |i: usize| if isa.columns_scaled() { 2 * (i / 16 % 4) } else { 0 };
        sums.iter().enumerate().map(|(i, sum)| (sum >> shift(i)) as u32).collect()
    }

    pub(super) fn rows_to_tile(isa: Isa) -> Vec<u32> {
        let mut tile = vec![0; 17 * LINE];
        isa.rows_to_tile(&bytes(9, 16 * 128), 128, &mut tile);
        tile.into_iter().map(u32::from).collect()
    }

    pub(super) fn columns_to_tiles(isa: Isa) -> Vec<u32> {
        let mut tiles = vec![0; 2 * 16 * LINE];
        isa.columns_to_tiles(&bytes(10, 32 * LINE), LINE, &mut tiles);
        tiles.into_iter().map(u32::from).collect()
    }

    /// A prefetch has no result; the case only runs it.
    pub(super) fn prefetch(isa: Isa) -> Vec<u32> {
        isa.prefetch(&bytes(11, 100));
        Vec::new()
    }

    pub(super) fn read(isa: Isa) -> Vec<u32> {
        let sum = isa.read(&bytes(12, 16 * LINE), 4, 256);
        vec![sum as u32, (sum >> 32) as u32]
    }

    pub(super) fn quantize(isa: Isa) -> Vec<u32> {
        let mut out = [0; 41];
        let (scale, sum) = isa.quantize(&floats(13, 41), &mut out);
        out.into_iter().map(|x| x as u32).chain([scale.to_bits(), sum as u32]).collect()
    }

    pub(super) fn largest(isa: Isa) -> Vec<u32> {
        bits(&[isa.largest(&floats(13, 41))])
    }

    pub(super) fn quantize_by(isa: Isa) -> Vec<u32> {
        let mut out = [0; 41];
        let sum = isa.quantize_by(&floats(13, 41), 37.0, &mut out);
        out.into_iter().map(|x| x as u32).chain([sum as u32]).collect()
    }

    pub(super) fn rms_norm(isa: Isa) -> Vec<u32> {
        let mut out = [0.0; 299];
        isa.rms_norm(&floats(14, 299), &floats(15, 299), 1e-5, &mut out);
        bits(&out)
    }

    pub(super) fn rotate(isa: Isa) -> Vec<u32> {
        let mut head = floats(16, 70);
        isa.rotate(&mut head, &floats(17, 35), &floats(18, 35));
        bits(&head)
    }

    pub(super) fn add(isa: Isa) -> Vec<u32> {
        let mut x = floats(19, 41);
        isa.add(&mut x, &floats(20, 41));
        bits(&x)
    }

    pub(super) fn to_f16(isa: Isa) -> Vec<u32> {
        let mut out = [0; 41];
        isa.to_f16(&floats(21, 41), &mut out);
        out.map(u32::from).to_vec()
    }

    pub(super) fn relu2_mul(isa: Isa) -> Vec<u32> {
        let mut gate = floats(22, 41);
        isa.relu2_mul(&mut gate, &floats(23, 41));
        bits(&gate)
    }

    pub(super) fn silu_mul(isa: Isa) -> Vec<u32> {
        let mut gate = floats(24, 41);
        isa.silu_mul(&mut gate, &floats(25, 41));
        bits(&gate)
    }

    pub(super) fn gelu_mul(isa: Isa) -> Vec<u32> {
        let mut gate = floats(29, 41);
        isa.gelu_mul(&mut gate, &floats(30, 41));
        bits(&gate)
    }

    pub(super) fn sigmoid_mul(isa: Isa) -> Vec<u32> {
        let mut x = floats(70, 41);
        isa.sigmoid_mul(&mut x, &floats(71, 41));
        bits(&x)
    }

    pub(super) fn hadamard(isa: Isa) -> Vec<u32> {
        let mut x = floats(72, 128);
        isa.hadamard(&mut x, &floats(73, 128), 64);
        bits(&x)
    }

    pub(super) fn hadamard_inverse(isa: Isa) -> Vec<u32> {
        let mut x = floats(74, 128);
        isa.hadamard_inverse(&mut x, &floats(75, 128), 32);
        bits(&x)
    }

    pub(super) fn delta_convolve(isa: Isa) -> Vec<u32> {
        let mut out = [0.0; 41];
        isa.delta_convolve(&floats(76, 4 * 41), &floats(77, 4 * 41), &mut out);
        bits(&out)
    }

    pub(super) fn delta_unit(isa: Isa) -> Vec<u32> {
        let mut x = floats(78, 48);
        isa.delta_unit(&mut x, 0.7);
        bits(&x)
    }

    /// Two chunks and a part of a third, in pieces of several sizes.
    pub(super) fn delta_rows(isa: Isa) -> Vec<u32> {
        let (heads, mut results) = (Heads { key: 16, value: 64, count: 2 }, Vec::new());
        let mut state = vec![0.0; heads.state()];
        for (seed, at, rows) in [(80, 0, 32), (81, 0, 1), (82, 1, 5), (83, 6, 26), (84, 0, 3)] {
            let [q, k] = [1, 2].map(|of| {
                let mut x = floats(seed * of, rows * heads.key);
                x.chunks_exact_mut(heads.key).for_each(|x| sets::portable().delta_unit(x, 1.0));
                x
            });
            let v = floats(seed + 20, rows * heads.count * heads.value);
            let [beta, g] =
                [0.2, -0.1].map(|by| floats(seed, rows * heads.count).iter().map(|x| by * x.abs()).collect());
            let (beta, g): (Vec<f32>, Vec<f32>) = (beta, g);
            let mut out = vec![0.0; v.len()];
            isa.delta_rows(heads, at, &mut state, &Inputs { q: &q, k: &k, v: &v, beta: &beta, g: &g }, &mut out);
            results.extend(bits(&out));
        }
        results.extend(bits(&state));
        results
    }

    pub(super) fn add_columns(isa: Isa) -> Vec<u32> {
        let mut out = floats(26, 70);
        isa.add_columns(&floats(27, 3 * 70), 70, &floats(28, 3), &mut out);
        bits(&out)
    }

    /// Stored rows of one format, without NaN.
    fn stored(row: Row, rows: usize, cols: usize) -> Vec<u8> {
        let bytes = bytes(29, rows * row.bytes(cols).unwrap_or(0));
        // Small f16 values and exponents, wherever the scales of a block are.
        bytes.into_iter().map(|byte| byte & 0x3b).collect()
    }

    /// Columns of a few blocks; of plain numbers a part of a vector too.
    fn columns(row: Row) -> usize {
        match row.block().0 {
            1 => 41,
            weights => 2 * weights,
        }
    }

    pub(super) fn dense_dot(isa: Isa) -> Vec<u32> {
        let products = Row::ALL.iter().map(|&row| {
            let (cols, mut out) = (columns(row), [0.0; 5 * 7]);
            isa.dense_dot(row, &stored(row, 7, cols), cols, &floats(30, 5 * cols), &mut out);
            bits(&out)
        });
        products.collect::<Vec<_>>().concat()
    }

    pub(super) fn dense_row(isa: Isa) -> Vec<u32> {
        let rows = Row::ALL.iter().map(|&row| {
            let mut out = vec![0.0; columns(row)];
            isa.dense_row(row, &stored(row, 1, out.len()), &mut out);
            bits(&out)
        });
        rows.collect::<Vec<_>>().concat()
    }

    pub(super) fn attend_halves(isa: Isa) -> Vec<u32> {
        attend(
            2,
            |x, out| {
                let mut halves = vec![0; x.len()];
                sets::portable().to_f16(x, &mut halves);
                for (bytes, half) in out.as_chunks_mut::<2>().0.iter_mut().zip(&halves) {
                    *bytes = half.to_le_bytes();
                }
            },
            |segment, q, out| isa.attend_halves(segment, q, out),
        )
    }

    pub(super) fn attend_floats(isa: Isa) -> Vec<u32> {
        attend(
            4,
            |x, out| {
                for (bytes, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                    *bytes = x.to_le_bytes();
                }
            },
            |segment, q, out| isa.attend_floats(segment, q, out),
        )
    }

    /// Attention to three pages, whose values take `size` bytes and are written by `write`.
    fn attend(
        size: usize,
        write: impl Fn(&[f32], &mut [u8]),
        kernel: impl Fn(&Segment<'_>, &[f32], &mut [f32]),
    ) -> Vec<u32> {
        let (dim, queries) = (32, 9);
        let side = PAGE * dim * size;
        let pages: Vec<Page> = (0..3)
            .map(|page| {
                let mut lines = Lines::zeroed(2 * side / LINE);
                for (seed, bytes) in [31, 32].into_iter().zip(lines.bytes_mut().chunks_exact_mut(side)) {
                    write(&floats(seed + 2 * page, PAGE * dim), bytes);
                }
                Page(lines)
            })
            .collect();
        let seen = (0..queries).map(|query| 3 * query..60 + query).collect();
        let segment =
            Segment { padded_dim: dim, side, head: 0..2 * side, pages: &pages, numbers: &[2, 0, 1], after: &[], seen };
        let mut out = vec![0.0; queries * (dim + LANES)];
        kernel(&segment, &floats(37, queries * dim), &mut out);
        bits(&out)
    }

    pub(super) fn merge_segments(isa: Isa) -> Vec<u32> {
        let mut state = floats(38, 32 + LANES);
        isa.merge_segments(&mut state, &floats(39, 32 + LANES));
        bits(&state)
    }

    pub(super) fn int8_dot(isa: Isa) -> Vec<u32> {
        let (depth, rows, tiles) = (32, 15, 3);
        let lines: Vec<u8> = bytes(40, tiles * depth * LANES).into_iter().map(|byte| byte ^ isa.bias()).collect();
        let x = codes(41, rows * depth);
        let mut acc = vec![0; rows * tiles * LANES];
        let dots = Dots { lines: &lines, depth, x: &x, x_stride: depth, rows, acc_stride: tiles * LANES, ahead: 0 };
        isa.int8_dot(&dots, &mut acc);
        for (x, acc) in x.chunks_exact(depth).zip(acc.chunks_exact_mut(tiles * LANES)) {
            let bias = i32::from(isa.bias()) * x.iter().map(|x| i32::from(*x)).sum::<i32>();
            acc.iter_mut().for_each(|acc| *acc -= bias);
        }
        words(&acc)
    }

    pub(super) fn int8_weights(isa: Isa) -> Vec<u32> {
        let scales: Vec<f32> = floats(42, 64).into_iter().map(|x| x.abs() / 100.0).collect();
        let query = crate::op::attention::int8::Scale { step: 0.01, offset: 77 };
        let terms = Terms { key_scales: &scales, value_scales: &scales, query, bias: 128, seen: 3..50 };
        let dots: Vec<i32> = integers(43, 64, 100_000).collect();
        let (mut weights, mut out) = (vec![0; 2 * SEGMENT], [0.0; 2]);
        let scale = isa.int8_weights(&terms, &dots, &mut weights, &mut out);
        let weights = weights.into_iter().map(|x| x as u32);
        weights.chain(bits(&out)).chain([scale.step.to_bits(), scale.offset as u32]).collect()
    }

    pub(super) fn int8_values(isa: Isa) -> Vec<u32> {
        let dots: Vec<i32> = integers(44, 2 * 41, 1 << 20).collect();
        let mut out = [0.0; 41];
        isa.int8_values(&dots, crate::op::attention::int8::Scale { step: 0.01, offset: 77 }, &mut out);
        bits(&out)
    }

    pub(super) fn rms_norm_backward(isa: Isa) -> Vec<u32> {
        let (mut dx, mut dweight) = (floats(45, 299), floats(46, 299));
        isa.rms_norm_backward(&floats(47, 299), &floats(48, 299), &floats(49, 299), 1e-5, &mut dx, &mut dweight);
        [bits(&dx), bits(&dweight)].concat()
    }

    pub(super) fn relu2_mul_backward(isa: Isa) -> Vec<u32> {
        let (mut gate, mut up) = (floats(50, 41), floats(51, 41));
        isa.relu2_mul_backward(&mut gate, &mut up, &floats(52, 41));
        [bits(&gate), bits(&up)].concat()
    }

    pub(super) fn cross_entropy(isa: Isa) -> Vec<u32> {
        let mut logits = floats(53, 41);
        let (log_z, loss) = isa.cross_entropy(&mut logits, 17, LossTerms { scale: 0.5, z: 1e-3 });
        bits(&logits).into_iter().chain([log_z.to_bits(), loss.to_bits()]).collect()
    }

    pub(super) fn softmax(isa: Isa) -> Vec<u32> {
        let mut scores = floats(54, 48);
        isa.softmax(&mut scores, 41);
        bits(&scores)
    }

    pub(super) fn softmax_backward(isa: Isa) -> Vec<u32> {
        let mut d = floats(55, 41);
        isa.softmax_backward(&floats(56, 41), &mut d, 0.3, 0.7);
        bits(&d)
    }

    pub(super) fn dot(isa: Isa) -> Vec<u32> {
        vec![isa.dot(&floats(57, 41), &floats(58, 41)).to_bits()]
    }

    pub(super) fn bf16_row(isa: Isa) -> Vec<u32> {
        let mut out = vec![0; 32];
        isa.bf16_row(&floats(59, 41), &mut out);
        out
    }

    pub(super) fn bf16_pairs(isa: Isa) -> Vec<u32> {
        let mut out = vec![0; 41];
        isa.bf16_pairs([&floats(60, 41), &floats(61, 41)], [0.7, 1.3], &mut out);
        out
    }

    pub(super) fn bf16_integers(isa: Isa) -> Vec<u32> {
        let mut out = vec![0; 41];
        isa.bf16_integers([&codes(62, 41), &codes(63, 41)], &mut out);
        out
    }

    pub(super) fn bf16_turn(isa: Isa) -> Vec<u32> {
        let rows: Vec<u32> = integers(64, 32 * 48, 1 << 20).map(|x| x as u32).collect();
        let mut out = vec![0; PANEL * 48];
        isa.bf16_turn(&rows, 48, &mut out);
        out
    }

    /// Small integers, whose sums are exact in every order: AMX has its own order.
    pub(super) fn bf16_dot(isa: Isa) -> Vec<u32> {
        let (rows, pairs, step) = (35, 170, 192);
        let pair = |len, seed| -> Vec<u32> {
            let values = integers(seed, 2 * len, 8).map(|x| (x as f32).to_bits() >> 16).collect::<Vec<_>>();
            values.as_chunks::<2>().0.iter().map(|[even, odd]| even | odd << 16).collect()
        };
        let mut left = pair(rows * step, 65);
        left.chunks_exact_mut(step).for_each(|row| row[pairs..].fill(0));
        let mut panel = pair(step * PANEL, 66);
        panel[pairs * PANEL..].fill(0);
        let mut sums = vec![0.0; rows * PANEL];
        isa.bf16_dot(&Operands { left: &left, row_step: step, pair_step: 1, panel: &panel, pairs }, &mut sums);
        let mut transposed = vec![0.0; PANEL * PANEL];
        isa.bf16_dot(&Operands { left: &panel, row_step: 1, pair_step: PANEL, panel: &panel, pairs }, &mut transposed);
        [bits(&sums), bits(&transposed)].concat()
    }

    pub(super) fn bf16_finish(isa: Isa) -> Vec<u32> {
        let mut out = floats(67, 30);
        isa.bf16_finish(&floats(68, 32), 0.7, true, &mut out);
        bits(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::KernelSet;

    /// A set whose products are one too large, as if the CPU or emulator had a wrong instruction.
    static BROKEN: KernelSet = KernelSet {
        name: "broken",
        supported: || true,
        ternary_dot: |codes, x, sums| {
            crate::op::ternary::dot(codes, x, sums);
            sums.iter_mut().for_each(|sum| *sum += 1);
        },
        ..crate::portable::compiled::TABLE
    };

    #[test]
    fn a_set_that_computes_wrongly_is_not_used() {
        let broken = Isa::new(&BROKEN).expect("it is supported");
        let (isa, warning) = first_right([broken, sets::portable()].into_iter());
        assert_eq!(isa.name(), "portable");
        let warning = warning.expect("a warning for the user");
        assert!(warning.contains("`broken`") && warning.contains("`ternary_dot`"), "{warning}");
        assert!(first_right([sets::portable()].into_iter()).1.is_none());
        let (isa, warning) = first_right([broken].into_iter());
        assert!(isa.name() == "portable" && warning.is_some());
    }

    /// The result of a case depends on its kernel: a kernel that does nothing would leave zeros.
    #[test]
    fn every_case_has_something_to_compare() {
        for (kernel, case) in CASES {
            let bits = case(sets::portable());
            let different = bits.iter().collect::<std::collections::HashSet<_>>().len();
            let one_number = bits.len() == 1 && bits[0] != 0;
            assert!(*kernel == "prefetch" || one_number || different > 1, "{kernel}: {bits:?}");
        }
    }

    #[test]
    fn every_set_of_this_cpu_is_right() {
        for isa in sets::available() {
            assert_eq!(wrong_kernel(isa), None, "{}", isa.name());
        }
    }
}
