#![no_main]
//! Fuzzes what a mail server says: see `livery_fuzz::mail_reply` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::mail_reply(bytes));
