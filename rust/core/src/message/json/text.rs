//! What stands between the quotes of a string.

use super::{Error, ErrorKind};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// Most keys, words and ids of a message are no longer than this.
const SHORT: usize = 64;

/// The index of the first special byte of eight: `"`, `\`, a control character, and with `non_ascii` anything beyond
/// ASCII; 8 where there is none.
#[inline]
fn special_in(word: [u8; 8], non_ascii: bool) -> usize {
    // In each term the lowest high bit set marks the first such byte exactly (a borrow only ever makes a false one above
    // it), and the lowest of all is the first special byte.
    let word = u64::from_le_bytes(word);
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let low = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    let special = (if non_ascii { low | word } else { low }) & HIGH_BITS;
    (special.trailing_zeros() / 8) as usize
}

/// The next special byte from `at` on, or some place before it where a string is longer than keys, words and ids are.
#[inline]
pub(super) fn next_special_near(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..SHORT / 8 {
        let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            break;
        };
        let special = special_in(*word, true);
        at += special;
        if special < 8 {
            break;
        }
    }
    at
}

/// Bytes at the front of a text up to the first special one or one beyond ASCII; no more than are looked at for a key, a
/// word or an id.
#[inline]
pub(crate) fn plain_run(text: &[u8]) -> usize {
    next_special_near(text, 0)
}

/// Whether a text holds nothing special and nothing beyond ASCII.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    next_special(text, 0, true) == text.len()
}

/// The next special byte from `at` on; the length where there is none.
pub(crate) fn next_special(bytes: &[u8], mut at: usize, non_ascii: bool) -> usize {
    // 64 bytes a step, in a form that the compiler turns into vector instructions.
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>())
        && !block
            .iter()
            .fold(false, |found, &byte| found | is_special(byte, non_ascii))
    {
        at += 64;
    }
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_in(*word, non_ascii);
        at += special;
        if special < 8 {
            return at;
        }
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

/// Unescapes what [`Scanner::string`](super::Scanner::string) went over.
pub(super) fn unescape(raw: &[u8]) -> Vec<u8> {
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
