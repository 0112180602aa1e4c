//! The inner loops: base64, G.711 and the conversions of samples on each path of this processor, beside their
//! rivals: the fastest crates, and for G.711 the lookup tables that everybody has.
//!
//! Throughput counts the text of base64 in both directions, and of samples the bytes that go in.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD};
use base64::engine::simd::Simd;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_benches::{SIZES, pcm};
use voxwire_kernels::base64::{Path, decode_with, encode_into_with};
use voxwire_kernels::convert::{self, Coding, convert_with, converted_len};
use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};
use voxwire_kernels::mask;

/// More than the longest output here: some crates want room for their own estimate.
const ROOM_BYTES: usize = 160_000;

/// Checks the answer of `run`, which writes to the beginning of a room, then measures it.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: usize,
    expected: &[u8],
    mut run: impl FnMut(&mut [u8]),
) {
    let mut out = vec![0; ROOM_BYTES];
    run(&mut out);
    assert!(out.starts_with(expected), "{name}, {size} bytes");
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter(|| run(black_box(&mut out)));
    });
}

/// The first bytes of a room, lent as if they were not initialised.
fn uninit(out: &mut [u8], size_bytes: usize) -> &mut [MaybeUninit<u8>] {
    let out = &mut out[..size_bytes];
    // SAFETY: the layout is the same, and the kernels write nothing but initialised bytes.
    unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<u8>]) }
}

fn base64_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("base64 decode");
    for size in SIZES {
        let data = pcm(size, 1);
        let text = STANDARD.encode(&data);
        let text = text.as_bytes();
        group.throughput(Throughput::Bytes(text.len() as u64));
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            measure(&mut group, &format!("{path:?}"), size, &data, |out| {
                decode_with(path, black_box(text), uninit(out, size)).unwrap();
            });
        }
        measure(&mut group, "crate base64-turbo", size, &data, |out| {
            black_box(base64_turbo::STANDARD.decode_into(black_box(text), out).unwrap());
        });
        measure(&mut group, "crate base64-simd", size, &data, |out| {
            let out = base64_simd::Out::from_slice(out);
            black_box(base64_simd::STANDARD.decode(black_box(text), out).unwrap());
        });
        let simd = Simd::standard(GeneralPurposeConfig::new());
        measure(&mut group, "crate base64", size, &data, |out| {
            black_box(simd.decode_slice(black_box(text), out).unwrap());
        });
    }
    group.finish();
}

fn base64_encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("base64 encode");
    for size in SIZES {
        let data = pcm(size, 1);
        let text = STANDARD.encode(&data);
        let (data, text) = (&data[..], text.as_bytes());
        group.throughput(Throughput::Bytes(text.len() as u64));
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            measure(&mut group, &format!("{path:?}"), size, text, |out| {
                encode_into_with(path, black_box(data), uninit(out, text.len()));
            });
        }
        measure(&mut group, "crate base64-turbo", size, text, |out| {
            black_box(base64_turbo::STANDARD.encode_into(black_box(data), out).unwrap());
        });
        measure(&mut group, "crate base64-simd", size, text, |out| {
            let out = base64_simd::Out::from_slice(out);
            black_box(base64_simd::STANDARD.encode(black_box(data), out));
        });
        let simd = Simd::standard(GeneralPurposeConfig::new());
        measure(&mut group, "crate base64", size, text, |out| {
            black_box(simd.encode_slice(black_box(data), out).unwrap());
        });
    }
    group.finish();
}

/// Samples of a coding that look like loud speech: every code and every exponent, nothing beyond full scale.
fn sound(coding: Coding, size: usize) -> Vec<u8> {
    match coding {
        Coding::F32 => pcm(size / 2, 1)
            .as_chunks()
            .0
            .iter()
            .flat_map(|&bytes| (f32::from(i16::from_le_bytes(bytes)) / 32768.0).to_le_bytes())
            .collect(),
        Coding::S16 | Coding::Mulaw | Coding::Alaw => pcm(size, 1),
    }
}

