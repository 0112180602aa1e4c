//! libFuzzer on `voxwire_fuzz::http::request::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::http::request::target(data));
