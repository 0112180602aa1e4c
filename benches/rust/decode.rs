//! Decoding in memory: frame + JSON + base64 to PCM, no socket, no Python.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::hint::black_box;
use std::mem::MaybeUninit;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_benches::{SIZES, chunks};
use voxwire_core::frame::{FrameReader, Incoming, Role};
use voxwire_core::message::{ServerMessage, decode_server};
use voxwire_kernels::base64::{decode, decoded_len};

const MAX_MESSAGE: u64 = 1 << 24;

/// Decodes the one chunk of `wire` into `out` and returns its length.
fn decode_chunk(reader: &mut FrameReader, wire: &[u8], out: &mut [MaybeUninit<u8>]) -> usize {
    let mut input = wire;
    let Incoming::Text { payload, checked, .. } = reader.read(&mut input).unwrap().unwrap() else {
        unreachable!("the stream holds text frames only")
    };
    let ServerMessage::Chunk { data: Some(text), .. } = decode_server(payload, checked).unwrap() else {
        unreachable!("the stream holds chunks only")
    };
    let length = decoded_len(&text).unwrap();
    decode(&text, &mut out[..length]).unwrap();
    length
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in SIZES {
        let (frames, source) = chunks(size, |data| STANDARD.encode(data));
        let mut out = vec![MaybeUninit::new(0); size];
        for (wire, data) in frames.iter().zip(&source) {
            let length = decode_chunk(&mut FrameReader::new(Role::Client, MAX_MESSAGE), wire, &mut out);
            let decoded: Vec<u8> = out[..length]
                .iter()
                // SAFETY: the buffer was made of initialised bytes.
                .map(|byte| unsafe { byte.assume_init() })
                .collect();
            assert_eq!(&decoded, data);
        }
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::new("message", size), &frames, |bencher, frames| {
            let mut reader = FrameReader::new(Role::Client, MAX_MESSAGE);
            let mut turn = frames.iter().cycle();
            bencher.iter(|| {
                let wire = turn.next().unwrap();
                let length = decode_chunk(&mut reader, black_box(wire), &mut out);
                black_box(&out[..length]);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
