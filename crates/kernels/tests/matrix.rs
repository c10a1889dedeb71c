//! Matrices of every layout and kind of scales: products against the formula, sums before they are finished, and
//! shards.

mod random;

use sterna_kernels::layout::{self, LayoutKind, ROWS, T16};
use sterna_kernels::sparse::{Indices, Part};
use sterna_kernels::{Activations, Cpu, Finish, Matrix, Rows, Scales, sets, ternary};

use random::Random;

/// Trits with their scales: what a file holds.
struct Source {
    rows: usize,
    cols: usize,
    trits: Vec<i8>,
    scales: Scales,
}

impl Source {
    fn new(random: &mut Random, rows: usize, cols: usize, kind: Kind) -> Self {
        let trits = (0..rows * cols).map(|_| (random.next() % 3) as i8 - 1).collect();
        let mut scales = |n: usize| (0..n).map(|_| (random.next() % 2048) as f32 / 8192.0 + 1e-5).collect::<Vec<f32>>();
        let scales = match kind {
            Kind::One => Scales::One(scales(1)[0]),
            Kind::Rows => Scales::Rows(scales(rows)),
        };
        Self { rows, cols, trits, scales }
    }

    fn pack(&self, cpu: &Cpu, layout: &LayoutKind) -> Matrix {
        let fill = |r: usize, out: &mut [i8]| {
            out.copy_from_slice(&self.trits[r * self.cols..][..self.cols]);
            Ok::<(), ()>(())
        };
        Matrix::pack(cpu.pool(), layout, (self.rows, self.cols), &self.scales, fill).expect("filling cannot fail")
    }

    /// The columns `from .. to`.
    fn columns(&self, from: usize, to: usize) -> Self {
        let trits = self.trits.chunks(self.cols).flat_map(|row| &row[from..to]).copied().collect();
        Self { rows: self.rows, cols: to - from, trits, scales: self.scales.clone() }
    }

    /// The rows `from .. to`.
    fn some_rows(&self, from: usize, to: usize) -> Self {
        let scales = match &self.scales {
            Scales::One(scale) => Scales::One(*scale),
            Scales::Rows(scales) => Scales::Rows(scales[from..to].to_vec()),
            Scales::Groups { .. } => unreachable!("one scale, or one for each row"),
        };
        let trits = self.trits[from * self.cols..to * self.cols].to_vec();
        Self { rows: to - from, cols: self.cols, trits, scales }
    }

    /// The formula of `op/scales.rs` for one row, `x` being codes or floats; `activation` is their scale.
    fn product<T: Copy>(&self, r: usize, x: &[T], activation: f32, dot: impl Fn(&[i8], &[T]) -> f32) -> f32 {
        let row = &self.trits[r * self.cols..][..self.cols];
        match &self.scales {
            Scales::One(scale) => dot(row, x) * (scale / activation),
            Scales::Rows(scales) => dot(row, x) * (scales[r] / activation),
            Scales::Groups { .. } => unreachable!("one scale, or one for each row"),
        }
    }
}

/// A kind of scales.
#[derive(Clone, Copy, Debug)]
enum Kind {
    One,
    Rows,
}

const KINDS: [Kind; 2] = [Kind::One, Kind::Rows];

const SHAPES: [(usize, usize); 7] = [(1, 1), (16, 32), (17, 64), (33, 100), (130, 272), (300, 512), (70, 1027)];

fn integers(row: &[i8], x: &[i8]) -> f32 {
    row.iter().zip(x).map(|(trit, code)| i32::from(*trit) * i32::from(*code)).sum::<i32>() as f32
}

fn floats(row: &[i8], x: &[f32]) -> f32 {
    row.iter().zip(x).fold(0.0, |sum, (trit, x)| sum + f32::from(*trit) * x)
}

fn inputs(random: &mut Random, tokens: usize, cols: usize) -> Rows {
    let value = |random: &mut Random| (random.next() as i32) as f32 / 2f32.powi(24 + (random.next() % 8) as i32);
    Rows::from_vec(cols, (0..tokens * cols).map(|_| value(random)).collect())
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.data().iter().map(|x| x.to_bits()).collect()
}

/// Every supported set on one thread and on three.
fn everywhere(test: impl Fn(&Cpu, &str)) {
    for set in sets::available() {
        for threads in [1, 3] {
            test(&Cpu::with(set, threads), &format!("{} on {threads} threads", set.name()));
        }
    }
}

fn portable() -> Cpu {
    Cpu::with(sets::portable(), 1)
}

