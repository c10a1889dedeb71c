//! I2_S in the layout of bitnet.cpp on Arm: as [`super::i2_s`], in blocks of 64 weights in 16 bytes.
//!
//! Nothing in a file tells the two layouts apart. Source: bitnet.cpp, `ggml-bitnet-mad.cpp` (`QK_I2_S` on Arm).

use super::i2_s::{bytes, row, scales};
use super::stored::{Format, Ternary};

/// The format described in the module documentation.
pub static I2_S_ARM: Format =
    Format::of_tensors("i2_s-arm", bytes, Ternary { scales, row: |d, r, out| row::<16>(d, r, out), writer: None });
