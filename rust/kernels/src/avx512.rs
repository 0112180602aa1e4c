//! AVX-512 registers to and from memory.

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_loadu_si512, _mm512_mask_loadu_epi8, _mm512_mask_storeu_epi8, _mm512_storeu_si512,
};
use std::mem::MaybeUninit;

/// Loads a whole register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is valid for reads of 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Loads up to 64 bytes; the lanes behind them are those of `filling`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn load_part(bytes: &[u8], filling: __m512i) -> __m512i {
    // SAFETY: the mask selects as many lanes as the slice has bytes (64 if it has more); no other byte is
    // read.
    unsafe { _mm512_mask_loadu_epi8(filling, mask_of(bytes.len()), bytes.as_ptr().cast()) }
}

/// Stores a whole register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store(slot: &mut [MaybeUninit<u8>; 64], bytes: __m512i) {
    // SAFETY: the reference is valid for writes of 64 bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(slot.as_mut_ptr().cast(), bytes) }
}

/// Stores the first lanes into a slot of up to 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn store_part(slot: &mut [MaybeUninit<u8>], bytes: __m512i) {
    // SAFETY: the mask selects as many lanes as the slice has bytes (64 if it has more); no other byte is
    // written.
    unsafe { _mm512_mask_storeu_epi8(slot.as_mut_ptr().cast(), mask_of(slot.len()), bytes) }
}

/// The mask of the first lanes.
fn mask_of(lanes: usize) -> __mmask64 {
    if lanes >= 64 { !0 } else { (1 << lanes) - 1 }
}
