//! What stands between the quotes of a string.

use std::borrow::Cow;

use super::{Error, ErrorKind};

/// A string as it stands in the text: scanned, not unescaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    index: usize,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// `raw` stands between the quotes, `index` is where it begins.
    pub(super) fn new(raw: &'a [u8], index: usize, escaped: bool) -> Self {
        Self { raw, index, escaped }
    }

    /// The bytes that the string means; a copy only where something is escaped.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The characters that the string means.
    pub(crate) fn text(self) -> Result<Cow<'a, str>, Error> {
        let utf8 = |_| Error::new(ErrorKind::Utf8, self.index);
        if self.escaped {
            String::from_utf8(unescape(self.raw))
                .map(Cow::Owned)
                .map_err(|error| utf8(error.utf8_error()))
        } else {
            std::str::from_utf8(self.raw).map(Cow::Borrowed).map_err(utf8)
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The next byte from `at` on that a string may not simply contain: `"`, `\`, a control character, and with `non_ascii`
/// anything beyond ASCII; the length where there is none.
pub(super) fn next_special(bytes: &[u8], mut at: usize, non_ascii: bool) -> usize {
    // 64 bytes a step, in a form that the compiler turns into vector instructions: for long strings.
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
        if block
            .iter()
            .fold(false, |found, &byte| found | is_special(byte, non_ascii))
        {
            break;
        }
        at += 64;
    }
    // Eight bytes a step. In each term the lowest high bit set marks the first such byte exactly (a borrow only ever
    // makes a false one above it), and the lowest of all is the first special byte.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let low = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let special = (if non_ascii { low | word } else { low }) & HIGH_BITS;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| !is_special(byte, non_ascii)) {
        at += 1;
    }
    at
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "without branches it becomes vector instructions"
)]
fn is_special(byte: u8, non_ascii: bool) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20) | (non_ascii & (byte >= 0x80))
}

/// The character that the escape at `at` (its backslash) means, and the index behind it.
pub(super) fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Error> {
    let simple = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = hex(bytes, at + 2)?;
            if let Some(character) = char::from_u32(first) {
                return Ok((character, at + 6));
            }
            let lone = Error::new(ErrorKind::LoneSurrogate, at);
            if first >= 0xdc00 || bytes.get(at + 6..at + 8) != Some(b"\\u") {
                return Err(lone);
            }
            let second = hex(bytes, at + 8)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(lone);
            }
            let character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            return character.map(|character| (character, at + 12)).ok_or(lone);
        }
        Some(_) => return Err(Error::new(ErrorKind::InvalidEscape, at)),
        None => return Err(Error::new(ErrorKind::UnexpectedEnd, bytes.len())),
    };
    Ok((simple, at + 2))
}

fn hex(bytes: &[u8], at: usize) -> Result<u32, Error> {
    (at..at + 4).try_fold(0, |number, index| match bytes.get(index) {
        None => Err(Error::new(ErrorKind::UnexpectedEnd, bytes.len())),
        Some(&digit) => match char::from(digit).to_digit(16) {
            Some(digit) => Ok(number << 4 | digit),
            None => Err(Error::new(ErrorKind::InvalidEscape, index)),
        },
    })
}

/// Unescapes what [`Scanner::string`] went over.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(run) = memchr::memchr(b'\\', &raw[at..]) {
        bytes.extend_from_slice(&raw[at..at + run]);
        at += run;
        let Ok((character, next)) = escape(raw, at) else { break };
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at = next;
    }
    bytes.extend_from_slice(&raw[at..]);
    bytes
}
