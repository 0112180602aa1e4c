//! Base64 group by group: the reference of the other paths, and the last group of each.

use std::mem::MaybeUninit;

use super::{ALPHABET, InvalidBase64, PADDING};

/// In [`VALUES`], for a character outside the alphabet. No value has this bit, so errors can be collected by
/// OR.
const INVALID: u8 = 0x80;

/// The six-bit value of each character.
pub(super) static VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Decodes groups of 4 characters without padding to 3 bytes each; false if a character is wrong.
pub(super) fn decode_groups(text: &[u8], out: &mut [MaybeUninit<u8>]) -> bool {
    debug_assert_eq!(text.len() / 4 * 3, out.len());
    let mut seen = 0;
    for (group, slot) in text.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<3>().0) {
        let values = group.map(|character| VALUES[usize::from(character)]);
        seen |= values[0] | values[1] | values[2] | values[3];
        *slot = join(values).map(MaybeUninit::new);
    }
    seen & INVALID == 0
}

/// Decodes a last group, which may be padded, to the 1 to 3 bytes that `out` has room for; false if it is
/// wrong.
pub(super) fn decode_last_group(group: [u8; 4], out: &mut [MaybeUninit<u8>]) -> bool {
    if last_group_error(group).is_some() {
        return false;
    }
    // The padding has no value: its bits are cut off.
    let bytes = join(group.map(|character| VALUES[usize::from(character)] & !INVALID));
    for (slot, byte) in out.iter_mut().zip(bytes) {
        slot.write(byte);
    }
    true
}

/// Finds the first wrong character of a text that is known to be wrong.
#[cold]
pub(super) fn locate_error(text: &[u8]) -> InvalidBase64 {
    let is_invalid = |character: &u8| VALUES[usize::from(*character)] == INVALID;
    let index = match text.split_last_chunk::<4>() {
        Some((groups, last)) if text.len().is_multiple_of(4) => groups
            .iter()
            .position(is_invalid)
            .or_else(|| last_group_error(*last).map(|index| groups.len() + index)),
        _ => text.iter().position(is_invalid),
    };
    InvalidBase64 {
        index: index.unwrap_or(text.len()),
    }
}

/// Encodes groups of 3 bytes to 4 characters each.
pub(super) fn encode_groups(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    debug_assert_eq!(data.len() / 3 * 4, out.len());
    for (group, slot) in data.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<4>().0) {
        *slot = split(*group).map(|value| MaybeUninit::new(ALPHABET[usize::from(value)]));
    }
}

/// Encodes the 0 to 2 bytes behind the last whole group to 0 or 4 characters.
pub(super) fn encode_last_group(data: &[u8], out: &mut [MaybeUninit<u8>]) {
    let group = match *data {
        [first] => [first, 0, 0],
        [first, second] => [first, second, 0],
        _ => return,
    };
    let values = split(group);
    for (index, slot) in out.iter_mut().enumerate() {
        slot.write(if index <= data.len() {
            ALPHABET[usize::from(values[index])]
        } else {
            PADDING
        });
    }
}

/// The place of the first wrong character of a last group: one outside the alphabet, or the last before the
/// padding if it carries bits that belong to no byte.
fn last_group_error(group: [u8; 4]) -> Option<usize> {
    let characters = match group {
        [_, _, PADDING, PADDING] => 2,
        [_, _, _, PADDING] => 3,
        _ => 4,
    };
    let values = group.map(|character| VALUES[usize::from(character)]);
    let unused_bits = [0, 0, 0x0f, 0x03, 0][characters];
    values[..characters]
        .iter()
        .position(|&value| value == INVALID)
        .or_else(|| (values[characters - 1] & unused_bits != 0).then_some(characters - 1))
}

fn join(values: [u8; 4]) -> [u8; 3] {
    let [first, second, third, fourth] = values;
    [first << 2 | second >> 4, second << 4 | third >> 2, third << 6 | fourth]
}

fn split(bytes: [u8; 3]) -> [u8; 4] {
    let [first, second, third] = bytes;
    [
        first >> 2,
        (first << 4 | second >> 4) & 0x3f,
        (second << 2 | third >> 6) & 0x3f,
        third & 0x3f,
    ]
}