fn g711(criterion: &mut Criterion) {
    for (law, coding, decode, encode) in [
        (
            "mu-law",
            Coding::Mulaw,
            mulaw_to_sample as fn(u8) -> i16,
            sample_to_mulaw as fn(i16) -> u8,
        ),
        ("A-law", Coding::Alaw, alaw_to_sample, sample_to_alaw),
    ] {
        let samples: Vec<[u8; 2]> = (0..=u8::MAX).map(|code| decode(code).to_le_bytes()).collect();
        let codes: Vec<u8> = (0..=u16::MAX).map(|sample| encode(sample.cast_signed())).collect();
        let mut group = criterion.benchmark_group(format!("{law} to s16"));
        for size in SIZES {
            let data = &sound(coding, size)[..];
            let expected: Vec<u8> = data.iter().flat_map(|&code| samples[usize::from(code)]).collect();
            conversions(&mut group, data, coding, Coding::S16, &expected);
            let samples: &[[u8; 2]; 256] = samples.as_slice().try_into().unwrap();
            measure(&mut group, "table of 256", size, &expected, |out| {
                for (&code, slot) in black_box(data).iter().zip(out.as_chunks_mut().0) {
                    *slot = samples[usize::from(code)];
                }
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("s16 to {law}"));
        for size in SIZES {
            let data = &sound(Coding::S16, size)[..];
            let index = |&sample: &[u8; 2]| usize::from(u16::from_le_bytes(sample));
            let expected: Vec<u8> = data.as_chunks().0.iter().map(|sample| codes[index(sample)]).collect();
            conversions(&mut group, data, Coding::S16, coding, &expected);
            let codes: &[u8; 65536] = codes.as_slice().try_into().unwrap();
            measure(&mut group, "table of 65536", size, &expected, |out| {
                for (sample, slot) in black_box(data).as_chunks().0.iter().zip(out) {
                    *slot = codes[index(sample)];
                }
            });
        }
        group.finish();
    }
}

fn samples(criterion: &mut Criterion) {
    for (source, target) in [
        (Coding::S16, Coding::F32),
        (Coding::F32, Coding::S16),
        (Coding::Mulaw, Coding::F32),
        (Coding::F32, Coding::Mulaw),
    ] {
        let mut group = criterion.benchmark_group(format!("{source:?} to {target:?}"));
        for size in SIZES {
            let data = sound(source, size);
            let mut expected = vec![0; converted_len(size, source, target)];
            let size_bytes = expected.len();
            convert_with(
                convert::Path::Scalar,
                &data,
                source,
                target,
                uninit(&mut expected, size_bytes),
            );
            conversions(&mut group, &data, source, target, &expected);
        }
        group.finish();
    }
}

fn conversions(group: &mut BenchmarkGroup<'_, WallTime>, data: &[u8], source: Coding, target: Coding, expected: &[u8]) {
    group.throughput(Throughput::Bytes(data.len() as u64));
    for path in convert::Path::ALL.into_iter().filter(|path| path.is_available()) {
        measure(group, &format!("{path:?}"), data.len(), expected, |out| {
            convert_with(path, black_box(data), source, target, uninit(out, expected.len()));
        });
    }
}

fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    let key = [0x37, 0xfa, 0x21, 0x3d];
    for size in SIZES {
        let data = &pcm(size, 1)[..];
        let expected: Vec<u8> = data
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        group.throughput(Throughput::Bytes(size as u64));
        measure(&mut group, "copied and masked", size, &expected, |out| {
            out[..size].copy_from_slice(black_box(data));
            mask::apply(&mut out[..size], key, 0);
        });
        measure(&mut group, "copied", size, data, |out| {
            out[..size].copy_from_slice(black_box(data));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // Some two hundred functions of a microsecond each: enough for a median, and done in minutes.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(30);
    targets = base64_decode, base64_encode, g711, samples, masking
}
criterion_main!(benches);
