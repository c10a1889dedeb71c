//! Every instruction set × every operation × a grid of shapes equals `portable`, byte for byte.

mod portable;
mod random;

use sterna_kernels::format::{BF16, F16, F32, FORMATS, Q6_K, Q8_0};
use sterna_kernels::layout::T16;
use sterna_kernels::screen::{self, Bits, Margin, Screen};
use sterna_kernels::{Activations, Bytes, DenseMatrix, LowRank, Matrix, Rows, Scales, ternary};
use sterna_kernels::{Cpu, sets};

use portable::{against_portable, bits};
use random::Random;

impl Random {
    fn matrix(&mut self, cpu: &Cpu, rows: usize, cols: usize) -> (Matrix, Vec<i8>) {
        let trits: Vec<i8> = (0..rows * cols).map(|_| (self.next() % 3) as i8 - 1).collect();
        let packed = Matrix::pack(cpu.pool(), &T16, (rows, cols), &Scales::One(0.37), |r, out| {
            out.copy_from_slice(&trits[r * cols..(r + 1) * cols]);
            Ok::<(), ()>(())
        });
        (packed.expect("filling cannot fail"), trits)
    }
}

const TOKENS: [usize; 7] = [1, 2, 3, 5, 13, 20, 29];
const SHAPES: [(usize, usize); 8] =
    [(1, 1), (16, 16), (17, 64), (33, 100), (48, 257), (130, 272), (160, 1024), (24, 4111)];

/// The test runs every set that the CPU reports: a supported set that is skipped fails here.
#[test]
fn every_supported_set_is_run() {
    let names: Vec<_> = sets::available().map(|set| set.name()).collect();
    println!("sets: {}", names.join(" "));
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"];
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = |flag: &str| flags.split_ascii_whitespace().any(|f| f == flag);
        if !flags.is_empty() {
            assert_eq!(names.contains(&"avx2"), has("avx2") && has("f16c"), "{names:?}");
            assert_eq!(names.contains(&"avxvnni"), has("avx_vnni") && has("f16c"), "{names:?}");
            let amx = cfg!(target_os = "linux") && ["amx_tile", "amx_int8"].iter().all(|flag| has(flag));
            assert_eq!(names.contains(&"amx"), amx, "{names:?}");
            assert_eq!(names.contains(&"avx512"), avx512.iter().all(|flag| has(flag)), "{names:?}");
        }
    }
    assert_eq!(names.last(), Some(&"portable"));
    assert_eq!(sets::by_name("").unwrap().name(), names[0]);
    let error = sets::by_name("sse9").unwrap_err().to_string();
    assert!(error.contains("sse9") && error.contains("portable"), "{error}");
}

#[test]
fn ternary_matmul_is_exact() {
    let cpu = Cpu::with(sets::portable(), 1);
    let mut random = Random(1);
    for (rows, cols) in SHAPES {
        let (w, trits) = random.matrix(&cpu, rows, cols);
        let (v, _) = random.matrix(&cpu, rows + 5, cols);
        for r in 0..rows {
            assert_eq!(w.trits(r), trits[r * cols..(r + 1) * cols]);
        }
        for m in TOKENS {
            let x = random.rows(m, cols);
            let quantized = Activations::quantize(&cpu, &x);
            // Portable itself against the formula, from the trits and codes.
            let y = &ternary::matmul(&cpu, &[&w], &quantized)[0];
            for t in 0..m {
                for r in 0..rows {
                    let row = &trits[r * cols..(r + 1) * cols];
                    let dot: i32 = row.iter().zip(quantized.row(t)).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
                    assert_eq!(y.row(t)[r], dot as f32 * (0.37 / quantized.scales()[t]));
                }
            }
            against_portable(&format!("ternary {rows}x{cols}, {m} tokens"), |cpu| {
                bits(&ternary::matmul(cpu, &[&w, &v], &quantized))
            });
            against_portable(&format!("ternary f32 {rows}x{cols}, {m} tokens"), |cpu| {
                bits(&ternary::matmul_f32(cpu, &[&w, &v], &x))
            });
        }
    }
}

