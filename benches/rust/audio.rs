//! Streams between formats: what a piece costs by pair of rates and size, in many streams, and what making one costs.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::f64::consts::TAU;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_audio::{Encoding, Format, Stream, transcode};

const RATES: [(u32, u32); 7] = [
    (24000, 8000),
    (24000, 16000),
    (44100, 16000),
    (48000, 8000),
    (8000, 24000),
    (24000, 48000),
    (44100, 48000),
];
const TONE_HZ: f64 = 1000.0;
const AMPLITUDE: f64 = 16000.0;
/// So many that what each keeps no longer fits the caches.
const MANY: usize = 500;

const fn format(encoding: Encoding, sample_rate: u32) -> Format {
    Format {
        encoding,
        sample_rate,
        channels: 1,
    }
}

/// A tone that starts at its crest.
fn tone(sample_rate: u32, frames: usize) -> Vec<f64> {
    let turn = TAU * TONE_HZ / f64::from(sample_rate);
    (0..frames)
        .map(|frame| AMPLITUDE * (turn * frame as f64).cos())
        .collect()
}

fn s16(samples: &[f64]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| (sample.round() as i16).to_le_bytes())
        .collect()
}

/// Asserts that a tone in `source` is the same tone in `target`, but for its ends and what the encoding rounds.
fn check(source: Format, target: Format, piece_bytes: usize) {
    let mut stream = Stream::new(source, target).unwrap();
    let mut out = Vec::new();
    let data = s16(&tone(source.sample_rate, source.sample_rate as usize));
    for piece in data.chunks(piece_bytes) {
        stream.process(piece, &mut out).unwrap();
    }
    stream.finish(&mut out);
    let mut samples = Vec::new();
    transcode(&out, target.encoding, Encoding::PcmS16le, &mut samples).unwrap();
    let expected = tone(target.sample_rate, target.sample_rate as usize);
    assert_eq!(samples.len(), 2 * expected.len());
    let tolerance = match target.encoding {
        Encoding::PcmS16le | Encoding::PcmF32le => 1.1,
        Encoding::PcmMulaw | Encoding::PcmAlaw => 300.0,
    };
    let skipped = expected.len() / 25;
    for (bytes, expected) in samples
        .as_chunks()
        .0
        .iter()
        .zip(expected)
        .skip(skipped)
        .take(skipped * 20)
    {
        assert!((f64::from(i16::from_le_bytes(*bytes)) - expected).abs() < tolerance);
    }
}

fn measure(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    (source, target): (Format, Format),
    milliseconds: usize,
) {
    let piece = s16(&tone(
        source.sample_rate,
        source.sample_rate as usize * milliseconds / 1000,
    ));
    check(source, target, piece.len());
    group.throughput(Throughput::Elements(piece.len() as u64 / 2));
    group.bench_function(id, |bencher| {
        let mut stream = Stream::new(source, target).unwrap();
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            stream.process(black_box(&piece), &mut out).unwrap();
            black_box(&out);
        });
    });
}

fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream s16");
    for (source_rate, target_rate) in RATES {
        let formats = (
            format(Encoding::PcmS16le, source_rate),
            format(Encoding::PcmS16le, target_rate),
        );
        for milliseconds in [20, 200] {
            let id = BenchmarkId::new(format!("{source_rate} to {target_rate}"), format!("{milliseconds} ms"));
            measure(&mut group, id, formats, milliseconds);
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("stream s16 to mu-law at 8000 Hz");
    for source_rate in [8000, 24000, 48000] {
        let formats = (
            format(Encoding::PcmS16le, source_rate),
            format(Encoding::PcmMulaw, 8000),
        );
        let id = BenchmarkId::new(format!("from {source_rate}"), "20 ms");
        measure(&mut group, id, formats, 20);
    }
    group.finish();
}

/// A talker each, their pieces of 20 ms in turn: what one finds of itself in the caches is little.
fn many(criterion: &mut Criterion) {
    let (source, target) = (format(Encoding::PcmS16le, 24000), format(Encoding::PcmMulaw, 8000));
    let piece = s16(&tone(24000, 480));
    check(source, target, piece.len());
    let mut group = criterion.benchmark_group("streams in turn, s16 at 24000 to mu-law at 8000 Hz, 20 ms");
    group.throughput(Throughput::Elements(480));
    group.bench_function(BenchmarkId::from_parameter(MANY), |bencher| {
        let mut streams: Vec<Stream> = (0..MANY).map(|_| Stream::new(source, target).unwrap()).collect();
        let mut next = 0;
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            streams[next].process(black_box(&piece), &mut out).unwrap();
            next = (next + 1) % MANY;
            black_box(&out);
        });
    });
    group.finish();
}

fn making(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make a stream");
    for (source_rate, target_rate) in RATES {
        let (source, target) = (
            format(Encoding::PcmS16le, source_rate),
            format(Encoding::PcmMulaw, target_rate),
        );
        check(source, target, 2 * source_rate as usize / 50);
        group.bench_function(format!("{source_rate} to {target_rate}"), |bencher| {
            bencher.iter(|| Stream::new(black_box(source), black_box(target)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, pieces, many, making);
criterion_main!(benches);
