//! Packets on their way into the system, those of one socket in one call.

use crate::clock::monotonic_ns;
use crate::entry::Entry;
use crate::slot::Packet;
use crate::statistics::Totals;
use crate::system::{BATCH, Mailer};

/// A stream that missed turns has several packets.
const MOST: usize = BATCH + 2;
/// Room for the longest packets, so that it never grows.
const ROOM_BYTES: usize = MOST * 1500;

pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    /// Whose packet it is, within the list that is served.
    packets: Vec<(usize, Packet)>,
    mailer: Mailer,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(ROOM_BYTES),
            packets: Vec::with_capacity(MOST),
            mailer: Mailer::new(),
        }
    }

    pub(crate) fn put(&mut self, index: usize, packet: Option<Packet>) {
        self.packets.extend(packet.map(|packet| (index, packet)));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packets.len() >= BATCH
    }

    /// Sends all that was put, from one socket, and returns the time then.
    pub(crate) fn send(&mut self, list: &mut [Entry], totals: &Totals, mut now_ns: u64) -> u64 {
        let mut rest = &self.packets[..];
        while let Some((first, packet)) = rest.first() {
            let datagrams = rest
                .iter()
                .map(|(index, packet)| (&self.bytes[packet.start..packet.end], &list[*index].destination));
            match self.mailer.send(&list[*first].sockets.rtp, datagrams) {
                Ok(sent) => {
                    now_ns = monotonic_ns();
                    for (index, packet) in &rest[..sent] {
                        if let Some(variation_ns) = list[*index].note_sent(packet, now_ns) {
                            totals.variations.note(variation_ns);
                        }
                        totals.late.add(u64::from(packet.late));
                    }
                    totals.packets.add(sent as u64);
                    rest = &rest[sent..];
                }
                Err(error) => {
                    list[*first].note_unsent(packet, &error, now_ns);
                    totals.unsent.add(1);
                    rest = &rest[1..];
                }
            }
        }
        self.packets.clear();
        self.bytes.clear();
        now_ns
    }
}
