//! libFuzzer on `voxwire_fuzz::connection::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::connection::target(data));
