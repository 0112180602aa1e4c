//! From samples of one coding to samples of another, straight into the room that they are wanted in.

use std::mem::MaybeUninit;

use crate::g711::{self, Alaw, Mulaw};
pub use crate::path::Path;
use crate::sample;

/// Samples that are held in 16 bits at a time where neither side is 16 bits: 2 KiB, which stay in the
/// innermost cache.
const PIECE_SAMPLES: usize = 1024;

/// How a sample is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// 32-bit float, little-endian, full scale 1.0.
    F32,
    /// 16-bit signed integer, little-endian.
    S16,
    /// G.711 mu-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 4] = [Self::F32, Self::S16, Self::Mulaw, Self::Alaw];

    /// Bytes of one sample.
    #[inline]
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::S16 => 2,
            Self::Mulaw | Self::Alaw => 1,
        }
    }
}

/// The bytes that so many whole samples' bytes become; a cut sample at the end does not count.
///
/// # Panics
///
/// If that does not fit the address space.
#[inline]
#[must_use]
pub fn converted_len(size_bytes: usize, source: Coding, target: Coding) -> usize {
    (size_bytes / source.width())
        .checked_mul(target.width())
        .expect("the output fits the address space")
}

/// Converts whole samples; every byte of `out` is initialised.
///
/// Between the same coding the bytes are copied. From one of G.711 or float to another of them goes through
/// 16 bits. See [`sample`] for how floats are rounded, [`g711`] for the codes.
///
/// # Panics
///
/// If `out` does not hold exactly [`converted_len`] bytes, or the data ends within a sample.
#[inline]
pub fn convert(data: &[u8], source: Coding, target: Coding, out: &mut [MaybeUninit<u8>]) {
    convert_with(Path::best(), data, source, target, out);
}

/// As [`convert`], by one path.
///
/// # Panics
///
/// If the processor does not have that path, or as [`convert`] does.
#[doc(hidden)]
pub fn convert_with(path: Path, data: &[u8], source: Coding, target: Coding, out: &mut [MaybeUninit<u8>]) {
    use Coding::{Alaw as A, F32, Mulaw as Mu, S16};

    assert!(data.len().is_multiple_of(source.width()), "the data is whole samples");
    assert_eq!(
        out.len(),
        converted_len(data.len(), source, target),
        "the output has exactly the converted length"
    );
    match (source, target) {
        (Mu, S16) => g711::decode::<Mulaw>(path, data, out),
        (A, S16) => g711::decode::<Alaw>(path, data, out),
        (S16, Mu) => g711::encode::<Mulaw>(path, data, out),
        (S16, A) => g711::encode::<Alaw>(path, data, out),
        (S16, F32) => sample::widen(path, data, out),
        (F32, S16) => sample::narrow(path, data, out),
        (F32, F32) | (S16, S16) | (Mu, Mu) | (A, A) => {
            for (slot, &byte) in out.iter_mut().zip(data) {
                slot.write(byte);
            }
        }
        (F32 | Mu | A, F32 | Mu | A) => {
            let mut room = [MaybeUninit::uninit(); PIECE_SAMPLES * S16.width()];
            let pieces = data.chunks(PIECE_SAMPLES * source.width());
            for (piece, slots) in pieces.zip(out.chunks_mut(PIECE_SAMPLES * target.width())) {
                let room = &mut room[..converted_len(piece.len(), source, S16)];
                convert_with(path, piece, source, S16, room);
                // SAFETY: the conversion has initialised every byte of the room that it was given.
                let samples = unsafe { &*(std::ptr::from_mut(room) as *const [u8]) };
                convert_with(path, samples, S16, target, slots);
            }
        }
    }
}

/// Converts whole samples to floats in memory, as [`convert`] does.
///
/// # Panics
///
/// If there are not exactly as many floats as samples, or the data ends within a sample.
pub fn convert_to_floats(data: &[u8], source: Coding, floats: &mut [f32]) {
    // SAFETY: the pointer and the size are those of the floats, borrowed for as long; any byte may be part of
    // a float, and the conversion writes initialised bytes only.
    let out = unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) };
    convert(data, source, Coding::F32, out);
}

/// Converts floats in memory, as [`convert`] does; every byte of `out` is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly one sample for each float.
pub fn convert_from_floats(floats: &[f32], target: Coding, out: &mut [MaybeUninit<u8>]) {
    convert(bytes_of(floats), Coding::F32, target, out);
}

/// Appends the samples of `data` in another coding. A cut sample at the end is left out.
///
/// # Panics
///
/// If the output would not fit the address space.
pub fn append_converted(data: &[u8], source: Coding, target: Coding, out: &mut Vec<u8>) {
    let data = &data[..data.len() / source.width() * source.width()];
    let size_bytes = converted_len(data.len(), source, target);
    out.reserve(size_bytes);
    convert(data, source, target, &mut out.spare_capacity_mut()[..size_bytes]);
    // SAFETY: the spare capacity holds at least `size_bytes`, and the conversion has initialised every one of
    // them.
    unsafe { out.set_len(out.len() + size_bytes) };
}

/// Appends floats in memory as samples of a coding.
///
/// # Panics
///
/// If the output would not fit the address space.
pub fn append_floats(floats: &[f32], target: Coding, out: &mut Vec<u8>) {
    append_converted(bytes_of(floats), Coding::F32, target, out);
}

fn bytes_of(floats: &[f32]) -> &[u8] {
    // SAFETY: the pointer and the size are those of the floats, borrowed for as long; a float has no padding,
    // and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}
