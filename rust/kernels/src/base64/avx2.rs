//! Base64 by AVX2, 32 characters at a time.
//!
//! After Muła and Lemire, "Faster base64 encoding and decoding using AVX2 instructions" (arXiv 1704.00605). A block is
//! stored or loaded 32 bytes wide although 24 of them count; what does not leave room for that is scalar work.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mulhi_epu16, _mm256_mullo_epi16, _mm256_or_si256, _mm256_permutevar8x32_epi32, _mm256_set_m128i,
    _mm256_set1_epi8, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_sub_epi8, _mm256_subs_epu8, _mm256_testz_si256,
};
use std::mem::MaybeUninit;

use super::scalar;

const BLOCK_CHARACTERS: usize = 32;
const BLOCK_BYTES: usize = 24;

/// Bit classes by the low and by the high half of a character: it is in the alphabet if the two share no bit.
static CLASS_OF_LOW: [u8; 16] = *b"\x15\x11\x11\x11\x11\x11\x11\x11\x11\x11\x13\x1a\x1b\x1b\x1b\x1a";
static CLASS_OF_HIGH: [u8; 16] = *b"\x10\x10\x01\x02\x04\x08\x04\x08\x10\x10\x10\x10\x10\x10\x10\x10";
/// What turns a character into its value, by its high half; `/` alone takes the entry before its own.
static OFFSET_TO_VALUE: [i8; 16] = [0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0];
/// Where the bytes of 16 decoded characters lie: three in each 32-bit lane, the first one highest.
static DECODED_ORDER: [i8; 16] = [2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1];
/// The bytes that the characters of a group are cut from: second, first, third, second.
static ENCODED_ORDER: [i8; 16] = [1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10];
/// What turns a value into its character: by 0 for A to Z, 1 for a to z, 2 to 11 for the digits, 12 for `+`, 13 for `/`.
static OFFSET_TO_CHARACTER: [i8; 16] = [65, 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0];

/// As [`scalar::decode_groups`].
#[target_feature(enable = "avx2")]
pub(super) fn decode_groups(mut text: &[u8], mut out: &mut [MaybeUninit<u8>]) -> bool {
    debug_assert_eq!(text.len() / 4 * 3, out.len());
    let class_of_low = load_twice(CLASS_OF_LOW.map(u8::cast_signed));
    let class_of_high = load_twice(CLASS_OF_HIGH.map(u8::cast_signed));
    let offset_to_value = load_twice(OFFSET_TO_VALUE);
    let order = load_twice(DECODED_ORDER);
    let without_gap = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7);
    // Both a mask of the low half (a shuffle ignores bits 4 to 6) and the character whose offset is special.
    let slash = _mm256_set1_epi8(b'/'.cast_signed());
    let mut errors = _mm256_setzero_si256();

    // A whole register is stored: the next block, or the scalar rest, writes again the 8 bytes that are too many.
    while let (Some((block, rest)), Some(slot)) =
        (text.split_first_chunk::<BLOCK_CHARACTERS>(), out.first_chunk_mut::<32>())
    {
        let characters = load(block);
        let high = _mm256_and_si256(_mm256_srli_epi32::<4>(characters), slash);
        let low = _mm256_and_si256(characters, slash);
        let classes =
            (_mm256_shuffle_epi8(class_of_high, high), _mm256_shuffle_epi8(class_of_low, low));
        errors = _mm256_or_si256(errors, _mm256_and_si256(classes.0, classes.1));
        let is_slash = _mm256_cmpeq_epi8(characters, slash);
        let offset = _mm256_shuffle_epi8(offset_to_value, _mm256_add_epi8(is_slash, high));
        let values = _mm256_add_epi8(characters, offset);
        let pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x0140_0140));
        let groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_1000));
        let halves = _mm256_shuffle_epi8(groups, order);
        store(slot, _mm256_permutevar8x32_epi32(halves, without_gap));
        text = rest;
        out = &mut out[BLOCK_BYTES..];
    }
    let rest_valid = scalar::decode_groups(text, out);
    _mm256_testz_si256(errors, errors) == 1 && rest_valid
}

/// As [`scalar::encode_groups`].
#[target_feature(enable = "avx2")]
pub(super) fn encode_groups(mut data: &[u8], mut out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(data.len() / 3 * 4, out.len());
    let order = load_twice(ENCODED_ORDER);
    let offset_to_character = load_twice(OFFSET_TO_CHARACTER);

    // 28 bytes are loaded, the last 4 of each 16 are not looked at.
    while let (Some(block), Some(slot)) =
        (data.first_chunk::<28>(), out.first_chunk_mut::<BLOCK_CHARACTERS>())
    {
        let groups = _mm256_shuffle_epi8(load_halves(block), order);
        // A multiplication is a shift, by another distance for each half of a 32-bit lane.
        let first_and_third = _mm256_mulhi_epu16(
            _mm256_and_si256(groups, _mm256_set1_epi32(0x0fc0_fc00)),
            _mm256_set1_epi32(0x0400_0040),
        );
        let second_and_fourth = _mm256_mullo_epi16(
            _mm256_and_si256(groups, _mm256_set1_epi32(0x003f_03f0)),
            _mm256_set1_epi32(0x0100_0010),
        );
        let values = _mm256_or_si256(first_and_third, second_and_fourth);
        // 0 for values up to 51, 1 to 12 above them; then 1 more for all but A to Z.
        let above_letters = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
        let above_capitals = _mm256_cmpgt_epi8(values, _mm256_set1_epi8(25));
        let class = _mm256_sub_epi8(above_letters, above_capitals);
        store(slot, _mm256_add_epi8(values, _mm256_shuffle_epi8(offset_to_character, class)));
        data = &data[BLOCK_BYTES..];
        out = &mut out[BLOCK_CHARACTERS..];
    }
    scalar::encode_groups(data, out);
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is valid for reads of 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Loads 16 bytes from the start and 16 from byte 12 on.
#[target_feature(enable = "avx2")]
fn load_halves(bytes: &[u8; 28]) -> __m256i {
    let (low, high): (*const __m128i, *const __m128i) = (bytes.as_ptr().cast(), bytes[12..].as_ptr().cast());
    // SAFETY: both loads lie within the 28 bytes (0 to 15, 12 to 27), and need no alignment.
    unsafe { _mm256_set_m128i(_mm_loadu_si128(high), _mm_loadu_si128(low)) }
}

/// The same table in both halves, as the shuffles want it.
#[target_feature(enable = "avx2")]
fn load_twice(table: [i8; 16]) -> __m256i {
    // SAFETY: the array is valid for reads of 16 bytes, and the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn store(slot: &mut [MaybeUninit<u8>; 32], bytes: __m256i) {
    // SAFETY: the reference is valid for writes of 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(slot.as_mut_ptr().cast(), bytes) }
}
