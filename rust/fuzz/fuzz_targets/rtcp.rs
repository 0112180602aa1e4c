//! libFuzzer on `voxwire_fuzz::rtcp::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxwire_fuzz::rtcp::target(data));
