//! Base64: every path of this processor against the crate `base64`, wherever text and output lie in memory.
//!
//! Input: a byte that tells where in a block of 64 bytes text and output begin, the rest, which is taken for a text to
//! decode and for data to encode.

use std::mem::MaybeUninit;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use voxwire_kernels::base64::{
    InvalidBase64, Path, decode, decode_with, decoded_len, encode, encode_into_with, encode_with, encoded_len,
};

use crate::room::{CANARY, Room};

/// Decodes and encodes.
pub fn target(data: &[u8]) {
    let Some((&place, data)) = data.split_first() else {
        return;
    };
    let place = usize::from(place % 64);
    let paths = || Path::ALL.into_iter().filter(|path| path.is_available());

    let expected = STANDARD.decode(data);
    let chosen = decode_at(decode, place, data);
    assert_eq!(
        chosen.as_ref().ok(),
        expected.as_ref().ok(),
        "the standard engine has another opinion"
    );
    if let Err(error) = &chosen {
        assert_eq!(error.index, first_wrong(data), "of {} characters", data.len());
    }
    for path in paths() {
        assert_eq!(
            decode_at(|text, out| decode_with(path, text, out), place, data),
            chosen,
            "decoded by {path:?}"
        );
    }

    let text = STANDARD.encode(data);
    assert_eq!(encoded_len(data.len()), Some(text.len()));
    assert_eq!(encode_at(encode, place, data), text.as_bytes());
    for path in paths() {
        assert_eq!(
            encode_at(|data, out| encode_with(path, data, out), place, data),
            text.as_bytes(),
            "encoded by {path:?}"
        );
        let source = shifted(place, data);
        let mut room = Room::new(place + text.len());
        encode_into_with(path, &source[place..], &mut room.slots()[place..]);
        let room = room.bytes();
        assert!(
            room[..place].iter().all(|&byte| byte == CANARY),
            "written before the output"
        );
        assert_eq!(room[place..], *text.as_bytes(), "encoded in place by {path:?}");
        assert_eq!(
            decode_at(|text, out| decode_with(path, text, out), place, text.as_bytes()).as_deref(),
            Ok(data),
            "encoded and decoded by {path:?}"
        );
    }
}

type Decode = Result<Vec<u8>, InvalidBase64>;

/// Decodes from the very end of one allocation into the very end of another, so that a sanitizer sees every byte beyond.
fn decode_at(
    decode: impl Fn(&[u8], &mut [MaybeUninit<u8>]) -> Result<(), InvalidBase64>,
    place: usize,
    text: &[u8],
) -> Decode {
    let source = shifted(place, text);
    let size_bytes = decoded_len(text).unwrap_or(0);
    let mut room = Room::new(place + size_bytes);
    decode(&source[place..], &mut room.slots()[place..])?;
    let room = room.bytes();
    assert!(
        room[..place].iter().all(|&byte| byte == CANARY),
        "written before the output"
    );
    Ok(room[place..].to_vec())
}

fn encode_at(encode: impl Fn(&[u8], &mut Vec<u8>), place: usize, data: &[u8]) -> Vec<u8> {
    let source = shifted(place, data);
    let size = encoded_len(data.len()).expect("the input is short");
    let mut out = Vec::with_capacity(place + size);
    out.resize(place, CANARY);
    encode(&source[place..], &mut out);
    assert!(
        out[..place].iter().all(|&byte| byte == CANARY),
        "written before the output"
    );
    out.split_off(place)
}

/// The bytes at a place in an allocation that ends with them.
fn shifted(place: usize, data: &[u8]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(place + data.len());
    bytes.resize(place, b'A');
    bytes.extend_from_slice(data);
    bytes.into_boxed_slice()
}

/// The index of the first character that is wrong, by a plain walk; the length where some are missing at the end.
fn first_wrong(text: &[u8]) -> usize {
    let padding = match text {
        _ if !text.len().is_multiple_of(4) => 0,
        [.., b'=', b'='] => 2,
        [.., b'='] => 1,
        _ => 0,
    };
    let digits = &text[..text.len() - padding];
    if let Some(index) = digits.iter().position(|&byte| digit(byte).is_none()) {
        return index;
    }
    // Bits that belong to no byte: four before two characters of padding, two before one.
    let spare = [0, 0b11, 0b1111][padding];
    match digits.last().and_then(|&last| digit(last)) {
        Some(last) if last & spare != 0 => digits.len() - 1,
        _ => text.len(),
    }
}

fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
