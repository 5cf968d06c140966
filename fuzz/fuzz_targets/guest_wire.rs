#![no_main]
//! Fuzzes frames and messages between host and guest: see `livery_fuzz::guest_wire` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::guest_wire(bytes));
