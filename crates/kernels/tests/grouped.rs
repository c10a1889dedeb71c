//! Group-scaled matrices: products against the formula of `op/grouped.rs`, on every set.

mod random;

use sterna_kernels::grouped::{self, Parts};
use sterna_kernels::{Cpu, GroupedActivations, GroupedMatrix, Rows, Scales, sets};

use random::Random;

/// Trits with their scales: what a file holds.
struct Source {
    rows: usize,
    cols: usize,
    unit: usize,
    trits: Vec<i8>,
    scales: Scales,
}

/// Whether weights may be zero, and whether f16 represents the scales.
#[derive(Clone, Copy, Debug)]
struct Kind {
    zeros: bool,
    halves: bool,
}

const KINDS: [Kind; 4] = [
    Kind { zeros: true, halves: true },
    Kind { zeros: true, halves: false },
    Kind { zeros: false, halves: true },
    Kind { zeros: false, halves: false },
];

impl Source {
    fn new(random: &mut Random, (rows, cols): (usize, usize), columns: usize, kind: Kind) -> Self {
        let trit = |random: &mut Random| {
            if kind.zeros { (random.next() % 3) as i8 - 1 } else { (random.next() % 2) as i8 * 2 - 1 }
        };
        let trits = (0..rows * cols).map(|_| trit(random)).collect();
        let scale = |random: &mut Random| {
            let half = (random.next() % 2048) as f32 / 8192.0;
            if kind.halves { half } else { half + 1e-5 }
        };
        let values = (0..rows * cols.div_ceil(columns)).map(|_| scale(random)).collect();
        Self { rows, cols, unit: 1, trits, scales: Scales::Groups { columns, values } }
    }

    fn pack(&self, cpu: &Cpu) -> GroupedMatrix {
        let fill = |r: usize, out: &mut [i8]| {
            out.copy_from_slice(&self.trits[r * self.cols..][..self.cols]);
            Ok::<(), ()>(())
        };
        let shape = (self.rows, self.cols);
        GroupedMatrix::pack(cpu.pool(), shape, self.unit, &self.scales, fill).expect("filling cannot fail")
    }

    /// One output: `term(trits of a group, its columns, its index)` is multiplied by the group's scale.
    fn product(&self, r: usize, term: impl Fn(&[i8], std::ops::Range<usize>, f32) -> f32) -> f32 {
        let Scales::Groups { columns, values } = &self.scales else { unreachable!("scales of groups") };
        let part = self.cols.div_ceil(8).next_multiple_of(self.unit.max(256)) / columns;
        let row = &self.trits[r * self.cols..][..self.cols];
        let groups: Vec<_> = (0..self.cols).step_by(*columns).map(|c| c..self.cols.min(c + columns)).collect();
        let terms: Vec<f32> = groups
            .iter()
            .enumerate()
            .map(|(g, of)| term(&row[of.clone()], of.clone(), values[r * groups.len() + g]))
            .collect();
        terms.chunks(part).fold(0.0, |sum, part| sum + part.iter().fold(0.0, |sum, term| sum + term))
    }

    fn float(&self, r: usize, x: &[f32]) -> f32 {
        self.product(r, |trits, of, scale| {
            trits.iter().zip(&x[of]).fold(0.0, |sum, (trit, x)| sum + f32::from(*trit) * x) * scale
        })
    }

    fn integer(&self, r: usize, x: &[f32], limit: f32) -> f32 {
        self.product(r, |trits, of, scale| {
            let x = &x[of];
            let a = limit / x.iter().fold(1e-30, |most: f32, x| most.max(x.abs()));
            let code = |x: &f32| (x * a).round_ties_even().clamp(-limit, limit) as i32;
            let dot: i32 = trits.iter().zip(x).map(|(trit, x)| i32::from(*trit) * code(x)).sum();
            dot as f32 * (scale * (1.0 / a))
        })
    }
}

