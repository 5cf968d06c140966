#![no_main]
//! Fuzzes the wall before a database: see `livery_fuzz::sql` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::sql(bytes));
