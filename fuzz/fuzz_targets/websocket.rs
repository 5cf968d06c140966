#![no_main]
//! Fuzzes the reading of WebSockets: see `livery_fuzz::websocket` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::websocket(bytes));
