#![no_main]
//! Fuzzes the canonical form of a request that leaves through a connection: see `livery_fuzz::egress_request` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::egress_request(bytes));
