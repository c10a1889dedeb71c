//! AVX2: `vpmaddubsw` on shifted fields, widened before a 16-bit sum can wrap.

use crate::set::{KernelSet, float_kernels};

float_kernels! { #[target_feature(enable = "avx2")] }

/// For Haswell, Zen and newer.
pub(crate) static SET: KernelSet =
    KernelSet { name: "avx2", supported: || is_x86_feature_detected!("avx2"), ternary_dot, floats: FLOATS };

#[target_feature(enable = "avx2")]
fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    crate::portable::ternary_dot(codes, groups, x, acc);
}
