//! Base64: every path against a plain reference, at every length, and with an error at every place.

use std::mem::MaybeUninit;

use proptest::prelude::*;
use voxwire_kernels::base64::{
    InvalidBase64, Path, decode, decode_with, decoded_len, encode, encode_into, encode_into_with, encode_with,
    encoded_len,
};

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What lies around an output, to be found unchanged.
const CANARY: u8 = 0xa5;
const CANARY_BYTES: usize = 64;

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// RFC 4648 bit by bit, with nothing of the implementation in it.
fn reference_encode(data: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = data
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let mut text: Vec<u8> = bits
        .chunks(6)
        .map(|chunk| {
            let value = (0..6).fold(0, |value, bit| value << 1 | chunk.get(bit).copied().unwrap_or(0));
            ALPHABET[usize::from(value)]
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push(b'=');
    }
    text
}

/// Decodes into the middle of a buffer of canaries; the text lies in an allocation of exactly its size.
fn decode_exact(path: Path, text: &[u8]) -> Result<Vec<u8>, InvalidBase64> {
    let text: Box<[u8]> = text.into();
    let size_bytes = decoded_len(&text).unwrap_or(0);
    let mut result = Ok(());
    let decoded = written(size_bytes, |room| result = decode_with(path, &text, room));
    result.map(|()| decoded)
}

/// Encodes as [`decode_exact`] decodes.
fn encode_exact(path: Path, data: &[u8]) -> Vec<u8> {
    let data: Box<[u8]> = data.into();
    let size_bytes = encoded_len(data.len()).expect("the data is short");
    written(size_bytes, |room| encode_into_with(path, &data, room))
}

/// What is written into room that lies between canaries.
fn written(size_bytes: usize, write: impl FnOnce(&mut [MaybeUninit<u8>])) -> Vec<u8> {
    let mut buffer = vec![MaybeUninit::new(CANARY); size_bytes + 2 * CANARY_BYTES].into_boxed_slice();
    write(&mut buffer[CANARY_BYTES..CANARY_BYTES + size_bytes]);
    // Every byte was initialised above, with a canary if by nothing else.
    let buffer: Vec<u8> = buffer
        .iter()
        .map(|byte| {
            // SAFETY: the whole buffer was filled with initialised bytes; the paths only write such.
            unsafe { byte.assume_init() }
        })
        .collect();
    let (before, rest) = buffer.split_at(CANARY_BYTES);
    let (inside, after) = rest.split_at(size_bytes);
    assert!(
        before.iter().chain(after).all(|&byte| byte == CANARY),
        "written outside of the output"
    );
    inside.to_vec()
}

fn sample_bytes(size_bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..size_bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .collect()
}

#[test]
fn the_paths_of_this_processor_are_all_tested() {
    assert!(paths().any(|path| path == Path::best()));
    assert!(Path::Scalar.is_available());
}

#[test]
fn every_length_survives_both_ways() {
    for size_bytes in 0..=1024 {
        let data = sample_bytes(size_bytes, size_bytes as u32);
        let expected = reference_encode(&data);
        assert_eq!(encoded_len(size_bytes), Some(expected.len()));
        assert_eq!(decoded_len(&expected), Some(size_bytes));
        for path in paths() {
            let mut text = b"kept".to_vec();
            encode_with(path, &data, &mut text);
            assert_eq!(text[..4], *b"kept");
            assert_eq!(text[4..], expected, "{path:?} encodes {size_bytes} bytes");
            assert_eq!(
                encode_exact(path, &data),
                expected,
                "{path:?} encodes {size_bytes} bytes"
            );
            assert_eq!(
                decode_exact(path, &expected),
                Ok(data.clone()),
                "{path:?} decodes {size_bytes} bytes"
            );
        }
    }
}

#[test]
fn lengths_around_block_borders_survive_up_to_4096_characters() {
    let data = sample_bytes(3 * 1024 + 2, 7);
    for size_bytes in (24..=data.len()).step_by(24).flat_map(|border| border - 2..=border + 2) {
        let data = &data[..size_bytes.min(data.len())];
        let expected = reference_encode(data);
        for path in paths() {
            assert_eq!(
                encode_exact(path, data),
                expected,
                "{path:?} encodes {} bytes",
                data.len()
            );
            assert_eq!(
                decode_exact(path, &expected).as_deref(),
                Ok(data),
                "{path:?} decodes {} bytes",
                data.len()
            );
        }
    }
}

#[test]
fn every_byte_value_is_judged_the_same_at_every_place_of_a_block() {
    // Long enough for a wide block, a masked or scalar rest, and the last group of every path.
    let mut data = sample_bytes(3 * 43, 3);
    data[3 * 43 - 1] = 0xff;
    let text = reference_encode(&data);
    for place in 0..text.len() {
        for value in 0..=u8::MAX {
            let mut changed = text.clone();
            changed[place] = value;
            let last = place + 1 == text.len();
            // A padding at the very end is right if the bits it cuts off are zero, which those of this text
            // are not.
            let expected_index = match value {
                _ if ALPHABET.contains(&value) => None,
                b'=' if last => Some(place - 1),
                _ => Some(place),
            };
            for path in paths() {
                let index = decode_exact(path, &changed).err().map(|error| error.index);
                assert_eq!(index, expected_index, "{path:?}: {value:#04x} at {place}");
            }
        }
    }
}

#[test]
fn an_invalid_character_is_found_at_every_place_of_long_texts() {
    for characters in [4, 60, 64, 68, 88, 252, 256, 260, 1020, 1024, 4096] {
        let text = vec![b'A'; characters];
        for place in 0..characters {
            let mut changed = text.clone();
            changed[place] = b"-_ \n\0\"\x80\xff"[place % 8];
            for path in paths() {
                assert_eq!(
                    decode_exact(path, &changed),
                    Err(InvalidBase64 { index: place }),
                    "{path:?}"
                );
            }
        }
    }
}

#[test]
fn the_first_of_several_errors_is_named() {
    let mut text = vec![b'A'; 512];
    for place in [511, 300, 130, 65] {
        text[place] = b'*';
        for path in paths() {
            assert_eq!(
                decode_exact(path, &text),
                Err(InvalidBase64 { index: place }),
                "{path:?}"
            );
        }
    }
}

#[test]
fn bits_behind_the_last_byte_must_be_zero() {
    for groups in [0, 1, 15, 16, 17] {
        for (value, &character) in ALPHABET.iter().enumerate() {
            let prefix = vec![b'A'; 4 * groups];
            let one_byte = [&prefix, &[b'A', character, b'=', b'='][..]].concat();
            let two_bytes = [&prefix, &[b'A', b'A', character, b'='][..]].concat();
            for path in paths() {
                let expected = if value % 16 == 0 {
                    Ok(())
                } else {
                    Err(InvalidBase64 { index: 4 * groups + 1 })
                };
                assert_eq!(decode_exact(path, &one_byte).map(drop), expected);
                let expected = if value % 4 == 0 {
                    Ok(())
                } else {
                    Err(InvalidBase64 { index: 4 * groups + 2 })
                };
                assert_eq!(decode_exact(path, &two_bytes).map(drop), expected);
            }
        }
    }
}

#[test]
fn texts_without_a_decoded_length_are_refused_whatever_the_output() {
    for characters in 1..200 {
        if characters % 4 != 0 {
            let text = vec![b'A'; characters];
            assert_eq!(decoded_len(&text), None);
            for path in paths() {
                let mut out = [MaybeUninit::uninit(); 7];
                assert_eq!(
                    decode_with(path, &text, &mut out),
                    Err(InvalidBase64 { index: characters })
                );
            }
        }
    }
}

#[test]
#[should_panic(expected = "exactly the decoded length")]
fn an_output_of_another_length_is_a_bug_of_the_caller() {
    let mut out = [MaybeUninit::uninit(); 4];
    let _ = decode(b"AAAA", &mut out);
}

#[test]
#[should_panic(expected = "exactly the encoded length")]
fn a_text_of_another_length_is_a_bug_of_the_caller() {
    let mut out = [MaybeUninit::uninit(); 5];
    encode_into(b"abc", &mut out);
}

#[test]
fn encoded_len_does_not_overflow() {
    assert_eq!(encoded_len(usize::MAX), None);
    assert_eq!(encoded_len(0), Some(0));
    assert_eq!(encoded_len(usize::MAX / 4 * 3), Some(usize::MAX / 4 * 4));
}

#[test]
fn an_error_says_where() {
    assert_eq!(
        InvalidBase64 { index: 12 }.to_string(),
        "invalid base64 at character 12"
    );
}

#[test]
fn shared_vectors_hold() {
    let vectors = include_str!("../../../tests/vectors/base64.jsonl");
    let mut count = 0;
    for line in vectors.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).expect("a vector is JSON");
        let text = vector["text"].as_str().expect("a vector has a text").as_bytes();
        for path in paths() {
            let decoded = decode_exact(path, text);
            if let Some(index) = vector["invalid_index"].as_u64() {
                assert_eq!(
                    decoded,
                    Err(InvalidBase64 { index: index as usize }),
                    "{path:?}: {}",
                    vector["name"]
                );
            } else {
                let hex = vector["hex"].as_str().expect("a valid vector has its bytes in hex");
                let bytes: Vec<u8> = (0..hex.len())
                    .step_by(2)
                    .map(|index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hex digits"))
                    .collect();
                assert_eq!(decoded, Ok(bytes.clone()), "{path:?}: {}", vector["name"]);
                let mut encoded = Vec::new();
                encode_with(path, &bytes, &mut encoded);
                assert_eq!(encoded, text, "{path:?}: {}", vector["name"]);
            }
        }
        count += 1;
    }
    assert!(count > 40);
}

proptest! {
    #[test]
    fn all_paths_agree_on_any_text(
        mut text in prop::collection::vec(prop::sample::select(ALPHABET), 0..700),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (place, value) in changes {
            if !text.is_empty() {
                let place = place.index(text.len());
                text[place] = value;
            }
        }
        let expected = decode_exact(Path::Scalar, &text);
        for path in paths() {
            prop_assert_eq!(&decode_exact(path, &text), &expected);
        }
        if let Ok(data) = expected {
            let mut encoded = Vec::new();
            encode(&data, &mut encoded);
            prop_assert_eq!(encoded, text);
        }
    }
}
