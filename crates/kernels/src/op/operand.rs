//! How the int8 activations of several tokens lie when they are multiplied with packed trits.
//!
//! An instruction set names the order that it reads ([`Order`]), the activations are arranged in it ([`arrange`]), and a
//! kernel is told the order with the values ([`Operand`]).

use crate::lines::LINE;

/// An order of tokens and columns:
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
    /// Tokens of a block.
    pub tokens: usize,
    /// Neighbouring columns of a token; a divisor of 16 unless `padded`.
    pub columns: usize,
    /// Whether zeros stand where the last block has fewer tokens, and where a row ends before a multiple of `columns`. If
    /// not, the last block has only the tokens that are left.
    pub padded: bool,
}

impl Order {
    /// Token after token.
    pub const ROWS: Self = Self::blocks(1);

    /// Blocks of the dwords of `tokens` tokens.
    pub const fn blocks(tokens: usize) -> Self {
        Self { tokens, columns: 4, padded: false }
    }

    /// Values that `tokens` tokens of `depth` columns take.
    pub fn len(self, tokens: usize, depth: usize) -> usize {
        if self.padded { tokens.next_multiple_of(self.tokens) * self.stride(depth) } else { tokens * depth }
    }

    /// Values that one token of `depth` columns takes.
    pub fn stride(self, depth: usize) -> usize {
        if self.padded { depth.next_multiple_of(self.columns) } else { depth }
    }
}

/// The activations of some tokens, in an order.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub codes: &'a [i8],
    pub order: Order,
    pub tokens: usize,
    /// Columns of a token, padded to whole lines of packed trits: a multiple of 16.
    pub depth: usize,
}

impl Operand<'_> {
    /// Whether there is a value for each token and column.
    pub fn fits(&self) -> bool {
        let Order { tokens, columns, padded } = self.order;
        self.depth.is_multiple_of(16)
            && tokens > 0
            && (padded || columns > 0 && 16usize.is_multiple_of(columns))
            && self.codes.len() == self.order.len(self.tokens, self.depth)
    }

    /// Where the value of a token and column lies.
    #[inline(always)]
    fn place(&self, token: usize, column: usize) -> usize {
        let Order { tokens, columns, padded } = self.order;
        let first = token / tokens * tokens;
        let width = if padded { tokens } else { tokens.min(self.tokens - first) };
        first * self.order.stride(self.depth) + (column / columns * width + token % tokens) * columns + column % columns
    }

    /// The columns of one token, one after another, copied into `row` unless they lie so.
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

/// Writes the rows of one block, `stride` values each, into `out` in the given order. Where the order is padded, `out`
/// holds zeros before.
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

/// The same for blocks of `tokens` tokens and `C` columns: a length that is known makes a copy a load and a store.
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

    /// Any order that a set may name, the 2 × 8 blocks of `smmla` among them: every value is found again.
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
