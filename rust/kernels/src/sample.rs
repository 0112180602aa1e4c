//! Samples as 32-bit floats and as 16-bit integers, both little-endian.
//!
//! Full scale is 1.0 = 32768. From integer to float is exact. From float to integer is rounded to the
//! nearest, halves to the even neighbour; what lies outside -32768 to 32767 saturates, NaN becomes 0.

use std::mem::MaybeUninit;

use crate::convert::Path;

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

/// Converts 16-bit samples to floats, by a path that the processor has. Every byte of `out` is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly 4 bytes for each 2 of the data, or the processor does not have the path.
pub(crate) fn widen(path: Path, data: &[u8], out: &mut [MaybeUninit<u8>]) {
    assert_eq!(Some(out.len()), data.len().checked_mul(2), "4 bytes for each sample");
    assert!(data.len().is_multiple_of(2), "whole samples");
    assert!(path.is_available(), "the processor has the chosen path");
    match path {
        Path::Scalar => widen_each(data, out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { widen_by_avx2(data, out) },
        // SAFETY: that the processor has AVX-512 F and BW was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { widen_by_avx512(data, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 => unreachable!("asserted above"),
    }
}

/// Converts floats to 16-bit samples, by a path that the processor has. Every byte of `out` is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly 2 bytes for each 4 of the data, or the processor does not have the path.
pub(crate) fn narrow(path: Path, data: &[u8], out: &mut [MaybeUninit<u8>]) {
    assert_eq!(out.len().checked_mul(2), Some(data.len()), "2 bytes for each sample");
    assert!(data.len().is_multiple_of(4), "whole samples");
    assert!(path.is_available(), "the processor has the chosen path");
    match path {
        Path::Scalar => narrow_each(data, out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { narrow_by_avx2(data, out) },
        // SAFETY: that the processor has AVX-512 F and BW was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { narrow_by_avx512(data, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 => unreachable!("asserted above"),
    }
}

// One plain loop for each direction, which the compiler vectorises for the features of the function around
// it. The arithmetic is the same on every path, and so are the bits.

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn widen_by_avx2(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    widen_each(data, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen_by_avx512(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    widen_each(data, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn narrow_by_avx2(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    narrow_each(data, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn narrow_by_avx512(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    narrow_each(data, out);
}

#[expect(
    clippy::inline_always,
    reason = "vectorised for its caller's features only if inlined"
)]
#[inline(always)]
fn widen_each(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    for (&sample, slot) in data.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *slot = s16_to_float(i16::from_le_bytes(sample))
            .to_le_bytes()
            .map(MaybeUninit::new);
    }
}

#[expect(
    clippy::inline_always,
    reason = "vectorised for its caller's features only if inlined"
)]
#[inline(always)]
fn narrow_each(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    for (&sample, slot) in data.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *slot = float_to_s16(f32::from_le_bytes(sample))
            .to_le_bytes()
            .map(MaybeUninit::new);
    }
}
