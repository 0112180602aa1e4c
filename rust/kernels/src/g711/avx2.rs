//! G.711 by AVX2, 32 codes or samples at a time.
//!
//! The last block is the 32 at the very end: it does again what the one before it has done of them.

use std::arch::x86_64::{
    __m256i, _mm256_abs_epi16, _mm256_add_epi8, _mm256_adds_epi16, _mm256_and_si256, _mm256_maddubs_epi16,
    _mm256_max_epi16, _mm256_max_epu8, _mm256_mullo_epi16, _mm256_packs_epi16, _mm256_packus_epi16,
    _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_sign_epi16, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
    _mm256_xor_si256,
};
use std::mem::MaybeUninit;

use super::scalar;
use super::tables::{Law, Segments};
use crate::avx2::{load, load_twice, store};

const BLOCK: usize = 32;
/// The quarters 0, 2, 1, 3: undoes, or does in advance, what packing and unpacking make of two registers.
const QUARTERS: i32 = 0b11_01_10_00;

/// As [`scalar::decode`].
///
/// A magnitude is a sum of two products of bytes, which is one instruction: the step by the width of the
/// segment, and a constant by what the segment adds.
#[target_feature(enable = "avx2")]
pub(super) fn decode<L: Law>(codes: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(codes.len() * 2, out.len());
    let factors = const { &L::FACTORS };
    let steps = load_twice(&factors.steps);
    let widths = load_twice(&factors.widths);
    let additions = load_twice(&factors.additions);
    let constant = _mm256_set1_epi8(factors.constant.cast_signed());
    let low_half = _mm256_set1_epi8(0x0f);
    let decode_block = |block: &[u8; BLOCK], slot: &mut [MaybeUninit<u8>; 2 * BLOCK]| {
        let codes = _mm256_permute4x64_epi64::<QUARTERS>(load(block));
        let segment = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low_half);
        let step = _mm256_shuffle_epi8(steps, _mm256_and_si256(codes, low_half));
        let width = _mm256_shuffle_epi8(widths, segment);
        let addition = _mm256_shuffle_epi8(additions, segment);
        let (slots, _) = slot.as_chunks_mut::<BLOCK>();
        // The products are negative, as -128 is a byte and 128 is not; the sign of a code turns them round.
        // Its neighbour in the 16 bits is not zero, which would count as a sign of its own.
        let negative = _mm256_maddubs_epi16(
            _mm256_unpacklo_epi8(step, constant),
            _mm256_unpacklo_epi8(width, addition),
        );
        store(
            &mut slots[0],
            _mm256_sign_epi16(negative, _mm256_unpacklo_epi8(constant, codes)),
        );
        let negative = _mm256_maddubs_epi16(
            _mm256_unpackhi_epi8(step, constant),
            _mm256_unpackhi_epi8(width, addition),
        );
        store(
            &mut slots[1],
            _mm256_sign_epi16(negative, _mm256_unpackhi_epi8(constant, codes)),
        );
    };

    let (blocks, rest) = codes.as_chunks();
    for (block, slot) in blocks.iter().zip(out.as_chunks_mut().0) {
        decode_block(block, slot);
    }
    if rest.is_empty() {
        return;
    }
    if let (Some(last), Some(last_slot)) = (codes.last_chunk(), out.last_chunk_mut()) {
        decode_block(last, last_slot);
    } else {
        scalar::decode::<L>(codes, out);
    }
}

/// As [`scalar::encode`].
#[target_feature(enable = "avx2")]
pub(super) fn encode<L: Law>(samples: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(samples.len(), out.len() * 2);
    let segments = const { &L::SEGMENTS };
    let low_segments = load_twice(&segments.by_low_half);
    let high_segments = load_twice(&segments.by_high_half);
    let scales = load_twice(&Segments::SCALES);
    let beginnings = load_twice(&Segments::BEGINNINGS);
    let zero = _mm256_setzero_si256();
    let low_half = _mm256_set1_epi8(0x0f);
    let encode_block = |block: &[u8; 2 * BLOCK], slot: &mut [MaybeUninit<u8>; BLOCK]| {
        let (halves, _) = block.as_chunks::<BLOCK>();
        let (first, second) = (load(&halves[0]), load(&halves[1]));
        let (first_magnitude, second_magnitude) = (magnitude::<L>(first), magnitude::<L>(second));
        let leading = _mm256_packus_epi16(
            _mm256_srli_epi16::<7>(first_magnitude),
            _mm256_srli_epi16::<7>(second_magnitude),
        );
        let low = _mm256_and_si256(leading, low_half);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(leading), low_half);
        let segment = _mm256_max_epu8(
            _mm256_shuffle_epi8(low_segments, low),
            _mm256_shuffle_epi8(high_segments, high),
        );
        // AVX2 does not shift each 16 bits by a distance of its own: the product brings every segment to the
        // place of the highest.
        let scale = _mm256_shuffle_epi8(scales, segment);
        let first_scaled = _mm256_mullo_epi16(first_magnitude, _mm256_unpacklo_epi8(scale, zero));
        let second_scaled = _mm256_mullo_epi16(second_magnitude, _mm256_unpackhi_epi8(scale, zero));
        let step = _mm256_packus_epi16(
            _mm256_srli_epi16::<10>(first_scaled),
            _mm256_srli_epi16::<10>(second_scaled),
        );
        let position = _mm256_add_epi8(step, _mm256_shuffle_epi8(beginnings, segment));
        let inverted = _mm256_xor_si256(position, _mm256_set1_epi8(L::POSITIVE.cast_signed()));
        // Packing saturates, so it keeps the signs.
        let signs = _mm256_and_si256(_mm256_packs_epi16(first, second), _mm256_set1_epi8(i8::MIN));
        let codes = _mm256_xor_si256(inverted, signs);
        store(slot, _mm256_permute4x64_epi64::<QUARTERS>(codes));
    };

    let (blocks, rest) = samples.as_chunks();
    for (block, slot) in blocks.iter().zip(out.as_chunks_mut().0) {
        encode_block(block, slot);
    }
    if rest.is_empty() {
        return;
    }
    if let (Some(last), Some(last_slot)) = (samples.last_chunk(), out.last_chunk_mut()) {
        encode_block(last, last_slot);
    } else {
        scalar::encode::<L>(samples, out);
    }
}

/// What a code keeps of each sample: 128 to 32767 for mu-law, 0 to 32767 for A-law.
#[inline]
#[target_feature(enable = "avx2")]
fn magnitude<L: Law>(samples: __m256i) -> __m256i {
    if let Some(bias) = L::BIAS {
        // The clip is where the biased magnitude would leave 15 bits: there the addition saturates.
        let absolute = _mm256_abs_epi16(_mm256_max_epi16(samples, _mm256_set1_epi16(-i16::MAX)));
        _mm256_adds_epi16(absolute, _mm256_set1_epi16(bias))
    } else {
        _mm256_xor_si256(samples, _mm256_srai_epi16::<15>(samples))
    }
}