fn inputs(random: &mut Random, tokens: usize, cols: usize) -> Rows {
    let value = |random: &mut Random| (random.next() as i32) as f32 / 2f32.powi(24 + (random.next() % 8) as i32);
    Rows::from_vec(cols, (0..tokens * cols).map(|_| value(random)).collect())
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.data().iter().map(|x| x.to_bits()).collect()
}

fn table(x: &Rows, rows: usize, value: impl Fn(usize, &[f32]) -> f32) -> Vec<u32> {
    (0..x.len()).flat_map(|t| (0..rows).map(move |r| (t, r))).map(|(t, r)| value(r, x.row(t)).to_bits()).collect()
}

/// Every supported set on one thread and on three.
fn everywhere(test: impl Fn(&Cpu, &str)) {
    for set in sets::available() {
        for threads in [1, 3] {
            test(&Cpu::with(set, threads), &format!("{} on {threads} threads", set.name()));
        }
    }
}

const SHAPES: [(usize, usize); 5] = [(1, 1), (17, 64), (33, 100), (40, 1027), (130, 4608)];

/// Sets, sizes of groups, bits of weights, scales, shapes and numbers of tokens: the bytes of the formula.
#[test]
fn products_have_the_bytes_of_the_formula() {
    let mut random = Random(1);
    let portable = Cpu::with(sets::portable(), 1);
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for (j, kind) in KINDS.into_iter().enumerate() {
            let columns = [32, 64, 128, 256][(i + j) % 4];
            let mut source = Source::new(&mut random, shape, columns, kind);
            source.unit = [1, 1024][j % 2];
            let matrix = source.pack(&portable);
            for tokens in [1, 2, 3, 9] {
                let x = inputs(&mut random, tokens, shape.1);
                let float = table(&x, shape.0, |r, x| source.float(r, x));
                let one = table(&x, shape.0, |r, x| source.integer(r, x, 127.0));
                let two = table(&x, shape.0, |r, x| source.integer(r, x, 8127.0));
                everywhere(|cpu, on| {
                    let on = format!("{shape:?}, groups of {columns}, {kind:?}, {tokens} tokens, {on}");
                    assert!(bits(&grouped::matmul_f32(cpu, &[&matrix], &x)[0]) == float, "f32: {on}");
                    for (parts, expected) in [(Parts::One, &one), (Parts::Two, &two)] {
                        let codes = GroupedActivations::quantize(cpu, &x, columns, parts);
                        let y = &grouped::matmul(cpu, &[&matrix], &codes)[0];
                        assert!(bits(y) == *expected, "{parts:?}: {on}");
                    }
                });
            }
        }
    }
}

/// More tokens and rows than one piece of work has, and several matrices: each token and matrix as if alone.
#[test]
fn tokens_and_matrices_do_not_depend_on_others() {
    let mut random = Random(2);
    let cpu = Cpu::with(sets::portable(), 1);
    let sources = [(300, 320), (16, 320)].map(|shape| Source::new(&mut random, shape, 64, KINDS[0]));
    let matrices = [sources[0].pack(&cpu), sources[1].pack(&cpu)];
    let x = inputs(&mut random, 70, 320);
    everywhere(|cpu, on| {
        let codes = |x: &Rows| GroupedActivations::quantize(cpu, x, 64, Parts::Two);
        let together = grouped::matmul(cpu, &[&matrices[0], &matrices[1]], &codes(&x));
        for t in [0, 3, 63, 64, 69] {
            let alone = Rows::from_vec(320, x.row(t).to_vec());
            for (matrix, together) in matrices.iter().zip(&together) {
                let alone = grouped::matmul(cpu, &[matrix], &codes(&alone)).remove(0);
                assert_eq!(alone.row(0), together.row(t), "token {t}, {on}");
            }
        }
    });
}

