#![no_main]
//! Fuzzes what a database says to the front end of a program: see `livery_fuzz::postgres_answer` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::postgres_answer(bytes));
