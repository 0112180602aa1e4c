//! libFuzzer on `voxwire_fuzz::g711::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::g711::target(data));
