//! What an RTP packet looks like: its header, and the payloads of audio, comfort noise and telephone events.

use voxwire_audio::Encoding;

/// Bytes of a header without contributing sources and extensions (RFC 3550 5.1).
pub const HEADER_BYTES: usize = 12;

/// Version 2, no padding, no extension, no contributing source.
const FIRST_BYTE: u8 = 2 << 6;
const MARKER: u8 = 1 << 7;

/// The fields of a header that differ from packet to packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// This packet begins a talk spurt or an event.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// One more with each packet.
    pub sequence: u16,
    /// Sampling instant of the first frame, in frames.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

impl Header {
    /// As it goes over the wire.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = FIRST_BYTE;
        bytes[1] = self.payload_type | if self.marker { MARKER } else { 0 };
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }
}

/// How audio stands in a packet (RFC 3551 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// PCMU.
    Mulaw,
    /// PCMA.
    Alaw,
    /// L16, which the queue holds in little-endian order.
    Linear16,
}

impl Coding {
    /// The coding for audio of an encoding; None where RTP has none for it.
    pub const fn from_encoding(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::PcmMulaw => Some(Self::Mulaw),
            Encoding::PcmAlaw => Some(Self::Alaw),
            Encoding::PcmS16le => Some(Self::Linear16),
            Encoding::PcmF32le => None,
        }
    }

    /// The encoding of the audio in the queue.
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::Mulaw => Encoding::PcmMulaw,
            Self::Alaw => Encoding::PcmAlaw,
            Self::Linear16 => Encoding::PcmS16le,
        }
    }

    /// Bytes of a frame: there is one channel.
    pub const fn frame_bytes(self) -> usize {
        self.encoding().sample_width()
    }

    /// What every byte of silence is.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mulaw => 0xFF,
            Self::Alaw => 0xD5,
            Self::Linear16 => 0,
        }
    }

    /// Puts frames of the queue into the order of the wire: L16 is big-endian.
    pub fn to_wire(self, frames: &mut [u8]) {
        if self == Self::Linear16 {
            for frame in frames.chunks_exact_mut(2) {
                frame.swap(0, 1);
            }
        }
    }
}

/// Comfort noise of a quiet line, -60 dBov, without a spectrum (RFC 3389 3.1).
pub const COMFORT_NOISE: [u8; 1] = [60];

/// A digit that is being sent (RFC 4733 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Which one; see [`event_code`].
    pub code: u8,
    /// It is over.
    pub end: bool,
    /// How long it has lasted so far, in frames.
    pub duration: u16,
}

/// Its power: -10 dBm0.
const EVENT_VOLUME: u8 = 10;
const EVENT_END: u8 = 1 << 7;

impl Event {
    /// The payload.
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [
            self.code,
            EVENT_VOLUME | if self.end { EVENT_END } else { 0 },
            high,
            low,
        ]
    }
}

/// The event of a key of the telephone: 0 to 9, *, #, A to D (RFC 4733 3.2).
pub fn event_code(key: char) -> Option<u8> {
    match key {
        '0'..='9' => Some(key as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(key as u8 - b'A' + 12),
        _ => None,
    }
}
