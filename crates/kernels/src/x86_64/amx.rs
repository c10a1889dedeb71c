//! AMX: one instruction multiplies a tile register of activations with one of weights, 16 tokens × 64 columns × 16
//! rows.
//!
//! ```text
//! A  activations (i8)   tile row = a token, 64 columns                 `TILES`
//! B  weights (u8)       tile row = 4 columns × 16 rows of the matrix   a packed line masked to one field
//! C  sums (i32)         tile row = a token, 16 rows of the matrix
//! ```
//!
//! So four packed lines unpack directly into one tile B. A panel of weights, [`DEPTH`] tiles deep and two wide, is
//! unpacked once. It stays in the first-level cache while a block of tokens, two tiles at a time, is read from the
//! second-level cache.

use std::arch::asm;
use std::sync::OnceLock;

use super::prefetch::prefetch;
use super::tiles::Configured;
use super::{amx_bf16, avx512};
use crate::lines::LINE;
use crate::op::operand::{Operand, Order};
use crate::op::ternary::TILE;
use crate::set::{Blocking, Cost, KernelSet};

/// For Sapphire Rapids and newer, on Linux.
pub(crate) static SET: KernelSet = KernelSet {
    name: "amx",
    supported,
    order,
    blocking,
    ternary_dot,
    cost: Cost { whole, ..avx512::COST },
    bf16_dot: amx_bf16::dot,
    bf16_rows: amx_bf16::available,
    ..avx512::SET
};

/// Tokens up to which AVX-512 takes less time: a tile costs its unpacking, even for few tokens.
const FEW: usize = 4;

/// Tiles of 16 tokens × 64 columns; each row is a cache line.
const TILES: Order = Order { tokens: TOKENS, columns: COLS, padded: true };

/// Tokens of a tile.
const TOKENS: usize = 16;
/// Columns of a tile; the next constant is the number of packed lines that hold them.
const COLS: usize = 64;
const LINES: usize = COLS / 16;
/// Bytes of a tile.
const BYTES: usize = 1024;
/// Tiles of a panel along the columns: 20 KiB of weights, 20 KiB of activations and the sums share 48 KiB of
/// first-level cache.
const DEPTH: usize = 10;
/// Bytes of activations that stay in the second-level cache (1 MiB per thread) while the weights are streamed.
const BLOCK: usize = 896 << 10;

fn supported() -> bool {
    // A CPU with AVX-512 has CPUID leaf 7.
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    (avx512::SET.supported)() && *PERMITTED.get_or_init(|| has_tiles() && permitted())
}

/// Whether the CPU has AMX with int8, and the operating system saves the tile registers.
fn has_tiles() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const STATE: u64 = 1 << 17 | 1 << 18;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    // SAFETY: the caller saw AVX-512, which std reports only if the system enabled XSAVE.
    leaf.edx & TILE_AND_INT8 == TILE_AND_INT8 && unsafe { enabled_state() } & STATE == STATE
}

