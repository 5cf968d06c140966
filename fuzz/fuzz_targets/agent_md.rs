#![no_main]
//! Fuzzes the agent manifest: see `livery_fuzz::agent_md` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::agent_md(bytes));
