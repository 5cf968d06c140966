#![no_main]
//! Fuzzes the books of a sandbox's connections: see `livery_fuzz::flow_ledger` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::flow_ledger(bytes));
