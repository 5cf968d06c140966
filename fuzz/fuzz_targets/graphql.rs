#![no_main]
//! Fuzzes documents of GraphQL APIs: see `livery_fuzz::graphql` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::graphql(bytes));
