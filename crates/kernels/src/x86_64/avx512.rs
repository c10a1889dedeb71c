//! AVX-512 with VNNI: `vpdpbusd` on masked fields.

use crate::set::{KernelSet, float_kernels};

float_kernels! { #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")] }

/// For Ice Lake, Zen 4 and newer.
pub(crate) static SET: KernelSet = KernelSet {
    name: "avx512",
    supported: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
    },
    ternary_dot,
    floats: FLOATS,
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    crate::portable::ternary_dot(codes, groups, x, acc);
}
