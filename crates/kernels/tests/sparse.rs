//! Products of single rows and columns, on every instruction set, equal `portable`'s product of tiles byte for byte.

mod random;

use sterna_kernels::layout::{self, COLUMNS, LayoutKind, ROWS, T16};
use sterna_kernels::sparse::{Indices, Part};
use sterna_kernels::ternary::matmul_part;
use sterna_kernels::{Activations, Matrix, Rows, Scales, ternary};
use sterna_kernels::{Cpu, sets};

use random::Random;

impl Random {
    fn trits(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 3) as i8 - 1).collect()
    }

    /// Rows with codes −128 … 127 (the largest magnitude is 127), many of them zero.
    fn rows(&mut self, rows: usize, dim: usize) -> Rows {
        let value = |random: u64| if random.is_multiple_of(3) { 0.0 } else { (random >> 20) as i8 as f32 };
        Rows::from_vec(dim, (0..rows * dim).map(|_| value(self.next())).collect())
    }
}

fn pack(cpu: &Cpu, layout: &LayoutKind, rows: usize, cols: usize, trits: &[i8]) -> Matrix {
    let fill = |r: usize, out: &mut [i8]| {
        out.copy_from_slice(&trits[r * cols..(r + 1) * cols]);
        Ok::<(), ()>(())
    };
    Matrix::pack(cpu.pool(), layout, (rows, cols), &Scales::One(0.37), fill).expect("filling cannot fail")
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Runs a test on every supported set, with one thread and with three.
fn everywhere(test: impl Fn(&Cpu, &str)) {
    for set in sets::available() {
        for threads in [1, 3] {
            test(&Cpu::with(set, threads), &format!("{} on {threads} threads", set.name()));
        }
    }
}

const SHAPES: [(usize, usize); 8] =
    [(1, 1), (16, 16), (17, 64), (33, 100), (256, 257), (130, 272), (300, 1024), (520, 611)];

/// Gates of which this many eighths are positive, and the values of `y` where they are.
fn gated(random: &mut Random, y: &Rows, eighths: u64) -> (Rows, Vec<f32>) {
    let gate: Vec<f32> = y.data().iter().map(|_| if random.next() % 8 < eighths { 0.5 } else { -0.5 }).collect();
    let kept = gate.iter().zip(y.data()).filter(|(gate, _)| **gate > 0.0).map(|(_, y)| *y).collect();
    (Rows::from_vec(y.dim(), gate), kept)
}

#[test]
fn products_equal_those_of_tiles() {
    let portable = Cpu::with(sets::portable(), 1);
    let mut random = Random(1);
    for (rows, cols) in SHAPES {
        let trits = random.trits(rows * cols);
        let tiles = pack(&portable, &T16, rows, cols, &trits);
        let by_row = pack(&portable, &ROWS, rows, cols, &trits);
        let by_column = pack(&portable, &COLUMNS, rows, cols, &trits);
        for m in [1, 2, 3, 9, 70] {
            let x = Activations::quantize(&portable, &random.rows(m, cols));
            let y = &ternary::matmul(&portable, &[&tiles], &x)[0];
            everywhere(|cpu, on| {
                let on = format!("{rows}x{cols}, {m} tokens, {on}");
                let same = |got: &Rows| bits(got.data()) == bits(y.data());
                assert!(same(&ternary::matmul(cpu, &[&by_row], &x)[0]), "rows {on}");
                assert!(same(&ternary::matmul(cpu, &[&by_column], &x)[0]), "columns {on}");
                assert!(
                    same(&matmul_part(cpu, &by_column, &x, Part::Columns(&Indices::nonzero(cpu, &x)))),
                    "some columns {on}"
                );
            });
            for eighths in [0, 1, 3, 8] {
                let (gate, kept) = gated(&mut random, y, eighths);
                everywhere(|cpu, on| {
                    let got = matmul_part(cpu, &by_row, &x, Part::Rows(&Indices::positive(cpu, &gate)));
                    let wanted = gate.data().iter().zip(got.data()).filter(|(gate, _)| **gate > 0.0);
                    let wanted: Vec<f32> = wanted.map(|(_, y)| *y).collect();
                    assert!(bits(&wanted) == bits(&kept), "{rows}x{cols} {eighths}/8, {m} tokens, {on}");
                });
            }
        }
    }
}

/// The layouts do not depend on how many threads pack them.
#[test]
fn packing_is_the_same_on_any_number_of_threads() {
    let (one, three) = (Cpu::with(sets::portable(), 1), Cpu::with(sets::portable(), 3));
    let (rows, cols) = (523, 77);
    let trits = Random(2).trits(rows * cols);
    let x = Activations::quantize(&one, &Random(3).rows(1, cols));
    for layout in layout::ALL {
        let [a, b] = [&one, &three].map(|cpu| ternary::matmul(&one, &[&pack(cpu, layout, rows, cols, &trits)], &x));
        assert_eq!(bits(a[0].data()), bits(b[0].data()), "{layout:?}");
    }
}

/// A row that cannot be read fails packing, with the error of the first such piece of work.
#[test]
fn packing_reports_what_fails() {
    let cpu = Cpu::with(sets::portable(), 2);
    let fill = |r: usize, _: &mut [i8]| if r % 40 == 7 { Err(r) } else { Ok(()) };
    for layout in layout::ALL {
        let packed = Matrix::pack(cpu.pool(), layout, (300, 16), &Scales::One(1.0), fill);
        assert_eq!(packed.err(), Some(7), "{layout:?}");
    }
}

/// The largest sums there are: all weights and all activations at one end, 16-bit sums at −2¹⁵.
#[test]
fn sums_do_not_wrap() {
    for cols in [32, 256, 23040] {
        for (weight, value) in [(1i8, 1.0f32), (-1, 1.0), (1, -1.0), (-1, -1.0)] {
            let cpu = Cpu::with(sets::portable(), 1);
            let trits = vec![weight; 16 * cols];
            let [by_row, by_column] = [&ROWS, &COLUMNS].map(|layout| pack(&cpu, layout, 16, cols, &trits));
            let x = Activations::quantize(&cpu, &Rows::from_vec(cols, vec![value; cols]));
            let expected = (cols as f32 * 127.0) * f32::from(weight) * value * (0.37 / 127.0);
            everywhere(|cpu, on| {
                let all = Indices::positive(cpu, &Rows::from_vec(16, vec![1.0; 16]));
                let nonzero = Indices::nonzero(cpu, &x);
                let some_rows = matmul_part(cpu, &by_row, &x, Part::Rows(&all));
                for y in [some_rows, matmul_part(cpu, &by_column, &x, Part::Columns(&nonzero))] {
                    assert!(y.data().iter().all(|y| *y == expected), "{on}: {} != {expected}", y.data()[0]);
                }
            });
        }
    }
}

#[test]
fn indices_are_those_of_numbers_above_zero() {
    let cpu = Cpu::with(sets::portable(), 1);
    let x = [1.5, 0.0, -0.0, -2.0, f32::NAN, 1e-45, f32::INFINITY, f32::NEG_INFINITY];
    let indices = Indices::positive(&cpu, &Rows::from_vec(4, x.to_vec()));
    assert_eq!((&indices[0][..], &indices[1][..], indices.total()), (&[0][..], &[1, 2][..], 3));
}
