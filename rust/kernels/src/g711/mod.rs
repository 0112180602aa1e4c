//! G.711, both laws, both ways, between its codes and 16-bit linear samples (ITU-T G.711, November 1988).
//!
//! A mu-law code stands for a magnitude of 14 bits with sign, an A-law code for one of 13; both are scaled to
//! 16 bits here, as in the software tool library of ITU-T G.191. Decoding gives the values of the
//! recommendation's tables, encoding goes by their decision values. Which code a sample exactly at a decision
//! value gets, the recommendation leaves open; it is settled as in the reference programs: mu-law takes the
//! larger magnitude, A-law the larger value. The second zero of mu-law (`0x7f`) is what -1, -2 and -3 become.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
mod tables;

use std::mem::MaybeUninit;

use crate::convert::Path;
pub(crate) use tables::{Alaw, Law, Mulaw};

/// Added to a mu-law magnitude, so that each segment begins at a power of two.
const MULAW_BIAS: i32 = 132;
/// The largest mu-law magnitude: with the bias it fills 15 bits.
const MULAW_CLIP: i32 = 32635;
/// A-law codes go over the wire with every even bit inverted (G.711, the notes of table 1).
const ALAW_INVERSION: u8 = 0x55;

static MULAW_SAMPLES: [i16; 256] = {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < samples.len() {
        samples[code] = decode_mulaw(code as u8);
        code += 1;
    }
    samples
};

static ALAW_SAMPLES: [i16; 256] = {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < samples.len() {
        samples[code] = decode_alaw(code as u8);
        code += 1;
    }
    samples
};

/// The 16-bit sample of a mu-law code, -32124 to 32124.
#[inline]
#[must_use]
pub fn mulaw_to_sample(code: u8) -> i16 {
    MULAW_SAMPLES[usize::from(code)]
}

/// The 16-bit sample of an A-law code, -32256 to 32256.
#[inline]
#[must_use]
pub fn alaw_to_sample(code: u8) -> i16 {
    ALAW_SAMPLES[usize::from(code)]
}

/// The mu-law code of a 16-bit sample.
#[inline]
#[must_use]
pub fn sample_to_mulaw(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let magnitude = sample.wrapping_abs().min(MULAW_CLIP).wrapping_add(MULAW_BIAS);
    let sign = (sample >> 31) & 0x80;
    !((sign | segment_and_step(magnitude)).cast_unsigned() as u8)
}

/// The A-law code of a 16-bit sample.
#[inline]
#[must_use]
pub fn sample_to_alaw(sample: i16) -> u8 {
    let sample = i32::from(sample);
    // The ones' complement of a negative sample: 0 to 32767 for both signs.
    let magnitude = sample ^ (sample >> 31);
    // Segment 0 is as wide as segment 1 and has no leading bit.
    let position = if magnitude < 256 {
        magnitude >> 4
    } else {
        segment_and_step(magnitude)
    };
    let sign = !(sample >> 31) & 0x80;
    (sign | position).cast_unsigned() as u8 ^ ALAW_INVERSION
}

/// The segment (bits 4 to 6) and the step in it (bits 0 to 3) of a magnitude of 128 to 32767.
///
/// A segment is a power of two and a step one of its sixteen parts, which is what the exponent and the first
/// four bits of the mantissa of a float are. Shifts by the segment would not vectorise on most processors;
/// this does on all.
#[inline]
fn segment_and_step(magnitude: i32) -> i32 {
    const SEGMENT_ZERO: u32 = 128_f32.to_bits() >> 19;
    ((magnitude as f32).to_bits() >> 19)
        .wrapping_sub(SEGMENT_ZERO)
        .cast_signed()
}

/// Decodes each code to a 16-bit little-endian sample, by a path that the processor has. Every byte of `out`
/// is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly 2 bytes for each code, or the processor does not have the path.
pub(crate) fn decode<L: Law>(path: Path, codes: &[u8], out: &mut [MaybeUninit<u8>]) {
    assert_eq!(Some(out.len()), codes.len().checked_mul(2), "2 bytes for each code");
    assert!(path.is_available(), "the processor has the chosen path");
    match path {
        Path::Scalar => scalar::decode::<L>(codes, out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::decode::<L>(codes, out) },
        // SAFETY: that the processor has AVX-512 F and BW was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { avx512::decode::<L>(codes, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 => unreachable!("asserted above"),
    }
}

/// Encodes each 16-bit little-endian sample to a code, by a path that the processor has. Every byte of `out`
/// is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly 1 byte for each 2 of the samples, or the processor does not have the path.
pub(crate) fn encode<L: Law>(path: Path, samples: &[u8], out: &mut [MaybeUninit<u8>]) {
    assert_eq!(out.len().checked_mul(2), Some(samples.len()), "1 byte for each sample");
    assert!(path.is_available(), "the processor has the chosen path");
    match path {
        Path::Scalar => scalar::encode::<L>(samples, out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::encode::<L>(samples, out) },
        // SAFETY: that the processor has AVX-512 F and BW was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { avx512::encode::<L>(samples, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 => unreachable!("asserted above"),
    }
}

const fn decode_mulaw(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 0x07;
    let magnitude = (((code as i32 & 0x0f) << 3) + MULAW_BIAS) << segment;
    (if code & 0x80 == 0 {
        magnitude - MULAW_BIAS
    } else {
        MULAW_BIAS - magnitude
    }) as i16
}

const fn decode_alaw(code: u8) -> i16 {
    let code = code ^ ALAW_INVERSION;
    let segment = (code >> 4) & 0x07;
    // The middle of the step: 8 is half of the smallest.
    let step = ((code as i32 & 0x0f) << 4) + 8;
    let magnitude = if segment == 0 {
        step
    } else {
        (step + 0x100) << (segment - 1)
    };
    (if code & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}
