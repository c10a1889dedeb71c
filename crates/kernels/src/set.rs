//! Instruction sets: a table of kernels each, and the ladder that picks one at run time.

use crate::activations::Order;
use crate::attention::{Dots, Scale, Segment, Terms};
use crate::bf16::Operands;
use crate::codes::{Bits, Fit};
use crate::dense::DenseType;
use crate::gradient::LossTerms;
use crate::pool::{Pool, default_threads};
use crate::sparse::{Columns, GROUP, Sparse};
use crate::ternary::Cut;

/// Every set that this build knows, best first. A new one is a file and a line here.
pub const ALL: &[&KernelSet] = &[
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::amx::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avx512::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avxvnni::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avx2::SET,
    &PORTABLE,
];

/// The kernels of one instruction set. All sets give the same bytes for the same inputs.
///
/// The functions are `unsafe` because they may need instructions the CPU lacks; the methods below are the only
/// callers, and a `KernelSet` reaches them only after `supported` said yes ([`available`], [`by_name`]).
pub struct KernelSet {
    /// Name as `STERNA_ISA` and reports use it.
    pub name: &'static str,
    pub(crate) supported: fn() -> bool,
    /// How `ternary_dot` reads the activations of that many tokens.
    pub(crate) order: fn(usize) -> Order,
    /// How the products with that many tokens and columns are cut into pieces of work.
    pub(crate) cut: fn(usize, usize) -> Cut,
    pub(crate) ternary_dot: unsafe fn(&[u8], usize, &[i8], &mut [i32]),
    pub(crate) coded_dot: unsafe fn(Bits, &[u8], usize, &[i8], &mut [i32]),
    pub(crate) int8_dot: unsafe fn(&Dots<'_>, &mut [i32]),
    pub(crate) sparse: Sparse,
    pub(crate) bf16_dot: unsafe fn(&Operands<'_>, &mut [f32]),
    /// Whether a left side that is stored transposed should be turned for `bf16_dot`.
    pub(crate) bf16_rows: fn() -> bool,
    pub(crate) floats: Floats,
}

/// Gradients of a norm's row: x, weights, dy, epsilon, and what is added to: dx and the weights' gradient.
type NormBackward = unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32], &mut [f32]);

