#![no_main]
//! Fuzzes what is made of a terminal's bytes: see `livery_fuzz::terminal_text` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::terminal_text(bytes));
