#![no_main]
//! Fuzzes the search for placeholders: see `livery_fuzz::placeholder` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::placeholder(bytes));
