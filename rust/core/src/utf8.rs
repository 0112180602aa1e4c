//! Where a text stops being UTF-8: one rule, whatever the cuts in which its bytes came.

use simdutf8::compat::Utf8Error;

/// Index of the first byte that no UTF-8 text could have there, or `None` where the text is merely unfinished.
pub(crate) fn first_bad_byte(text: &[u8], error: &Utf8Error) -> Option<usize> {
    let valid = error.valid_up_to();
    let invalid_len = error.error_len()?;
    // The invalid length counts the bytes that could begin a character, at least one: a lone bad byte is the culprit
    // itself, a good beginning was spoilt by the byte behind it.
    match text.get(valid) {
        Some(0xC2..=0xF4) => Some(valid + invalid_len),
        _ => Some(valid),
    }
}

/// Index at which a whole text turns out to be no UTF-8: its first bad byte, or its end where the last character is cut.
pub(crate) fn bad_index(text: &[u8]) -> Option<usize> {
    match simdutf8::compat::from_utf8(text) {
        Ok(_) => None,
        Err(error) => Some(first_bad_byte(text, &error).unwrap_or(text.len())),
    }
}
