//! Samples as 32-bit floats and as 16-bit integers, both little-endian.
//!
//! Full scale is 1.0 = 32768. From integer to float is exact. From float to integer is rounded to the
//! nearest, halves to the even neighbour; what lies outside -32768 to 32767 saturates, NaN becomes 0.

use crate::convert;

/// Converts one 16-bit sample to a float, exactly.
#[inline]
#[must_use]
pub fn s16_to_float(sample: i16) -> f32 {
    f32::from(sample) * (1.0 / 32768.0)
}

/// Converts one float to the nearest 16-bit sample, saturating; NaN becomes 0.
#[inline]
#[must_use]
pub fn float_to_s16(value: f32) -> i16 {
    // 1.5 * 2^23: in floats of this size the last bit of the mantissa is worth one, so the sum is rounded to
    // a whole number by the addition itself, halves to even. Unlike `round_ties_even` this vectorises without
    // SSE4.1.
    const ROUNDING: f32 = 12_582_912.0;
    let finite = if value.is_nan() { 0.0 } else { value };
    let clamped = (finite * 32768.0).clamp(-32768.0, 32767.0);
    (clamped + ROUNDING)
        .to_bits()
        .wrapping_sub(ROUNDING.to_bits())
        .cast_signed() as i16
}

/// Appends the float samples of 16-bit samples: 4 bytes for each 2. A cut sample at the end is left out.
pub fn s16_to_f32(data: &[u8], out: &mut Vec<u8>) {
    convert::append(out, data.as_chunks::<2>().0, |bytes| {
        s16_to_float(i16::from_le_bytes(bytes)).to_le_bytes()
    });
}

/// Appends the 16-bit samples of float samples: 2 bytes for each 4. A cut sample at the end is left out.
pub fn f32_to_s16(data: &[u8], out: &mut Vec<u8>) {
    convert::append(out, data.as_chunks::<4>().0, |bytes| {
        float_to_s16(f32::from_le_bytes(bytes)).to_le_bytes()
    });
}