/// More rows and tokens than one piece of work holds.
#[test]
fn ternary_matmul_in_many_pieces() {
    let cpu = Cpu::with(sets::portable(), 1);
    let mut random = Random(6);
    let (w, _) = random.matrix(&cpu, 1750, 80);
    let (v, _) = random.matrix(&cpu, 3, 80);
    for m in [16, 77, 135] {
        let x = Activations::quantize(&cpu, &random.rows(m, 80));
        against_portable(&format!("{m} tokens"), |cpu| bits(&ternary::matmul(cpu, &[&w, &v], &x)));
    }
    // Activations larger than a cache.
    let (w, _) = random.matrix(&cpu, 3, 8200);
    let x = Activations::quantize(&cpu, &random.rows(150, 8200));
    against_portable("150 long tokens", |cpu| bits(&ternary::matmul(cpu, &[&w], &x)));
}

/// The largest sums there are: all weights and all activations at one end.
#[test]
fn ternary_matmul_does_not_wrap() {
    for (weight, value, cols) in
        [(1i8, 1.0f32, 23040), (-1, 1.0, 23040), (1, -1.0, ternary::MAX_COLS), (-1, -1.0, ternary::MAX_COLS)]
    {
        let cpu = Cpu::with(sets::portable(), 1);
        let w = Matrix::pack(cpu.pool(), &T16, (16, cols), &Scales::One(1.0), |_, row| {
            row.fill(weight);
            Ok::<(), ()>(())
        });
        let w = w.expect("filling cannot fail");
        for m in [1, 5, 16] {
            let x = Rows::from_vec(cols, vec![value; m * cols]);
            for set in sets::available() {
                let cpu = Cpu::with(set, 1);
                let y = &ternary::matmul(&cpu, &[&w], &Activations::quantize(&cpu, &x))[0];
                let expected = (cols as f32 * 127.0) * f32::from(weight) * value * (1.0 / 127.0);
                assert!(y.data().iter().all(|y| *y == expected), "{}: {} != {expected}", set.name(), y.data()[0]);
            }
        }
    }
}

#[test]
fn quantize_rounds_half_to_even() {
    let x = Rows::from_vec(8, vec![127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0, -2.5]);
    for set in sets::available() {
        let q = Activations::quantize(&Cpu::with(set, 1), &x);
        assert_eq!(q.row(0), [127, 0, 2, 2, 0, -2, -127, -2], "{}", set.name());
        assert_eq!((q.scales()[0], q.sums()[0]), (1.0, 0));
    }
    let zeros = Activations::quantize(&Cpu::with(sets::portable(), 1), &Rows::zeros(1, 33));
    assert_eq!((zeros.scales()[0], zeros.sums()[0]), (127.0 / 1e-5, 0));
    let mut random = Random(2);
    for cols in [1, 15, 16, 17, 100, 2560] {
        let mut x = random.rows(7, cols);
        x.row_mut(3)[0] = f32::NAN;
        x.row_mut(4)[0] = f32::INFINITY;
        against_portable(&format!("quantize {cols}"), |cpu| {
            let q = Activations::quantize(cpu, &x);
            let scales: Vec<_> = q.scales().iter().map(|s| s.to_bits()).collect();
            (scales, q.sums().to_vec(), (0..7).map(|i| q.row(i).to_vec()).collect::<Vec<_>>())
        });
    }
}

#[test]
fn row_operations() {
    let mut random = Random(3);
    for dim in [2, 16, 30, 96, 100, 128, 256, 2560] {
        let (x, y) = (random.rows(5, dim), random.rows(5, dim));
        let weight = random.rows(1, dim);
        let (cos, sin) = (random.rows(5, dim / 2), random.rows(5, dim / 2));
        let on = |op: &dyn Fn(&Cpu, &mut Rows)| {
            against_portable(&format!("rows of {dim}"), |cpu| {
                let mut x = x.clone();
                op(cpu, &mut x);
                bits(&[x])
            });
        };
        on(&|cpu, x| *x = cpu.rms_norm(x, weight.row(0), 1e-5));
        on(&|cpu, x| cpu.add(x, &y));
        on(&|cpu, x| cpu.relu2_mul(x, &y));
        on(&|cpu, x| cpu.silu_mul(x, &y));
        on(&|cpu, x| cpu.gelu_mul(x, &y));
        on(&|cpu, x| cpu.rotate(x, &cos, &sin));
    }
}

