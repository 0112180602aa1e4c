//! Conversion between floats and 16-bit samples.

use proptest::prelude::*;
use voxwire_kernels::convert::{Coding, append_converted};
use voxwire_kernels::sample::{float_to_s16, s16_to_float};

#[test]
fn every_sample_is_exact_as_a_float_and_comes_back() {
    let data: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
    let mut floats = vec![7];
    append_converted(&data, Coding::S16, Coding::F32, &mut floats);
    assert_eq!(floats[0], 7, "what is in the output stays");
    for (sample, bytes) in (i16::MIN..=i16::MAX).zip(floats[1..].as_chunks().0) {
        let value = f64::from(f32::from_le_bytes(*bytes));
        assert_eq!(
            (value * 32768.0).to_bits(),
            f64::from(sample).to_bits(),
            "sample {sample}"
        );
        assert_eq!(s16_to_float(sample).to_le_bytes(), *bytes);
    }
    let mut back = vec![7];
    append_converted(&floats[1..], Coding::F32, Coding::S16, &mut back);
    assert_eq!(back[0], 7, "what is in the output stays");
    assert_eq!(back[1..], data);
}

#[test]
fn floats_saturate_and_round_halves_to_even() {
    let step = 1.0 / 32768.0_f32;
    for (value, expected) in [
        (1.0, 32767),
        (0.99999, 32767),
        (1.5, 32767),
        (f32::MAX, 32767),
        (f32::INFINITY, 32767),
        (-1.0, -32768),
        (-1.00001, -32768),
        (f32::MIN, -32768),
        (f32::NEG_INFINITY, -32768),
        (f32::NAN, 0),
        (-f32::NAN, 0),
        (0.0, 0),
        (-0.0, 0),
        (f32::MIN_POSITIVE, 0),
        (0.5 * step, 0),
        (1.5 * step, 2),
        (2.5 * step, 2),
        (-0.5 * step, 0),
        (-1.5 * step, -2),
        (0.499_999_97 * step, 0),
        (0.500_001 * step, 1),
        (32766.5 * step, 32766),
        (32766.51 * step, 32767),
        (-32767.5 * step, -32768),
    ] {
        assert_eq!(float_to_s16(value), expected, "{value}");
    }
}

#[test]
fn a_cut_sample_is_left_out() {
    let mut out = Vec::new();
    append_converted(&[0, 64, 1], Coding::S16, Coding::F32, &mut out);
    assert_eq!(out, 0.5_f32.to_le_bytes());
    append_converted(&[0, 0, 0, 63, 1, 1, 1], Coding::F32, Coding::S16, &mut out);
    assert_eq!(out[4..], [0, 64]);
}

proptest! {
    #[test]
    fn any_float_is_rounded_as_in_exact_arithmetic(bits in any::<u32>(), near in -1.1_f32..1.1) {
        for value in [f32::from_bits(bits), near] {
            let exact = f64::from(value) * 32768.0;
            let expected = if exact.is_nan() { 0.0 } else { exact.round_ties_even().clamp(-32768.0, 32767.0) };
            prop_assert_eq!(i32::from(float_to_s16(value)), expected as i32);
        }
    }
}
