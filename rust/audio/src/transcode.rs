//! From one encoding to another at the same rate, and to and from the floats that the resampler works on.

use std::mem::MaybeUninit;

use voxwire_kernels::convert::{Coding, append_converted, append_floats, convert, convert_to_floats, converted_len};

use crate::{CutSample, Encoding};

/// Appends `data` in another encoding.
///
/// Between the same encoding the bytes are copied as they are. Floats are rounded to the nearest 16-bit
/// sample (halves to even), saturate, and count as 0 where they are no number; G.711 is always reached and
/// left through 16 bits.
pub fn transcode(data: &[u8], source: Encoding, target: Encoding, out: &mut Vec<u8>) -> Result<(), CutSample> {
    CutSample::check(data.len(), source.sample_width())?;
    append_converted(data, coding(source), coding(target), out);
    Ok(())
}

/// As [`transcode`], into room of exactly [`transcoded_len`] bytes, all of which are written.
///
/// # Panics
///
/// If the room has another size; nothing is written then.
pub fn transcode_into(
    data: &[u8],
    source: Encoding,
    target: Encoding,
    room: &mut [MaybeUninit<u8>],
) -> Result<(), CutSample> {
    CutSample::check(data.len(), source.sample_width())?;
    convert(data, coding(source), coding(target), room);
    Ok(())
}

/// Bytes that so many bytes of whole samples have in another encoding.
pub fn transcoded_len(size_bytes: usize, source: Encoding, target: Encoding) -> Result<usize, CutSample> {
    CutSample::check(size_bytes, source.sample_width())?;
    Ok(converted_len(size_bytes, coding(source), coding(target)))
}

/// Reads whole samples into as many floats, full scale 1.0.
///
/// A float that is no finite number becomes 0: within a filter it would spoil every sample near it.
pub(crate) fn read(encoding: Encoding, data: &[u8], floats: &mut [f32]) {
    convert_to_floats(data, coding(encoding), floats);
    if encoding == Encoding::PcmF32le {
        for float in floats {
            *float = if float.is_finite() { *float } else { 0.0 };
        }
    }
}

/// Appends floats as samples of an encoding.
pub(crate) fn write(encoding: Encoding, floats: &[f32], out: &mut Vec<u8>) {
    append_floats(floats, coding(encoding), out);
}

/// What the kernels call an encoding.
const fn coding(encoding: Encoding) -> Coding {
    match encoding {
        Encoding::PcmF32le => Coding::F32,
        Encoding::PcmS16le => Coding::S16,
        Encoding::PcmMulaw => Coding::Mulaw,
        Encoding::PcmAlaw => Coding::Alaw,
    }
}
