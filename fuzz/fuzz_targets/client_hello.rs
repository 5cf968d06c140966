#![no_main]
//! Fuzzes the first message of a TLS client: see `livery_fuzz::client_hello` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::client_hello(bytes));
