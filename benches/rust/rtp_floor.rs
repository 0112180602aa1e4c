//! The floor under every sender of RTP: one thread, slots of 1 ms, a connected socket and one system call a packet; no
//! queue, no statistics, no Python.
//!
//! Its argument is an object in JSON, as the programs in `rivals/rtp_common.py` have it.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use serde_json::json;
use voxwire_benches::process::{Plan, cpu_s, monotonic_ns, tell};

const SLOTS: usize = 20;
const SLOT_NS: u64 = 1_000_000;
const HEADER_BYTES: usize = 12;
const FRAMES: usize = 160;

struct Stream {
    socket: UdpSocket,
    packet: [u8; HEADER_BYTES + FRAMES],
    /// Where its audio begins in the source.
    start: usize,
}

fn main() -> io::Result<()> {
    let plan = Plan::from_argument()?;
    let (packets, block_bytes) = (plan.number("packets"), plan.number("block_bytes"));
    let (source, ports) = (fs::read(plan.text("source"))?, plan.numbers("ports"));
    let mut streams: Vec<_> = (0..plan.number("streams"))
        .map(|number| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(("127.0.0.1", ports[number % ports.len()] as u16))?;
            let mut packet = [0; HEADER_BYTES + FRAMES];
            packet[0] = 0x80;
            let ssrc = (plan.number("first_ssrc") + number) as u32;
            packet[8..HEADER_BYTES].copy_from_slice(&ssrc.to_be_bytes());
            let start = number * block_bytes % source.len();
            Ok(Stream { socket, packet, start })
        })
        .collect::<io::Result<_>>()?;
    let (cpu, start_ns) = (cpu_s(), monotonic_ns());
    let occupied = SLOTS.min(streams.len());
    for slot in (0..packets * SLOTS).filter(|slot| slot % SLOTS < occupied) {
        let due_ns = start_ns + slot as u64 * SLOT_NS;
        if let Some(early_ns) = due_ns.checked_sub(monotonic_ns()) {
            thread::sleep(Duration::from_nanos(early_ns));
        }
        let number = slot / SLOTS;
        let place = number * FRAMES % block_bytes;
        for stream in streams.iter_mut().skip(slot % SLOTS).step_by(SLOTS) {
            let audio = &source[stream.start + place..][..FRAMES];
            stream.packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            stream.packet[4..8].copy_from_slice(&((number * FRAMES) as u32).to_be_bytes());
            stream.packet[HEADER_BYTES..].copy_from_slice(audio);
            stream.socket.send(&stream.packet)?;
        }
    }
    let (cpu, wall) = (cpu_s() - cpu, (monotonic_ns() - start_ns) as f64 * 1e-9);
    tell(&json!({"cpu_s": cpu, "wall_s": wall}))
}
