#![no_main]
//! Fuzzes requests to GraphQL APIs that a rule judges: see `livery_fuzz::graphql_request` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::graphql_request(bytes));
