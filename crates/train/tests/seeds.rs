//! Runs the fuzzer's seeds through the function that the fuzzer calls.

#[path = "../../../fuzz/replay.rs"]
mod replay;
#[path = "../../../fuzz/training.rs"]
mod training;

#[test]
fn training_data_seeds_return() {
    replay::replay("training_data", training::training_data);
}