#[test]
fn dense_matrices() {
    let mut random = Random(4);
    for kind in FORMATS.iter().filter(|format| format.is_dense()) {
        // Plain numbers may end with a part of a vector.
        let (values, block) = kind.block().expect("rows of blocks");
        let cols = if values == 1 { 131 - block } else { 3 * values };
        for rows in [1, 3, 64, 131] {
            let mut bytes: Vec<u8> = (0..rows * cols / values * block).map(|_| random.next() as u8).collect();
            if **kind == F32 {
                bytes = random.rows(rows, cols).data().iter().flat_map(|x| x.to_le_bytes()).collect();
            }
            if **kind == BF16 {
                let floats = random.rows(rows, cols);
                bytes = floats.data().iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect();
            }
            let w = DenseMatrix::new(kind, rows, cols, Bytes::from(bytes)).expect("the size fits");
            for m in [1, 2, 4, 7] {
                let x = random.rows(m, cols);
                against_portable(&format!("dense {kind:?} {rows}x{cols}, {m}"), |cpu| bits(&[w.matmul(cpu, &x)]));
                let ids: Vec<u32> = (0..rows as u32).rev().collect();
                against_portable(&format!("lookup {kind:?}"), |cpu| bits(&[w.lookup(cpu, &ids)]));
            }
        }
    }
}

#[test]
fn low_rank_updates() {
    let mut random = Random(12);
    for (rank, cols, rows) in [(1, 30, 1), (3, 100, 65), (16, 20, 2200), (67, 40, 128)] {
        let (a, b) = (random.rows(rank, cols), random.rows(rows, rank));
        let update = LowRank::new(rank, a.data(), b.data(), 0.75).expect("whole rows");
        for m in [1, 2, 7] {
            let (x, y) = (random.rows(m, cols), random.rows(m, rows));
            against_portable(&format!("rank {rank}, {rows}x{cols}, {m}"), |cpu| {
                let mut out = y.clone();
                update.add(cpu, &x, &mut out);
                bits(&[out])
            });
            let mut out = y.clone();
            update.add(&Cpu::with(sets::portable(), 1), &x, &mut out);
            for (row, t) in (0..rows).flat_map(|row| (0..m).map(move |t| (row, t))) {
                let products = (0..rank * cols).map(|i| {
                    let (j, k) = (i / cols, i % cols);
                    f64::from(b.row(row)[j]) * f64::from(a.row(j)[k]) * f64::from(x.row(t)[k])
                });
                let expected = f64::from(y.row(t)[row]) + 0.75 * products.clone().sum::<f64>();
                let slack = 1e-6 * (products.map(f64::abs).sum::<f64>() + f64::from(y.row(t)[row].abs()));
                assert!((f64::from(out.row(t)[row]) - expected).abs() < slack, "{rank} {rows}x{cols}: {row} of {t}");
            }
        }
    }
    assert!(LowRank::new(0, &[], &[], 1.0).is_none() && LowRank::new(2, &[1.0; 3], &[1.0; 4], 1.0).is_none());
}

fn f32_matrix(rows: &Rows) -> DenseMatrix {
    let bytes: Vec<u8> = rows.data().iter().flat_map(|x| x.to_le_bytes()).collect();
    DenseMatrix::new(&F32, rows.len(), rows.dim(), Bytes::from(bytes)).expect("the size fits")
}

/// Estimates of every row; every `step`-th row is refined.
fn refined(cpu: &Cpu, screen: &Screen, x: &Rows, margin: Margin, step: usize) -> screen::Estimates {
    let mut estimates = screen.estimate(cpu, x, margin);
    let ids: Vec<u32> = (0..estimates.values.dim() as u32).step_by(step).collect();
    for t in 0..x.len() {
        let (values, margins) = (estimates.values.row_mut(t), estimates.margins.row_mut(t));
        screen.refine(cpu, x.row(t), margin, &ids, values, margins);
    }
    estimates
}

