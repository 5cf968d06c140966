#![no_main]
//! Fuzzes what a program says to the front end of a database: see `livery_fuzz::postgres_message` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::postgres_message(bytes));
