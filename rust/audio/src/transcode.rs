//! From one encoding to another at the same rate, and to and from the floats that the resampler works on.

use std::mem::MaybeUninit;

use voxwire_kernels::convert;
use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};
use voxwire_kernels::sample::{float_to_s16, s16_to_float};

use crate::{CutSample, Encoding};

/// Appends `data` in another encoding.
///
/// Between the same encoding the bytes are copied as they are. Floats are rounded to the nearest 16-bit
/// sample (halves to even), saturate, and count as 0 where they are no number; G.711 is always reached and
/// left through 16 bits.
pub fn transcode(data: &[u8], source: Encoding, target: Encoding, out: &mut Vec<u8>) -> Result<(), CutSample> {
    CutSample::check(data.len(), source.sample_width())?;
    convert(data, source, target, out);
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
    assert_eq!(room.len(), transcoded_len(data.len(), source, target)?, "bytes of room");
    convert(data, source, target, room);
    Ok(())
}

/// Bytes that so many bytes of whole samples have in another encoding.
pub fn transcoded_len(size_bytes: usize, source: Encoding, target: Encoding) -> Result<usize, CutSample> {
    CutSample::check(size_bytes, source.sample_width())?;
    Ok(size_bytes / source.sample_width() * target.sample_width())
}

/// Where converted samples go: behind what a vector holds, or into room of just their size.
trait Place {
    /// Writes `WIDTH` bytes for each item.
    fn put<Item: Copy, const WIDTH: usize>(self, items: &[Item], convert: impl Fn(Item) -> [u8; WIDTH]);

    /// Writes the bytes as they are.
    fn copy(self, data: &[u8]);
}

impl Place for &mut Vec<u8> {
    fn put<Item: Copy, const WIDTH: usize>(self, items: &[Item], convert: impl Fn(Item) -> [u8; WIDTH]) {
        convert::append(self, items, convert);
    }

    fn copy(self, data: &[u8]) {
        self.extend_from_slice(data);
    }
}

impl Place for &mut [MaybeUninit<u8>] {
    fn put<Item: Copy, const WIDTH: usize>(self, items: &[Item], convert: impl Fn(Item) -> [u8; WIDTH]) {
        for (slot, &item) in self.as_chunks_mut::<WIDTH>().0.iter_mut().zip(items) {
            *slot = convert(item).map(MaybeUninit::new);
        }
    }

    fn copy(self, data: &[u8]) {
        self.put(data, |byte| [byte]);
    }
}

/// Converts whole samples.
fn convert(data: &[u8], source: Encoding, target: Encoding, place: impl Place) {
    use Encoding::{PcmAlaw, PcmF32le, PcmMulaw, PcmS16le};

    let s16_of_float = |bytes| float_to_s16(f32::from_le_bytes(bytes));
    let (words, floats) = (data.as_chunks().0, data.as_chunks().0);
    match (source, target) {
        (PcmF32le, PcmF32le) | (PcmS16le, PcmS16le) | (PcmMulaw, PcmMulaw) | (PcmAlaw, PcmAlaw) => place.copy(data),
        (PcmF32le, PcmS16le) => place.put(floats, |bytes| s16_of_float(bytes).to_le_bytes()),
        (PcmF32le, PcmMulaw) => place.put(floats, |bytes| [sample_to_mulaw(s16_of_float(bytes))]),
        (PcmF32le, PcmAlaw) => place.put(floats, |bytes| [sample_to_alaw(s16_of_float(bytes))]),
        (PcmS16le, PcmF32le) => place.put(words, |bytes| s16_to_float(i16::from_le_bytes(bytes)).to_le_bytes()),
        (PcmS16le, PcmMulaw) => place.put(words, |bytes| [sample_to_mulaw(i16::from_le_bytes(bytes))]),
        (PcmS16le, PcmAlaw) => place.put(words, |bytes| [sample_to_alaw(i16::from_le_bytes(bytes))]),
        (PcmMulaw, PcmF32le) => place.put(data, |code| s16_to_float(mulaw_to_sample(code)).to_le_bytes()),
        (PcmMulaw, PcmS16le) => place.put(data, |code| mulaw_to_sample(code).to_le_bytes()),
        (PcmMulaw, PcmAlaw) => place.put(data, |code| [sample_to_alaw(mulaw_to_sample(code))]),
        (PcmAlaw, PcmF32le) => place.put(data, |code| s16_to_float(alaw_to_sample(code)).to_le_bytes()),
        (PcmAlaw, PcmS16le) => place.put(data, |code| alaw_to_sample(code).to_le_bytes()),
        (PcmAlaw, PcmMulaw) => place.put(data, |code| [sample_to_mulaw(alaw_to_sample(code))]),
    }
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
