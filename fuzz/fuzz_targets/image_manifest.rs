#![no_main]
//! Fuzzes manifests and configurations of images: see `livery_fuzz::image::image_manifest` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livery_fuzz::image::image_manifest(bytes));
