//! Single rows and columns, on every instruction set, equal the tiles' product on `portable`, byte for byte.

use sterna_kernels::set::{self, Cpu, PORTABLE};
use sterna_kernels::sparse::{self, Pack};
use sterna_kernels::{Activations, ColumnMatrix, RowMatrix, Rows, TernaryMatrix, ternary};

/// SplitMix64, so that failures repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn trits(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 3) as i8 - 1).collect()
    }

    /// Rows whose codes are −128 … 127 (the largest magnitude is 127), many of them zero.
    fn rows(&mut self, rows: usize, dim: usize) -> Rows {
        let value = |random: u64| if random.is_multiple_of(3) { 0.0 } else { (random >> 20) as i8 as f32 };
        Rows::from_vec(dim, (0..rows * dim).map(|_| value(self.next())).collect())
    }
}

fn pack<M: Pack>(cpu: &Cpu, rows: usize, cols: usize, trits: &[i8]) -> M {
    let fill = |r: usize, out: &mut [i8]| {
        out.copy_from_slice(&trits[r * cols..(r + 1) * cols]);
        Ok::<(), ()>(())
    };
    M::pack(&cpu.pool, rows, cols, 0.37, fill).expect("filling cannot fail")
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Every supported set on one thread and on three.
fn everywhere(test: impl Fn(&Cpu, &str)) {
    for set in set::available() {
        for threads in [1, 3] {
            test(&Cpu::with(set, threads), &format!("{} on {threads} threads", set.name));
        }
    }
}

const SHAPES: [(usize, usize); 8] =
    [(1, 1), (16, 16), (17, 64), (33, 100), (256, 257), (130, 272), (300, 1024), (520, 611)];

#[test]
fn products_equal_those_of_tiles() {
    let portable = Cpu::with(&PORTABLE, 1);
    let mut random = Random(1);
    for (rows, cols) in SHAPES {
        let trits = random.trits(rows * cols);
        let tiles: TernaryMatrix = pack(&portable, rows, cols, &trits);
        let by_row: RowMatrix = pack(&portable, rows, cols, &trits);
        let by_column: ColumnMatrix = pack(&portable, rows, cols, &trits);
        for m in [1, 2, 3, 9, 20] {
            let x = Activations::quantize(&portable, &random.rows(m, cols));
            let expected = bits(ternary::matmul(&portable, &[&tiles], &x)[0].data());
            everywhere(|cpu, on| {
                let on = format!("{rows}x{cols}, {m} tokens, {on}");
                assert!(bits(by_row.matmul(cpu, &x).data()) == expected, "rows {on}");
                assert!(bits(by_column.matmul(cpu, &x).data()) == expected, "columns {on}");
            });
        }
        let x = Activations::quantize(&portable, &random.rows(1, cols));
        let y = ternary::matmul(&portable, &[&tiles], &x);
        for share in [0, 1, 3, 8] {
            let picked: Vec<u32> = (0..rows as u32).filter(|_| random.next() % 8 < share).collect();
            let expected: Vec<f32> = picked.iter().map(|&r| y[0].row(0)[r as usize]).collect();
            everywhere(|cpu, on| {
                assert!(bits(&by_row.product(cpu, &x, &picked)) == bits(&expected), "{rows}x{cols} {share}/8 {on}");
            });
        }
        let nonzero: Vec<u32> = (0..cols as u32).filter(|&k| x.row(0)[k as usize] != 0).collect();
        everywhere(|cpu, on| {
            let got = by_column.product(cpu, &x, &nonzero);
            assert!(bits(got.data()) == bits(y[0].data()), "{rows}x{cols} {} columns {on}", nonzero.len());
        });
    }
}

/// The layouts do not depend on how many threads pack them.
#[test]
fn packing_is_the_same_on_any_number_of_threads() {
    let (one, three) = (Cpu::with(&PORTABLE, 1), Cpu::with(&PORTABLE, 3));
    let (rows, cols) = (523, 77);
    let trits = Random(2).trits(rows * cols);
    let x = Activations::quantize(&one, &Random(3).rows(1, cols));
    let by_column = [&one, &three].map(|cpu| pack::<ColumnMatrix>(cpu, rows, cols, &trits).matmul(&one, &x));
    let by_row = [&one, &three].map(|cpu| pack::<RowMatrix>(cpu, rows, cols, &trits).matmul(&one, &x));
    assert_eq!(bits(by_column[0].data()), bits(by_column[1].data()));
    assert_eq!(bits(by_row[0].data()), bits(by_row[1].data()));
}

/// The error of a row that cannot be read comes out, that of the first piece of work.
#[test]
fn packing_reports_what_fails() {
    let cpu = Cpu::with(&PORTABLE, 2);
    let fill = |r: usize, _: &mut [i8]| if r % 40 == 7 { Err(r) } else { Ok(()) };
    assert_eq!(RowMatrix::pack(&cpu.pool, 100, 16, 1.0, fill).err(), Some(7));
    assert_eq!(ColumnMatrix::pack(&cpu.pool, 300, 16, 1.0, fill).err(), Some(7));
    assert_eq!(TernaryMatrix::pack(&cpu.pool, 100, 16, 1.0, fill).err(), Some(7));
}

/// The largest sums there are: all weights and all activations at one end, 16-bit sums at −2¹⁵.
#[test]
fn sums_do_not_wrap() {
    for cols in [32, 256, 23040] {
        for (weight, value) in [(1i8, 1.0f32), (-1, 1.0), (1, -1.0), (-1, -1.0)] {
            let cpu = Cpu::with(&PORTABLE, 1);
            let trits = vec![weight; 16 * cols];
            let (by_row, by_column): (RowMatrix, ColumnMatrix) =
                (pack(&cpu, 16, cols, &trits), pack(&cpu, 16, cols, &trits));
            let x = Activations::quantize(&cpu, &Rows::from_vec(cols, vec![value; cols]));
            let expected = (cols as f32 * 127.0) * f32::from(weight) * value * (0.37 / 127.0);
            everywhere(|cpu, on| {
                for y in [by_row.matmul(cpu, &x), by_column.matmul(cpu, &x)] {
                    assert!(y.data().iter().all(|y| *y == expected), "{on}: {} != {expected}", y.data()[0]);
                }
            });
        }
    }
}

#[test]
fn relu_keeps_what_is_positive() {
    let mut x = [1.5, 0.0, -0.0, -2.0, f32::NAN, 1e-45, f32::INFINITY, f32::NEG_INFINITY];
    assert_eq!(sparse::relu(&mut x), [0, 5, 6]);
    assert_eq!(bits(&x), bits(&[1.5, 0.0, 0.0, 0.0, 0.0, 1e-45, f32::INFINITY, 0.0]));
}
