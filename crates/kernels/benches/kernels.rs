//! Every instruction set of this CPU on one thread, in the shapes of BitNet b1.58 2B4T.
//!
//! `cargo bench -p sterna-kernels -- avx2` runs what has `avx2` in its name. Throughput is in multiply-adds or values.

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sterna_kernels::set::{self, Cpu};
use sterna_kernels::{Activations, Bytes, DenseMatrix, DenseType, Packed, Rows, TernaryMatrix, ternary};

const HIDDEN: usize = 2560;
const FEED_FORWARD: usize = 6912;

fn cpus() -> impl Iterator<Item = Cpu> {
    set::available().map(|set| Cpu::with(set, 1))
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
            let w = TernaryMatrix::pack(&cpu.pool, rows_of_w, cols, 1.0, |r, trits: &mut [i8]| {
                for (k, trit) in trits.iter_mut().enumerate() {
                    *trit = ((r * cols + k).wrapping_mul(0x9e37_79b9) >> 16 & 0xffff) as i8 % 2;
                }
                Ok::<(), Infallible>(())
            });
            let Ok(w) = w;
            // Portable is the specification, not a kernel to wait for.
            let tokens: &[usize] = if cpu.set.name == "portable" { &[1] } else { &[1, 2, 4, 8, 16, 128] };
            for &m in tokens {
                let x = Activations::quantize(&cpu, &rows(m, cols));
                group.throughput(Throughput::Elements((m * rows_of_w * cols) as u64));
                group.bench_function(BenchmarkId::new(cpu.set.name, m), |b| {
                    b.iter(|| black_box(ternary::matmul(&cpu, &[&w], &x)));
                });
            }
        }
    }
}

fn head_rows(c: &mut Criterion) {
    const ROWS: usize = 1024;
    for kind in [DenseType::Bf16, DenseType::F16, DenseType::Q6K] {
        let mut group = c.benchmark_group(format!("head {}", kind.name()));
        group.sample_size(20).throughput(Throughput::Elements((ROWS * HIDDEN) as u64));
        // 0x1c1c is a small number in each of these types.
        let bytes = vec![0x1c; ROWS * kind.row_bytes(HIDDEN).expect("whole blocks")];
        let w = DenseMatrix::new(kind, ROWS, HIDDEN, Bytes::from(bytes)).expect("the size fits");
        let x = rows(1, HIDDEN);
        for cpu in cpus() {
            group.bench_function(cpu.set.name, |b| b.iter(|| black_box(w.matmul(&cpu, &x))));
        }
    }
}

fn row_operations(c: &mut Criterion) {
    let (x, weight) = (rows(16, HIDDEN), rows(1, HIDDEN));
    let mut group = c.benchmark_group("16 rows of 2560");
    group.sample_size(20).throughput(Throughput::Elements((16 * HIDDEN) as u64));
    for cpu in cpus() {
        group.bench_function(BenchmarkId::new("quantize", cpu.set.name), |b| {
            b.iter(|| black_box(Activations::quantize(&cpu, &x)));
        });
        group.bench_function(BenchmarkId::new("rms_norm", cpu.set.name), |b| {
            b.iter(|| black_box(cpu.rms_norm(&x, weight.row(0), 1e-5)));
        });
    }
}

criterion_group!(benches, ternary_products, head_rows, row_operations);
criterion_main!(benches);
