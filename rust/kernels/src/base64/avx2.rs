//! Base64 by AVX2, 32 characters at a time.
//!
//! After Muła and Lemire, "Faster base64 encoding and decoding using AVX2 instructions" (arXiv 1704.00605),
//! with the shorter classification of the characters that simdutf took up from aqrit. At the end, where the wide
//! loads and stores would reach too far, narrower ones take over, and the last block is the one that ends with the
//! input: it does again what the one before it has done of that. What is shorter than a block is scalar work.

use std::arch::x86_64::{
    __m128i, _mm_alignr_epi8, _mm_loadu_si128, _mm_slli_si128, _mm_srli_si128, _mm_storeu_si128, _mm256_add_epi8,
    _mm256_adds_epi8, _mm256_and_si256, _mm256_avg_epu8, _mm256_blend_epi16, _mm256_castsi256_si128, _mm256_cmpgt_epi8,
    _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_epi8, _mm256_mullo_epi16,
    _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_srli_epi32, _mm256_sub_epi8, _mm256_subs_epu8,
};
use std::hint::black_box;
use std::mem::MaybeUninit;

use super::scalar;
use crate::avx2::{load, load_twice, store};

const BLOCK_CHARACTERS: usize = 32;
const BLOCK_BYTES: usize = 24;

/// By the low half of a character: averaged with the character / 8 it gives the index into
/// [`OFFSET_TO_VALUE`].
static VALUE_HASH: [u8; 16] = *b"\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00\x0f\x00\x0f";
/// Added to a character of the alphabet it gives its value.
static OFFSET_TO_VALUE: [u8; 16] = *b"\x00\x00\x00\x13\x04\xbf\xbf\xb9\xb9\x00\x10\xc3\xbf\xbf\xb9\xb9";
/// As [`VALUE_HASH`], for [`OFFSET_TO_CHECK`].
static CHECK_HASH: [u8; 16] = *b"\x0d\x01\x01\x01\x01\x01\x01\x01\x01\x01\x03\x07\x0b\x0b\x0b\x0f";
/// Added to a character, with saturation, it gives a negative number unless the character is in the alphabet.
static OFFSET_TO_CHECK: [u8; 16] = *b"\x80\x80\x80\x80\xcf\xbf\xd5\xa6\xb5\x86\xd1\x80\xb1\x80\x91\x80";
/// Where the bytes of 16 decoded characters lie: three in each 32-bit lane, the first one highest; then those
/// that do not count.
static DECODED_ORDER: [u8; 16] = [2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 7, 11, 15];
/// The bytes that the characters of a group are cut from: second, first, third, second.
static ENCODED_ORDER: [u8; 16] = [1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10];
/// Added to a value it gives its character: by 0 for A to Z, 1 for a to z, 2 to 11 for the digits, 12 for
/// `+`, 13 for `/`.
static OFFSET_TO_CHARACTER: [u8; 16] = *b"\x41\x47\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xed\xf0\x00\x00";

/// As [`scalar::decode_groups`].
#[target_feature(enable = "avx2")]
pub(super) fn decode_groups(text: &[u8], out: &mut [MaybeUninit<u8>]) -> bool {
    debug_assert_eq!(text.len() / 4 * 3, out.len());
    let value_hash = load_twice(&VALUE_HASH);
    let offset_to_value = load_twice(&OFFSET_TO_VALUE);
    let check_hash = load_twice(&CHECK_HASH);
    let offset_to_check = load_twice(&OFFSET_TO_CHECK);
    let order = load_twice(&DECODED_ORDER);
    let mut checks = _mm256_setzero_si256();

    let mut decode_block = |block: &[u8; BLOCK_CHARACTERS]| {
        let characters = load(block);
        // The neighbour's bits that the shift brings into the upper half of a byte do not reach the lower
        // half by the average, and a shuffle looks at that only, unless the byte is negative: then the check
        // is, too.
        let eighths = _mm256_srli_epi32::<3>(characters);
        let value_index = _mm256_avg_epu8(_mm256_shuffle_epi8(value_hash, characters), eighths);
        let check_index = _mm256_avg_epu8(_mm256_shuffle_epi8(check_hash, characters), eighths);
        let values = _mm256_add_epi8(characters, _mm256_shuffle_epi8(offset_to_value, value_index));
        let check = _mm256_adds_epi8(characters, _mm256_shuffle_epi8(offset_to_check, check_index));
        checks = _mm256_or_si256(checks, check);
        let pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x0140_0140));
        let groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_1000));
        let decoded = _mm256_shuffle_epi8(groups, order);
        // 12 bytes that count in each, and 4 that do not.
        (_mm256_castsi256_si128(decoded), _mm256_extracti128_si256::<1>(decoded))
    };

    // 16 bytes are stored for each 12 that count, without a permutation to close the gap: what follows writes
    // again the 4 bytes that are too many.
    let wide_blocks = out.len().saturating_sub(4) / BLOCK_BYTES;
    let (wide_text, _) = text.split_at(wide_blocks * BLOCK_CHARACTERS);
    for (index, block) in wide_text.as_chunks().0.iter().enumerate() {
        let (low, high) = decode_block(block);
        // SAFETY: `index` is below `wide_blocks`, so both stores (bytes 0 to 15 and 12 to 27 of the block's
        // place) end at or before `wide_blocks * BLOCK_BYTES + 4`, which is at most `out.len()`. They need no
        // alignment.
        unsafe {
            let place = out.as_mut_ptr().add(index * BLOCK_BYTES);
            _mm_storeu_si128(place.cast(), low);
            _mm_storeu_si128(place.add(12).cast(), high);
        }
    }
    let mut begin = wide_text.len();
    while begin < text.len() {
        begin = begin.min(text.len().saturating_sub(BLOCK_CHARACTERS));
        let place = begin / 4 * 3;
        let (Some(block), Some(slot)) = (
            text[begin..].first_chunk(),
            out[place..].first_chunk_mut::<BLOCK_BYTES>(),
        ) else {
            return scalar::decode_groups(text, out);
        };
        let (low, high) = decode_block(block);
        // The last 16 of the 24 bytes: 4 of the lower half and all of the upper half.
        let high = _mm_alignr_epi8::<12>(high, _mm_slli_si128::<4>(low));
        // SAFETY: the slot has 24 bytes, and the stores are to bytes 0 to 15 and 8 to 23. They need no
        // alignment.
        unsafe {
            let place = slot.as_mut_ptr();
            _mm_storeu_si128(place.cast(), low);
            _mm_storeu_si128(place.add(8).cast(), high);
        }
        begin += BLOCK_CHARACTERS;
    }
    _mm256_movemask_epi8(checks) == 0
}

