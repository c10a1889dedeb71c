//! How weights are stored: a file and a row of the table for each format.
//!
//! ```text
//! embedding, head ──► rows of blocks ──► decode ──► f32
//! linear ───────────► Trits ───────────► rows of −1, 0, +1, and scales
//! ```
//!
//! A format serves both sides as far as it can: a linear layer in `f32` is rounded to trits, an embedding in `tq2_0` is
//! decoded like one in `q8_0`. Rows are decoded and multiplied by code that is compiled for each instruction set
//! (`dot`, `decode`), so the table that leads there is a `match` over an index and not a function pointer.

mod blocks;
mod number;
mod planes;
mod stored;
mod synthetic;

pub use stored::{Decoder, Format, Problem, Trits, Writer};
pub use synthetic::{SYNTHETIC, splitmix64};

use crate::op::dense::Stored;
use crate::op::vector::Vector;

/// Declares the formats' files, and makes the table, the index of those that are stored row by row, and the operations on
/// such rows. Each file has a static, and for rows of blocks the type `Blocks`.
macro_rules! formats {
    (rows [$($module:ident::$name:ident),* $(,)?] tensors [$($whole:ident::$tensor:ident),* $(,)?]) => {
        $(mod $module;)*
        $(mod $whole;)*
        $(pub use $module::$name;)*
        $(pub use $whole::$tensor;)*

        /// Every format that Sterna reads. A new one is a file and a line of `formats!`.
        pub static FORMATS: &[&Format] = &[$(&$module::$name,)* $(&$whole::$tensor,)*];

        /// Which of the formats that are stored row by row.
        #[allow(non_camel_case_types, reason = "the names of the statics")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Row {
            $($name,)*
        }

        impl Row {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// That of a format; `None` if it is not stored row by row.
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
        tq2_0::TQ2_0,
        tq1_0::TQ1_0,
    ]
    tensors [
        i2_s::I2_S,
        hf_packed::HF_PACKED,
    ]
}

impl Row {
    /// Bytes of a row of `cols` weights; `None` if they are not whole blocks.
    pub(crate) fn bytes(self, cols: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        if cols.is_multiple_of(weights) { (cols / weights).checked_mul(bytes) } else { None }
    }

    /// Whether the slices of [`dot`] are whole rows, and `out` has a place for each product.
    pub(crate) fn fits(self, rows: &[u8], cols: usize, x: &[f32], out: &[f32]) -> bool {
        self.bytes(cols).is_some_and(|bytes| {
            bytes > 0
                && rows.len().is_multiple_of(bytes)
                && x.len().is_multiple_of(cols)
                && out.len() == x.len() / cols * (rows.len() / bytes)
        })
    }
}

/// The format called `name`.
pub fn by_name(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|format| format.name == name)
}

/// The formats that GGUF files call `id`; forks use some ids twice.
pub fn by_ggml(id: u32) -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().copied().filter(move |format| format.ggml == Some(id))
}

/// The number format that safetensors files call `name`.
pub fn by_safetensors(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|format| format.safetensors == Some(name))
}
