#![no_main]
//! Fuzzes answers of model providers: see `livery_fuzz::model_stream` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::model_stream(bytes));
