//! The bookkeeping of a stream: cuts, counts, flushes, ends, channels, refusals.

use proptest::prelude::*;
use voxwire_audio::{CutSample, Encoding, Format, FormatError, SAMPLE_RATES, Stream, transcode};

const fn mono(encoding: Encoding, sample_rate: u32) -> Format {
    Format {
        encoding,
        sample_rate,
        channels: 1,
    }
}

fn pairs() -> impl Iterator<Item = (u32, u32)> {
    SAMPLE_RATES
        .into_iter()
        .flat_map(|source| SAMPLE_RATES.into_iter().map(move |target| (source, target)))
        .filter(|(source, target)| source != target)
}

fn floats(source_rate: u32, target_rate: u32) -> Stream {
    Stream::new(
        mono(Encoding::PcmF32le, source_rate),
        mono(Encoding::PcmF32le, target_rate),
    )
    .expect("the rates of the protocol can be converted")
}

/// Noise without any library: a stream in which no two places look the same.
fn noise(samples: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    (0..samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        })
        .collect()
}

fn bytes_of(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn whole(stream: &mut Stream, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    stream.process(data, &mut out).expect("whole frames");
    stream.finish(&mut out);
    out
}

/// `frames * target / source`, rounded, halves up.
fn expected_frames(frames: usize, source_rate: u32, target_rate: u32) -> usize {
    let (source, target) = (source_rate as usize, target_rate as usize);
    (2 * frames * target + source) / (2 * source)
}

#[test]
fn every_length_gives_the_rounded_number_of_frames() {
    for (source_rate, target_rate) in pairs() {
        let mut stream = floats(source_rate, target_rate);
        let block = source_rate as usize / 50;
        for frames in (0..40).chain([block - 1, block, block + 1, 3 * block + 7, 5 * block - 1]) {
            let out = whole(&mut stream, &bytes_of(&noise(frames, 1)));
            assert_eq!(
                out.len() / 4,
                expected_frames(frames, source_rate, target_rate),
                "{frames} frames, {source_rate} to {target_rate} Hz"
            );
        }
    }
}

#[test]
fn the_first_frames_come_within_30_ms_and_later_ones_within_30_ms_of_their_time() {
    for (source_rate, target_rate) in pairs() {
        let mut stream = floats(source_rate, target_rate);
        let mut out = Vec::new();
        let mut longest_wait_s = 0.0_f64;
        for frames in 1..=source_rate / 5 {
            stream.process(&[0; 4], &mut out).expect("whole frames");
            let heard_s = f64::from(frames) / f64::from(source_rate);
            let given_s = (out.len() / 4) as f64 / f64::from(target_rate);
            assert!(
                given_s <= heard_s,
                "{source_rate} to {target_rate} Hz gives sound of the future"
            );
            longest_wait_s = longest_wait_s.max(heard_s - given_s);
        }
        assert!(
            longest_wait_s < 0.0301,
            "{source_rate} to {target_rate} Hz waits for {longest_wait_s} s"
        );
    }
}

#[test]
fn streams_side_by_side_are_as_each_alone() {
    let others = (0..40).map(|step| (8000 + 100 * step, 8000, 1));
    let all: Vec<(u32, u32, u16)> = [(24000, 8000, 1), (48000, 16000, 1), (24000, 8000, 2), (8000, 24000, 1)]
        .into_iter()
        .chain(others)
        .collect();
    let open = |&(source_rate, target_rate, channels): &(u32, u32, u16)| {
        let format = |sample_rate| Format {
            encoding: Encoding::PcmF32le,
            sample_rate,
            channels,
        };
        Stream::new(format(source_rate), format(target_rate)).expect("rates of small blocks")
    };
    let datas: Vec<Vec<u8>> = (0..all.len() as u32)
        .map(|seed| bytes_of(&noise(3000, 20 + seed)))
        .collect();
    let mut streams: Vec<(Stream, Vec<u8>)> = all.iter().map(|format| (open(format), Vec::new())).collect();
    for piece in 0..10 {
        for ((stream, out), data) in streams.iter_mut().zip(&datas) {
            stream
                .process(&data[1200 * piece..1200 * (piece + 1)], out)
                .expect("whole frames");
        }
    }
    // The rest of each on a thread of its own.
    let whole_ones = std::thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .map(|(mut stream, mut out)| {
                scope.spawn(move || {
                    stream.finish(&mut out);
                    out
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .collect::<Vec<_>>()
    });
    for ((format, data), out) in all.iter().zip(&datas).zip(whole_ones) {
        assert!(out == whole(&mut open(format), data), "{format:?}");
    }
}

#[test]
fn a_flush_gives_what_is_due_and_leaves_the_stream_as_it_was() {
    for (source_rate, target_rate) in pairs() {
        let samples = noise(source_rate as usize / 5, 2);
        let plain = whole(&mut floats(source_rate, target_rate), &bytes_of(&samples));
        for flush_after in [1, source_rate as usize / 100, source_rate as usize / 10 + 3] {
            let mut stream = floats(source_rate, target_rate);
            let (before, after) = samples.split_at(flush_after);
            let mut out = Vec::new();
            stream.process(&bytes_of(before), &mut out).expect("whole frames");
            stream.flush(&mut out);
            let flushed_bytes = out.len();
            assert_eq!(
                flushed_bytes / 4,
                expected_frames(flush_after, source_rate, target_rate)
            );
            stream.flush(&mut out);
            assert_eq!(out.len(), flushed_bytes, "a second flush has nothing to give");
            // Until the flush: as if silence had followed.
            let mut silenced = before.to_vec();
            silenced.resize(samples.len(), 0.0);
            let silenced = whole(&mut floats(source_rate, target_rate), &bytes_of(&silenced));
            assert!(
                out == silenced[..flushed_bytes],
                "{source_rate} to {target_rate} Hz before the flush"
            );
            // After it: as if there had been none.
            stream.process(&bytes_of(after), &mut out).expect("whole frames");
            stream.finish(&mut out);
            assert_eq!(out.len(), plain.len());
            assert!(
                out[flushed_bytes..] == plain[flushed_bytes..],
                "{source_rate} to {target_rate} Hz after it"
            );
        }
    }
}

#[test]
fn after_its_end_a_stream_begins_anew() {
    for (source_rate, target_rate) in [(22050, 8000), (24000, 48000), (44100, 44100)] {
        let mut stream = floats(source_rate, target_rate);
        let (first, second) = (bytes_of(&noise(5001, 3)), bytes_of(&noise(3333, 4)));
        whole(&mut stream, &first);
        assert!(whole(&mut stream, &second) == whole(&mut floats(source_rate, target_rate), &second));
        assert_eq!(whole(&mut stream, &[]), []);
        // A flush within the first block reaches for what was before it: silence, not the end of the last stream.
        whole(&mut stream, &first);
        let mut flushed = [Vec::new(), Vec::new()];
        for (stream, out) in [&mut stream, &mut floats(source_rate, target_rate)]
            .into_iter()
            .zip(&mut flushed)
        {
            stream.process(&second[..40], out).expect("whole frames");
            stream.flush(out);
            stream.process(&second[40..], out).expect("whole frames");
            stream.finish(out);
        }
        assert!(
            flushed[0] == flushed[1],
            "{source_rate} to {target_rate} Hz with a flush"
        );
    }
}

#[test]
fn equal_rates_only_change_the_encoding_and_at_once() {
    let data = bytes_of(&noise(100, 5));
    for target in Encoding::ALL {
        let mut stream =
            Stream::new(mono(Encoding::PcmF32le, 12345), mono(target, 12345)).expect("any rate, if both are equal");
        let mut expected = Vec::new();
        transcode(&data, Encoding::PcmF32le, target, &mut expected).expect("whole samples");
        let mut out = Vec::new();
        stream.process(&data, &mut out).expect("whole frames");
        assert_eq!(out, expected);
        stream.flush(&mut out);
        stream.finish(&mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn encodings_at_both_ends_are_those_of_transcoding() {
    let loud = bytes_of(&noise(4000, 6).iter().map(|sample| sample * 2.5).collect::<Vec<_>>());
    for source in Encoding::ALL {
        let mut data = Vec::new();
        transcode(&loud, Encoding::PcmF32le, source, &mut data).expect("whole samples");
        let mut as_float = Vec::new();
        transcode(&data, source, Encoding::PcmF32le, &mut as_float).expect("whole samples");
        let resampled = whole(&mut floats(24000, 16000), &as_float);
        for target in Encoding::ALL {
            let mut stream = Stream::new(mono(source, 24000), mono(target, 16000)).expect("known rates");
            let mut expected = Vec::new();
            transcode(&resampled, Encoding::PcmF32le, target, &mut expected).expect("whole samples");
            assert!(whole(&mut stream, &data) == expected, "{source} to {target}");
        }
    }
}

#[test]
fn channels_are_converted_apart() {
    let (left, right) = (noise(7000, 7), noise(7000, 8));
    let both: Vec<f32> = left
        .iter()
        .zip(&right)
        .flat_map(|(left, right)| [*left, *right])
        .collect();
    for (source_rate, target_rate) in [(44100, 16000), (8000, 22050)] {
        let stereo = |sample_rate| Format {
            encoding: Encoding::PcmF32le,
            sample_rate,
            channels: 2,
        };
        let mut stream = Stream::new(stereo(source_rate), stereo(target_rate)).expect("known rates");
        let mut out = Vec::new();
        for piece in bytes_of(&both).chunks(8 * 501) {
            stream.process(piece, &mut out).expect("whole frames");
        }
        stream.flush(&mut out);
        stream.finish(&mut out);
        let expected_left = whole(&mut floats(source_rate, target_rate), &bytes_of(&left));
        let expected_right = whole(&mut floats(source_rate, target_rate), &bytes_of(&right));
        let expected: Vec<u8> = expected_left
            .chunks(4)
            .zip(expected_right.chunks(4))
            .flat_map(|(left, right)| [left, right].concat())
            .collect();
        assert!(out == expected, "{source_rate} to {target_rate} Hz");
    }
}

#[test]
fn floats_that_are_no_numbers_count_as_silence_when_resampled() {
    let mut samples = noise(3000, 9);
    let mut silenced = samples.clone();
    for (place, value) in [(700, f32::NAN), (1500, f32::INFINITY), (1501, f32::NEG_INFINITY)] {
        samples[place] = value;
        silenced[place] = 0.0;
    }
    let out = whole(&mut floats(24000, 8000), &bytes_of(&samples));
    assert!(out == whole(&mut floats(24000, 8000), &bytes_of(&silenced)));
}

#[test]
fn a_cut_frame_is_refused_and_the_stream_goes_on() {
    let stereo = |sample_rate| Format {
        encoding: Encoding::PcmS16le,
        sample_rate,
        channels: 2,
    };
    for target_rate in [24000, 8000] {
        let mut stream = Stream::new(stereo(24000), stereo(target_rate)).expect("known rates");
        let mut out = Vec::new();
        assert_eq!(
            stream.process(&[0; 6], &mut out),
            Err(CutSample {
                size_bytes: 6,
                unit_bytes: 4
            })
        );
        assert_eq!(out, []);
        assert_eq!(whole(&mut stream, &[0; 4 * 2400]).len(), 4 * target_rate as usize / 10);
    }
}

#[test]
fn formats_without_a_stream_between_them_are_refused() {
    let format = |sample_rate, channels| Format {
        encoding: Encoding::PcmS16le,
        sample_rate,
        channels,
    };
    for (source, target, error, message) in [
        (
            format(0, 1),
            format(8000, 1),
            FormatError::ZeroSampleRate,
            "sample rate of 0 Hz, must be at least 1",
        ),
        (
            format(8000, 1),
            format(0, 1),
            FormatError::ZeroSampleRate,
            "sample rate of 0 Hz, must be at least 1",
        ),
        (
            format(8000, 0),
            format(8000, 0),
            FormatError::ZeroChannels,
            "0 channels, must be at least 1",
        ),
        (
            format(8000, 2),
            format(8000, 1),
            FormatError::Channels { source: 2, target: 1 },
            "2 channels cannot become 1, both formats must have the same number",
        ),
        (
            format(768_000, 1),
            format(767_999, 1),
            FormatError::Block {
                source_rate: 768_000,
                target_rate: 767_999,
                samples: 768_000,
                limit: 524_288,
            },
            "resampling 768000 Hz to 767999 Hz needs blocks of 768000 samples, limit is 524288",
        ),
        (
            format(1, 1),
            format(u32::MAX, u16::MAX),
            FormatError::Channels {
                source: 1,
                target: u16::MAX,
            },
            "1 channels cannot become 65535, both formats must have the same number",
        ),
        (
            format(1, u16::MAX),
            format(u32::MAX, u16::MAX),
            FormatError::Block {
                source_rate: 1,
                target_rate: u32::MAX,
                samples: 160 * u64::from(u32::MAX) * u64::from(u16::MAX),
                limit: 524_288,
            },
            "resampling 1 Hz to 4294967295 Hz needs blocks of 45035309068452000 samples, limit is 524288",
        ),
    ] {
        let refused = Stream::new(source, target).err().expect("these formats are refused");
        assert_eq!(refused, error);
        assert_eq!(refused.to_string(), message);
    }
}

#[test]
fn other_rates_work_too() {
    for (source_rate, target_rate) in [
        (11025, 48000),
        (32000, 8000),
        (8000, 192_000),
        (96000, 22050),
        (8000, 8001),
    ] {
        let out = whole(&mut floats(source_rate, target_rate), &bytes_of(&noise(12345, 10)));
        assert_eq!(out.len() / 4, expected_frames(12345, source_rate, target_rate));
    }
}

#[test]
fn a_gain_is_that_of_the_input_in_float() {
    let samples: Vec<f32> = noise(9000, 12).iter().map(|sample| sample * 0.9).collect();
    for (source_rate, target_rate) in [(24000, 24000), (22050, 8000), (22050, 48000)] {
        // Cut at no place that means anything to the filter; the gain changes with each cut.
        let mut expected = Vec::new();
        let mut stream = floats(source_rate, target_rate);
        let mut out = Vec::new();
        for (piece, gain) in samples.chunks(1000).zip([1.0, 2.0, 0.5, 1.37, 4.0].into_iter().cycle()) {
            expected.extend(piece.iter().map(|sample| {
                let product: f32 = sample * gain;
                product.clamp(-1.0, 1.0)
            }));
            stream
                .process_with_gain(&bytes_of(piece), gain, &mut out)
                .expect("whole frames");
        }
        stream.finish(&mut out);
        assert!(
            out == whole(&mut floats(source_rate, target_rate), &bytes_of(&expected)),
            "{source_rate} to {target_rate} Hz"
        );
    }
}

#[test]
fn a_gain_reaches_every_encoding_and_saturates() {
    let data = bytes_of(&noise(4000, 13).iter().map(|sample| sample * 1.9).collect::<Vec<_>>());
    for source in Encoding::ALL {
        let mut encoded = Vec::new();
        transcode(&data, Encoding::PcmF32le, source, &mut encoded).expect("whole samples");
        let mut as_float = Vec::new();
        transcode(&encoded, source, Encoding::PcmF32le, &mut as_float).expect("whole samples");
        let louder: Vec<f32> = as_float
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| (f32::from_le_bytes(bytes) * 2.0).clamp(-1.0, 1.0))
            .collect();
        for target in Encoding::ALL {
            let mut stream = Stream::new(mono(source, 24000), mono(target, 24000)).expect("equal rates");
            let mut out = Vec::new();
            stream.process_with_gain(&encoded, 2.0, &mut out).expect("whole frames");
            let mut expected = Vec::new();
            transcode(&bytes_of(&louder), Encoding::PcmF32le, target, &mut expected).expect("whole samples");
            assert!(out == expected, "{source} to {target}");
            assert_eq!(
                stream
                    .process_with_gain(&encoded[..encoded.len() - 1], 2.0, &mut out)
                    .is_err(),
                source.sample_width() > 1
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_gives_the_same_bytes(
        pair in prop::sample::select(pairs().collect::<Vec<_>>()),
        frames in 0_usize..4000,
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let data = bytes_of(&noise(frames, 11));
        let expected = whole(&mut floats(pair.0, pair.1), &data);
        cuts.sort_by_key(|cut| cut.index(frames + 1));
        let mut stream = floats(pair.0, pair.1);
        let mut out = Vec::new();
        let mut start = 0;
        for end in cuts.iter().map(|cut| 4 * cut.index(frames + 1)).chain([data.len()]) {
            stream.process(&data[start..end], &mut out).expect("whole frames");
            start = end;
        }
        stream.finish(&mut out);
        prop_assert_eq!(out.len() / 4, expected_frames(frames, pair.0, pair.1));
        prop_assert!(out == expected, "{} to {} Hz", pair.0, pair.1);
    }
}
