//! The fuzzer's seeds, through the function that the fuzzer calls.

use std::path::Path;

#[path = "../../../fuzz/training.rs"]
mod training;

#[test]
fn training_data_seeds_return() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/training_data");
    let seeds: Vec<_> = std::fs::read_dir(&folder).expect("the target has seeds").collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    for file in seeds {
        training::training_data(&std::fs::read(file.expect("a file").path()).expect("readable"));
    }
}
