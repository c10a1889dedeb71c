//! Benchmarks every instruction set of this CPU on one thread, in the shapes of BitNet b1.58 2B4T.
//!
//! `cargo bench -p sterna-kernels -- avx2` runs the benchmarks with `avx2` in their names. Throughput is in
//! multiply-adds or values per second.

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sterna_kernels::bf16::{Left, product};
use sterna_kernels::format::{BF16, F16, Q6_K};
use sterna_kernels::grouped::{self, GroupedActivations, GroupedMatrix, Parts};
use sterna_kernels::layout::T16;
use sterna_kernels::{Activations, Bf16Panels, Bf16Rows, Bytes, DenseMatrix, Matrix, Rows, Scales, ternary};
use sterna_kernels::{Cpu, sets};

const HIDDEN: usize = 2560;
const FEED_FORWARD: usize = 6912;

fn cpus() -> impl Iterator<Item = Cpu> {
    sets::available().map(|set| Cpu::with(set, 1))
}

/// Rows of values between −1 and 1.
fn rows(len: usize, dim: usize) -> Rows {
    let value = |i: usize| (i as u32).wrapping_mul(0x9e37_79b9) as i32 as f32 / i32::MAX as f32;
    Rows::from_vec(dim, (0..len * dim).map(value).collect())
}

fn ternary_products(c: &mut Criterion) {
    for (rows_of_w, cols) in [(FEED_FORWARD, HIDDEN), (HIDDEN, FEED_FORWARD)] {
        let mut group = c.benchmark_group(format!("ternary {rows_of_w}x{cols}"));
        group.sample_size(20);
        for cpu in cpus() {
            let w = Matrix::pack(cpu.pool(), &T16, (rows_of_w, cols), &Scales::One(1.0), |r, trits| {
                for (k, trit) in trits.iter_mut().enumerate() {
                    *trit = ((r * cols + k).wrapping_mul(0x9e37_79b9) >> 16 & 0xffff) as i8 % 2;
                }
                Ok::<(), Infallible>(())
            });
            let Ok(w) = w;
            // Portable is the specification and slow: one token is enough.
            let tokens: &[usize] = if cpu.isa().name() == "portable" { &[1] } else { &[1, 2, 4, 8, 16, 128] };
            for &m in tokens {
                let x = Activations::quantize(&cpu, &rows(m, cols));
                group.throughput(Throughput::Elements((m * rows_of_w * cols) as u64));
                group.bench_function(BenchmarkId::new(cpu.isa().name(), m), |b| {
                    b.iter(|| black_box(ternary::matmul(&cpu, &[&w], &x)));
                });
            }
        }
    }
}

/// Products of group-scaled matrices, ternary and binary, with 14-bit activations.
fn grouped_products(c: &mut Criterion) {
    const SHAPE: (usize, usize) = (4096, 4096);
    const COLUMNS: usize = 128;
    let scales = Scales::Groups { columns: COLUMNS, values: vec![0.25; SHAPE.0 * SHAPE.1 / COLUMNS] };
    for (name, zeros) in [("2 bits", true), ("1 bit", false)] {
        let mut group = c.benchmark_group(format!("grouped {}x{}, {name}", SHAPE.0, SHAPE.1));
        group.sample_size(20);
        for cpu in cpus().filter(|cpu| cpu.isa().name() != "portable") {
            let w = GroupedMatrix::pack(cpu.pool(), SHAPE, 1, &scales, |r, trits| {
                for (k, trit) in trits.iter_mut().enumerate() {
                    let random = (r * SHAPE.1 + k).wrapping_mul(0x9e37_79b9) >> 16;
                    *trit = if zeros && random.is_multiple_of(3) { 0 } else { 1 - 2 * (random & 1) as i8 };
                }
                Ok::<(), Infallible>(())
            });
            let Ok(w) = w;
            for m in [1, 2, 4, 64] {
                let x = GroupedActivations::quantize(&cpu, &rows(m, SHAPE.1), COLUMNS, Parts::Two);
                group.throughput(Throughput::Elements((m * SHAPE.0 * SHAPE.1) as u64));
                group.bench_function(BenchmarkId::new(cpu.isa().name(), m), |b| {
                    b.iter(|| black_box(grouped::matmul(&cpu, &[&w], &x)));
                });
            }
        }
    }
}