/// A matrix without zeros takes one bit per weight, others two; scales that are halves take two bytes, others four.
/// The weights of a group with the scale 0 do not count as zeros.
#[test]
fn matrices_take_as_few_bytes_as_they_can() {
    let cpu = Cpu::with(sets::portable(), 1);
    let bytes = |scale: f32, zero_in: Option<usize>| {
        let mut values = vec![scale; 32];
        values[5] = 0.0;
        let scales = Scales::Groups { columns: 64, values };
        let fill = |row: usize, trits: &mut [i8]| {
            trits.fill(-1);
            if zero_in == Some(row) {
                trits[64..128].fill(0);
            }
            Ok::<(), ()>(())
        };
        GroupedMatrix::pack(cpu.pool(), (16, 128), 1, &scales, fill).expect("filling cannot fail").bytes()
    };
    assert_eq!(bytes(0.25, None), 16 * 128 / 8 + 32 * 2);
    assert_eq!(bytes(0.1, None), 16 * 128 / 8 + 32 * 4);
    assert_eq!(bytes(0.25, Some(3)), 16 * 128 / 4 + 32 * 2);
    assert_eq!(bytes(0.25, Some(2)), 16 * 128 / 8 + 32 * 2, "these weights are zero by their scale");
}

/// One scale, and scales of rows, are scales of groups of 256 columns.
#[test]
fn other_scales_become_scales_of_groups() {
    let cpu = Cpu::with(sets::portable(), 1);
    let mut random = Random(3);
    let groups = Source::new(&mut random, (20, 600), 256, KINDS[0]);
    let with = |scales| Source { scales, trits: groups.trits.clone(), ..groups };
    let x = inputs(&mut random, 2, 600);
    let product = |scales: Scales| bits(&grouped::matmul_f32(&cpu, &[&with(scales).pack(&cpu)], &x)[0]);
    let rows: Vec<f32> = (0..20).map(|r| r as f32 / 8.0).collect();
    let of_rows = rows.iter().flat_map(|scale| [*scale; 3]).collect();
    assert_eq!(product(Scales::Rows(rows)), product(Scales::Groups { columns: 256, values: of_rows }));
    assert_eq!(product(Scales::One(0.5)), product(Scales::Groups { columns: 256, values: vec![0.5; 60] }));
}

/// Two parts are at least sixty times as precise as one: 14 bits instead of 8.
#[test]
fn two_parts_have_fourteen_bits() {
    let cpu = Cpu::with(sets::portable(), 1);
    let mut random = Random(4);
    let matrix = Source::new(&mut random, (64, 512), 128, KINDS[0]).pack(&cpu);
    let x = inputs(&mut random, 4, 512);
    let exact = grouped::matmul_f32(&cpu, &[&matrix], &x).remove(0);
    let error = |parts| {
        let y = grouped::matmul(&cpu, &[&matrix], &GroupedActivations::quantize(&cpu, &x, 128, parts)).remove(0);
        y.data().iter().zip(exact.data()).map(|(y, exact)| f64::from(y - exact).powi(2)).sum::<f64>().sqrt()
    };
    assert!(error(Parts::One) > 40.0 * error(Parts::Two), "{} and {}", error(Parts::One), error(Parts::Two));
}

/// NaN and infinity of one group do not reach other rows, and zeros stay zeros.
#[test]
fn unusual_activations() {
    let cpu = Cpu::with(sets::portable(), 1);
    let mut random = Random(5);
    let matrix = Source::new(&mut random, (16, 128), 64, KINDS[0]).pack(&cpu);
    let mut x = vec![0.0; 3 * 128];
    x[5] = f32::NAN;
    x[128] = f32::INFINITY;
    let x = Rows::from_vec(128, x);
    everywhere(|cpu, on| {
        for parts in [Parts::One, Parts::Two] {
            let y = grouped::matmul(cpu, &[&matrix], &GroupedActivations::quantize(cpu, &x, 64, parts)).remove(0);
            assert!(y.row(2).iter().all(|y| *y == 0.0), "{parts:?}, {on}");
        }
    });
}