/// The float kernels, one source ([`crate::portable`]) compiled for each set by [`float_kernels!`].
pub(crate) struct Floats {
    pub(crate) ternary_dot_f32: unsafe fn(&[u8], usize, &[f32], usize, &mut [f32]),
    pub(crate) quantize: unsafe fn(&[f32], &mut [i8]) -> (f32, i32),
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) rotate: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(crate) relu2_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) silu_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) add: unsafe fn(&mut [f32], &[f32]),
    pub(crate) add_columns: unsafe fn(&[f32], usize, &[f32], &mut [f32]),
    pub(crate) to_f16: unsafe fn(&[f32], &mut [u16]),
    pub(crate) dense_dot: unsafe fn(DenseType, &[u8], usize, &[f32], &mut [f32]),
    pub(crate) dense_row: unsafe fn(DenseType, &[u8], &mut [f32]),
    pub(crate) fit: unsafe fn(Bits, &[f32], &mut [u8]) -> Fit,
    pub(crate) attend_halves: unsafe fn(&Segment<'_>, &[f32], &mut [f32]),
    pub(crate) merge_segments: unsafe fn(&mut [f32], &[f32]),
    pub(crate) int8_weights: unsafe fn(&Terms<'_>, &[i32], &mut [i8], &mut [f32]) -> Scale,
    pub(crate) int8_values: unsafe fn(&[i32], Scale, &mut [f32]),
    pub(crate) rms_norm_backward: NormBackward,
    pub(crate) relu2_mul_backward: unsafe fn(&mut [f32], &mut [f32], &[f32]),
    pub(crate) cross_entropy: unsafe fn(&mut [f32], usize, LossTerms) -> (f32, f32),
    pub(crate) softmax: unsafe fn(&mut [f32], usize),
    pub(crate) softmax_backward: unsafe fn(&[f32], &mut [f32], f32, f32),
    pub(crate) dot: unsafe fn(&[f32], &[f32]) -> f32,
    pub(crate) bf16_row: unsafe fn(&[f32], &mut [u32]),
    pub(crate) bf16_pairs: unsafe fn([&[f32]; 2], [f32; 2], &mut [u32]),
    pub(crate) bf16_integers: unsafe fn([&[i8]; 2], &mut [u32]),
    pub(crate) bf16_turn: unsafe fn(&[u32], usize, &mut [u32]),
    pub(crate) bf16_finish: unsafe fn(&[f32], f32, bool, &mut [f32]),
    pub(crate) bf16_dot: unsafe fn(&Operands<'_>, &mut [f32]),
}

/// Compiles the float source over a [`crate::vector::Vector`] with the given target features: `const FLOATS: Floats`.
macro_rules! float_kernels {
    ($vector:ty $(, #[$feature:meta])*) => {
        float_kernels! { @each [$(#[$feature])*]
            ternary_dot_f32(codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &mut [f32]);
            quantize(x: &[f32], codes: &mut [i8]) -> (f32, i32);
            rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
            rotate(head: &mut [f32], cos: &[f32], sin: &[f32]);
            relu2_mul(gate: &mut [f32], up: &[f32]);
            silu_mul(gate: &mut [f32], up: &[f32]);
            add(x: &mut [f32], y: &[f32]);
            add_columns(columns: &[f32], stride: usize, t: &[f32], out: &mut [f32]);
            to_f16(x: &[f32], out: &mut [u16]);
            dense_row(kind: crate::DenseType, row: &[u8], out: &mut [f32]);
            merge_segments(state: &mut [f32], partial: &[f32]);
            int8_weights(
                terms: &crate::attention::Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]
            ) -> crate::attention::Scale;
            int8_values(dots: &[i32], scale: crate::attention::Scale, out: &mut [f32]);
            rms_norm_backward(
                x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32]
            );
            relu2_mul_backward(gate: &mut [f32], up: &mut [f32], dy: &[f32]);
            cross_entropy(logits: &mut [f32], target: usize, terms: crate::gradient::LossTerms) -> (f32, f32);
            softmax(scores: &mut [f32], seen: usize);
            softmax_backward(weights: &[f32], d: &mut [f32], delta: f32, scale: f32);
            dot(a: &[f32], b: &[f32]) -> f32;
            bf16_row(x: &[f32], out: &mut [u32]);
            bf16_pairs(rows: [&[f32]; 2], scales: [f32; 2], out: &mut [u32]);
            bf16_integers(rows: [&[i8]; 2], out: &mut [u32]);
            bf16_turn(rows: &[u32], step: usize, out: &mut [u32]);
            bf16_finish(sums: &[f32], scale: f32, add: bool, out: &mut [f32]);
        }
        $(#[$feature])*
        fn dense_dot(kind: crate::DenseType, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
            crate::portable::dense_dot::<$vector>(kind, rows, cols, x, out)
        }
        $(#[$feature])*
        fn fit(bits: crate::codes::Bits, w: &[f32], codes: &mut [u8]) -> crate::codes::Fit {
            crate::codes::fit::<$vector>(bits, w, codes)
        }
        $(#[$feature])*
        fn attend_halves(segment: &crate::attention::Segment<'_>, q: &[f32], out: &mut [f32]) {
            crate::portable::attend_halves::<$vector>(segment, q, out)
        }
        $(#[$feature])*
        fn bf16_dot(operands: &crate::bf16::Operands<'_>, sums: &mut [f32]) {
            crate::portable::bf16_dot::<$vector>(operands, sums)
        }
    };
    (@each $features:tt $($name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)?;)*) => {
        $(float_kernels! { @one $features $name($($arg: $type),*) $(-> $ret)? })*
        pub(crate) const FLOATS: crate::set::Floats = crate::set::Floats {
            dense_dot, fit, attend_halves, bf16_dot, $($name),*
        };
    };
    (@one [$(#[$feature:meta])*] $name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)?) => {
        $(#[$feature])*
        fn $name($($arg: $type),*) $(-> $ret)? {
            crate::portable::$name($($arg),*)
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use float_kernels;

mod baseline {
    float_kernels! { crate::portable::Lanes }
    pub(super) fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
        crate::portable::ternary_dot(codes, groups, x, acc);
    }
    pub(super) fn coded_dot(bits: crate::codes::Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
        crate::portable::coded_dot(bits, codes, depth, x, sums);
    }
    pub(super) fn int8_dot(dots: &crate::attention::Dots<'_>, acc: &mut [i32]) {
        crate::portable::int8_dot(dots, acc);
    }
}

/// The definition of correct, for any CPU.
pub static PORTABLE: KernelSet = KernelSet {
    name: "portable",
    supported: || true,
    order: |_| Order::Rows,
    cut: |_, _| Cut::SMALL,
    ternary_dot: |codes, groups, x, acc| baseline::ternary_dot(codes, groups, x, acc),
    coded_dot: |bits, codes, depth, x, sums| baseline::coded_dot(bits, codes, depth, x, sums),
    int8_dot: |dots, acc| baseline::int8_dot(dots, acc),
    sparse: crate::sparse::portable::SPARSE,
    bf16_dot: baseline::FLOATS.bf16_dot,
    bf16_rows: || false,
    floats: baseline::FLOATS,
};

/// Forwards a method to its function pointer.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)?;)*) => {
        impl KernelSet {$(
            $(#[$doc])*
            pub(crate) fn $name(&self, $($arg: $type),*) $(-> $ret)? {
                debug_assert!((self.supported)());
                // SAFETY: the set is supported by this CPU (the type's contract); the functions are otherwise safe.
                unsafe { (self.floats.$name)($($arg),*) }
            }
        )*}
    };
}

methods! {
    ternary_dot_f32(codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &mut [f32]);
    quantize(x: &[f32], codes: &mut [i8]) -> (f32, i32);
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    rotate(head: &mut [f32], cos: &[f32], sin: &[f32]);
    relu2_mul(gate: &mut [f32], up: &[f32]);
    silu_mul(gate: &mut [f32], up: &[f32]);
    add(x: &mut [f32], y: &[f32]);
    add_columns(columns: &[f32], stride: usize, t: &[f32], out: &mut [f32]);
    to_f16(x: &[f32], out: &mut [u16]);
    dense_dot(kind: DenseType, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]);
    dense_row(kind: DenseType, row: &[u8], out: &mut [f32]);
    fit(bits: Bits, w: &[f32], codes: &mut [u8]) -> Fit;
    attend_halves(segment: &Segment<'_>, q: &[f32], out: &mut [f32]);
    merge_segments(state: &mut [f32], partial: &[f32]);
    int8_weights(terms: &Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]) -> Scale;
    int8_values(dots: &[i32], scale: Scale, out: &mut [f32]);
    rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32]);
    relu2_mul_backward(gate: &mut [f32], up: &mut [f32], dy: &[f32]);
    cross_entropy(logits: &mut [f32], target: usize, terms: LossTerms) -> (f32, f32);
    softmax(scores: &mut [f32], seen: usize);
    softmax_backward(weights: &[f32], d: &mut [f32], delta: f32, scale: f32);
    dot(a: &[f32], b: &[f32]) -> f32;
    bf16_row(x: &[f32], out: &mut [u32]);
    bf16_pairs(rows: [&[f32]; 2], scales: [f32; 2], out: &mut [u32]);
    bf16_integers(rows: [&[i8]; 2], out: &mut [u32]);
    bf16_turn(rows: &[u32], step: usize, out: &mut [u32]);
    bf16_finish(sums: &[f32], scale: f32, add: bool, out: &mut [f32]);
}

impl KernelSet {
    pub(crate) fn ternary_dot(&self, codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
        debug_assert!((self.supported)());
        let tiles = codes.len() / (groups * 64).max(1);
        assert_eq!(codes.len(), tiles * groups * 64, "whole tiles");
        assert!(acc.len() * groups <= x.len() * tiles, "one sum a row and token");
        // SAFETY: the set is supported by this CPU (the type's contract), and the sizes fit each other.
        unsafe { (self.ternary_dot)(codes, groups, x, acc) }
    }

    pub(crate) fn coded_dot(&self, bits: Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]) {
        debug_assert!((self.supported)());
        let tile_bytes = bits.tile_bytes(depth);
        let tiles = codes.len() / tile_bytes.max(1);
        assert!(depth.is_multiple_of(16) && codes.len() == tiles * tile_bytes, "whole tiles");
        assert_eq!(sums.len() * depth * 2, x.len() * tiles * 16, "one sum a row and token");
        // SAFETY: the set is supported by this CPU (the type's contract), and the sizes fit each other.
        unsafe { (self.coded_dot)(bits, codes, depth, x, sums) }
    }

    pub(crate) fn int8_dot(&self, dots: &Dots<'_>, acc: &mut [i32]) {
        debug_assert!((self.supported)());
        assert!(dots.fits(acc), "every row and sum lies inside its slice");
        // SAFETY: the set is supported by this CPU (the type's contract), and the sizes fit each other.
        unsafe { (self.int8_dot)(dots, acc) }
    }

    pub(crate) fn bf16_dot(&self, operands: &Operands<'_>, sums: &mut [f32]) {
        debug_assert!((self.supported)());
        assert!(operands.fit(sums.len()), "every operand lies inside its slice");
        // SAFETY: the set is supported by this CPU (the type's contract), and the sizes fit each other.
        unsafe { (self.bf16_dot)(operands, sums) }
    }

    pub(crate) fn rows_dot(&self, rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]) {
        debug_assert!((self.supported)());
        assert_eq!((x.len(), sums.len()), (4 * stride, picked.len()), "one sum a row");
        // SAFETY: as above.
        unsafe { (self.sparse.rows_dot)(rows, stride, picked, x, sums) }
    }

    pub(crate) fn columns_dot(&self, columns: &[u8], stride: usize, these: &Columns<'_>, sums: &mut [i32]) {
        debug_assert!((self.supported)());
        assert!((1..=GROUP).contains(&these.picked.len()) && these.codes.len() == these.picked.len());
        assert_eq!(sums.len(), 4 * stride, "one sum an output");
        // SAFETY: as above.
        unsafe { (self.sparse.columns_dot)(columns, stride, these, sums) }
    }

    pub(crate) fn rows_to_tile(&self, rows: &[u8], stride: usize, tile: &mut [u8]) {
        debug_assert!((self.supported)());
        assert!(rows.len() == 16 * stride && tile.len() <= rows.len() && tile.len().is_multiple_of(64));
        // SAFETY: as above.
        unsafe { (self.sparse.rows_to_tile)(rows, stride, tile) }
    }

    pub(crate) fn columns_to_tiles(&self, columns: &[u8], stride: usize, tiles: &mut [u8]) {
        debug_assert!((self.supported)());
        let groups = tiles.len() / (16 * 64);
        assert!(tiles.len() == groups * 16 * 64 && columns.len() + stride >= 16 * groups * stride + 64);
        // SAFETY: as above.
        unsafe { (self.sparse.columns_to_tiles)(columns, stride, tiles) }
    }
}

impl std::fmt::Debug for KernelSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The sets this CPU supports, best first; `portable` is always the last.
pub fn available() -> impl Iterator<Item = &'static KernelSet> {
    ALL.iter().copied().filter(|set| (set.supported)())
}

/// A name that is no instruction set, or one this CPU lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSet {
    name: String,
}

impl std::fmt::Display for UnknownSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |sets: &mut dyn Iterator<Item = &'static KernelSet>| {
            sets.map(|set| set.name).collect::<Vec<_>>().join(", ")
        };
        let known = ALL.iter().any(|set| set.name == self.name);
        let reason = if known { "is not supported by this CPU" } else { "is not an instruction set of this build" };
        write!(f, "`{}` {reason}; this machine runs: {}", self.name, names(&mut available()))
    }
}