/// Values and margins of a screen, built and asked on every set.
fn estimates_agree(what: &str, w: &DenseMatrix, x: &Rows) {
    for bits in [Bits::Four, Bits::Six, Bits::Eight] {
        for margin in [Margin::Proven, Margin::Sigmas(4.0)] {
            against_portable(&format!("{what}, {bits:?}, {margin:?}"), |cpu| {
                let estimates = refined(cpu, &Screen::build(cpu, w, bits).expect("few columns"), x, margin, 2);
                // The payload of a NaN depends on the machine.
                let clean = |x: u32| if f32::from_bits(x).is_nan() { f32::NAN.to_bits() } else { x };
                bits_of(&estimates).into_iter().map(clean).collect::<Vec<_>>()
            });
        }
    }
}

fn bits_of(estimates: &screen::Estimates) -> Vec<u32> {
    bits(&[estimates.values.clone(), estimates.margins.clone()])
}

#[test]
fn screens() {
    let mut random = Random(6);
    for (rows, cols) in SHAPES {
        let mut w = random.rows(rows, cols);
        if rows > 3 {
            (w.row_mut(1)[0], w.row_mut(2)[cols - 1]) = (f32::NAN, f32::INFINITY);
            w.row_mut(3).fill(1e-38);
        }
        for m in [1, 2, 5, 8, 9, 16] {
            let mut x = random.rows(m, cols);
            x.row_mut(m / 2)[cols / 2] = if m == 5 { f32::NAN } else { 1e20 };
            estimates_agree(&format!("screen {rows}x{cols}, {m} tokens"), &f32_matrix(&w), &x);
        }
    }
}

/// The largest sums there are: all codes and all integers at one end.
#[test]
fn screens_do_not_wrap() {
    for cols in [2560, 23040, screen::MAX_COLS] {
        for (weight, value) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let w = f32_matrix(&Rows::from_vec(cols, vec![weight; cols]));
            for set in sets::available() {
                let cpu = Cpu::with(set, 1);
                let estimate = |bits, m| {
                    let x = Rows::from_vec(cols, vec![value; m * cols]);
                    refined(&cpu, &Screen::build(&cpu, &w, bits).expect("few columns"), &x, Margin::Proven, 1)
                };
                for bits in [Bits::Four, Bits::Six, Bits::Eight] {
                    for m in [1, 2] {
                        let (product, got) = (cols as f32 * weight * value, estimate(bits, m));
                        let near = |v: &f32| (v / product - 1.0).abs() < 1e-5;
                        assert!(got.values.data().iter().all(near), "{} {bits:?}", set.name());
                    }
                }
            }
        }
    }
    let wide = f32_matrix(&Rows::zeros(1, screen::MAX_COLS + 1));
    assert!(Screen::build(&Cpu::with(sets::portable(), 1), &wide, Bits::Eight).is_none());
}

#[test]
fn single_rows_have_the_products_of_the_whole() {
    let mut random = Random(7);
    for (kind, cols) in [(&F16, 257), (&Q8_0, 96), (&Q6_K, 768)] {
        let (values, block) = kind.block().expect("rows of blocks");
        let bytes: Vec<u8> = (0..77 * cols / values * block).map(|_| random.next() as u8).collect();
        let w = DenseMatrix::new(kind, 77, cols, Bytes::from(bytes)).expect("the size fits");
        let x = random.rows(1, cols);
        let ids: Vec<u32> = (0..100).map(|_| (random.next() % 77) as u32).collect();
        against_portable(&format!("products {kind:?}"), |cpu| {
            let (all, some) = (w.matmul(cpu, &x), w.products(cpu, x.row(0), &ids));
            for (id, product) in ids.iter().zip(&some) {
                assert_eq!(product.to_bits(), all.row(0)[*id as usize].to_bits(), "{kind:?}, row {id}");
            }
            some.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        });
    }
}
