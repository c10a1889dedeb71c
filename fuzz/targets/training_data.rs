#![no_main]

#[path = "../training.rs"]
mod training;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| training::training_data(bytes));
