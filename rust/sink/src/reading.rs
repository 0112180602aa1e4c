//! What a queue is told, and what it says.

use std::fmt;

/// What `played` means in one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Measured at the device.
    Measured,
    /// Estimated from a clock.
    Estimated,
    /// Sent to the far end.
    Sent,
    /// Written to a file.
    Written,
}

impl Quality {
    /// The contract's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
            Self::Sent => "sent",
            Self::Written => "written",
        }
    }
}

/// Where a sink stands. Always `played <= written - discarded`, and `played` never falls within a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number of the segment: one more after each clear of a segment that was not empty.
    pub segment: u64,
    /// Frames taken from the host.
    pub written: u64,
    /// Frames heard, in the sense of `quality`.
    pub played: u64,
    /// Frames that a clear took back.
    pub discarded: u64,
    /// Underruns since the beginning, in all segments.
    pub xruns: u64,
    /// When `played` was read: nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// Frames by which `played` may be off; 0 is exact.
    pub bound: u64,
    /// What `played` means.
    pub quality: Quality,
}

/// How far the audio of a segment got.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The segment that this is about; nothing is counted where it is over.
    pub segment: u64,
    /// Frames that have left for good and cannot be taken back.
    pub left: u64,
    /// Frames that were heard.
    pub heard: u64,
    /// See [`Position`].
    pub at_ns: u64,
    /// See [`Position`].
    pub bound: u64,
    /// See [`Position`].
    pub quality: Quality,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Frames taken, from none to all.
    pub frames: u64,
    /// The device's thread sleeps until there is more: it is to be roused.
    pub rouse: bool,
}

/// What waits for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Number of the segment.
    pub segment: u64,
    /// Frames written.
    pub written: u64,
    /// Frames that the device has taken.
    pub taken: u64,
    /// Of these, frames that a finish covers: `taken` where the last of them ended speech.
    pub finished: u64,
    /// A finish stands behind all that was written.
    pub ends: bool,
}

/// Frames copied out for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The segment they belong to.
    pub segment: u64,
    /// How many.
    pub frames: u64,
}

/// Frames that left at the moment when they were copied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// The segment they belong to.
    pub segment: u64,
    /// How many.
    pub frames: u64,
    /// Speech begins with the next frame there was or will be: it is the first of its segment, or a finish stands there.
    pub begins: bool,
    /// A finish stands behind the last frame that has left.
    pub ends: bool,
    /// The host is owed a wake, which is left to the caller.
    pub owed: bool,
}

/// Why a sink was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The system's error number, where there is one.
    pub errno: Option<i32>,
    /// What happened, in one line.
    pub message: String,
}

/// Why the queue takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The data ends inside a frame.
    CutFrame {
        /// Size of the data.
        size_bytes: usize,
        /// Size of a frame.
        frame_bytes: usize,
    },
    /// The device was lost.
    Lost(Loss),
    /// The sink was closed.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutFrame {
                size_bytes,
                frame_bytes,
            } => write!(
                formatter,
                "buffer of {size_bytes} bytes ends inside a frame of {frame_bytes} bytes"
            ),
            Self::Lost(loss) => formatter.write_str(&loss.message),
            Self::Closed => formatter.write_str("sink is closed"),
        }
    }
}

impl std::error::Error for Refusal {}
