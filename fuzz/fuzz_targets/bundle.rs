#![no_main]
//! Fuzzes exported runs: see `livery_fuzz::bundle` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::bundle(bytes));
