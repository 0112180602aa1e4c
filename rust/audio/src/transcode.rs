//! From one encoding to another at the same rate, and to and from the floats that the resampler works on.

use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};
use voxwire_kernels::sample::{float_to_s16, s16_to_float};
use voxwire_kernels::{convert, g711, sample};

use crate::{CutSample, Encoding};

/// Appends `data` in another encoding.
///
/// Between the same encoding the bytes are copied as they are. Floats are rounded to the nearest 16-bit
/// sample (halves to even), saturate, and count as 0 where they are no number; G.711 is always reached and
/// left through 16 bits.
pub fn transcode(data: &[u8], source: Encoding, target: Encoding, out: &mut Vec<u8>) -> Result<(), CutSample> {
    use Encoding::{PcmAlaw, PcmF32le, PcmMulaw, PcmS16le};

    CutSample::check(data.len(), source.sample_width())?;
    match (source, target) {
        (PcmF32le, PcmF32le) | (PcmS16le, PcmS16le) | (PcmMulaw, PcmMulaw) | (PcmAlaw, PcmAlaw) => {
            out.extend_from_slice(data);
        }
        (PcmF32le, PcmS16le) => sample::f32_to_s16(data, out),
        (PcmF32le, PcmMulaw) => convert::append(out, data.as_chunks().0, |bytes| {
            [sample_to_mulaw(float_to_s16(f32::from_le_bytes(bytes)))]
        }),
        (PcmF32le, PcmAlaw) => convert::append(out, data.as_chunks().0, |bytes| {
            [sample_to_alaw(float_to_s16(f32::from_le_bytes(bytes)))]
        }),
        (PcmS16le, PcmF32le) => sample::s16_to_f32(data, out),
        (PcmS16le, PcmMulaw) => g711::s16_to_mulaw(data, out),
        (PcmS16le, PcmAlaw) => g711::s16_to_alaw(data, out),
        (PcmMulaw, PcmF32le) => {
            convert::append(out, data, |code| s16_to_float(mulaw_to_sample(code)).to_le_bytes());
        }
        (PcmMulaw, PcmS16le) => g711::mulaw_to_s16(data, out),
        (PcmMulaw, PcmAlaw) => convert::append(out, data, |code| [sample_to_alaw(mulaw_to_sample(code))]),
        (PcmAlaw, PcmF32le) => {
            convert::append(out, data, |code| s16_to_float(alaw_to_sample(code)).to_le_bytes());
        }
        (PcmAlaw, PcmS16le) => g711::alaw_to_s16(data, out),
        (PcmAlaw, PcmMulaw) => convert::append(out, data, |code| [sample_to_mulaw(alaw_to_sample(code))]),
    }
    Ok(())
}

/// Reads whole samples into as many floats, full scale 1.0.
///
/// A float that is no finite number becomes 0: within a filter it would spoil every sample near it.
pub(crate) fn read(encoding: Encoding, data: &[u8], floats: &mut [f32]) {
    debug_assert_eq!(data.len(), floats.len() * encoding.sample_width());
    match encoding {
        Encoding::PcmF32le => {
            for (float, &bytes) in floats.iter_mut().zip(data.as_chunks().0) {
                let value = f32::from_le_bytes(bytes);
                *float = if value.is_finite() { value } else { 0.0 };
            }
        }
        Encoding::PcmS16le => {
            for (float, &bytes) in floats.iter_mut().zip(data.as_chunks().0) {
                *float = s16_to_float(i16::from_le_bytes(bytes));
            }
        }
        Encoding::PcmMulaw => {
            for (float, &code) in floats.iter_mut().zip(data) {
                *float = s16_to_float(mulaw_to_sample(code));
            }
        }
        Encoding::PcmAlaw => {
            for (float, &code) in floats.iter_mut().zip(data) {
                *float = s16_to_float(alaw_to_sample(code));
            }
        }
    }
}

/// Appends floats as samples of an encoding.
pub(crate) fn write(encoding: Encoding, floats: &[f32], out: &mut Vec<u8>) {
    match encoding {
        Encoding::PcmF32le => convert::append(out, floats, f32::to_le_bytes),
        Encoding::PcmS16le => convert::append(out, floats, |value| float_to_s16(value).to_le_bytes()),
        Encoding::PcmMulaw => convert::append(out, floats, |value| [sample_to_mulaw(float_to_s16(value))]),
        Encoding::PcmAlaw => convert::append(out, floats, |value| [sample_to_alaw(float_to_s16(value))]),
    }
}
