//! libFuzzer on `voxwire_fuzz::srtcp::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::srtcp::target(data));
