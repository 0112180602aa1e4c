//! Decoding in memory: frame + JSON + base64 to PCM through a connection, no socket, no Python.
//!
//! One message at a time, each whole in its read. `reused` writes every chunk into the same buffer, `fresh` makes one for
//! each, which adds what allocation costs; `records` does the same in pieces of 16 KiB, as TLS brings them, which cut the
//! frames anywhere. The shapes at one size show what a decoder that knows only the usual message pays for another one.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::cell::RefCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_audio::{Encoding, Format};
use voxwire_benches::host::Vectors;
use voxwire_benches::{CONTEXT_ID, SIZES, frame, pcm};
use voxwire_core::connection::{Config, Connection, Event, Fill, Host, OutOfMemory};
use voxwire_core::frame::Role;

/// Messages that take turns: with so many no cache and no branch knows the next, and the largest lie in the second-level
/// cache, as what a read has just brought does (performance.md section 3).
const MESSAGES: u64 = 8;
/// Contexts that share the connection where the shape says so; the wire names them in turn.
const CONTEXTS: u64 = 20;
/// What a record of TLS carries at most.
const RECORD_BYTES: usize = 16 * 1024;
/// Time that the sampling of one figure takes.
const SAMPLING: Duration = Duration::from_millis(800);

/// Lends one buffer for all chunks. What it hands out is the length alone.
struct Reused(RefCell<Vec<MaybeUninit<u8>>>);

impl Host for Reused {
    type Buffer = usize;
    type Owner = usize;

    fn share(&self, owner: &usize) -> usize {
        *owner
    }

    fn begin(&self, size: usize) -> Result<usize, OutOfMemory> {
        let mut room = self.0.borrow_mut();
        if room.len() < size {
            room.resize(size, MaybeUninit::new(0));
        }
        Ok(size)
    }

    fn write(&self, _: &mut usize, start: usize, size: usize, fill: Fill<'_>) -> bool {
        fill(&mut self.0.borrow_mut()[start..start + size])
    }

    /// Only chunks that cut a frame are read back, and there is none here.
    fn bytes<'a>(&'a self, _: &'a usize, _: usize) -> &'a [u8] {
        &[]
    }
}

fn context_id(number: u64) -> String {
    format!("{}{number:02}", &CONTEXT_ID[..CONTEXT_ID.len() - 2])
}

fn client<H: Host<Owner = usize>>() -> Connection<usize, H::Buffer> {
    let mut client = Connection::new(&Config {
        ping_interval_s: None,
        ..Config::new(Role::Client, [7; 32])
    });
    let format = Format {
        encoding: Encoding::PcmS16le,
        sample_rate: 24000,
        channels: 1,
    };
    for number in 0..CONTEXTS {
        client
            .open_context(&context_id(number), number as usize, format, None, None)
            .unwrap();
    }
    client
}

/// One message by its place in the stream, its base64 and the id of its context.
type Shape = fn(turn: u64, text: &str, id: &str) -> String;

