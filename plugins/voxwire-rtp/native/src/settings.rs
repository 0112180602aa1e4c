//! What a stream is opened for.

use crate::packet::Coding;

/// What is sent where there is no audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Packets of silence.
    Silence,
    /// Nothing.
    Gap,
    /// One packet of comfort noise, then nothing.
    ComfortNoise,
}

impl Idle {
    /// By its name in an address.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "silence" => Some(Self::Silence),
            "gap" => Some(Self::Gap),
            "cn" => Some(Self::ComfortNoise),
            _ => None,
        }
    }
}

/// The format of a stream and its first numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of the audio.
    pub coding: Coding,
    /// In Hz.
    pub sample_rate: u32,
    /// Length of a packet; one of [`PTIMES_MS`].
    pub ptime_ms: u32,
    /// Of audio.
    pub payload_type: u8,
    /// See [`Idle`].
    pub idle: Idle,
    /// Of comfort noise.
    pub comfort_payload_type: u8,
    /// Of telephone events; None where the peer takes none.
    pub event_payload_type: Option<u8>,
    /// The first one.
    pub ssrc: u32,
    /// Of the first packet.
    pub sequence: u16,
    /// Of the first packet.
    pub timestamp: u32,
}

/// The lengths that a packet may have. All of them go into 600 ms.
pub const PTIMES_MS: [u32; 6] = [10, 20, 30, 40, 50, 60];

/// The longest audio of a packet in bytes: with all headers it stays below what one frame of Ethernet carries.
pub const PAYLOAD_BYTES: usize = 1400;

impl Settings {
    /// Frames of a packet.
    pub const fn frames(&self) -> u32 {
        (self.sample_rate as u64 * self.ptime_ms as u64 / 1000) as u32
    }

    /// Length of a packet in nanoseconds.
    pub const fn ptime_ns(&self) -> u64 {
        self.ptime_ms as u64 * 1_000_000
    }

    /// Bytes of a packet's audio.
    pub const fn payload_bytes(&self) -> usize {
        self.frames() as usize * self.coding.frame_bytes()
    }
}
