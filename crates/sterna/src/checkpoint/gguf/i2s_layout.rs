//! The two layouts of I2_S. The file does not name its own; it differs by a permutation of the columns within each 128,
//! which is the same in every row and matrix.
//!
//! ```text
//! element 64h + 16s + p of an Arm file stands where an x86 file has element 32s + 16h + p      h < 2, s < 4, p < 16
//! ```
//!
//! What tells them apart is a correlation between a matrix's columns and something without a layout: the share of zeros of
//! the columns of `ffn_down` follows that of the rows of `ffn_gate` and `ffn_up`; that of the columns of the others follows
//! the norm before them. The right layout has the larger mean correlation.

use std::collections::BTreeMap;

use sterna_kernels::Pool;
use sterna_kernels::format::{I2_S, I2_S_ARM, Problem, Trits};
use sterna_kernels::pool::default_threads;

use crate::checkpoint::{Data, Tensor};

/// A layout of I2_S.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum I2sLayout {
    /// That of the published files and of all Python converters.
    X86,
    /// That of files written by bitnet.cpp on an Arm machine.
    Arm,
}

/// How well each layout explains a file.
#[derive(Default)]
struct Evidence {
    /// Sums of |Pearson's correlation|: x86, Arm.
    sums: [f64; 2],
    /// The same, each times the root of its number of columns, so that chance gives 0.8 on average.
    weighted: [f64; 2],
    comparisons: usize,
    columns: usize,
}

/// Reads all I2_S in the layout `chosen`, or in the one that the weights point to. Returns a remark unless that is x86 by
/// default.
pub(super) fn settle(tensors: &mut BTreeMap<String, Tensor>, chosen: Option<I2sLayout>) -> Option<String> {
    tensors.values().find(|tensor| tensor.data.format() == &I2_S)?;
    let (layout, why) = match chosen {
        Some(layout) => (layout, "as --i2s-layout says".into()),
        None => {
            let (layout, [x86, arm]) = detect(tensors);
            let why = format!(
                "because its columns fit the norms and rows better (correlation {arm:.3}, in x86's layout {x86:.3}); \
                 --i2s-layout x86 reads the other one"
            );
            (layout, why)
        }
    };
    let matrices = tensors.values_mut().filter_map(|tensor| match &mut tensor.data {
        Data::Ternary(trits) if trits.format() == &I2_S => Some(trits),
        _ => None,
    });
    for trits in matrices.filter(|_| layout == I2sLayout::Arm) {
        *trits = trits.clone().with_format(&I2_S_ARM);
    }
    let name = if layout == I2sLayout::Arm { "Arm machines" } else { "x86 machines" };
    (layout == I2sLayout::Arm || chosen.is_some()).then(|| format!("I2_S is read in the layout of {name}, {why}"))
}

/// The layout that the weights of a file point to, x86 in case of doubt, and the mean correlations of both: x86, Arm.
fn detect(tensors: &BTreeMap<String, Tensor>) -> (I2sLayout, [f64; 2]) {
    /// Layers that are read: enough for thousands of columns of any published model.
    const LAYERS: usize = 4;
    /// Columns below which chance may decide.
    const COLUMNS: usize = 1000;
    let pool = Pool::new(default_threads());
    let mut evidence = Evidence::default();
    for layer in 0..LAYERS {
        evidence.add_layer(tensors, layer, &pool);
    }
    let count = evidence.comparisons.max(1) as f64;
    let [x86, arm] = evidence.sums.map(|sum| sum / count);
    let clear = arm > 1.5 * x86 && evidence.weighted[1] / count > 1.5 && evidence.columns > COLUMNS;
    (if clear { I2sLayout::Arm } else { I2sLayout::X86 }, [x86, arm])
}

