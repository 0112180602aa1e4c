//! AVX2 registers to and from memory.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm256_storeu_si256,
};
use std::mem::MaybeUninit;

/// Loads a whole register.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is valid for reads of 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Loads the same table into both halves, as the shuffles want it.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_twice(table: &[u8; 16]) -> __m256i {
    // SAFETY: the reference is valid for reads of 16 bytes, and the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// Stores a whole register.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store(slot: &mut [MaybeUninit<u8>; 32], bytes: __m256i) {
    // SAFETY: the reference is valid for writes of 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(slot.as_mut_ptr().cast(), bytes) }
}
