//! A packed matrix with a scale for each group of columns.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::lines::{LINE, Lines};
use crate::op::grouped::{Bits, COLUMNS, Division, MOST_COLUMNS, TileScales, Tiles};
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::op::ternary::{TILE, lane};
use crate::pool::Pool;
use crate::scales::Scales;

/// A `(rows, cols)` matrix of −1, 0, +1 with a scale for each group of columns in a row.
///
/// A weight takes two bits, or one if the matrix has no zeros. A scale takes two bytes if f16 represents every scale
/// of the matrix, otherwise four.
pub struct GroupedMatrix {
    rows: usize,
    division: Division,
    lines: Lines,
    scales: StoredScales,
}

/// Scales in the order of [`TileScales`].
enum StoredScales {
    Halves(Vec<u16>),
    Floats(Vec<f32>),
}

/// The rows of a matrix that is being packed.
struct Source<'a, F> {
    pool: &'a Pool,
    rows: usize,
    scales: &'a GroupScales<'a>,
    fill: F,
}

/// Scales of any kind as scales of groups.
struct GroupScales<'a> {
    scales: &'a Scales,
    shape: (usize, usize),
    columns: usize,
    groups: usize,
}

impl<'a> GroupScales<'a> {
    fn new(scales: &'a Scales, rows: usize, cols: usize) -> Self {
        let columns = if let Scales::Groups { columns, .. } = scales { *columns } else { MOST_COLUMNS };
        assert!(COLUMNS.contains(&columns), "groups of 32, 64, 128 or 256 columns, not {columns}");
        let groups = cols.div_ceil(columns);
        match scales {
            Scales::One(_) => {}
            Scales::Rows(values) => assert_eq!(values.len(), rows, "one scale for each row"),
            Scales::Groups { values, .. } => assert_eq!(values.len(), rows * groups, "one scale for each group"),
        }
        Self { scales, shape: (rows, cols), columns, groups }
    }

    fn of(&self, row: usize, group: usize) -> f32 {
        self.scales.of(self.shape, row, group * self.columns)
    }

    /// The scales of all tiles; those of missing rows are 0.
    fn stored(&self, rows: usize) -> StoredScales {
        let all = || {
            (0..rows.div_ceil(TILE)).flat_map(move |tile| (0..self.groups).map(move |group| (tile, group))).flat_map(
                move |(tile, group)| {
                    (tile * TILE..(tile + 1) * TILE).map(move |row| if row < rows { self.of(row, group) } else { 0.0 })
                },
            )
        };
        let exact = |value: f32| f16_to_f32(f32_to_f16(value)).to_bits() == value.to_bits();
        if all().all(exact) {
            StoredScales::Halves(all().map(f32_to_f16).collect())
        } else {
            StoredScales::Floats(all().collect())
        }
    }
}

impl<E: Send, F: Fn(usize, &mut [i8]) -> Result<(), E> + Sync> Source<'_, F> {
    /// Row `row`. Weights of a group with the scale 0 become 1, so that they do not count as zeros.
    fn row(&self, row: usize, trits: &mut [i8]) -> Result<(), E> {
        (self.fill)(row, trits)?;
        for (group, trits) in trits.chunks_mut(self.scales.columns).enumerate() {
            if self.scales.of(row, group) == 0.0 {
                trits.fill(1);
            }
        }
        Ok(())
    }

    /// The packed rows; `None` if there are zeros and `division` has no bits for them.
    fn lines(&self, division: Division) -> Result<Option<Lines>, E> {
        let (count, columns) = (division.lines(), division.bits.columns());
        let mut lines = Lines::zeroed(self.rows.div_ceil(TILE) * count);
        let (first, zeros) = (Mutex::new(None::<(usize, E)>), AtomicBool::new(false));
        self.pool.pieces(&mut lines, count.max(1), |tile, lines| {
            let mut trits = vec![1i8; count * columns];
            for row in tile * TILE..self.rows.min((tile + 1) * TILE) {
                if division.bits == Bits::One && zeros.load(Relaxed) {
                    return;
                }
                if let Err(error) = self.row(row, &mut trits[..division.cols]) {
                    let mut first = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if first.as_ref().is_none_or(|(first, _)| tile < *first) {
                        *first = Some((tile, error));
                    }
                    return;
                }
                if division.bits == Bits::One && trits[..division.cols].contains(&0) {
                    return zeros.store(true, Relaxed);
                }
                for (line, trits) in lines.iter_mut().zip(trits.chunks_exact(columns)) {
                    line.0[4 * (row % TILE)..][..4].copy_from_slice(&word(division.bits, trits));
                }
            }
        });
        match first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok((!zeros.into_inner()).then_some(lines)),
        }
    }
}

