//! Instruction sets: each is a table of kernels.
//!
//! Every kernel is declared once, in [`kernels!`]. Three things are generated from this list:
//!
//! ```text
//! kernels! ──► table!     struct KernelSet, with a function pointer per kernel
//!                         its methods: check the arguments, call the pointer
//!          ──► compiled!  a KernelSet of all definitions in `op`, compiled with the features of a set
//! ```
//!
//! A set starts with the kernels from `compiled!`, and replaces those that it implements itself.

use crate::op::operand::Order;
use crate::{format, op};

/// How a set divides the products of a batch into chunks.
pub(crate) struct Blocking {
    /// Most tiles in a chunk.
    pub(crate) tiles: usize,
    /// Fewest and most tokens in a chunk. The most must be a multiple of the fewest, and of the order's blocks.
    pub(crate) tokens: (usize, usize),
    /// Whether all weights are multiplied by some tokens before the next tokens, so that activations stay in the cache.
    pub(crate) tokens_first: bool,
}

impl Blocking {
    /// All tokens with about 80 KiB of weights, which then stay in the cache.
    pub(crate) const SMALL: Self = Self { tiles: 8, tokens: (usize::MAX, usize::MAX), tokens_first: false };
}

/// Relative costs of work with a set, as measured. Plans use them; no result depends on them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// Number of ternary multiply-adds that take as long as one attention multiply-add.
    pub attention_per_weight: usize,
    /// Rows in one step that take about as long as two steps of one row, because the weights are read once for all
    /// rows. Draft tokens are added up to this number of rows.
    pub rows_for_two: usize,
    /// Time to rearrange a matrix into tiles and multiply it with this many tokens, relative to the time to read it
    /// once by single rows or columns.
    pub(crate) whole: fn(usize) -> f32,
}

impl Cost {
    /// For sets without measurements: cost is the number of multiply-adds.
    pub(crate) const NEUTRAL: Self = Self { attention_per_weight: 1, rows_for_two: 2, whole: |tokens| tokens as f32 };
}

