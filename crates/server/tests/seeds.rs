//! Runs the fuzzer's seeds through the function that the fuzzer calls.

#[path = "../../../fuzz/replay.rs"]
mod replay;
#[path = "../../../fuzz/serving.rs"]
mod serving;

#[test]
fn request_seeds_are_answered() {
    replay::replay("request_body", serving::request_body);
}
