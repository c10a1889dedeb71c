//! Products for training: exact for integers, close to the true product otherwise, and the same on every set and thread
//! count.

mod random;

use random::Random;
use sterna_kernels::bf16::{Left, View, product, product_serial};
use sterna_kernels::{Activations, Bf16Panels, Bf16Rows, Rows};
use sterna_kernels::{Cpu, sets};

/// Rows of the left side, length of the sum, columns of the right side.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (7, 33, 65),
    (8, 2, 32),
    (2, 64, 31),
    (33, 100, 96),
    (130, 17, 40),
    (37, 515, 33),
    (300, 48, 129),
    (40, 5000, 3),
];

fn cpus() -> impl Iterator<Item = Cpu> {
    sets::available().flat_map(|set| [1, 2, 3].map(|threads| Cpu::with(set, threads)))
}

impl Random {
    /// Random, between −1 and 1, mostly small.
    fn value(&mut self) -> f32 {
        self.next() as i32 as f32 / 2f32.powi(31 + (self.next() % 8) as i32)
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }

    fn trits(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.next() % 3) as i8 - 1).collect()
    }
}

fn transpose<T: Copy>(x: &[T], cols: usize) -> Vec<T> {
    (0..x.len()).map(|i| x[i % (x.len() / cols) * cols + i / (x.len() / cols)]).collect()
}

/// Rounds to the nearest bf16; ties go to an even last bit.
fn rounded(x: f32) -> f32 {
    let below = f32::from_bits(x.to_bits() & !0xffff);
    let above = f32::from_bits((x.to_bits() & !0xffff) + 0x1_0000);
    let (low, high) = ((f64::from(x) - f64::from(below)).abs(), (f64::from(above) - f64::from(x)).abs());
    if low < high || low == high && below.to_bits() & 0x1_0000 == 0 { below } else { above }
}

/// Both forms of a product of the same matrices, on the pool and on this thread.
fn products(cpu: &Cpu, a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> [Vec<f32>; 4] {
    let rows = Bf16Rows::of(cpu, a, k);
    let panels = Bf16Panels::of(cpu, &transpose(a, k), m);
    let right = Bf16Panels::of(cpu, b, n);
    assert_eq!((rows.rows(), rows.cols(), panels.rows(), panels.cols()), (m, k, k, m));
    let mut out = [0; 4].map(|_| vec![f32::NAN; m * n]);
    let [one, two, three, four] = &mut out;
    product(cpu, Left::Rows(&rows), &right, 1.0, false, one);
    product(cpu, Left::Transposed(&panels), &right, 1.0, false, two);
    product_serial(cpu.isa(), Left::Rows(&rows), &right, 1.0, false, three);
    product_serial(cpu.isa(), Left::Transposed(&panels), &right, 1.0, false, four);
    out
}

#[test]
fn integers_are_exact() {
    let mut random = Random(1);
    for (m, k, n) in SHAPES {
        let x = Rows::from_vec(k, random.values(m * k));
        let trits = random.trits(k * n);
        for cpu in cpus() {
            let codes = Activations::quantize(&cpu, &x);
            let mut expected = vec![0.0; m * n];
            for i in 0..m {
                for j in 0..n {
                    let dot = (0..k).map(|p| i32::from(codes.row(i)[p]) * i32::from(trits[p * n + j]));
                    expected[i * n + j] = dot.sum::<i32>() as f32;
                }
            }
            let floats: Vec<f32> = (0..m).flat_map(|i| codes.row(i)).map(|&code| f32::from(code)).collect();
            let right = Bf16Panels::of_trits(&cpu, k, n, &trits);
            let mut out = vec![f32::NAN; m * n];
            product(&cpu, Left::Rows(&Bf16Rows::of(&cpu, &floats, k)), &right, 1.0, false, &mut out);
            assert_eq!(out, expected, "{:?} {m}x{k}x{n}", cpu.isa());
            // The transposed product: codes on the right, trits on the left.
            if k > 1000 {
                continue;
            }
            let codes_panels = Bf16Panels::of_codes(&cpu, &codes);
            let t: Vec<f32> = transpose(&trits, n).iter().map(|&t| f32::from(t)).collect();
            let mut gram = vec![f32::NAN; k * k];
            product(&cpu, Left::Transposed(&codes_panels), &codes_panels, 1.0, false, &mut gram);
            for (p, q) in [(0, 0), (k - 1, 0), (k / 2, k - 1)] {
                let dot = (0..m).map(|i| i32::from(codes.row(i)[p]) * i32::from(codes.row(i)[q])).sum::<i32>();
                assert_eq!(gram[p * k + q], dot as f32, "{:?} {m}x{k}", cpu.isa());
            }
            let right = Bf16Panels::transposed(&cpu, &floats, m, k);
            let mut out = vec![f32::NAN; m * n];
            product(&cpu, Left::Rows(&Bf16Rows::of(&cpu, &t, k)), &right, 1.0, false, &mut out);
            assert_eq!(out, transpose(&expected, n), "{:?} {m}x{k}x{n}", cpu.isa());
        }
    }
}

#[test]
fn values_are_near_and_the_same_on_every_set() {
    let mut random = Random(2);
    for shape @ (m, k, n) in SHAPES {
        let (a, b) = (random.values(m * k), random.values(k * n));
        let portable = products(&Cpu::with(sets::portable(), 1), &a, &b, shape);
        let (mut exact, mut bound) = (vec![0.0; m * n], vec![0.0; m * n]);
        for i in 0..m {
            for j in 0..n {
                for p in 0..k {
                    let term = f64::from(rounded(a[i * k + p])) * f64::from(rounded(b[p * n + j]));
                    exact[i * n + j] += term;
                    bound[i * n + j] += term.abs();
                }
            }
        }
        for cpu in cpus() {
            let got = products(&cpu, &a, &b, shape);
            for out in &got {
                // Each of the k roundings of a sum is off by at most 2⁻²⁴ of a partial sum of absolute values.
                for ((out, exact), bound) in out.iter().zip(&exact).zip(&bound) {
                    let error = (f64::from(*out) - exact).abs();
                    assert!(
                        error <= (k + 2) as f64 * 2f64.powi(-24) * bound,
                        "{:?} {shape:?}: {out} {exact}",
                        cpu.isa()
                    );
                }
                assert!(*out == got[0], "{:?} {shape:?}: forms and threads agree", cpu.isa());
                if cpu.isa().name() != "amx" {
                    assert!(*out == portable[0], "{:?} {shape:?} equals portable", cpu.isa());
                }
            }
        }
    }
}

#[test]
fn values_round_to_the_nearest_even() {
    let tiny = f32::MIN_POSITIVE;
    let cases = [
        (1.0 + 2f32.powi(-8), 1.0),
        (1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-6)),
        (1.0 + 1.01 * 2f32.powi(-8), 1.0 + 2f32.powi(-7)),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (tiny, tiny),
        (tiny / 2.0, 0.0),
        (-0.0, 0.0),
    ];
    for cpu in cpus() {
        for (x, y) in cases {
            let mut out = [f32::NAN];
            let one = Bf16Panels::of(&cpu, &[1.0], 1);
            product(&cpu, Left::Rows(&Bf16Rows::of(&cpu, &[x], 1)), &one, 1.0, false, &mut out);
            assert_eq!(out, [y], "{:?} {x}", cpu.isa());
            product(&cpu, Left::Transposed(&Bf16Panels::of(&cpu, &[x], 1)), &one, 1.0, false, &mut out);
            assert_eq!(out, [y], "{:?} {x}", cpu.isa());
        }
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            let mut out = [0.0];
            let one = Bf16Panels::of(&cpu, &[1.0], 1);
            product(&cpu, Left::Rows(&Bf16Rows::of(&cpu, &[nan], 1)), &one, 1.0, false, &mut out);
            assert!(out[0].is_nan(), "{:?}", cpu.isa());
        }
    }
}

