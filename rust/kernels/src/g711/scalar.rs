//! G.711 sample by sample: the reference of the other paths, and what is too short for them.

use std::mem::MaybeUninit;

use super::tables::Law;

/// Decodes each code to a little-endian sample.
pub(super) fn decode<L: Law>(codes: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(codes.len() * 2, out.len());
    for (&code, slot) in codes.iter().zip(out.as_chunks_mut().0) {
        *slot = L::decode(code).to_le_bytes().map(MaybeUninit::new);
    }
}

/// Encodes each little-endian sample to a code.
pub(super) fn encode<L: Law>(samples: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(samples.len(), out.len() * 2);
    for (&sample, slot) in samples.as_chunks().0.iter().zip(out) {
        slot.write(L::encode(i16::from_le_bytes(sample)));
    }
}
