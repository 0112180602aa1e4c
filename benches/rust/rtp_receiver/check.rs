//! The instrument measured with streams whose faults are known: once over the socket, once with arrivals made up.

use std::io;
use std::net::UdpSocket;

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::stream::{Expected, Packet, Stream};
use crate::witness::{self, Wake};

const SSRC: u32 = 0xffff_fff0;
const FRAMES: u32 = 160;
const STEP_NS: u64 = 20_000_000;

/// Returns an error that names what was found otherwise than it was sent.
pub(crate) fn check() -> io::Result<()> {
    let blocks: Vec<Vec<u8>> = (0..2)
        .map(|block| (0..400_u16).map(|at| at as u8 ^ block).collect())
        .collect();
    let expected = Expected {
        first_ssrc: SSRC,
        payload_type: 0,
        step: FRAMES,
        clock_rate: 8000,
        silence: 0xff,
        blocks,
    };
    jitter(&expected)?;
    wakes()?;
    counts(expected)
}

/// A packet to send.
#[derive(Default)]
struct Sent {
    stream: u32,
    sequence: u16,
    timestamp: u32,
    is_marked: bool,
    /// Bytes of audio before it.
    place: usize,
    /// Bytes of silence at its end.
    padding: usize,
    /// Instead of the audio of its place.
    payload: Option<u8>,
}

impl Sent {
    fn write(&self, expected: &Expected) -> Vec<u8> {
        let mut data = vec![0x80, u8::from(self.is_marked) << 7];
        data.extend(self.sequence.to_be_bytes());
        data.extend(self.timestamp.to_be_bytes());
        data.extend((SSRC + self.stream).to_be_bytes());
        let block = &expected.blocks[self.stream as usize % expected.blocks.len()];
        let audio = block.iter().copied().cycle().skip(self.place);
        data.extend(audio.take(FRAMES as usize).map(|byte| self.payload.unwrap_or(byte)));
        let audio_bytes = data.len() - self.padding;
        data[audio_bytes..].fill(expected.silence);
        data
    }
}

/// A stream whose second half comes 1 ms late: the jitter is 1 ms / 16 there, and falls by a sixteenth a packet.
fn jitter(expected: &Expected) -> io::Result<()> {
    let mut stream = Stream::default();
    for number in 0..4_u16 {
        let sent = Sent {
            sequence: number,
            timestamp: u32::from(number) * FRAMES,
            place: usize::from(number) * FRAMES as usize,
            ..Sent::default()
        };
        let data = sent.write(expected);
        let packet = Packet::parse(&data, expected, 1).ok_or_else(|| io::Error::other("a packet is not understood"))?;
        let late_ns = if number < 2 { 0 } else { 1_000_000 };
        stream.take(&packet, 1_000_000_000 + u64::from(number) * STEP_NS + late_ns, expected);
    }
    let (first, second) = (62.5, 62.5 * 15.0 / 16.0);
    compare(
        "arrivals",
        &stream.report(),
        &json!({
            "packets": 4, "wrong_audio": 0, "jitter_max_us": first, "jitter_mean_us": (first + second) / 3.0,
            "delta_max_us": 21_000.0, "late_max_us": 1000.0,
        }),
    )?;
    let late: Vec<u64> = stream.late_ns().collect();
    if late == [0, 0, 1_000_000, 1_000_000] {
        return Ok(());
    }
    Err(io::Error::other(format!("late by {late:?} ns")))
}

/// Wakes from before the first packet to behind the last; of the first and the last that count a part is outside.
fn wakes() -> io::Result<()> {
    let late_us = [9000, 1500, 20, 1000, 1001, 3000, 9000];
    let wakes = (0..).zip(late_us).map(|(number, late_us)| Wake {
        due_ns: number * 10_000_000,
        late_ns: late_us * 1000,
    });
    let found = witness::report(1, &wakes.collect::<Vec<_>>(), (11_000_000, 51_000_000));
    compare("wakes", &found, &json!({"core": 1, "worst_us": 3000.0, "late": 3}))
}

/// Two streams over a socket: one whole, with a pause, over the wrap of both counters; one with every fault.
fn counts(expected: Expected) -> io::Result<()> {
    let mut receiver = Receiver::new(expected, 2, 1)?;
    let port = receiver.ports()?[0];
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for number in 0..6_u16 {
        let pause = if number < 4 { 0 } else { 10 };
        let sent = Sent {
            sequence: 65534_u16.wrapping_add(number),
            timestamp: (u32::MAX - 100).wrapping_add((u32::from(number) + pause) * FRAMES),
            is_marked: number == 0 || number == 4,
            place: usize::from(number) * FRAMES as usize,
            ..Sent::default()
        };
        socket.send_to(&sent.write(&receiver.expected), ("127.0.0.1", port))?;
    }
    // The third of eleven is lost, the fifth comes after the sixth and again at the end, the seventh is silence, the
    // eighth other audio, half of the ninth is silence, and the tenth's timestamp is no whole packet on.
    for number in [0, 1, 3, 5, 4, 6, 7, 8, 9, 10, 4_u16] {
        let silence = match number {
            ..=6 => 0,
            7 | 8 => FRAMES,
            _ => FRAMES + FRAMES / 2,
        };
        let sent = Sent {
            stream: 1,
            sequence: number,
            timestamp: u32::from(number) * FRAMES + u32::from(number >= 9),
            is_marked: number == 3,
            place: (u32::from(number) * FRAMES - silence) as usize,
            padding: if number == 8 { FRAMES as usize / 2 } else { 0 },
            payload: match number {
                6 => Some(receiver.expected.silence),
                7 => Some(1),
                _ => None,
            },
        };
        socket.send_to(&sent.write(&receiver.expected), ("127.0.0.1", port))?;
    }
    let stranger = Sent {
        stream: 2,
        ..Sent::default()
    };
    socket.send_to(&stranger.write(&receiver.expected), ("127.0.0.1", port))?;
    socket.send_to(&[0x80, 0, 0], ("127.0.0.1", port))?;
    socket.send_to(&[0x80, 200, 0, 6], ("127.0.0.1", port + 1))?;
    receiver.drain()?;
    let found = receiver.report();
    compare(
        "both streams",
        &found,
        &json!({"strangers": 2, "reports": 1, "dropped": 0}),
    )?;
    compare(
        "the whole stream",
        &found["streams"][0],
        &json!({
            "packets": 6, "lost": 0, "duplicates": 0, "reordered": 0, "markers": 2, "starts_with_marker": true,
            "skipped": 1, "wrong_steps": 0, "silent": 0, "padded": 0, "wrong_audio": 0, "audio_bytes": 960,
        }),
    )?;
    compare(
        "the broken stream",
        &found["streams"][1],
        &json!({
            "packets": 10, "lost": 1, "duplicates": 1, "reordered": 1, "markers": 1, "starts_with_marker": false,
            "skipped": 0, "wrong_steps": 1, "silent": 1, "padded": 1, "wrong_audio": 1, "audio_bytes": 1520,
        }),
    )
}

fn compare(what: &str, found: &Value, sent: &Value) -> io::Result<()> {
    for (name, value) in sent.as_object().into_iter().flatten() {
        let is_same = match (found[name].as_f64(), value.as_f64()) {
            (Some(found), Some(sent)) => (found - sent).abs() < 0.001,
            _ => found[name] == *value,
        };
        if !is_same {
            return Err(io::Error::other(format!(
                "{what}: {name} is {}, not {value}",
                found[name]
            )));
        }
    }
    Ok(())
}
