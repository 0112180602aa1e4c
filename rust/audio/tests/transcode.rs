//! Encodings and transcoding at one rate.

use std::mem::MaybeUninit;

use voxwire_audio::{CutSample, Encoding, Format, SAMPLE_RATES, transcode, transcode_into, transcoded_len};
use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};
use voxwire_kernels::sample::{float_to_s16, s16_to_float};

fn transcoded(data: &[u8], source: Encoding, target: Encoding) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    transcode(data, source, target, &mut out).expect("whole samples");
    assert_eq!(out[..4], *b"kept");
    out.split_off(4)
}

fn every_s16() -> Vec<u8> {
    (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect()
}

/// A sample of any encoding on its way through 16 bits, one at a time.
fn expected(data: &[u8], source: Encoding, target: Encoding) -> Vec<u8> {
    data.chunks(source.sample_width())
        .flat_map(|bytes| {
            let sample = match source {
                Encoding::PcmF32le => float_to_s16(f32::from_le_bytes(bytes.try_into().expect("4 bytes"))),
                Encoding::PcmS16le => i16::from_le_bytes(bytes.try_into().expect("2 bytes")),
                Encoding::PcmMulaw => mulaw_to_sample(bytes[0]),
                Encoding::PcmAlaw => alaw_to_sample(bytes[0]),
            };
            match target {
                Encoding::PcmF32le => s16_to_float(sample).to_le_bytes().to_vec(),
                Encoding::PcmS16le => sample.to_le_bytes().to_vec(),
                Encoding::PcmMulaw => vec![sample_to_mulaw(sample)],
                Encoding::PcmAlaw => vec![sample_to_alaw(sample)],
            }
        })
        .collect()
}

#[test]
fn every_pair_of_encodings_goes_through_16_bits() {
    for source in Encoding::ALL {
        let data = transcoded(&every_s16(), Encoding::PcmS16le, source);
        assert_eq!(data.len(), 65536 * source.sample_width());
        for target in Encoding::ALL {
            if source == target {
                assert_eq!(transcoded(&data, source, target), data, "{source} is copied");
            } else {
                assert!(
                    transcoded(&data, source, target) == expected(&data, source, target),
                    "{source} to {target}"
                );
            }
        }
    }
}

#[test]
fn floats_are_copied_bit_by_bit() {
    let data: Vec<u8> = [f32::NAN, 2.5, -0.0, f32::INFINITY]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    assert_eq!(transcoded(&data, Encoding::PcmF32le, Encoding::PcmF32le), data);
}

#[test]
fn a_cut_sample_is_refused_and_nothing_written() {
    for source in Encoding::ALL {
        for target in Encoding::ALL {
            for size_bytes in 0..9 {
                let mut out = Vec::new();
                let result = transcode(&vec![0; size_bytes], source, target, &mut out);
                let unit_bytes = source.sample_width();
                if size_bytes % unit_bytes == 0 {
                    assert_eq!(result, Ok(()));
                    assert_eq!(out.len(), size_bytes / unit_bytes * target.sample_width());
                    assert_eq!(transcoded_len(size_bytes, source, target), Ok(out.len()));
                } else {
                    let refused = transcode_into(&vec![0; size_bytes], source, target, &mut []);
                    assert_eq!(refused, result);
                    assert_eq!(result, Err(CutSample { size_bytes, unit_bytes }));
                    assert_eq!(out, []);
                }
            }
        }
    }
    assert_eq!(
        CutSample {
            size_bytes: 7,
            unit_bytes: 2
        }
        .to_string(),
        "audio of 7 bytes ends within a sample, must be a multiple of 2"
    );
}

#[test]
#[should_panic(expected = "exactly the converted length")]
fn room_of_another_size_is_a_mistake_of_the_caller() {
    let mut room = [MaybeUninit::uninit(); 7];
    let _ = transcode_into(&[0; 4], Encoding::PcmMulaw, Encoding::PcmS16le, &mut room);
}

#[test]
fn encodings_are_found_by_the_names_of_the_protocol() {
    let names = ["pcm_f32le", "pcm_s16le", "pcm_mulaw", "pcm_alaw"];
    assert_eq!(Encoding::ALL.map(Encoding::name), names);
    for encoding in Encoding::ALL {
        assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
        assert_eq!(encoding.to_string(), encoding.name());
    }
    for unknown in ["", "pcm_s16be", "PCM_S16LE", "pcm_s16le "] {
        assert_eq!(Encoding::from_name(unknown), None);
    }
}

#[test]
fn a_frame_is_one_sample_of_every_channel() {
    let format = |encoding, channels| Format {
        encoding,
        sample_rate: SAMPLE_RATES[0],
        channels,
    };
    assert_eq!(format(Encoding::PcmF32le, 3).frame_bytes(), 12);
    assert_eq!(format(Encoding::PcmAlaw, 1).frame_bytes(), 1);
}
