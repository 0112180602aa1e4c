//! libFuzzer on `voxwire_fuzz::http::response::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::http::response::target(data));
