//! Comparison with the portable set, byte for byte.

use sterna_kernels::{Cpu, Rows, sets};

/// Compares every supported set, on one thread and on three, with portable on one.
pub fn against_portable<T: PartialEq + std::fmt::Debug>(what: &str, op: impl Fn(&Cpu) -> T) {
    let expected = op(&Cpu::with(sets::portable(), 1));
    for set in sets::available() {
        for threads in [1, 3] {
            let got = op(&Cpu::with(set, threads));
            assert!(got == expected, "{what}: {} on {threads} threads differs from portable", set.name());
        }
    }
}

/// The bits of every value.
pub fn bits(rows: &[Rows]) -> Vec<u32> {
    rows.iter().flat_map(|rows| rows.data()).map(|x| x.to_bits()).collect()
}
