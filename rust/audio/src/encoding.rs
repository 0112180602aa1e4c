//! What a byte of audio means.

use std::fmt;

/// The sample rates of the protocol in Hz, ascending (protocol.md 3.2). Others work too, see
/// [`crate::Stream`].
pub const SAMPLE_RATES: [u32; 6] = [8000, 16000, 22050, 24000, 44100, 48000];

/// The encoding of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 32-bit float, full scale 1.0.
    PcmF32le,
    /// 16-bit signed integer.
    PcmS16le,
    /// G.711 mu-law.
    PcmMulaw,
    /// G.711 A-law.
    PcmAlaw,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 4] = [Self::PcmF32le, Self::PcmS16le, Self::PcmMulaw, Self::PcmAlaw];

    /// The name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PcmF32le => "pcm_f32le",
            Self::PcmS16le => "pcm_s16le",
            Self::PcmMulaw => "pcm_mulaw",
            Self::PcmAlaw => "pcm_alaw",
        }
    }

    /// The encoding with this name in the protocol.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// Bytes of one sample.
    pub const fn sample_width(self) -> usize {
        match self {
            Self::PcmF32le => 4,
            Self::PcmS16le => 2,
            Self::PcmMulaw | Self::PcmAlaw => 1,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A format of interleaved audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// Of each sample.
    pub encoding: Encoding,
    /// Frames per second.
    pub sample_rate: u32,
    /// Samples per frame.
    pub channels: u16,
}

impl Format {
    /// Bytes of one frame: one sample of every channel.
    pub const fn frame_bytes(self) -> usize {
        self.encoding.sample_width() * self.channels as usize
    }
}
