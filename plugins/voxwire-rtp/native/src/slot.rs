//! One slot of a stream: when it is passed, and what it comes to.

/// The moment of a slot.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// When its packet should leave, in nanoseconds of the monotonic clock.
    pub due_ns: u64,
    /// What that clock says now.
    pub now_ns: u64,
    /// Audio is held back.
    pub paused: bool,
}

/// A packet that waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it begins among the bytes that it was put behind.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// When it should leave.
    pub(crate) due_ns: u64,
    pub(crate) payload_bytes: u32,
    /// Audio of the host's in it: of that segment so many frames.
    pub(crate) audio: (u64, u64),
    /// It leaves a packet's length or more after its time.
    pub late: bool,
}

/// What a slot came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Somebody else is just using the queue: the slot has not passed, it is to be run again.
    Busy,
    /// It fell out: a stall has lasted too long.
    Skipped,
    /// It has passed.
    Passed {
        /// What is to be sent.
        packet: Option<Packet>,
        /// The queue owes its host a wake.
        owed: bool,
        /// Audio had run dry before this slot.
        xrun: bool,
    },
}

impl Slot {
    /// Nothing is to be done for it.
    pub(crate) const EMPTY: Self = Self::Passed {
        packet: None,
        owed: false,
        xrun: false,
    };
}
