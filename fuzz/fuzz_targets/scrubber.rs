#![no_main]
//! Fuzzes answers that echo a key: see `livery_fuzz::scrubber` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::scrubber(bytes));
