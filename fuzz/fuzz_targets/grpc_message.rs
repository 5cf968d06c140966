#![no_main]
//! Fuzzes the messages of gRPC bodies: see `livery_fuzz::grpc_message` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::grpc_message(bytes));