/// As [`scalar::encode_groups`].
#[target_feature(enable = "avx2")]
pub(super) fn encode_groups(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(data.len() / 3 * 4, out.len());
    let order = load_twice(&ENCODED_ORDER);
    let offset_to_character = load_twice(&OFFSET_TO_CHARACTER);

    // A product by a power of two is a shift by a distance of its own for each 16 bits. Hidden from the
    // compiler, which would make more shifts and a blend of it.
    let left_shifts = black_box(_mm256_set1_epi32(0x0100_0010));
    let encode_block = |low: __m128i, high: __m128i, slot: &mut [MaybeUninit<u8>; BLOCK_CHARACTERS]| {
        let groups = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), order);
        let first_and_third = _mm256_and_si256(groups, _mm256_set1_epi32(0x0fc0_fc00));
        let second_and_fourth = _mm256_and_si256(groups, _mm256_set1_epi32(0x003f_03f0));
        // The two halves of a 32-bit lane are shifted by different distances, each pair into the gaps of the
        // other. To the right by two shifts and a blend, since of the upper halves of products by powers of
        // two the compiler makes something dearer, hidden or not.
        let values = _mm256_or_si256(
            _mm256_blend_epi16::<0b1010_1010>(
                _mm256_srli_epi16::<10>(first_and_third),
                _mm256_srli_epi16::<6>(first_and_third),
            ),
            _mm256_mullo_epi16(second_and_fourth, left_shifts),
        );
        // 0 for values up to 51, 1 to 12 above them; then 1 more for all but A to Z.
        let above_letters = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
        let above_capitals = _mm256_cmpgt_epi8(values, _mm256_set1_epi8(25));
        let class = _mm256_sub_epi8(above_letters, above_capitals);
        store(
            slot,
            _mm256_add_epi8(values, _mm256_shuffle_epi8(offset_to_character, class)),
        );
    };

    // 28 bytes are loaded for each 24 that count.
    let wide_blocks = data.len().saturating_sub(4) / BLOCK_BYTES;
    let (wide_out, _) = out.split_at_mut(wide_blocks * BLOCK_CHARACTERS);
    for (index, slot) in wide_out.as_chunks_mut().0.iter_mut().enumerate() {
        // SAFETY: `index` is below `wide_blocks`, so both loads (bytes 0 to 15 and 12 to 27 of the block) end
        // at or before `wide_blocks * BLOCK_BYTES + 4`, which is at most `data.len()`. They need no alignment.
        let (low, high) = unsafe {
            let block: *const __m128i = data.as_ptr().add(index * BLOCK_BYTES).cast();
            (_mm_loadu_si128(block), _mm_loadu_si128(block.byte_add(12)))
        };
        encode_block(low, high, slot);
    }
    let mut begin = wide_blocks * BLOCK_BYTES;
    while begin < data.len() {
        begin = begin.min(data.len().saturating_sub(BLOCK_BYTES));
        let place = begin / 3 * 4;
        let (Some(block), Some(slot)) = (
            data[begin..].first_chunk::<BLOCK_BYTES>(),
            out[place..].first_chunk_mut(),
        ) else {
            return scalar::encode_groups(data, out);
        };
        // SAFETY: the block has 24 bytes, and the loads are of bytes 0 to 15 and 8 to 23. They need no
        // alignment.
        let (low, high) = unsafe {
            let block: *const __m128i = block.as_ptr().cast();
            (_mm_loadu_si128(block), _mm_loadu_si128(block.byte_add(8)))
        };
        encode_block(low, _mm_srli_si128::<4>(high), slot);
        begin += BLOCK_BYTES;
    }
}
