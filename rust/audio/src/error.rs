//! What can be wrong with audio, as data.

use std::error::Error;
use std::fmt;

/// The data does not end where a sample, or in a stream a frame, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutSample {
    /// Length of the data.
    pub size_bytes: usize,
    /// What it had to be a multiple of.
    pub unit_bytes: usize,
}

impl CutSample {
    pub(crate) fn check(size_bytes: usize, unit_bytes: usize) -> Result<(), Self> {
        if size_bytes.is_multiple_of(unit_bytes) {
            Ok(())
        } else {
            Err(Self { size_bytes, unit_bytes })
        }
    }
}

impl fmt::Display for CutSample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size_bytes, unit_bytes } = self;
        write!(
            formatter,
            "audio of {size_bytes} bytes ends within a sample, must be a multiple of {unit_bytes}"
        )
    }
}

impl Error for CutSample {}

/// No stream leads from the one format to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// A sample rate is 0.
    ZeroSampleRate,
    /// A number of channels is 0.
    ZeroChannels,
    /// Channels are neither mixed nor invented.
    Channels {
        /// Of the source.
        source: u16,
        /// Of the target.
        target: u16,
    },
    /// The rates have so small a common divisor, or there are so many channels, that a block of the resampler
    /// would be too large.
    Block {
        /// Of the source, in Hz.
        source_rate: u32,
        /// Of the target, in Hz.
        target_rate: u32,
        /// Samples of one block, of all channels.
        samples: u64,
        /// The most there may be.
        limit: u64,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroSampleRate => write!(formatter, "sample rate of 0 Hz, must be at least 1"),
            Self::ZeroChannels => write!(formatter, "0 channels, must be at least 1"),
            Self::Channels { source, target } => write!(
                formatter,
                "{source} channels cannot become {target}, both formats must have the same number"
            ),
            Self::Block {
                source_rate,
                target_rate,
                samples,
                limit,
            } => write!(
                formatter,
                "resampling {source_rate} Hz to {target_rate} Hz needs blocks of {samples} samples, limit is {limit}"
            ),
        }
    }
}

impl Error for FormatError {}
