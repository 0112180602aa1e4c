//! Encoding in memory: PCM to frame + JSON + base64 in the transmit buffer of a server, beside what its client pays to
//! decode the same bytes.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_audio::{Encoding, Format};
use voxwire_benches::host::Vectors;
use voxwire_benches::{CONTEXT_ID, ROTATION, SIZES, pcm};
use voxwire_core::connection::{Config, Connection, Event};
use voxwire_core::frame::Role;

/// Time that the sampling of one figure takes.
const SAMPLING: Duration = Duration::from_millis(800);
/// Milliseconds that a chunk took to make: short in decimals, as a server that rounds sends them, and as measured.
const STEP_TIMES_MS: [(&str, f64); 2] = [("rounded", 12.345), ("measured", 12.345_678_901_234)];

fn end(role: Role) -> Connection<usize, Vec<u8>> {
    Connection::new(&Config {
        ping_interval_s: None,
        ..Config::new(role, [7; 32])
    })
}

fn client() -> Connection<usize, Vec<u8>> {
    let mut client = end(Role::Client);
    let format = Format {
        encoding: Encoding::PcmS16le,
        sample_rate: 24000,
        channels: 1,
    };
    client.open_context(CONTEXT_ID, 0, format, None, None).unwrap();
    client
}

/// What the client makes of the wire must be what the server was given.
fn check(wires: &[Vec<u8>], source: &[Vec<u8>]) {
    let mut client = client();
    for (wire, expected) in wires.iter().zip(source) {
        client.handle_data(wire, None, &Vectors);
        let events = client.poll_events();
        let [Event::Audio { data, .. }] = events.as_slice() else {
            unreachable!("every message is a chunk of an open context")
        };
        assert_eq!(data, expected);
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group
        .warm_up_time(SAMPLING / 4)
        .measurement_time(SAMPLING)
        .sample_size(20);
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let source: Vec<_> = (0..ROTATION).map(|seed| pcm(size, seed)).collect();
        for (name, step_time_ms) in STEP_TIMES_MS {
            let mut server = end(Role::Server);
            let mut encode = |data: &[u8]| {
                server.send_chunk(CONTEXT_ID, data, step_time_ms, Some(1)).unwrap();
                server.poll_transmit()
            };
            let wires: Vec<_> = source.iter().map(|data| encode(data)).collect();
            check(&wires, &source);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let mut turn = source.iter().cycle();
                bencher.iter(|| encode(black_box(turn.next().unwrap())));
            });
            group.bench_function(BenchmarkId::new(format!("{name}-decoded"), size), |bencher| {
                let mut client = client();
                let mut turn = wires.iter().cycle();
                bencher.iter(|| {
                    client.handle_data(black_box(turn.next().unwrap()), None, &Vectors);
                    client.poll_events()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
