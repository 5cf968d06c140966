#![no_main]
//! Fuzzes layers of images: see `livery_fuzz::image::image_layer` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::image::image_layer(bytes));
