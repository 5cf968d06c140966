#![no_main]
//! Fuzzes messages to triggers and the templates they fill: see `livery_fuzz::trigger_message` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::trigger_message(bytes));
