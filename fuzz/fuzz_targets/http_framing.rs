#![no_main]
//! Fuzzes where requests begin and end: see `livery_fuzz::http_framing` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::http_framing::http_framing(bytes));
