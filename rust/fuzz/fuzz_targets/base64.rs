//! libFuzzer on `voxwire_fuzz::base64::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::base64::target(data));