impl std::error::Error for UnknownSet {}

/// The set called `name`; the best one for an empty name.
pub fn by_name(name: &str) -> Result<&'static KernelSet, UnknownSet> {
    // Only a set that is asked for is looked at: to look is to ask the system for AMX.
    let found = ALL.iter().copied().find(|set| (name.is_empty() || set.name == name) && (set.supported)());
    found.ok_or_else(|| UnknownSet { name: name.to_owned() })
}

/// What computes: an instruction set and the threads to run it on.
pub struct Cpu {
    /// The kernels.
    pub set: &'static KernelSet,
    /// The threads.
    pub pool: Pool,
}

impl Cpu {
    /// The set that `STERNA_ISA` names (the best one if unset or empty) on `threads` threads (0: as many as CPUs).
    pub fn new(threads: usize) -> Result<Self, UnknownSet> {
        let name = std::env::var("STERNA_ISA").unwrap_or_default();
        Ok(Self::with(by_name(&name)?, threads))
    }

    /// A given set on `threads` threads (0: as many as CPUs).
    pub fn with(set: &'static KernelSet, threads: usize) -> Self {
        Self { set, pool: Pool::new(if threads == 0 { default_threads() } else { threads }) }
    }

    /// `out = w · (x / sqrt(mean(x²) + eps))`, row by row.
    pub fn rms_norm(&self, x: &crate::Rows, weight: &[f32], eps: f32) -> crate::Rows {
        assert_eq!(x.dim(), weight.len(), "one weight a feature");
        let mut out = crate::Rows::unwritten(x.len(), x.dim());
        self.pool.pieces(out.data_mut(), weight.len(), |i, out| self.set.rms_norm(x.row(i), weight, eps, out));
        out
    }