#[target_feature(enable = "xsave")]
fn enabled_state() -> u64 {
    // SAFETY: register 0 exists wherever XSAVE is enabled.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Asks Linux for permission to use the tile registers. It holds for all threads of the process, current and future.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut status = ARCH_PRCTL;
    // SAFETY: the call touches no memory of this process; the kernel overwrites rax, rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") status, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    status == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

fn order(tokens: usize) -> Order {
    if tokens <= FEW { (avx512::SET.order)(tokens) } else { TILES }
}

/// Divides the tokens into equal blocks whose activations fit [`BLOCK`].
fn blocking(tokens: usize, cols: usize) -> Blocking {
    if tokens <= FEW {
        return (avx512::SET.blocking)(tokens, cols);
    }
    let blocks = (tokens * cols).div_ceil(BLOCK).max(1);
    let pairs = tokens.div_ceil(blocks).div_ceil(2 * TOKENS);
    Blocking { tokens: (2 * TOKENS, pairs * 2 * TOKENS), tokens_first: true, ..Blocking::SMALL }
}

/// Estimated: many tokens take an eighth of AVX-512's time.
fn whole(tokens: usize) -> f32 {
    1.5 + 0.06 * tokens as f32
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn ternary_dot(codes: &[u8], x: &Operand<'_>, acc: &mut [i32]) {
    if x.order == TILES {
        // SAFETY: this is a kernel of the set, and runs only where `supported` found the registers and their
        // permission.
        unsafe { product::<Registers>(codes, x, acc) };
    } else {
        avx512::ternary_dot(codes, x, acc);
    }
}

/// 16 rows of 64 bytes.
type Bytes = [u8; BYTES];

/// Unpacked weights: `[k / 64][tile of matrix rows]`.
#[repr(C, align(64))]
struct Panel([[Bytes; 2]; DEPTH]);

/// Sums of two by two tiles, `[token][matrix row]`.
#[repr(C, align(64))]
struct Sums([[i32; 2 * TILE]; 2 * TOKENS]);

/// Tile registers, configured.
trait Tiles {
    /// Configures the tiles for `tokens` ≤ 16 in each tile.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation, and the operating system has permitted them.
    unsafe fn configure(tokens: usize) -> Self;
    /// `sums = a · panel` for N ≤ 2 tiles of tokens; `a[i]` holds as many tiles as the panel is deep.
    fn multiply<const N: usize>(&self, a: [&[i8]; N], panel: &[[Bytes; 2]], sums: &mut Sums);
}

/// The blocking: `ternary_dot` for tokens in the order [`TILES`].
///
/// # Safety
/// That of [`Tiles::configure`].
#[inline(always)]
unsafe fn product<T: Tiles>(codes: &[u8], x: &Operand<'_>, acc: &mut [i32]) {
    let (groups, tokens, x) = (x.depth / 16, x.tokens, x.codes);
    let width = codes.len() / (groups * LINE) * TILE;
    let depth = groups.div_ceil(LINES);
    assert!(x.len() == tokens.div_ceil(TOKENS) * depth * BYTES);
    // SAFETY: the caller vouches for the tiles.
    let tiles = unsafe { T::configure(TOKENS.min(tokens)) };
    // Parts that the last lines and an odd tile leave unwritten are multiplied by zeros or never copied.
    let (mut panel, mut sums) = (Panel([[[0; BYTES]; 2]; DEPTH]), Sums([[0; 2 * TILE]; 2 * TOKENS]));
    for column in (0..width).step_by(2 * TILE) {
        let rows = (2 * TILE).min(width - column);
        let codes = &codes[column / TILE * groups * LINE..][..rows / TILE * groups * LINE];
        for first in (0..depth).step_by(DEPTH) {
            let panel = &mut panel.0[..DEPTH.min(depth - first)];
            unpack(codes, groups, first * LINES, panel);
            for token in (0..tokens).step_by(2 * TOKENS) {
                let a = &x[(token / TOKENS * depth + first) * BYTES..];
                let length = panel.len() * BYTES;
                let count = (2 * TOKENS).min(tokens - token);
                if count > TOKENS {
                    tiles.multiply([&a[..length], &a[depth * BYTES..][..length]], panel, &mut sums);
                } else {
                    tiles.multiply([&a[..length]], panel, &mut sums);
                }
                for t in 0..count {
                    let out = &mut acc[(token + t) * width + column..][..rows];
                    for i in 0..rows {
                        out[i] = if first == 0 { sums.0[t][i] } else { out[i] + sums.0[t][i] };
                    }
                }
            }
        }
    }
}

/// Unpacks the lines from `first` on, for one or two tiles of matrix rows.
#[inline(always)]
fn unpack(codes: &[u8], groups: usize, first: usize, panel: &mut [[Bytes; 2]]) {
    for i in 0..codes.len() / (groups * LINE) {
        for g in first..groups.min(first + panel.len() * LINES) {
            let line = &codes[(i * groups + g) * LINE..][..LINE];
            prefetch(line, DEPTH * LINES * LINE);
            let out = &mut panel[(g - first) / LINES][i][g % LINES * 4 * LINE..][..4 * LINE];
            for f in 0..4 {
                for b in 0..LINE {
                    out[f * LINE + b] = line[b] >> (2 * f) & 3;
                }
            }
        }
    }
}

/// The CPU's tile registers: sums in 0 to 3, activations in 4 and 5, weights in 6 and 7.
///
/// The registers hold values only inside `multiply`, where each of the two loops is one block of assembly.
struct Registers {
    _tiles: Configured,
}

impl Tiles for Registers {
    #[inline(always)]
    unsafe fn configure(tokens: usize) -> Self {
        // SAFETY: the caller vouches for the registers.
        Self { _tiles: unsafe { Configured::new([tokens, tokens, tokens, tokens, tokens, tokens, 16, 16]) } }
    }

    #[inline(always)]
    fn multiply<const N: usize>(&self, a: [&[i8]; N], panel: &[[Bytes; 2]], sums: &mut Sums) {
        assert!(!panel.is_empty() && (1..=2).contains(&N));
        for a in a {
            assert!(a.len() == panel.len() * BYTES);
        }
        if N == 1 {
            // SAFETY: `self` proves that the tiles are configured. Each step reads 1024 bytes of `a` and 2048 of the
            // panel, which hold as much; the sums hold the at most 16 rows of 128 bytes that are written.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "2:",
                    "tileloadd tmm4, [{a} + {row} * 1]",
                    "tileloadd tmm6, [{b} + {row} * 1]",
                    "tdpbsud tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {row} * 1 + 1024]",
                    "tdpbsud tmm1, tmm4, tmm7",
                    "add {a}, 1024",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {sums} * 1], tmm0",
                    "tilestored [{c} + {sums} * 1 + 64], tmm1",
                    a = inout(reg) a[0].as_ptr() => _, b = inout(reg) panel.as_ptr() => _,
                    steps = inout(reg) panel.len() => _, c = in(reg) sums.0.as_mut_ptr(),
                    row = in(reg) 64usize, sums = in(reg) 128usize,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _, options(nostack),
                );
            }
        } else {
            // SAFETY: `self` proves that the tiles are configured. Each step reads 1024 bytes of each `a` and 2048 of
            // the panel, which hold as much (prefetches may point beyond them); the sums hold the at most 32 rows of
            // 128 bytes that are written.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{a} + {row} * 1]",
                    "tileloadd tmm6, [{b} + {row} * 1]",
                    "tdpbsud tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {row} * 1 + 1024]",
                    "tdpbsud tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a1} + {row} * 1]",
                    "tdpbsud tmm2, tmm5, tmm6",
                    "tdpbsud tmm3, tmm5, tmm7",
                    // Prefetch from the second-level cache the activations of the step after the next.
                    ".irp line, 0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960",
                    "prefetcht0 [{a} + 2048 + \\line]",
                    "prefetcht0 [{a1} + 2048 + \\line]",
                    ".endr",
                    "add {a}, 1024",
                    "add {a1}, 1024",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {sums} * 1], tmm0",
                    "tilestored [{c} + {sums} * 1 + 64], tmm1",
                    "tilestored [{c} + {sums} * 1 + 2048], tmm2",
                    "tilestored [{c} + {sums} * 1 + 2112], tmm3",
                    a = inout(reg) a[0].as_ptr() => _, a1 = inout(reg) a[N - 1].as_ptr() => _,
                    b = inout(reg) panel.as_ptr() => _, steps = inout(reg) panel.len() => _,
                    c = in(reg) sums.0.as_mut_ptr(), row = in(reg) 64usize, sums = in(reg) 128usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
                    out("tmm6") _, out("tmm7") _, options(nostack),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::operand::arrange;

    /// Tile registers in plain Rust, following the manual's definition of the instructions.
    struct Model;

    impl Tiles for Model {
        unsafe fn configure(_: usize) -> Self {
            Self
        }

        fn multiply<const N: usize>(&self, a: [&[i8]; N], panel: &[[Bytes; 2]], sums: &mut Sums) {
            for (t, sums) in sums.0[..N * TOKENS].iter_mut().enumerate() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let product = |k: usize| {
                        let b = &panel[k / COLS][row / TILE];
                        let weight = b[k % COLS / 4 * LINE + row % TILE * 4 + k % 4];
                        i32::from(weight) * i32::from(a[t / TOKENS][(k / COLS * TOKENS + t % TOKENS) * COLS + k % COLS])
                    };
                    *sum = (0..panel.len() * COLS).map(product).sum();
                }
            }
        }
    }

    /// Tests everything but the assembly, on any x86-64, with partial blocks of tokens, columns and matrix rows.
    #[test]
    fn the_blocking_is_exact() {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for (tiles, groups) in [(1, 1), (2, 4), (3, 7), (5, 41), (2, 83)] {
            let codes: Vec<u8> = (0..tiles * groups * LINE).map(|_| random() as u8).collect();
            for tokens in [1, 2, 15, 16, 17, 32, 33, 50] {
                let rows: Vec<i8> = (0..tokens * groups * 16).map(|_| random() as i8).collect();
                let mut expected = vec![0; tokens * tiles * TILE];
                let depth = groups * 16;
                let operand = |codes, order| Operand { codes, order, tokens, depth };
                crate::op::ternary::dot(&codes, &operand(&rows, Order::ROWS), &mut expected);
                let mut got = vec![-1; expected.len()];
                let mut x = vec![0; TILES.len(tokens, depth)];
                for (rows, tile) in rows.chunks(TOKENS * depth).zip(x.chunks_mut(TOKENS * TILES.stride(depth))) {
                    arrange(TILES, rows, depth, tile);
                }
                // SAFETY: the model is plain Rust.
                unsafe { product::<Model>(&codes, &operand(&x, TILES), &mut got) };
                assert!(got == expected, "{tiles} tiles of {groups} lines, {tokens} tokens");
            }
        }
    }
}
