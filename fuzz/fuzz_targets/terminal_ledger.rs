#![no_main]
//! Fuzzes the books of a sandbox's terminals: see `livery_fuzz::terminal_ledger` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::terminal_ledger(bytes));
