//! The inner loops: base64 on each path beside the crate that is its oracle, G.711, the resampler.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::hint::black_box;
use std::mem::MaybeUninit;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_audio::{Encoding, Format, Stream, transcode};
use voxwire_benches::{SIZES, pcm};
use voxwire_kernels::base64::{Path, decode_with, encode_with};

fn base64_paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("base64");
    for size in SIZES {
        let data = pcm(size, 1);
        let text = STANDARD.encode(&data);
        group.throughput(Throughput::Bytes(text.len() as u64));
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            let mut out = vec![MaybeUninit::new(0); size];
            decode_with(path, text.as_bytes(), &mut out).unwrap();
            let decoded: Vec<u8> = out
                .iter()
                // SAFETY: the buffer was made of initialised bytes.
                .map(|byte| unsafe { byte.assume_init() })
                .collect();
            assert_eq!(decoded, data);
            group.bench_function(BenchmarkId::new(format!("decode {path:?}"), size), |bencher| {
                bencher.iter(|| decode_with(path, black_box(text.as_bytes()), black_box(&mut out)));
            });
            let mut encoded = Vec::new();
            encode_with(path, &data, &mut encoded);
            assert_eq!(encoded, text.as_bytes());
            group.bench_function(BenchmarkId::new(format!("encode {path:?}"), size), |bencher| {
                bencher.iter(|| {
                    encoded.clear();
                    encode_with(path, black_box(&data), &mut encoded);
                    black_box(&encoded);
                });
            });
        }
        let mut out = vec![0; size + 4];
        group.bench_function(BenchmarkId::new("decode crate base64", size), |bencher| {
            bencher.iter(|| STANDARD.decode_slice(black_box(text.as_bytes()), black_box(&mut out)));
        });
    }
    group.finish();
}

fn transcoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transcode");
    let data = pcm(9600, 1);
    let pairs = [
        (Encoding::PcmMulaw, Encoding::PcmS16le),
        (Encoding::PcmAlaw, Encoding::PcmS16le),
        (Encoding::PcmS16le, Encoding::PcmMulaw),
        (Encoding::PcmS16le, Encoding::PcmAlaw),
        (Encoding::PcmS16le, Encoding::PcmF32le),
    ];
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (source, target) in pairs {
        let mut out = Vec::new();
        transcode(&data, source, target, &mut out).unwrap();
        assert_eq!(out.len() / target.sample_width(), data.len() / source.sample_width());
        group.bench_function(format!("{} to {}", source.name(), target.name()), |bencher| {
            bencher.iter(|| {
                out.clear();
                transcode(black_box(&data), source, target, &mut out).unwrap();
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn resampling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resample 20 ms");
    for (from, to) in [(24000, 8000), (22050, 24000), (44100, 48000)] {
        let [source, target] = [from, to].map(|sample_rate| Format {
            encoding: Encoding::PcmS16le,
            sample_rate,
            channels: 1,
        });
        let piece = vec![0; from as usize / 50 * 2];
        let mut out = Vec::new();
        let mut check = Stream::new(source, target).unwrap();
        check.process(&piece, &mut out).unwrap();
        check.finish(&mut out);
        assert_eq!(out.len(), to as usize / 50 * 2);
        group.throughput(Throughput::Elements(piece.len() as u64 / 2));
        group.bench_function(format!("{from} to {to}"), |bencher| {
            let mut stream = Stream::new(source, target).unwrap();
            bencher.iter(|| {
                out.clear();
                stream.process(black_box(&piece), &mut out).unwrap();
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, base64_paths, transcoding, resampling);
criterion_main!(benches);