/// Sets, layouts, scales, shapes and numbers of tokens: the bytes of the formula, in one product or in two steps.
#[test]
fn products_have_the_bytes_of_the_formula() {
    let mut random = Random(1);
    let cpu = portable();
    for (rows, cols) in SHAPES {
        for kind in KINDS {
            let source = Source::new(&mut random, rows, cols, kind);
            let matrices: Vec<_> = layout::ALL.iter().map(|layout| source.pack(&cpu, layout)).collect();
            for matrix in &matrices {
                for r in [0, rows / 2, rows - 1] {
                    assert_eq!(matrix.trits(r), source.trits[r * cols..][..cols], "{kind:?}");
                }
            }
            for tokens in [1, 2, 17] {
                let x = inputs(&mut random, tokens, cols);
                let codes = Activations::quantize(&cpu, &x);
                let formula = |t: usize, r: usize| source.product(r, codes.row(t), codes.scales()[t], integers);
                let expected = table(tokens, rows, formula);
                let expected_f32 = table(tokens, rows, |t, r| source.product(r, x.row(t), 1.0, floats));
                everywhere(|cpu, on| {
                    let on = format!("{rows}x{cols} {kind:?}, {tokens} tokens, {on}");
                    let these: Vec<_> = matrices.iter().collect();
                    for (layout, y) in layout::ALL.iter().zip(ternary::matmul(cpu, &these, &codes)) {
                        assert!(bits(&y) == expected, "{layout:?} {on}");
                    }
                    for (layout, y) in layout::ALL.iter().zip(ternary::matmul_f32(cpu, &these, &x)) {
                        assert!(bits(&y) == expected_f32, "{layout:?} f32 {on}");
                    }
                    for (matrix, sums) in these.iter().zip(ternary::sums(cpu, &these, &codes)) {
                        let y = matrix.finish().apply(cpu, &sums, codes.scales());
                        assert!(bits(&y) == expected, "two steps {on}");
                    }
                });
            }
        }
    }
}

fn table(tokens: usize, rows: usize, value: impl Fn(usize, usize) -> f32) -> Vec<u32> {
    let value = &value;
    (0..tokens).flat_map(|t| (0..rows).map(move |r| value(t, r).to_bits())).collect()
}

/// Matrices of all layouts and scales in one product give what each gives alone.
#[test]
fn matrices_of_all_kinds_share_a_product() {
    let mut random = Random(2);
    let cpu = portable();
    let sources = KINDS.map(|kind| Source::new(&mut random, 90, 300, kind));
    let packed: Vec<_> =
        sources.iter().flat_map(|source| layout::ALL.iter().map(|layout| source.pack(&cpu, layout))).collect();
    let together: Vec<_> = packed.iter().collect();
    for tokens in [1, 5] {
        let codes = Activations::quantize(&cpu, &inputs(&mut random, tokens, 300));
        everywhere(|cpu, on| {
            for (matrix, y) in together.iter().zip(ternary::matmul(cpu, &together, &codes)) {
                assert!(bits(&y) == bits(&ternary::matmul(cpu, &[matrix], &codes)[0]), "{tokens} tokens, {on}");
            }
        });
    }
}

/// A matrix whose rows all have one scale gives the bytes of one that has this scale.
#[test]
fn equal_scales_of_rows_are_one_scale() {
    let mut random = Random(3);
    let cpu = portable();
    let one = Source::new(&mut random, 50, 200, Kind::One);
    let Scales::One(scale) = one.scales else { unreachable!("one scale") };
    let rows = Source { scales: Scales::Rows(vec![scale; 50]), trits: one.trits.clone(), ..one };
    let codes = Activations::quantize(&cpu, &inputs(&mut random, 3, 200));
    let [a, b] = [&one, &rows].map(|source| ternary::matmul(&cpu, &[&source.pack(&cpu, &T16)], &codes).remove(0));
    assert_eq!(bits(&a), bits(&b));
}

/// A matrix and its input cut into shards of columns, quantised with the largest magnitude of all: their sums, added
/// and then finished, are the bytes of the whole.
#[test]
fn shards_of_columns_have_the_bytes_of_the_whole() {
    let mut random = Random(4);
    let cpu = portable();
    for kind in KINDS {
        let (rows, cols) = (90, 900);
        let source = Source::new(&mut random, rows, cols, kind);
        let whole = source.pack(&cpu, &T16);
        for tokens in [1, 2, 17] {
            let x = inputs(&mut random, tokens, cols);
            let expected = ternary::matmul(&cpu, &[&whole], &Activations::quantize(&cpu, &x)).remove(0);
            for cuts in [&[0, 512, 900][..], &[0, 256, 768, 900]] {
                everywhere(|cpu, on| {
                    let cut: Vec<_> = cuts.windows(2).map(|cut| (cut[0], cut[1])).collect();
                    let parts: Vec<_> = cut.iter().map(|cut| columns(&x, cut.0, cut.1)).collect();
                    let largest = parts.iter().map(|part| Activations::largest(cpu, part));
                    let largest = largest.reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect());
                    let largest = largest.expect("a shard");
                    let sums = cut.iter().zip(&parts).map(|(cut, part)| {
                        let codes = Activations::quantize_shard(cpu, part, &largest);
                        let shard = source.columns(cut.0, cut.1).pack(cpu, &ROWS);
                        ternary::sums(cpu, &[&shard], &codes).remove(0)
                    });
                    let sums = sums.reduce(|mut left, right| {
                        left.add_columns(&right);
                        left
                    });
                    let scales: Vec<f32> = largest.iter().map(|largest| 127.0 / largest).collect();
                    let y = Finish::new(&source.scales, rows).apply(cpu, &sums.expect("a shard"), &scales);
                    assert!(bits(&y) == bits(&expected), "{kind:?}, {tokens} tokens, {} shards, {on}", cut.len());
                });
            }
        }
    }
}