/// A row's four bytes of a line.
fn word(bits: Bits, trits: &[i8]) -> [u8; 4] {
    match bits {
        Bits::One => {
            let bit = |(k, trit): (usize, &i8)| u32::from(*trit > 0) << (8 * (k % 4) + k / 4);
            trits.iter().enumerate().map(bit).sum::<u32>().to_le_bytes()
        }
        Bits::Two => {
            let mut codes = [1; 16];
            for (code, trit) in codes.iter_mut().zip(trits) {
                *code = (1 + trit.signum()) as u8;
            }
            lane(&codes)
        }
    }
}

impl GroupedMatrix {
    /// Packs a matrix. `fill(r, trits)` writes row `r` as `cols` values −1, 0, +1, in parallel, and may be called twice
    /// for a row. `unit` is the number of adjacent columns that may not be divided among parts of a row, a power of two
    /// ([`crate::grouped`]).
    ///
    /// One scale, and scales of rows, become scales of groups of 256 columns.
    ///
    /// # Errors
    ///
    /// The error of the first tile of rows that fails.
    ///
    /// # Panics
    ///
    /// If the scales do not match the shape, a group does not have 32, 64, 128 or 256 columns, or `unit` is not a power
    /// of two.
    pub fn pack<E: Send>(
        pool: &Pool,
        (rows, cols): (usize, usize),
        unit: usize,
        scales: &Scales,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        assert!(unit.is_power_of_two(), "a power of two, not {unit}");
        let scales = &GroupScales::new(scales, rows, cols);
        let source = Source { pool, rows, scales, fill };
        for bits in [Bits::One, Bits::Two] {
            let division = Division::new(bits, cols, scales.columns, unit);
            if let Some(lines) = source.lines(division)? {
                return Ok(Self { rows, division, lines, scales: scales.stored(rows) });
            }
        }
        unreachable!("two bits hold every trit")
    }

    /// (output features, input features)
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.division.cols)
    }

    /// Columns in a group.
    pub fn columns(&self) -> usize {
        self.division.columns
    }

    /// Bytes of the packed weights and scales.
    pub fn bytes(&self) -> usize {
        let scales = match &self.scales {
            StoredScales::Halves(values) => size_of_val(&values[..]),
            StoredScales::Floats(values) => size_of_val(&values[..]),
        };
        self.lines.len() * LINE + scales
    }

    /// Some tiles of 16 rows.
    pub(super) fn tiles(&self, tiles: Range<usize>) -> Tiles<'_> {
        let (bytes, values) = (self.division.lines() * LINE, self.division.groups() * TILE);
        let of = tiles.start * values..tiles.end * values;
        let scales = match &self.scales {
            StoredScales::Halves(values) => TileScales::Halves(&values[of]),
            StoredScales::Floats(values) => TileScales::Floats(&values[of]),
        };
        let codes = &self.lines.bytes()[tiles.start * bytes..tiles.end * bytes];
        Tiles { division: self.division, codes, scales }
    }
}

impl std::fmt::Debug for GroupedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Division { bits, cols, columns, .. } = self.division;
        write!(f, "{} × {cols} weights of {} bits, a scale per {columns} columns", self.rows, bits.width())
    }
}
