//! What the tests of this crate have in common: a stream without sockets, and eyes for packets.
#![allow(
    dead_code,
    missing_docs,
    reason = "each test uses its part, of a module that is private to it"
)]

pub(crate) mod calls;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use voxwire_rtp::packet::Coding;
use voxwire_rtp::random::Random;
use voxwire_rtp::sender::Sender;
use voxwire_rtp::settings::{Idle, Settings};
use voxwire_rtp::slot::{Packet, Slot, Turn};
use voxwire_rtp::srtp::Sealer;
use voxwire_rtp::statistics::Counters;
use voxwire_sink::{Quality, Queue, Wake};

/// When the first slot of a [`Line`] is due.
pub(crate) const START_NS: u64 = 1_000_000_000_000;

/// A packet as its receiver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: Vec<u8>,
}

impl Seen {
    /// Reads a packet as RFC 3550 5.1 has it.
    pub(crate) fn read(datagram: &[u8]) -> Self {
        assert!(datagram.len() > 12, "{} bytes are no packet", datagram.len());
        assert_eq!(datagram[0], 0x80, "version 2 and nothing else");
        let u32_at = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().expect("four bytes"));
        Self {
            marker: datagram[1] & 0x80 != 0,
            payload_type: datagram[1] & 0x7F,
            sequence: u16::from_be_bytes([datagram[2], datagram[3]]),
            timestamp: u32_at(4),
            ssrc: u32_at(8),
            payload: datagram[12..].to_vec(),
        }
    }
}

/// PCMU in packets of 20 ms, silence in between, counting from round numbers.
pub(crate) fn settings() -> Settings {
    Settings {
        coding: Coding::Mulaw,
        sample_rate: 8000,
        ptime_ms: 20,
        payload_type: 0,
        idle: Idle::Silence,
        comfort_payload_type: 13,
        event_payload_type: Some(101),
        ssrc: 0x1234_5678,
        sequence: 1000,
        timestamp: 50_000,
    }
}

/// A queue for frames of a coding, with room for a second, and the end where its wakes arrive.
pub(crate) fn queue(settings: &Settings) -> (Queue, UnixStream) {
    let (reader, writer) = UnixStream::pair().expect("a pair of sockets");
    reader.set_nonblocking(true).expect("a socket that does not block");
    writer.set_nonblocking(true).expect("a socket that does not block");
    let wake = Wake::new(OwnedFd::from(writer));
    let capacity = u64::from(settings.sample_rate);
    (
        Queue::new(settings.coding.frame_bytes(), capacity, Quality::Sent, 0, wake),
        reader,
    )
}

/// A stream whose slots pass one after the other, each in time unless a test says otherwise.
pub(crate) struct Line {
    pub(crate) sender: Sender,
    pub(crate) queue: Queue,
    pub(crate) counters: Arc<Counters>,
    pub(crate) settings: Settings,
    pub(crate) paused: bool,
    /// When the next slot is due.
    pub(crate) due_ns: u64,
    _wakes: UnixStream,
}

impl Line {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_sealer(settings, None)
    }

    pub(crate) fn with_sealer(settings: Settings, sealer: Option<Sealer>) -> Self {
        let (queue, wakes) = queue(&settings);
        let counters = Arc::new(Counters::default());
        Self {
            sender: Sender::new(settings, sealer, Random::new(7), Arc::clone(&counters)),
            queue,
            counters,
            settings,
            paused: false,
            due_ns: START_NS,
            _wakes: wakes,
        }
    }

    /// Writes so many bytes, counting on from `first`.
    pub(crate) fn write(&self, first: u8, size_bytes: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..size_bytes).map(|at| first.wrapping_add(at as u8)).collect();
        let written = self.queue.write(&data).expect("an open queue").frames;
        let frames = size_bytes / self.settings.coding.frame_bytes();
        assert_eq!(written, frames as u64, "there is room");
        data
    }

    /// Passes the next slot so late; returns what it came to, and the bytes of its packet.
    pub(crate) fn pass(&mut self, late_ns: u64) -> (Slot, Vec<u8>) {
        let mut bytes = b"before".to_vec();
        let turn = Turn {
            due_ns: self.due_ns,
            now_ns: self.due_ns + late_ns,
            paused: self.paused,
        };
        let slot = self.sender.pass(&turn, &self.queue, &mut bytes);
        self.due_ns += self.settings.ptime_ns();
        assert_eq!(&bytes[..6], b"before");
        match &slot {
            Slot::Passed {
                packet: Some(packet), ..
            } => {
                assert_eq!((packet.start, packet.end), (6, bytes.len()));
                self.sender.note_sent(packet, turn.now_ns);
            }
            _ => assert_eq!(bytes.len(), 6, "bytes without a packet"),
        }
        (slot, bytes.split_off(6))
    }

    /// Passes the next slot in time; returns its packet.
    pub(crate) fn next(&mut self) -> Option<Seen> {
        let (_, bytes) = self.pass(0);
        (!bytes.is_empty()).then(|| Seen::read(&bytes))
    }

    pub(crate) fn take(&mut self, slots: usize) -> Vec<Option<Seen>> {
        (0..slots).map(|_| self.next()).collect()
    }

    /// Passes a slot whose packet the system refuses.
    pub(crate) fn fail(&mut self) {
        let mut bytes = Vec::new();
        let turn = Turn {
            due_ns: self.due_ns,
            now_ns: self.due_ns,
            paused: false,
        };
        self.due_ns += self.settings.ptime_ns();
        let packet: Option<Packet> = match self.sender.pass(&turn, &self.queue, &mut bytes) {
            Slot::Passed { packet, .. } => packet,
            _ => None,
        };
        self.sender.note_unsent(&packet.expect("a packet"), &self.queue);
    }
}

/// Markers of a row of slots; None where nothing was in one.
pub(crate) fn markers(packets: &[Option<Seen>]) -> Vec<Option<bool>> {
    packets
        .iter()
        .map(|packet| packet.as_ref().map(|packet| packet.marker))
        .collect()
}