impl Evidence {
    fn add_layer(&mut self, tensors: &BTreeMap<String, Tensor>, layer: usize, pool: &Pool) {
        let tensor = |name: &str| tensors.get(&format!("model.layers.{layer}.{name}.weight"));
        let zeros = |name: &str| match &tensor(name)?.data {
            Data::Ternary(trits) if trits.format() == &I2_S && trits.cols().is_multiple_of(128) => {
                zeros(trits, pool).ok()
            }
            _ => None,
        };
        let norm = |name: &str| match &tensor(name)?.data {
            Data::Dense { format, bytes } => {
                Some(format.numbers(bytes)?.iter().map(|value| f64::from(value.abs())).collect::<Vec<f64>>())
            }
            Data::Ternary(_) => None,
        };
        for (linears, norm) in [
            (&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..], norm("input_layernorm")),
            (&["self_attn.o_proj"], norm("self_attn.attn_sub_norm")),
        ] {
            for (columns, _) in linears.iter().filter_map(|name| zeros(name)) {
                self.compare(&columns, norm.as_deref());
            }
        }
        let (gate, up) = (zeros("mlp.gate_proj"), zeros("mlp.up_proj"));
        for (columns, _) in gate.iter().chain(&up) {
            self.compare(columns, norm("post_attention_layernorm").as_deref());
        }
        if let Some(((_, gate), (_, up))) = gate.zip(up)
            && let Some((columns, _)) = zeros("mlp.down_proj")
        {
            let neurons: Vec<f64> = gate.iter().zip(&up).map(|(gate, up)| gate + up).collect();
            self.compare(&columns, Some(&neurons));
        }
    }

    /// Compares the columns of a matrix, read as x86, with what they should follow.
    fn compare(&mut self, columns: &[f64], with: Option<&[f64]>) {
        let Some(with) = with.filter(|with| with.len() == columns.len()) else { return };
        let arm: Vec<f64> = (0..columns.len()).map(|column| columns[x86_place(column)]).collect();
        for (i, columns) in [columns, &arm].into_iter().enumerate() {
            let found = correlation(columns, with).abs();
            self.sums[i] += found;
            self.weighted[i] += found * (columns.len() as f64).sqrt();
        }
        self.comparisons += 1;
        self.columns += columns.len();
    }
}

/// Where an x86 reader finds column `column` of an Arm file.
fn x86_place(column: usize) -> usize {
    let (run, within) = (column / 128 * 128, column % 128);
    let (h, s, p) = (within / 64, within / 16 % 4, within % 16);
    run + 32 * s + 16 * h + p
}

/// Zeros in each column, and in each row.
fn zeros(trits: &Trits, pool: &Pool) -> Result<(Vec<f64>, Vec<f64>), Problem> {
    let (rows, cols) = (trits.rows(), trits.cols());
    let decoder = trits.decoder(pool)?;
    // Rows counted by one thread.
    let share = rows.div_ceil(pool.threads());
    let mut counts: Vec<(Vec<u32>, Vec<u32>)> = vec![Default::default(); rows.div_ceil(share)];
    pool.pieces(&mut counts, 1, |piece, counts| {
        let (columns, in_rows) = &mut counts[0];
        columns.resize(cols, 0);
        let mut row = vec![0; cols];
        for r in piece * share..rows.min((piece + 1) * share) {
            // I2_S has no invalid codes.
            let _ = decoder.row(r, &mut row);
            columns.iter_mut().zip(&row).for_each(|(count, trit)| *count += u32::from(*trit == 0));
            in_rows.push(row.iter().filter(|trit| **trit == 0).count() as u32);
        }
    });
    trits.bytes().release();
    let mut columns = vec![0.0; cols];
    for (counted, _) in &counts {
        columns.iter_mut().zip(counted).for_each(|(sum, count)| *sum += f64::from(*count));
    }
    Ok((columns, counts.iter().flat_map(|(_, rows)| rows).map(|count| f64::from(*count)).collect()))
}

/// Pearson's correlation; 0 if one side is constant.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (a_mean, b_mean) = (mean(a), mean(b));
    let mut sums = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - a_mean, b - b_mean);
        sums = [sums[0] + a * b, sums[1] + a * a, sums[2] + b * b];
    }
    let correlation = sums[0] / (sums[1] * sums[2]).sqrt();
    if correlation.is_finite() { correlation } else { 0.0 }
}