fn head_rows(c: &mut Criterion) {
    const ROWS: usize = 1024;
    for kind in [&BF16, &F16, &Q6_K] {
        let mut group = c.benchmark_group(format!("head {}", kind.name));
        group.sample_size(20).throughput(Throughput::Elements((ROWS * HIDDEN) as u64));
        // The bytes 0x1c1c are a small number in each of these types.
        let bytes = vec![0x1c; ROWS * kind.row_bytes(HIDDEN).expect("whole blocks")];
        let w = DenseMatrix::new(kind, ROWS, HIDDEN, Bytes::from(bytes)).expect("the size fits");
        let x = rows(1, HIDDEN);
        for cpu in cpus() {
            group.bench_function(cpu.isa().name(), |b| b.iter(|| black_box(w.matmul(&cpu, &x))));
        }
    }
}

fn row_operations(c: &mut Criterion) {
    let (x, weight) = (rows(16, HIDDEN), rows(1, HIDDEN));
    let mut group = c.benchmark_group("16 rows of 2560");
    group.sample_size(20).throughput(Throughput::Elements((16 * HIDDEN) as u64));
    for cpu in cpus() {
        group.bench_function(BenchmarkId::new("quantize", cpu.isa().name()), |b| {
            b.iter(|| black_box(Activations::quantize(&cpu, &x)));
        });
        group.bench_function(BenchmarkId::new("rms_norm", cpu.isa().name()), |b| {
            b.iter(|| black_box(cpu.rms_norm(&x, weight.row(0), 1e-5)));
        });
    }
}

/// A layer's tokens, outputs and inputs in training: gradients of its inputs and of its weights.
fn training_products(c: &mut Criterion) {
    const SHAPE: (usize, usize, usize) = (2048, 768, 256);
    let (tokens, outputs, inputs) = SHAPE;
    let mut group = c.benchmark_group("bf16 2048x768x256");
    group.sample_size(20).throughput(Throughput::Elements((tokens * outputs * inputs) as u64));
    let (dy, x, w) = (rows(tokens, outputs), rows(tokens, inputs), rows(outputs, inputs));
    for cpu in cpus() {
        let rows_of_dy = Bf16Rows::from_rows(&cpu, &dy);
        let panels = |x: &Rows| Bf16Panels::of(&cpu, x.data(), x.dim());
        let (dy_panels, x_panels, w_panels) = (panels(&dy), panels(&x), panels(&w));
        let (mut dx, mut dw) = (vec![0.0; tokens * inputs], vec![0.0; outputs * inputs]);
        group.bench_function(BenchmarkId::new(cpu.isa().name(), "dX"), |b| {
            b.iter(|| product(&cpu, Left::Rows(&rows_of_dy), &w_panels, 1.0, false, &mut dx));
        });
        group.bench_function(BenchmarkId::new(cpu.isa().name(), "dW"), |b| {
            b.iter(|| product(&cpu, Left::Transposed(&dy_panels), &x_panels, 1.0, true, &mut dw));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("to bf16, 2048x768");
    group.sample_size(20).throughput(Throughput::Elements((tokens * outputs) as u64));
    for cpu in cpus() {
        group.bench_function(BenchmarkId::new("rows", cpu.isa().name()), |b| {
            b.iter(|| black_box(Bf16Rows::from_rows(&cpu, &dy)));
        });
        group.bench_function(BenchmarkId::new("panels", cpu.isa().name()), |b| {
            b.iter(|| black_box(Bf16Panels::of(&cpu, dy.data(), outputs)));
        });
        group.bench_function(BenchmarkId::new("transposed", cpu.isa().name()), |b| {
            b.iter(|| black_box(Bf16Panels::transposed(&cpu, dy.data(), tokens, outputs)));
        });
    }
}

criterion_group!(benches, ternary_products, grouped_products, head_rows, row_operations, training_products);
criterion_main!(benches);