#[test]
fn scales_sums_and_views() {
    let mut random = Random(3);
    let (m, k, n) = (13, 21, 45);
    let (a, b, scales, before) = (random.values(m * k), random.values(k * n), random.values(k), random.values(m * n));
    let scaled: Vec<f32> = (0..k * n).map(|i| b[i] * scales[i / n]).collect();
    for cpu in cpus() {
        let [plain, ..] = products(&cpu, &a, &scaled, (m, k, n));
        let rows = Bf16Rows::from_rows(&cpu, &Rows::from_vec(k, a.clone()));
        let mut out = before.clone();
        product(&cpu, Left::Rows(&rows), &Bf16Panels::scaled(&cpu, &b, n, &scales), 0.3, true, &mut out);
        let expected: Vec<f32> = plain.iter().zip(&before).map(|(sum, before)| before + 0.3 * sum).collect();
        assert_eq!(out, expected, "{:?}", cpu.isa());

        // A view of some columns of wider rows.
        let stride = 40 + k;
        let mut wide = random.values(m * stride);
        for i in 0..m {
            wide[i * stride + 5..][..k].copy_from_slice(&a[i * k..][..k]);
        }
        let view = View::strided(&wide[5..], m, k, stride);
        let right = Bf16Panels::of(&cpu, &scaled, n);
        product_serial(cpu.isa(), Left::Rows(&Bf16Rows::of_view(cpu.isa(), view)), &right, 1.0, false, &mut out);
        assert_eq!(out, plain, "{:?}", cpu.isa());
        let left = Bf16Panels::transposed_view(cpu.isa(), view);
        product_serial(cpu.isa(), Left::Transposed(&left), &right, 1.0, false, &mut out);
        assert_eq!(out, plain, "{:?}", cpu.isa());
        // Transposing twice gives the matrix again.
        let left = Bf16Panels::of_view(cpu.isa(), View::new(&transpose(&a, k), m));
        product_serial(cpu.isa(), Left::Transposed(&left), &right, 1.0, false, &mut out);
        assert_eq!(out, plain, "{:?}", cpu.isa());
    }
}

#[test]
fn nothing_to_sum_and_nothing_to_write() {
    for cpu in cpus() {
        let (none, empty) =
            (Bf16Panels::of_trits(&cpu, 0, 3, &[]), Bf16Rows::of_view(cpu.isa(), View::strided(&[], 2, 0, 0)));
        let mut out = [f32::NAN; 6];
        product(&cpu, Left::Rows(&empty), &none, 1.0, false, &mut out);
        assert_eq!(out, [0.0; 6]);
        product(&cpu, Left::Transposed(&Bf16Panels::of_trits(&cpu, 0, 2, &[])), &none, 1.0, false, &mut out);
        assert_eq!(out, [0.0; 6]);
        product(&cpu, Left::Transposed(&Bf16Panels::default()), &none, 1.0, false, &mut []);
    }
}
