//! Memory order of int8 activations for products with packed trits.
//!
//! An instruction set chooses the order that it reads ([`Order`]), the activations are arranged in it ([`arrange`]),
//! and a kernel gets the order together with the values ([`Operand`]).

use crate::lines::LINE;

/// A memory order of tokens and columns:
///
/// ```text
/// [token / tokens][column / columns][token % tokens][column % columns]
///
/// rows       tokens  1, columns  4     one token after the other
/// blocks     tokens  n, columns  4     the dwords of n tokens side by side: `vpdpbusd`, `sdot`
/// tiles      tokens 16, columns 64     a tile register of AMX
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Tokens in a block.
    pub tokens: usize,
    /// Adjacent columns of one token; a divisor of 16 unless `padded`.
    pub columns: usize,
    /// Whether zeros fill up the last block of tokens, and rows up to a multiple of `columns`. Otherwise the last block
    /// holds only the remaining tokens.
    pub padded: bool,
}

impl Order {
    /// One token after another.
    pub const ROWS: Self = Self::blocks(1);

    /// Blocks of `tokens` tokens, with their dwords interleaved.
    pub const fn blocks(tokens: usize) -> Self {
        Self { tokens, columns: 4, padded: false }
    }

    /// Number of values for `tokens` tokens of `depth` columns.
    pub fn len(self, tokens: usize, depth: usize) -> usize {
        if self.padded { tokens.next_multiple_of(self.tokens) * self.stride(depth) } else { tokens * depth }
    }

    /// Number of values for one token of `depth` columns.
    pub fn stride(self, depth: usize) -> usize {
        if self.padded { depth.next_multiple_of(self.columns) } else { depth }
    }
}

/// The activations of some tokens, with their order.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub codes: &'a [i8],
    pub order: Order,
    pub tokens: usize,
    /// Columns of a token, padded to whole lines of packed trits: a multiple of 16.
    pub depth: usize,
}

impl Operand<'_> {
    /// Whether the slice holds a value for each token and column.
    pub fn fits(&self) -> bool {
        let Order { tokens, columns, padded } = self.order;
        self.depth.is_multiple_of(16)
            && tokens > 0
            && (padded || columns > 0 && 16usize.is_multiple_of(columns))
            && self.codes.len() == self.order.len(self.tokens, self.depth)
    }

    /// Index of the value of a token and column.
    #[inline(always)]
    fn place(&self, token: usize, column: usize) -> usize {
        let Order { tokens, columns, padded } = self.order;
        let first = token / tokens * tokens;
        let width = if padded { tokens } else { tokens.min(self.tokens - first) };
        first * self.order.stride(self.depth) + (column / columns * width + token % tokens) * columns + column % columns
    }

    /// The columns of one token, copied into `row` unless they are contiguous.
    #[inline(always)]
    pub fn row<'a>(&'a self, token: usize, row: &'a mut Vec<i8>) -> &'a [i8] {
        if self.order == Order::ROWS {
            return &self.codes[token * self.depth..][..self.depth];
        }
        row.clear();
        row.extend((0..self.depth).map(|column| self.codes[self.place(token, column)]));
        row
    }
}

/// Writes the rows of one block, `stride` values each, to `out` in the given order. For padded orders, `out` must be
/// zero before.
pub(crate) fn arrange(order: Order, rows: &[i8], stride: usize, out: &mut [i8]) {
    let tokens = if order.padded { order.tokens } else { rows.len() / stride };
    match order.columns {
        4 => spread::<4>(rows, stride, tokens, out),
        8 => spread::<8>(rows, stride, tokens, out),
        16 => spread::<16>(rows, stride, tokens, out),
        LINE => spread::<LINE>(rows, stride, tokens, out),
        columns => panic!("no kernel reads {columns} columns of a token side by side"),
    }
}

/// As [`arrange`], for blocks of `tokens` tokens and `C` columns. The constant length turns a copy into one load and
/// one store.
fn spread<const C: usize>(rows: &[i8], stride: usize, tokens: usize, out: &mut [i8]) {
    for (t, row) in rows.chunks_exact(stride).enumerate() {
        let (whole, rest) = row.as_chunks::<C>();
        let mut out = out[C * t..].chunks_mut(C * tokens);
        for (codes, out) in whole.iter().zip(&mut out) {
            out[..C].copy_from_slice(codes);
        }
        if let (false, Some(out)) = (rest.is_empty(), out.next()) {
            out[..rest.len()].copy_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any order that a set may use, including the 2 × 8 blocks of `smmla`: every value is found again.
    #[test]
    fn arranged_rows_are_read_back() {
        let tiles = Order { tokens: 16, columns: LINE, padded: true };
        let pairs = Order { tokens: 2, columns: 8, padded: true };
        for order in [Order::ROWS, Order::blocks(4), Order::blocks(16), pairs, tiles] {
            for (tokens, depth) in [(1, 16), (3, 48), (4, 64), (17, 80), (33, 272)] {
                let rows: Vec<i8> = (0..tokens * depth).map(|i| (i * 7 % 251) as u8 as i8).collect();
                let mut codes = vec![0; order.len(tokens, depth)];
                let blocks = codes.chunks_mut(order.tokens * order.stride(depth));
                for (rows, block) in rows.chunks(order.tokens * depth).zip(blocks) {
                    arrange(order, rows, depth, block);
                }
                let operand = Operand { codes: &codes, order, tokens, depth };
                assert!(operand.fits());
                for (t, row) in rows.chunks_exact(depth).enumerate() {
                    assert_eq!(operand.row(t, &mut Vec::new()), row, "{order:?}, {tokens} x {depth}, token {t}");
                }
            }
        }
    }
}
