#![no_main]
//! Fuzzes URLs of upstreams and the paths joined to them: see `livery_fuzz::upstream_url` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::upstream_url(bytes));