/// Generates the struct and its methods from a list of kernels.
macro_rules! table {
    ($(
        $name:ident = $($op:ident)::+ $(<$v:ident>)?
            ($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $(, requires $check:expr)?;
    )*) => {
        /// The kernels of one instruction set. All sets give the same bytes for the same inputs.
        ///
        /// The functions are `unsafe` because they may need instructions that the CPU lacks. They are called through an
        /// [`Isa`], which exists only for a set that the CPU has.
        pub(crate) struct KernelSet {
            /// The name for `STERNA_ISA` and reports.
            pub(crate) name: &'static str,
            /// Whether this CPU and its operating system support every instruction of the kernels.
            pub(crate) supported: fn() -> bool,
            /// The order in which `ternary_dot` reads the activations of a given number of tokens.
            pub(crate) order: fn(usize) -> Order,
            /// How products with a given number of tokens and columns are divided into chunks.
            pub(crate) blocking: fn(usize, usize) -> Blocking,
            /// Added to int8 codes before they are stored in a key/value cache or a screen: 128 if `int8_dot` and
            /// `coded_dot` read unsigned bytes, 0 if they read signed bytes.
            pub(crate) bias: u8,
            /// Whether `columns_dot` returns the sums of field f multiplied by 4ᶠ.
            pub(crate) columns_scaled: bool,
            pub(crate) cost: Cost,
            /// Whether a transposed left side should be turned before `bf16_dot`.
            pub(crate) bf16_rows: fn() -> bool,
            $(pub(crate) $name: unsafe fn($($type),*) $(-> $ret)?,)*
        }

        impl Isa {$(
            #[inline]
            pub(crate) fn $name(self, $($arg: $type),*) $(-> $ret)? {
                $(assert!($check, concat!("the arguments of `", stringify!($name), "` match"));)?
                // SAFETY: an `Isa` is created only by `Isa::new`, which checked that this CPU has the instructions; the
                // assertion above checked the sizes that the kernel relies on.
                unsafe { (self.0.$name)($($arg),*) }
            }
        )*}
    };
}

/// Compiles the definitions of all kernels with the given target features and the vector type `V`. The result is
/// `compiled::TABLE`, a set without a name.
macro_rules! compiled {
    ($vector:ident $(, #[$feature:meta])*) => {
        pub(crate) mod compiled {
            #![allow(clippy::too_many_arguments, reason = "the arguments of the definitions")]
            use super::$vector as V;
            use crate::op::operand::Order;
            use crate::set::{Blocking, Cost, KernelSet};
            use crate::{format, op};

            crate::set::kernels! { crate::set::compiled! @each [$(#[$feature])*] }
        }
    };
    (@each $features:tt $(
        $name:ident = $($op:ident)::+ $(<$v:ident>)?
            ($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $(, requires $check:expr)?;
    )*) => {
        $(crate::set::compiled! {
            @one $features $name ($($arg: $type),*) $(-> $ret)? = $($op)::+; $($v)?
        })*
        pub(crate) const TABLE: KernelSet = KernelSet {
            name: "",
            supported: || false,
            order: |_| Order::ROWS,
            blocking: |_, _| Blocking::SMALL,
            bias: 0,
            columns_scaled: false,
            cost: Cost::NEUTRAL,
            bf16_rows: || false,
            $($name,)*
        };
    };
    (@one [$(#[$feature:meta])*] $name:ident ($($arg:ident: $type:ty),*) $(-> $ret:ty)? = $op:path;) => {
        $(#[$feature])*
        fn $name($($arg: $type),*) $(-> $ret)? {
            $op($($arg),*)
        }
    };
    (@one [$(#[$feature:meta])*] $name:ident ($($arg:ident: $type:ty),*) $(-> $ret:ty)? = $op:path; $v:ident) => {
        $(#[$feature])*
        fn $name($($arg: $type),*) $(-> $ret)? {
            // SAFETY: the features enabled for this function are those of the vector type (`compiled!` is used with
            // both together), so the function runs only on CPUs with these instructions.
            let zeros = unsafe { <$v as op::vector::Vector>::zeros() };
            $op(zeros, $($arg),*)
        }
    };
}
pub(crate) use compiled;

/// Passes the list of all kernels to a macro: name, definition, arguments and their requirements.
macro_rules! kernels {
    ($($make:ident)::+ ! $($with:tt)*) => {
        $($make)::+! { $($with)*
            ternary_dot = op::ternary::dot(codes: &[u8], x: &op::operand::Operand<'_>, sums: &mut [i32]),
                requires op::ternary::fits(codes, x, sums);
            ternary_dot_f32 = op::ternary::dot_f32(
                codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &mut [f32]
            ), requires op::ternary::fits_f32(codes, groups, x, depth, out);
            grouped_codes = op::grouped::quantize(
                x: &[f32], division: op::grouped::Division, parts: usize, codes: &mut [i8], inverses: &mut [f32],
                offsets: &mut [i32]
            ), requires op::grouped::codes_fit(x, division, parts, codes, inverses, offsets);
            grouped_dot = op::grouped::dot(
                tiles: &op::grouped::Tiles<'_>, x: &op::grouped::Codes<'_>, out: &mut [f32]
            ), requires tiles.fit(x.tokens, out) && x.fit(tiles.division);
            grouped_dot_f32 = op::grouped::dot_f32(tiles: &op::grouped::Tiles<'_>, x: &[f32], out: &mut [f32]),
                requires x.len().is_multiple_of(tiles.division.cols) && tiles.fit(x.len() / tiles.division.cols, out);
            coded_dot = op::codes::dot(
                bits: op::codes::Bits, codes: &[u8], depth: usize, x: &[i8], sums: &mut [i32]
            ), requires op::codes::fits(bits, codes, depth, x, sums);
            encode_row = op::codes::encode_row<V>(
                bits: op::codes::Bits, w: &[f32], codes: &mut [u8]
            ) -> op::codes::RowEncoding, requires codes.len() == w.len().next_multiple_of(op::codes::STEP);
            rows_dot = op::sparse::rows_dot(rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]),
                requires x.len() == 4 * stride && sums.len() == picked.len();
            columns_dot = op::sparse::columns_dot<V>(
                columns: &[u8], stride: usize, these: &op::sparse::Columns<'_>, sums: &mut [i32]
            ), requires these.fits(stride, sums);
            rows_to_tile = op::sparse::rows_to_tile(rows: &[u8], stride: usize, tile: &mut [u8]),
                requires rows.len() == 16 * stride && tile.len() <= rows.len() && tile.len().is_multiple_of(64);
            columns_to_tiles = op::sparse::columns_to_tiles(columns: &[u8], stride: usize, tiles: &mut [u8]),
                requires op::sparse::columns_fit(columns, stride, tiles);

            prefetch = op::memory::prefetch<V>(bytes: &[u8]);
            read = op::memory::read<V>(bytes: &[u8], streams: usize, ahead: usize) -> u64;

            quantize = op::quantize::quantize(x: &[f32], codes: &mut [i8]) -> (f32, i32),
                requires codes.len() == x.len();
            largest = op::quantize::largest(x: &[f32]) -> f32;
            quantize_by = op::quantize::codes(x: &[f32], scale: f32, codes: &mut [i8]) -> i32,
                requires codes.len() == x.len();
            rms_norm = op::norm::rms_norm<V>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]),
                requires weight.len() == x.len() && out.len() == x.len();
            rotate = op::elementwise::rotate(head: &mut [f32], cos: &[f32], sin: &[f32]),
                requires sin.len() == cos.len() && head.len() == 2 * cos.len();
            add = op::elementwise::add(x: &mut [f32], y: &[f32]),
                requires y.len() == x.len();
            to_f16 = op::elementwise::to_f16(x: &[f32], out: &mut [u16]),
                requires out.len() == x.len();
            relu2_mul = op::activation::relu2_mul(gate: &mut [f32], up: &[f32]),
                requires up.len() == gate.len();
            silu_mul = op::activation::silu_mul(gate: &mut [f32], up: &[f32]),
                requires up.len() == gate.len();
            gelu_mul = op::activation::gelu_mul(gate: &mut [f32], up: &[f32]),
                requires up.len() == gate.len();
            sigmoid_mul = op::activation::sigmoid_mul(x: &mut [f32], gate: &[f32]),
                requires gate.len() == x.len();
            hadamard = op::hadamard::forward(x: &mut [f32], signs: &[f32], block: usize),
                requires op::hadamard::fits(x, signs, block);
            hadamard_inverse = op::hadamard::inverse(x: &mut [f32], signs: &[f32], block: usize),
                requires op::hadamard::fits(x, signs, block);
            delta_convolve = op::delta::convolve(rows: &[f32], taps: &[f32], out: &mut [f32]),
                requires taps.len() == rows.len() && !out.is_empty() && rows.len().is_multiple_of(out.len());
            delta_unit = op::delta::unit<V>(x: &mut [f32], scale: f32), requires x.len().is_multiple_of(op::vector::LANES);
            delta_rows = op::delta::rows<V>(
                heads: op::delta::Heads, at: usize, state: &mut [f32], x: &op::delta::Inputs<'_>, out: &mut [f32]
            ), requires heads.fit(at, state, x, out);
            add_columns = op::low_rank::add_columns(columns: &[f32], stride: usize, t: &[f32], out: &mut [f32]),
                requires t.is_empty() || (t.len() - 1) * stride + out.len() <= columns.len();
            dense_dot = format::dot<V>(
                row: format::Row, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]
            ), requires row.fits(rows, cols, x, out);
            dense_row = format::decode(row: format::Row, stored: &[u8], out: &mut [f32]),
                requires row.bytes(out.len()) == Some(stored.len());

            attend_halves = op::attention::floats::attend_halves<V>(
                segment: &op::attention::Segment<'_>, q: &[f32], out: &mut [f32]
            ), requires segment.fits(q, out);
            attend_floats = op::attention::floats::attend_floats<V>(
                segment: &op::attention::Segment<'_>, q: &[f32], out: &mut [f32]
            ), requires segment.fits(q, out);
            merge_segments = op::attention::merge(state: &mut [f32], partial: &[f32]),
                requires partial.len() == state.len() && state.len() >= op::vector::LANES;
            int8_dot = op::attention::int8::dot<V>(dots: &op::attention::int8::Dots<'_>, acc: &mut [i32]),
                requires dots.fits(acc);
            int8_weights = op::attention::int8::weights(
                terms: &op::attention::int8::Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]
            ) -> op::attention::int8::Scale, requires terms.fit(dots, codes, out);
            int8_values = op::attention::int8::values(
                dots: &[i32], scale: op::attention::int8::Scale, out: &mut [f32]
            ), requires dots.len() == 2 * out.len();

            rms_norm_backward = op::norm::rms_norm_backward<V>(
                x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32]
            ), requires [weight, dy, &*dx, &*dweight].iter().all(|row| row.len() == x.len());
            relu2_mul_backward = op::activation::relu2_mul_backward(gate: &mut [f32], up: &mut [f32], dy: &[f32]),
                requires up.len() == gate.len() && dy.len() == gate.len();
            cross_entropy = op::loss::cross_entropy(
                logits: &mut [f32], target: usize, terms: op::loss::LossTerms
            ) -> (f32, f32),
                requires target < logits.len();
            softmax = op::softmax::softmax(scores: &mut [f32], seen: usize),
                requires seen <= scores.len() && scores.len().is_multiple_of(op::vector::LANES);
            softmax_backward = op::softmax::softmax_backward(weights: &[f32], d: &mut [f32], delta: f32, scale: f32),
                requires d.len() == weights.len();
            dot = op::softmax::dot(a: &[f32], b: &[f32]) -> f32,
                requires b.len() == a.len();
            bf16_row = op::bf16::row(x: &[f32], out: &mut [u32]),
                requires out.len() >= x.len().div_ceil(2);
            bf16_pairs = op::bf16::pairs(rows: [&[f32]; 2], scales: [f32; 2], out: &mut [u32]),
                requires rows[0].len() == out.len() && [0, out.len()].contains(&rows[1].len());
            bf16_integers = op::bf16::integers(rows: [&[i8]; 2], out: &mut [u32]),
                requires rows[0].len() == out.len() && [0, out.len()].contains(&rows[1].len());
            bf16_turn = op::bf16::turn(rows: &[u32], step: usize, out: &mut [u32]),
                requires op::bf16::turn_fits(rows, step, out);
            bf16_dot = op::bf16::dot<V>(operands: &op::bf16::Operands<'_>, sums: &mut [f32]),
                requires operands.fit(sums.len());
            bf16_finish = op::bf16::finish(sums: &[f32], scale: f32, add: bool, out: &mut [f32]),
                requires out.len() <= sums.len();
        }
    };
}
pub(crate) use kernels;

kernels! { table! }

/// An instruction set that this CPU supports. A value proves that its kernels may run.
///
/// Values come only from [`available`](crate::sets::available), [`by_name`](crate::sets::by_name) and
/// [`portable`](crate::sets::portable).
///
/// ```
/// use sterna_kernels::{Cpu, sets};
///
/// let best = sets::available().next().expect("every CPU has the portable set");
/// assert_eq!(Cpu::with(best, 1).isa().name(), best.name());
/// ```
///
/// Safe code cannot run a set that the CPU may lack. It can neither name a table nor create an `Isa` from one:
///
/// ```compile_fail,E0603
/// use sterna_kernels::set::KernelSet;
/// ```
///
/// ```compile_fail,E0423
/// let isa = sterna_kernels::Isa(unimplemented!());
/// ```
///
/// It cannot replace the set of a `Cpu` either:
///
/// ```compile_fail,E0616
/// let mut cpu = sterna_kernels::Cpu::with(sterna_kernels::sets::portable(), 1);
/// cpu.isa = unimplemented!();
/// ```
#[derive(Clone, Copy)]
pub struct Isa(&'static KernelSet);

impl Isa {
    /// Checks the CPU; `None` if it lacks an instruction of the set.
    pub(crate) fn new(set: &'static KernelSet) -> Option<Self> {
        (set.supported)().then_some(Self(set))
    }

    /// The name for `STERNA_ISA` and reports.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The order in which [`Isa::ternary_dot`] reads the activations of a given number of tokens.
    pub(crate) fn order(self, tokens: usize) -> Order {
        (self.0.order)(tokens)
    }

    /// How products with a given number of tokens and columns are divided into chunks.
    pub(crate) fn blocking(self, tokens: usize, cols: usize) -> Blocking {
        (self.0.blocking)(tokens, cols)
    }

    /// Added to int8 codes before they are stored: 128 if [`Isa::int8_dot`] and [`Isa::coded_dot`] read unsigned bytes,
    /// 0 if they read signed bytes.
    pub(crate) fn bias(self) -> u8 {
        self.0.bias
    }

    /// Whether [`Isa::columns_dot`] returns the sums of field f multiplied by 4ᶠ.
    pub(crate) fn columns_scaled(self) -> bool {
        self.0.columns_scaled
    }

    /// Relative costs of work with this set.
    pub fn cost(self) -> Cost {
        self.0.cost
    }

    /// Whether a transposed left side should be turned before [`Isa::bf16_dot`].
    pub(crate) fn bf16_rows(self) -> bool {
        (self.0.bf16_rows)()
    }
}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
