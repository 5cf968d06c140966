#![no_main]
//! Fuzzes what a monitor's API answers: see `livery_fuzz::monitor_answer` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::monitor_answer(bytes));
