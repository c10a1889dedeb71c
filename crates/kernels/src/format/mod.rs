//! Storage formats of weights. Each format is a file and a row of the table.
//!
//! ```text
//! embedding, head ──► rows of blocks ──► decode ──► f32
//! linear ───────────► Trits ───────────► rows of −1, 0, +1, and scales
//! ```
//!
//! A format serves both sides if it can: a linear layer in `f32` is rounded to trits, and an embedding in `tq2_0` is
//! decoded like one in `q8_0`. The code that decodes and multiplies rows (`dot`, `decode`) is compiled for each
//! instruction set, so it is selected by a `match` over an index, not by a function pointer.

mod affine;
mod base3;
mod blocks;
mod number;
mod pairs;
mod planes;
mod scaled;
mod stored;
mod synthetic;
mod writer;

pub use stored::{Affine, Decoder, Format, Problem, Trits};
pub use synthetic::{SYNTHETIC, SYNTHETIC_GROUPS, SYNTHETIC_SIGNS, splitmix64};
pub use writer::{Scaling, Writer};

use crate::op::dense::Stored;
use crate::op::vector::Vector;

/// Declares the files of formats. Generates the table, the index of row-wise formats, and the operations on their rows.
/// Each file has a static, and for row-wise formats the type `Blocks`.
macro_rules! formats {
    (rows [$($module:ident::$name:ident),* $(,)?] tensors [$($whole:ident::$tensor:ident),* $(,)?]) => {
        $(mod $module;)*
        $(mod $whole;)*
        $(pub use $module::$name;)*
        $(pub use $whole::$tensor;)*

        /// All formats that Sterna reads. A new one is a file and a line of `formats!`.
        pub static FORMATS: &[&Format] = &[$(&$module::$name,)* $(&$whole::$tensor,)*];

        /// Index of a row-wise format.
        #[allow(non_camel_case_types, reason = "the names of the statics")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Row {
            $($name,)*
        }

        impl Row {
            /// All row-wise formats.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The index of a format; `None` if it is not row-wise.
            pub(crate) fn of(format: &Format) -> Option<Self> {
                $(if *format == $module::$name {
                    return Some(Self::$name);
                })*
                None
            }

            /// (weights, bytes) of a block.
            pub(crate) const fn block(self) -> (usize, usize) {
                match self {
                    $(Self::$name => $module::Blocks::BLOCK,)*
                }
            }
        }

        /// Dot products of stored rows with `f32` rows: `out[t][r]`, for all stored rows and `x.len() / cols` tokens.
        #[inline(always)]
        pub(crate) fn dot<V: Vector>(zeros: V, row: Row, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
            match row {
                $(Row::$name => $module::Blocks::dot::<V>(zeros, rows, cols, x, out),)*
            }
        }

        /// Decodes one stored row.
        #[inline(always)]
        pub(crate) fn decode(row: Row, stored: &[u8], out: &mut [f32]) {
            match row {
                $(Row::$name => $module::Blocks::decode(stored, out),)*
            }
        }
    };
}

formats! {
    rows [
        float32::F32,
        float16::F16,
        bfloat16::BF16,
        q8_0::Q8_0,
        q6_k::Q6_K,
        q4_k::Q4_K,
        q4_0::Q4_0,
        q5_k::Q5_K,
        q5_0::Q5_0,
        q3_k::Q3_K,
        q2_k::Q2_K,
        tq2_0::TQ2_0,
        tq1_0::TQ1_0,
        q2_0::Q2_0,
        pq2_0::PQ2_0,
        ptq1_0::PTQ1_0,
        q1_0::Q1_0,
        stq1_0::STQ1_0,
    ]
    tensors [
        i2_s::I2_S,
        i2_s_arm::I2_S_ARM,
        iq2_bn::IQ2_BN,
        iq2_bn_r4::IQ2_BN_R4,
        iq1_bn::IQ1_BN,
        hf_packed::HF_PACKED,
        mlx_2bit::MLX_2BIT,
        mlx_1bit::MLX_1BIT,
    ]
}

impl Row {
    /// Bytes in a row of `cols` weights; `None` if they are not whole blocks.
    pub(crate) fn bytes(self, cols: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        if cols.is_multiple_of(weights) { (cols / weights).checked_mul(bytes) } else { None }
    }

    /// Whether the slices of [`dot`] are whole rows, and `out` has room for each product.
    pub(crate) fn fits(self, rows: &[u8], cols: usize, x: &[f32], out: &[f32]) -> bool {
        self.bytes(cols).is_some_and(|bytes| {
            bytes > 0
                && rows.len().is_multiple_of(bytes)
                && x.len().is_multiple_of(cols)
                && out.len() == x.len() / cols * (rows.len() / bytes)
        })
    }
}

/// The format with this name.
pub fn by_name(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|format| format.name == name)
}

/// The formats with the type id `id` in GGUF files; forks use some ids for several types.
pub fn by_ggml(id: u32) -> impl DoubleEndedIterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(move |format| format.ggml.contains(&id))
}

/// The number format with this name in safetensors files.
pub fn by_safetensors(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|format| format.safetensors == Some(name))
}
