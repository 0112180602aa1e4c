//! Strict base64 (RFC 4648 section 4): the standard alphabet, padded, canonical, nothing else.
//!
//! No character is ever skipped: whitespace, the URL alphabet, missing or inner padding and non-zero bits
//! behind the last byte are errors (faults.md section 7), because with audio a lenient decoder damages
//! silently. Whole groups are decoded by AVX-512 VBMI, AVX2 or scalar code, whichever is the best that the
//! processor has; the last group, the only one that may hold padding, always by scalar code.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vbmi;

use std::error::Error;
use std::fmt;
use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use crate::width::Width;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PADDING: u8 = b'=';

/// The text is not strict base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBase64 {
    /// Of the first character that is wrong; the length of the text where characters are missing at its end.
    pub index: usize,
}

impl fmt::Display for InvalidBase64 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invalid base64 at character {}", self.index)
    }
}

impl Error for InvalidBase64 {}

/// The code that works on whole groups.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Scalar,
    Avx2,
    Vbmi,
}

impl Path {
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Vbmi];

    /// The best path of this processor. The standard library asks the processor once and keeps the answer.
    #[inline]
    #[must_use]
    pub fn best() -> Self {
        if Self::Vbmi.is_available() {
            Self::Vbmi
        } else if Self::Avx2.is_available() {
            Self::Avx2
        } else {
            Self::Scalar
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => Width::Bits256.is_allowed() && is_x86_feature_detected!("avx2"),
            Self::Vbmi => {
                Width::Bits512.is_allowed()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vbmi")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        self == Self::Scalar
    }
}

/// The characters that encode so many bytes, padding included; None beyond the address space.
#[inline]
#[must_use]
pub const fn encoded_len(bytes: usize) -> Option<usize> {
    bytes.div_ceil(3).checked_mul(4)
}

/// The bytes that a text decodes to, exactly, by its length and the padding at its end; None if the length is
/// no multiple of 4. The text itself is not checked.
#[inline]
#[must_use]
pub const fn decoded_len(text: &[u8]) -> Option<usize> {
    match *text {
        [] => Some(0),
        _ if !text.len().is_multiple_of(4) => None,
        [.., PADDING, PADDING] => Some(text.len() / 4 * 3 - 2),
        [.., PADDING] => Some(text.len() / 4 * 3 - 1),
        _ => Some(text.len() / 4 * 3),
    }
}

/// Decodes a whole text.
///
/// `out` holds exactly [`decoded_len`] bytes, any number for a text without one (which is refused). On
/// success every byte of it is initialised; on failure it may have been written in part.
///
/// # Panics
///
/// If `out` has another length.
#[inline]
pub fn decode(text: &[u8], out: &mut [MaybeUninit<u8>]) -> Result<(), InvalidBase64> {
    decode_with(Path::best(), text, out)
}

/// As [`decode`], behind what is in `out`; on failure nothing is added.
#[inline]
pub fn append_decoded(text: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
    // A text without a length is refused, whatever the room.
    let size_bytes = decoded_len(text).unwrap_or_default();
    out.reserve(size_bytes);
    decode(text, &mut out.spare_capacity_mut()[..size_bytes])?;
    // SAFETY: the spare capacity holds at least `size_bytes`, and `decode` has initialised every one of them.
    unsafe { out.set_len(out.len() + size_bytes) };
    Ok(())
}

/// As [`decode`], by one path.
///
/// # Panics
///
/// If the processor does not have that path, or as [`decode`] does.
#[doc(hidden)]
#[inline]
pub fn decode_with(path: Path, text: &[u8], out: &mut [MaybeUninit<u8>]) -> Result<(), InvalidBase64> {
    let Some(size_bytes) = decoded_len(text) else {
        return Err(scalar::locate_error(text));
    };
    assert_eq!(
        out.len(),
        size_bytes,
        "the output of base64 has exactly the decoded length"
    );
    assert!(path.is_available(), "the processor has the chosen path");
    let Some((groups, last)) = text.split_last_chunk::<4>() else {
        return Ok(());
    };
    let (groups_out, last_out) = out.split_at_mut(groups.len() / 4 * 3);
    let groups_valid = match path {
        Path::Scalar => scalar::decode_groups(groups, groups_out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::decode_groups(groups, groups_out) },
        // SAFETY: that the processor has AVX-512 F, BW and VBMI was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Vbmi => unsafe { vbmi::decode_groups(groups, groups_out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Vbmi => unreachable!("asserted above"),
    };
    if groups_valid && scalar::decode_last_group(*last, last_out) {
        Ok(())
    } else {
        Err(scalar::locate_error(text))
    }
}

/// Appends the canonical text of `data`: [`encoded_len`] characters, all ASCII.
#[inline]
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    encode_with(Path::best(), data, out);
}

/// As [`encode`], by one path.
///
/// # Panics
///
/// If the processor does not have that path.
#[doc(hidden)]
#[inline]
pub fn encode_with(path: Path, data: &[u8], out: &mut Vec<u8>) {
    let size_bytes = encoded_len(data.len()).expect("a slice is at most isize::MAX bytes, so its text fits usize");
    out.reserve(size_bytes);
    encode_into_with(path, data, &mut out.spare_capacity_mut()[..size_bytes]);
    // SAFETY: the spare capacity holds at least `size_bytes`, and encoding has initialised every one of them.
    unsafe { out.set_len(out.len() + size_bytes) };
}

/// Writes the canonical text of `data`, all ASCII; every byte of `out` is initialised.
///
/// # Panics
///
/// If `out` does not hold exactly [`encoded_len`] bytes.
#[inline]
pub fn encode_into(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    encode_into_with(Path::best(), data, out);
}

/// As [`encode_into`], by one path.
///
/// # Panics
///
/// If the processor does not have that path, or as [`encode_into`] does.
#[doc(hidden)]
#[inline]
pub fn encode_into_with(path: Path, data: &[u8], out: &mut [MaybeUninit<u8>]) {
    assert_eq!(
        Some(out.len()),
        encoded_len(data.len()),
        "the output of base64 has exactly the encoded length"
    );
    assert!(path.is_available(), "the processor has the chosen path");
    let (groups, last) = data.split_at(data.len() / 3 * 3);
    let (groups_out, last_out) = out.split_at_mut(groups.len() / 3 * 4);
    match path {
        Path::Scalar => scalar::encode_groups(groups, groups_out),
        // SAFETY: that the processor has AVX2 was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::encode_groups(groups, groups_out) },
        // SAFETY: that the processor has AVX-512 F, BW and VBMI was asserted above.
        #[cfg(target_arch = "x86_64")]
        Path::Vbmi => unsafe { vbmi::encode_groups(groups, groups_out) },
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Vbmi => unreachable!("asserted above"),
    }
    scalar::encode_last_group(last, last_out);
}