    /// `x += y`
    pub fn add(&self, x: &mut crate::Rows, y: &crate::Rows) {
        assert_eq!((x.len(), x.dim()), (y.len(), y.dim()), "same shape");
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |i, x| self.set.add(x, y.row(i)));
    }

    /// `x + y`
    pub fn sum(&self, x: &crate::Rows, y: &crate::Rows) -> crate::Rows {
        assert_eq!((x.len(), x.dim()), (y.len(), y.dim()), "same shape");
        let mut out = crate::Rows::unwritten(x.len(), x.dim());
        self.pool.pieces(out.data_mut(), x.dim(), |i, out| {
            out.copy_from_slice(x.row(i));
            self.set.add(out, y.row(i));
        });
        out
    }

    /// `relu(gate)² · up`
    pub fn relu2_product(&self, gate: &crate::Rows, up: &crate::Rows) -> crate::Rows {
        assert_eq!((gate.len(), gate.dim()), (up.len(), up.dim()), "same shape");
        let mut out = crate::Rows::unwritten(gate.len(), gate.dim());
        self.pool.pieces(out.data_mut(), gate.dim(), |i, out| {
            out.copy_from_slice(gate.row(i));
            self.set.relu2_mul(out, up.row(i));
        });
        out
    }

    /// `gate = relu(gate)² · up`
    pub fn relu2_mul(&self, gate: &mut crate::Rows, up: &crate::Rows) {
        let dim = gate.dim();
        self.pool.pieces(gate.data_mut(), dim, |i, gate| self.set.relu2_mul(gate, up.row(i)));
    }

    /// `gate = silu(gate) · up`
    pub fn silu_mul(&self, gate: &mut crate::Rows, up: &crate::Rows) {
        let dim = gate.dim();
        self.pool.pieces(gate.data_mut(), dim, |i, gate| self.set.silu_mul(gate, up.row(i)));
    }

    /// Rotates every head of every row (pairs i, i + dim/2); `cos` and `sin` have `head_dim / 2` values a row.
    pub fn rotate(&self, x: &mut crate::Rows, cos: &crate::Rows, sin: &crate::Rows) {
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |i, row| {
            for head in row.chunks_exact_mut(2 * cos.dim()) {
                self.set.rotate(head, cos.row(i), sin.row(i));
            }
        });
    }
}
