//! Runs seeds through the function that a fuzzer calls, so that a finding kept as a seed stays fixed without a fuzzer.

use std::path::Path;

/// Calls `run` with every seed of a target.
pub fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds = 0;
    for file in std::fs::read_dir(&folder).expect("the target has seeds") {
        run(&std::fs::read(file.expect("a file").path()).expect("readable"));
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", folder.display());
}
