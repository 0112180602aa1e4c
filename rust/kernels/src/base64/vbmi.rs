//! Base64 by AVX-512 VBMI, 64 characters at a time.
//!
//! After Muła and Lemire, "Base64 encoding and decoding at almost the speed of a memory copy" (arXiv
//! 1910.05109): the alphabet is one permutation in either direction, so 64 characters need five instructions.
//! Masked loads and stores make the last, shorter block like the others: no byte outside the slices is
//! touched.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_movepi8_mask,
    _mm512_multishift_epi64_epi8, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_ternarylogic_epi64,
};
use std::mem::MaybeUninit;

use super::{ALPHABET, scalar::VALUES};
use crate::avx512::{load, load_part, store, store_part};

const BLOCK_CHARACTERS: usize = 64;
const BLOCK_BYTES: usize = 48;
/// The truth table of `a | b | c`.
const OR: i32 = 0xfe;

/// Where the bytes of a decoded block lie: three in each 32-bit lane, the first one highest.
static DECODED_ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut index = 0;
    while index < BLOCK_BYTES {
        order[index] = (index / 3 * 4 + 2 - index % 3) as u8;
        index += 1;
    }
    order
};

/// The bytes that the four characters of a group are cut from: second, first, third, second (see [`SHIFTS`]).
static ENCODED_ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut index = 0;
    while index < BLOCK_CHARACTERS {
        order[index] = (index / 4 * 3 + [1, 0, 2, 1][index % 4]) as u8;
        index += 1;
    }
    order
};

/// For each of 8 characters, the bit at which its six bits begin within the 64 bits of two reordered groups.
const SHIFTS: i64 = 0x3036_242a_1016_040a;

/// As [`super::scalar::decode_groups`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn decode_groups(mut text: &[u8], mut out: &mut [MaybeUninit<u8>]) -> bool {
    debug_assert_eq!(text.len() / 4 * 3, out.len());
    let (values, _) = VALUES.as_chunks::<64>();
    let (low, high) = (load(&values[0]), load(&values[1]));
    let order = load(&DECODED_ORDER);
    let mut errors = _mm512_setzero_si512();
    let mut decode_block = |characters: __m512i| {
        // The permutation looks at seven bits. The eighth of a character is an error, and so is that of a
        // value.
        let values = _mm512_permutex2var_epi8(low, characters, high);
        errors = _mm512_ternarylogic_epi64::<OR>(errors, characters, values);
        let pairs = _mm512_maddubs_epi16(values, _mm512_set1_epi32(0x0140_0140));
        let groups = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x0001_1000));
        _mm512_permutexvar_epi8(order, groups)
    };

    // Where a whole register fits, it is stored: the next block writes again the 16 bytes that are too many.
    let wide_blocks = out.len().saturating_sub(64 - BLOCK_BYTES) / BLOCK_BYTES;
    let (wide_text, text_rest) = text.split_at(wide_blocks * BLOCK_CHARACTERS);
    for (index, block) in wide_text.as_chunks::<BLOCK_CHARACTERS>().0.iter().enumerate() {
        let decoded = decode_block(load(block));
        // SAFETY: `index` is below `wide_blocks`, so the 64 bytes from there on end at or before
        // `wide_blocks * BLOCK_BYTES + 16`, which is at most `out.len()`. The store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(index * BLOCK_BYTES).cast(), decoded) };
    }
    (text, out) = (text_rest, &mut out[wide_blocks * BLOCK_BYTES..]);
    while !text.is_empty() {
        let (block, rest) = text.split_at(text.len().min(BLOCK_CHARACTERS));
        let (slot, rest_out) = out.split_at_mut(block.len() / 4 * 3);
        store_part(
            slot,
            decode_block(load_part(block, _mm512_set1_epi8(b'A'.cast_signed()))),
        );
        text = rest;
        out = rest_out;
    }
    _mm512_movepi8_mask(errors) == 0
}

/// As [`super::scalar::encode_groups`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn encode_groups(mut data: &[u8], mut out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(data.len() / 3 * 4, out.len());
    let alphabet = load(ALPHABET);
    let order = load(&ENCODED_ORDER);
    let encode_block = |bytes: __m512i| {
        let groups = _mm512_permutexvar_epi8(order, bytes);
        // The permutation looks at six bits only, so what the shift leaves above them does no harm.
        let values = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(SHIFTS), groups);
        _mm512_permutexvar_epi8(values, alphabet)
    };

    // Where a whole register can be loaded, it is: the 16 bytes that are too many are not looked at.
    let wide_blocks = data.len().saturating_sub(64 - BLOCK_BYTES) / BLOCK_BYTES;
    let (wide_out, rest_out) = out.split_at_mut(wide_blocks * BLOCK_CHARACTERS);
    for (index, slot) in wide_out.as_chunks_mut::<BLOCK_CHARACTERS>().0.iter_mut().enumerate() {
        // SAFETY: `index` is below `wide_blocks`, so the 64 bytes from there on end at or before
        // `wide_blocks * BLOCK_BYTES + 16`, which is at most `data.len()`. The load needs no alignment.
        let block = unsafe { _mm512_loadu_si512(data.as_ptr().add(index * BLOCK_BYTES).cast()) };
        store(slot, encode_block(block));
    }
    (data, out) = (&data[wide_blocks * BLOCK_BYTES..], rest_out);
    while !data.is_empty() {
        let (block, rest) = data.split_at(data.len().min(BLOCK_BYTES));
        let (slot, rest_out) = out.split_at_mut(block.len() / 3 * 4);
        store_part(slot, encode_block(load_part(block, _mm512_setzero_si512())));
        data = rest;
        out = rest_out;
    }
}
