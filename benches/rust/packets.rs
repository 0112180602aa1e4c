//! One packet of RTP: 20 ms of audio from the host's queue to what a system call takes, by encoding and protection.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::hint::black_box;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voxwire_benches::{ROTATION, pcm};
use voxwire_rtp::packet::{Coding, HEADER_BYTES};
use voxwire_rtp::random::Random;
use voxwire_rtp::sender::Sender;
use voxwire_rtp::settings::{Idle, Settings};
use voxwire_rtp::slot::{Slot, Turn};
use voxwire_rtp::srtp::{MASTER_BYTES, MasterKey, Sealer, Suite};
use voxwire_rtp::statistics::Counters;
use voxwire_sink::{Quality, Queue, Wake};

const PTIME_NS: u64 = 20_000_000;
const SETTINGS: Settings = Settings {
    coding: Coding::Mulaw,
    sample_rate: 8000,
    ptime_ms: 20,
    payload_type: 0,
    idle: Idle::Silence,
    comfort_payload_type: 13,
    event_payload_type: Some(101),
    ssrc: 0x0102_0304,
    sequence: 65_530,
    timestamp: u32::MAX - 500,
};
const LINEAR: Settings = Settings {
    coding: Coding::Linear16,
    sample_rate: 24_000,
    payload_type: 96,
    ..SETTINGS
};

/// A stream without a socket.
struct Stream {
    queue: Queue,
    sender: Sender,
    due_ns: u64,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(settings: Settings, suite: Option<Suite>) -> Self {
        let wake = Wake::new(OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()));
        let frames = u64::from(settings.frames());
        let sealer = suite.map(|suite| Sealer::new(suite, &MasterKey::new(&[7; MASTER_BYTES]).unwrap()));
        Self {
            queue: Queue::new(settings.coding.frame_bytes(), 100 * frames, Quality::Sent, 0, wake),
            sender: Sender::new(settings, sealer, Random::new(1), Arc::new(Counters::default())),
            due_ns: PTIME_NS,
            bytes: Vec::new(),
        }
    }

    /// Writes 20 ms as the host does and takes their packet as the pacer does.
    fn pass(&mut self, audio: &[u8]) -> &[u8] {
        self.queue.write(audio).unwrap();
        self.bytes.clear();
        self.due_ns += PTIME_NS;
        let turn = Turn {
            due_ns: self.due_ns,
            now_ns: self.due_ns,
            paused: false,
        };
        match self.sender.pass(&turn, &self.queue, &mut self.bytes) {
            Slot::Passed {
                packet: Some(packet), ..
            } => {
                self.sender.note_sent(&packet, self.due_ns);
                &self.bytes
            }
            _ => panic!("no packet"),
        }
    }
}

/// What a packet has to be, written down from RFC 3550 section 5.1, without protection.
fn packet(settings: &Settings, number: u32, audio: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, settings.payload_type | u8::from(number == 0) << 7];
    packet.extend(settings.sequence.wrapping_add(number as u16).to_be_bytes());
    let timestamp = settings.timestamp.wrapping_add(number * settings.frames());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(settings.ssrc.to_be_bytes());
    match settings.coding {
        Coding::Linear16 => packet.extend(audio.chunks_exact(2).flat_map(|sample| [sample[1], sample[0]])),
        _ => packet.extend(audio),
    }
    packet
}

fn check(settings: Settings, suite: Option<Suite>, audio: &[Vec<u8>]) {
    let mut stream = Stream::new(settings, suite);
    for (number, audio) in (0_u32..).zip(audio.iter().cycle().take(100)) {
        let expected = packet(&settings, number, audio);
        let made = stream.pass(audio);
        match suite {
            None => assert_eq!(made, expected),
            // That it is the right cipher is the affair of the crate's tests.
            Some(suite) => {
                assert_eq!(made.len(), expected.len() + suite.tag_bytes());
                assert_eq!(made[..HEADER_BYTES], expected[..HEADER_BYTES]);
                assert_ne!(made[HEADER_BYTES..expected.len()], expected[HEADER_BYTES..]);
            }
        }
    }
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rtp packet of 20 ms");
    let ways = [
        ("pcmu", SETTINGS, None),
        ("l16 at 24000", LINEAR, None),
        ("pcmu, srtp", SETTINGS, Some(Suite::AesCm128HmacSha1_80)),
        ("l16 at 24000, srtp", LINEAR, Some(Suite::AesCm128HmacSha1_80)),
    ];
    for (name, settings, suite) in ways {
        let audio: Vec<_> = (0..ROTATION).map(|seed| pcm(settings.payload_bytes(), seed)).collect();
        check(settings, suite, &audio);
        group.throughput(Throughput::Bytes(settings.payload_bytes() as u64));
        group.bench_function(BenchmarkId::new(name, settings.payload_bytes()), |bencher| {
            let mut stream = Stream::new(settings, suite);
            let mut turn = audio.iter().cycle();
            bencher.iter(|| black_box(stream.pass(turn.next().unwrap())).len());
        });
        if suite.is_none() {
            let name = format!("floor of {name}: header and copy");
            group.bench_function(BenchmarkId::new(name, settings.payload_bytes()), |bencher| {
                let mut turn = (0_u32..).zip(audio.iter().cycle());
                let mut bytes = Vec::new();
                bencher.iter(|| {
                    let (number, audio) = turn.next().unwrap();
                    bytes.clear();
                    bytes.extend((0x8000_u16 | u16::from(settings.payload_type)).to_be_bytes());
                    bytes.extend((number as u16).to_be_bytes());
                    bytes.extend(number.wrapping_mul(settings.frames()).to_be_bytes());
                    bytes.extend(settings.ssrc.to_be_bytes());
                    bytes.extend(audio);
                    black_box(bytes.as_slice()).len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
