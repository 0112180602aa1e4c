//! Packets of one source: who sends them, in which order, and how they are protected.

use crate::packet::{HEADER_BYTES, Header};
use crate::srtp::{EXPANSION_BYTES, Sealer};

pub(crate) struct Composer {
    pub(crate) ssrc: u32,
    /// Of the next packet.
    pub(crate) sequence: u16,
    /// Apart, as few streams have one, and it is larger than all the rest.
    pub(crate) sealer: Option<Box<Sealer>>,
}

/// What a header says beside who sends and in which order.
pub(crate) struct Content {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    /// Audio of the host's in it: of that segment so many frames.
    pub(crate) audio: (u64, u64),
}

impl Composer {
    /// Makes a packet of the payload that stands in `bytes` from `start` on, behind room for a header; returns its end.
    /// None where the key may protect nothing more.
    pub(crate) fn complete(&mut self, bytes: &mut Vec<u8>, start: usize, content: &Content) -> Option<usize> {
        let header = Header {
            marker: content.marker,
            payload_type: content.payload_type,
            sequence: self.sequence,
            timestamp: content.timestamp,
            ssrc: self.ssrc,
        };
        bytes[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(sealer) = &mut self.sealer {
            let length = bytes.len() - start;
            bytes.resize(bytes.len() + EXPANSION_BYTES, 0);
            let sealed = sealer.seal_rtp(&mut bytes[start..], length);
            bytes.truncate(start + sealed.unwrap_or(0));
            sealed.ok()?;
        }
        Some(bytes.len())
    }
}
