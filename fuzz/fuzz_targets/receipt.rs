#![no_main]
//! Fuzzes receipts and exported events: see `livery_fuzz::receipt` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::receipt(bytes));