/// Shards of rows, side by side.
#[test]
fn shards_of_rows_have_the_bytes_of_the_whole() {
    let mut random = Random(5);
    let cpu = portable();
    for kind in KINDS {
        let (rows, cols) = (160, 300);
        let source = Source::new(&mut random, rows, cols, kind);
        let codes = Activations::quantize(&cpu, &inputs(&mut random, 5, cols));
        let whole = ternary::matmul(&cpu, &[&source.pack(&cpu, &T16)], &codes).remove(0);
        for cuts in [&[0, 80, 160][..], &[0, 16, 33, 160]] {
            for cut in cuts.windows(2) {
                let shard = source.some_rows(cut[0], cut[1]).pack(&cpu, &T16);
                let y = ternary::matmul(&cpu, &[&shard], &codes).remove(0);
                assert_eq!(bits(&y), bits(&columns(&whole, cut[0], cut[1])), "{kind:?} {cut:?}");
            }
        }
    }
}

fn columns(rows: &Rows, from: usize, to: usize) -> Rows {
    Rows::from_vec(to - from, (0..rows.len()).flat_map(|i| &rows.row(i)[from..to]).copied().collect())
}

/// Quantising in two steps is quantising, also where nothing is left to scale.
#[test]
fn quantising_by_the_largest_is_quantising() {
    let mut random = Random(6);
    let mut x = inputs(&mut random, 4, 77).data().to_vec();
    x[77..154].fill(0.0);
    x[154] = f32::NAN;
    x[231] = f32::INFINITY;
    let x = Rows::from_vec(77, x);
    everywhere(|cpu, on| {
        let two_steps = Activations::quantize_shard(cpu, &x, &Activations::largest(cpu, &x));
        assert_eq!(two_steps, Activations::quantize(cpu, &x), "{on}");
    });
}

/// A product of which a part is needed is that part of the product, whatever the scales and the layout.
#[test]
fn parts_of_products_have_the_bytes_of_the_whole() {
    let mut random = Random(7);
    let cpu = portable();
    for kind in KINDS {
        let source = Source::new(&mut random, 120, 300, kind);
        for tokens in [1, 3] {
            let codes = Activations::quantize(&cpu, &inputs(&mut random, tokens, 300));
            let whole = ternary::matmul(&cpu, &[&source.pack(&cpu, &T16)], &codes).remove(0);
            let gate = whole.data().iter().map(|y| if random.next().is_multiple_of(5) { y.abs() + 1.0 } else { -1.0 });
            let gate = Rows::from_vec(120, gate.collect());
            everywhere(|cpu, on| {
                let (rows, inputs) = (Indices::positive(cpu, &gate), Indices::nonzero(cpu, &codes));
                for layout in layout::ALL {
                    let matrix = source.pack(cpu, layout);
                    let y = ternary::matmul_part(cpu, &matrix, &codes, Part::Columns(&inputs));
                    assert!(bits(&y) == bits(&whole), "{layout:?} {kind:?} columns, {on}");
                    let y = ternary::matmul_part(cpu, &matrix, &codes, Part::Rows(&rows));
                    for t in 0..tokens {
                        for &r in &rows[t] {
                            let (a, b) = (y.row(t)[r as usize], whole.row(t)[r as usize]);
                            assert_eq!(a.to_bits(), b.to_bits(), "{layout:?} {kind:?} rows, {on}");
                        }
                    }
                }
            });
        }
    }
}

/// Bytes that are no trits count by their sign: no code 3 arises, which sums have no room for.
#[test]
fn every_byte_becomes_a_trit() {
    let cpu = portable();
    for layout in layout::ALL {
        let matrix = Matrix::pack(cpu.pool(), layout, (20, 256), &Scales::One(1.0), |r, out| {
            out.iter_mut().enumerate().for_each(|(k, out)| *out = (k + r) as u8 as i8);
            Ok::<(), ()>(())
        });
        let matrix = matrix.expect("filling cannot fail");
        for r in 0..20 {
            let signs: Vec<i8> = (0..256).map(|k| ((k + r) as u8 as i8).signum()).collect();
            assert_eq!(matrix.trits(r), signs, "{layout:?} row {r}");
        }
    }
}

/// Scales that do not fit the shape are a mistake of the caller.
#[test]
fn scales_must_fit_the_shape() {
    let wrong = [Scales::Rows(vec![1.0; 3]), Scales::Groups { columns: 32, values: vec![1.0; 8] }];
    for scales in wrong {
        let made = std::panic::catch_unwind(|| Finish::new(&scales, 4));
        assert!(made.is_err(), "{scales:?}");
    }
}
