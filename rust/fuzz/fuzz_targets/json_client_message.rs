//! libFuzzer on `voxwire_fuzz::json::client::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::json::client::target(data));
