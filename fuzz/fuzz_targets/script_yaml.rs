#![no_main]
//! Fuzzes scripts of the scripted model: see `livery_fuzz::script_yaml` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::script_yaml(bytes));
