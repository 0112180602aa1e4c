//! Every conversion of samples, on every path.

mod room;

use std::mem::MaybeUninit;

use proptest::prelude::*;
use room::{converted, paths};
use voxwire_kernels::convert::{
    Coding, Path, append_converted, append_floats, convert, convert_from_floats, convert_to_floats, converted_len,
};
use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};
use voxwire_kernels::sample::{float_to_s16, s16_to_float};

/// One sample at a time, through 16 bits.
fn expected(data: &[u8], source: Coding, target: Coding) -> Vec<u8> {
    if source == target {
        return data.to_vec();
    }
    data.chunks(source.width())
        .flat_map(|bytes| {
            let sample = match source {
                Coding::F32 => float_to_s16(f32::from_le_bytes(bytes.try_into().expect("4 bytes"))),
                Coding::S16 => i16::from_le_bytes(bytes.try_into().expect("2 bytes")),
                Coding::Mulaw => mulaw_to_sample(bytes[0]),
                Coding::Alaw => alaw_to_sample(bytes[0]),
            };
            match target {
                Coding::F32 => s16_to_float(sample).to_le_bytes().to_vec(),
                Coding::S16 => sample.to_le_bytes().to_vec(),
                Coding::Mulaw => vec![sample_to_mulaw(sample)],
                Coding::Alaw => vec![sample_to_alaw(sample)],
            }
        })
        .collect()
}

fn pairs() -> impl Iterator<Item = (Coding, Coding)> {
    Coding::ALL
        .into_iter()
        .flat_map(|source| Coding::ALL.into_iter().map(move |target| (source, target)))
}

fn room_of(data: &[u8], source: Coding, target: Coding) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::new(0); converted_len(data.len(), source, target)]
}

/// Samples of a coding in which every one of 16 bits occurs, and floats beyond full scale and between two.
fn samples(coding: Coding) -> Vec<u8> {
    let s16: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
    let mut data = expected(&s16, Coding::S16, coding);
    if coding == Coding::F32 {
        let step = 1.0 / 32768.0;
        for value in [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1.5,
            -1.5,
            f32::MIN_POSITIVE / 2.0,
        ] {
            data.extend(value.to_le_bytes());
        }
        for halves in -65540..=65540_i32 {
            data.extend((halves as f32 * 0.5 * step).to_le_bytes());
        }
    }
    data
}

#[test]
fn the_paths_of_this_processor_are_all_tested() {
    assert!(paths().any(|path| path == Path::best()));
    assert!(Path::Scalar.is_available());
}

#[test]
fn every_path_converts_every_sample_between_all_codings() {
    for (source, target) in pairs() {
        let data = samples(source);
        let expected = expected(&data, source, target);
        for path in paths() {
            assert!(
                converted(path, &data, source, target, 0, 0) == expected,
                "{path:?}: {source:?} to {target:?}"
            );
        }
    }
}

#[test]
fn every_length_at_any_place_is_converted_between_all_codings() {
    for (source, target) in pairs() {
        let data = samples(source);
        for length in (0..=150).chain([1023, 1024, 1025, 2100]) {
            let data = &data[30_000 * source.width()..][..length * source.width()];
            let expected = expected(data, source, target);
            for path in paths() {
                assert!(
                    converted(path, data, source, target, length % 64, length * 5 % 64) == expected,
                    "{path:?}: {length} samples, {source:?} to {target:?}"
                );
            }
        }
    }
}

#[test]
fn appending_keeps_what_is_there_and_leaves_out_a_cut_sample() {
    for (source, target) in pairs() {
        let data = &samples(source)[..7 * source.width()];
        let cut = &[data, &vec![1; source.width() - 1]].concat();
        let mut out = b"kept".to_vec();
        append_converted(cut, source, target, &mut out);
        assert_eq!(out, [b"kept", &expected(data, source, target)[..]].concat());
    }
}

#[test]
fn floats_in_memory_are_their_bytes() {
    for coding in Coding::ALL {
        let data = samples(coding);
        let mut floats = vec![7.0; data.len() / coding.width()];
        convert_to_floats(&data, coding, &mut floats);
        let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        assert!(bytes == expected(&data, coding, Coding::F32), "from {coding:?}");

        let expected = expected(&bytes, Coding::F32, coding);
        let mut out = vec![9];
        append_floats(&floats, coding, &mut out);
        assert!(out[1..] == expected, "to {coding:?}");
        let mut room = room_of(&bytes, Coding::F32, coding);
        convert_from_floats(&floats, coding, &mut room);
        let room: Vec<u8> = room
            .iter()
            .map(|byte| {
                // SAFETY: the room was filled with initialised bytes.
                unsafe { byte.assume_init() }
            })
            .collect();
        assert!(room == expected, "to {coding:?}");
    }
}

#[test]
#[should_panic(expected = "exactly the converted length")]
fn an_output_of_another_length_is_a_bug_of_the_caller() {
    convert(&[0; 4], Coding::S16, Coding::Mulaw, &mut [MaybeUninit::uninit(); 3]);
}

#[test]
#[should_panic(expected = "whole samples")]
fn a_cut_sample_is_a_bug_of_the_caller() {
    convert(&[0; 5], Coding::S16, Coding::Mulaw, &mut [MaybeUninit::uninit(); 2]);
}

proptest! {
    #[test]
    fn any_floats_become_the_same_on_every_path(
        bits in prop::collection::vec(any::<u32>(), 0..100),
        near in prop::collection::vec(-1.1_f32..1.1, 0..100),
    ) {
        let floats = bits.into_iter().map(f32::from_bits).chain(near);
        let data: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
        for target in [Coding::S16, Coding::Mulaw, Coding::Alaw] {
            let expected = expected(&data, Coding::F32, target);
            for path in paths() {
                prop_assert_eq!(&converted(path, &data, Coding::F32, target, 0, 0), &expected);
            }
        }
    }
}
