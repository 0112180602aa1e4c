//! G.711 by AVX-512 F and BW: 32 codes to samples at a time, 64 samples to codes.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm512_abs_epi16, _mm512_add_epi8, _mm512_add_epi16,
    _mm512_adds_epi16, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_cvtepu8_epi16,
    _mm512_max_epi16, _mm512_max_epu8, _mm512_mullo_epi16, _mm512_packs_epi16, _mm512_packus_epi16,
    _mm512_permutexvar_epi16, _mm512_permutexvar_epi64, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srai_epi16, _mm512_srli_epi16, _mm512_srlv_epi16,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi8, _mm512_unpacklo_epi8, _mm512_xor_si512,
};
use std::mem::MaybeUninit;

use super::tables::{Law, Segments};
use crate::avx512::{load, load_part, store, store_part};

/// The truth table of `a ^ (b & c)`.
const XOR_AND: i32 = 0x78;

/// As [`super::scalar::decode`].
///
/// Within a row of 16 codes the samples are evenly spaced, so each is a multiple of its code and a remainder,
/// both looked up by the row.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn decode<L: Law>(codes: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(codes.len() * 2, out.len());
    let rows = const { &L::ROWS };
    let (slopes, offsets) = (load(&rows.slopes), load(&rows.offsets));
    let decode_block = |codes| {
        let codes = _mm512_cvtepu8_epi16(codes);
        let ordered = if L::INVERSION == 0 {
            codes
        } else {
            _mm512_xor_si512(codes, _mm512_set1_epi16(i16::from(L::INVERSION)))
        };
        // The permutation looks at five bits of the row; there are 16 rows, so the tables repeat themselves.
        let row = _mm512_srli_epi16::<4>(ordered);
        let product = _mm512_mullo_epi16(ordered, _mm512_permutexvar_epi16(row, slopes));
        _mm512_add_epi16(product, _mm512_permutexvar_epi16(row, offsets))
    };

    let (blocks, rest) = codes.as_chunks::<32>();
    let (slots, rest_out) = out.as_chunks_mut::<64>();
    for (slot, block) in slots.iter_mut().zip(blocks) {
        // SAFETY: the reference is valid for reads of 32 bytes, and the load needs no alignment.
        let codes = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        store(slot, decode_block(codes));
    }
    if !rest.is_empty() {
        let codes = _mm512_castsi512_si256(load_part(rest, _mm512_setzero_si512()));
        store_part(rest_out, decode_block(codes));
    }
}

/// As [`super::scalar::encode`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn encode<L: Law>(samples: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(samples.len(), out.len() * 2);
    let segments = const { &L::SEGMENTS };
    let low_segments = load_four_times(&segments.by_low_half);
    let high_segments = load_four_times(&segments.by_high_half);
    let shifts = load_four_times(&Segments::SHIFTS);
    let beginnings = load_four_times(&Segments::BEGINNINGS);
    let zero = _mm512_setzero_si512();
    let low_half = _mm512_set1_epi8(0x0f);
    let quarters = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let encode_block = |first: __m512i, second: __m512i| {
        let (first_magnitude, second_magnitude) = (magnitude::<L>(first), magnitude::<L>(second));
        // Packing takes quarters of the two registers in turn, unpacking undoes that, and at the end they are put in order.
        let leading = _mm512_packus_epi16(
            _mm512_srli_epi16::<7>(first_magnitude),
            _mm512_srli_epi16::<7>(second_magnitude),
        );
        let low = _mm512_and_si512(leading, low_half);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(leading), low_half);
        let segment = _mm512_max_epu8(
            _mm512_shuffle_epi8(low_segments, low),
            _mm512_shuffle_epi8(high_segments, high),
        );
        let shift = _mm512_shuffle_epi8(shifts, segment);
        let step = _mm512_packus_epi16(
            _mm512_srlv_epi16(first_magnitude, _mm512_unpacklo_epi8(shift, zero)),
            _mm512_srlv_epi16(second_magnitude, _mm512_unpackhi_epi8(shift, zero)),
        );
        let position = _mm512_add_epi8(step, _mm512_shuffle_epi8(beginnings, segment));
        let inverted = _mm512_xor_si512(position, _mm512_set1_epi8(L::POSITIVE.cast_signed()));
        // Packing saturates, so it keeps the signs.
        let signs = _mm512_packs_epi16(first, second);
        let codes = _mm512_ternarylogic_epi64::<XOR_AND>(inverted, signs, _mm512_set1_epi8(i8::MIN));
        _mm512_permutexvar_epi64(quarters, codes)
    };

    let (blocks, rest) = samples.as_chunks::<128>();
    let (slots, rest_out) = out.as_chunks_mut::<64>();
    for (slot, block) in slots.iter_mut().zip(blocks) {
        let (halves, _) = block.as_chunks::<64>();
        store(slot, encode_block(load(&halves[0]), load(&halves[1])));
    }
    if !rest.is_empty() {
        let (first, second) = rest.split_at(rest.len().min(64));
        store_part(rest_out, encode_block(load_part(first, zero), load_part(second, zero)));
    }
}

/// What a code keeps of each sample: 128 to 32767 for mu-law, 0 to 32767 for A-law.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn magnitude<L: Law>(samples: __m512i) -> __m512i {
    if let Some(bias) = L::BIAS {
        // The clip is where the biased magnitude would leave 15 bits: there the addition saturates.
        let absolute = _mm512_abs_epi16(_mm512_max_epi16(samples, _mm512_set1_epi16(-i16::MAX)));
        _mm512_adds_epi16(absolute, _mm512_set1_epi16(bias))
    } else {
        _mm512_xor_si512(samples, _mm512_srai_epi16::<15>(samples))
    }
}

/// The same table in all four quarters, as the shuffles want it.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_four_times(table: &[u8; 16]) -> __m512i {
    // SAFETY: the reference is valid for reads of 16 bytes, and the load needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}