fn standard(_: u64, text: &str, id: &str) -> String {
    format!(r#"{{"type":"chunk","data":"{text}","done":false,"status_code":206,"step_time":123,"context_id":"{id}"}}"#)
}

/// Name, message, contexts that take turns.
const SHAPES: [(&str, Shape, u64); 8] = [
    ("standard", standard, 1),
    ("contexts", standard, CONTEXTS),
    (
        "id-first",
        |_, text, id| {
            format!(
                r#"{{"context_id":"{id}","status_code":206,"done":false,"type":"chunk","step_time":123,"data":"{text}"}}"#
            )
        },
        1,
    ),
    (
        "own-server",
        |turn, text, id| {
            let step_time = (turn * 7919 % 100_000) as f64 / 1000.0;
            format!(
                r#"{{"type":"chunk","context_id":"{id}","data":"{text}","done":false,"status_code":206,"step_time":{step_time},"flush_id":1}}"#
            )
        },
        1,
    ),
    (
        "flush-id",
        |turn, text, id| {
            format!(
                r#"{{"type":"chunk","data":"{text}","done":false,"status_code":206,"step_time":123,"context_id":"{id}","flush_id":{}}}"#,
                turn / 4
            )
        },
        1,
    ),
    (
        "step-time",
        |turn, text, id| {
            let step_time = 100.0 / (turn + 3) as f64;
            format!(
                r#"{{"type":"chunk","data":"{text}","done":false,"status_code":206,"step_time":{step_time},"context_id":"{id}"}}"#
            )
        },
        1,
    ),
    (
        "alternating",
        |turn, text, id| {
            if turn.is_multiple_of(2) {
                return standard(turn, text, id);
            }
            format!(
                r#"{{"type":"chunk","context_id":"{id}","data":"{text}","done":false,"status_code":206,"step_time":9,"flush_id":1}}"#
            )
        },
        1,
    ),
    (
        "spaced",
        |_, text, id| {
            format!(
                r#"{{"type": "chunk", "data": "{text}", "done": false, "status_code": 206, "step_time": 123, "context_id": "{id}"}}"#
            )
        },
        1,
    ),
];

/// The frames of a rotation that is the same again after its end, and the PCM that each carries.
fn rotation(size: usize, shape: Shape, contexts: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let turns = 0..MESSAGES.max(contexts);
    let source: Vec<_> = turns.clone().map(|turn| pcm(size, turn)).collect();
    let frames = turns
        .zip(&source)
        .map(|(turn, data)| frame(shape(turn, &STANDARD.encode(data), &context_id(turn % contexts)).as_bytes()))
        .collect();
    (frames, source)
}

/// Every chunk must come out as it went in, before anything is timed; twice, since a first message may teach.
fn check(frames: &[Vec<u8>], source: &[Vec<u8>], contexts: u64) {
    let mut client = client::<Vectors>();
    for _ in 0..2 {
        for (turn, (wire, expected)) in frames.iter().zip(source).enumerate() {
            client.handle_data(wire, None, &Vectors);
            let events = client.poll_events();
            let [Event::Audio { owner, data, .. }] = events.as_slice() else {
                unreachable!("every message is a chunk of an open context")
            };
            assert_eq!(*owner as u64, turn as u64 % contexts);
            assert_eq!(data, expected);
        }
    }
}

fn measure<H: Host<Owner = usize>>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    frames: &[Vec<u8>],
    host: &H,
) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(id, |bencher| {
        let mut client = client::<H>();
        let mut turn = frames.iter().cycle();
        bencher.iter_custom(|messages| {
            let start = Instant::now();
            for _ in 0..messages {
                client.handle_data(black_box(turn.next().unwrap()), None, host);
                black_box(client.poll_events());
            }
            start.elapsed()
        });
    });
}

/// A stream of the frames, again and again, cut where records end.
fn measure_records(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    frames: &[Vec<u8>],
    source: &[Vec<u8>],
) {
    let stream = frames.concat();
    let records: Vec<_> = stream.chunks(RECORD_BYTES).collect();
    let mut client = client::<Vectors>();
    for _ in 0..2 {
        let mut heard = Vec::new();
        for record in &records {
            client.handle_data(record, None, &Vectors);
            heard.extend(client.poll_events());
        }
        for (event, expected) in heard.iter().zip(source) {
            assert!(matches!(event, Event::Audio { data, .. } if data == expected));
        }
        assert_eq!(heard.len(), source.len());
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function(id, |bencher| {
        // Timed a stream, counted a message.
        bencher.iter_custom(|messages| {
            let streams = messages.div_ceil(frames.len() as u64);
            let start = Instant::now();
            for _ in 0..streams {
                for record in &records {
                    client.handle_data(black_box(record), None, &Vectors);
                    black_box(client.poll_events());
                }
            }
            start
                .elapsed()
                .mul_f64(messages as f64 / (streams * frames.len() as u64) as f64)
        });
    });
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group
        .warm_up_time(SAMPLING / 4)
        .measurement_time(SAMPLING)
        .sample_size(20);
    let reused = Reused(RefCell::default());
    for size in SIZES {
        let (frames, source) = rotation(size, standard, 1);
        check(&frames, &source, 1);
        measure(&mut group, BenchmarkId::new("reused", size), &frames, &reused);
        measure(&mut group, BenchmarkId::new("fresh", size), &frames, &Vectors);
        measure_records(&mut group, BenchmarkId::new("records", size), &frames, &source);
    }
    for (name, shape, contexts) in SHAPES {
        for size in [160, 1920] {
            let (frames, source) = rotation(size, shape, contexts);
            check(&frames, &source, contexts);
            measure(&mut group, BenchmarkId::new(name, size), &frames, &reused);
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
