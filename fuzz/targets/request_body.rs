#![no_main]

#[path = "../serving.rs"]
mod serving;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serving::request_body(bytes));
