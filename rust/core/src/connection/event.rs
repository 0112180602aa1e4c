//! What a connection tells, and what it borrows from whoever embeds it.

use std::mem::MaybeUninit;

use crate::message::{TimestampKind, json};

/// Writes bytes into room of the asked size; true promises that every byte was written.
pub type Fill<'a> = &'a mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool;

/// What the embedding program lends to a connection: buffers of its own kind, and owners of its own kind.
///
/// Audio is decoded straight into the buffer that the user gets, so the buffer is made by the one who hands it over.
pub trait Host {
    /// An owned run of bytes.
    type Buffer;
    /// What a context belongs to; every event of the context carries it.
    type Owner;

    /// Returns another handle of the same owner.
    fn share(&self, owner: &Self::Owner) -> Self::Owner;

    /// Makes a buffer of exactly `size` bytes that are still to be written.
    fn begin(&self, size: usize) -> Result<Self::Buffer, OutOfMemory>;

    /// Lets `fill` write `size` bytes of a buffer that was begun, from `start`, up to which it is written; returns what
    /// `fill` does. Where that is false, what was written now does not count.
    fn write(&self, buffer: &mut Self::Buffer, start: usize, size: usize, fill: Fill<'_>) -> bool;

    /// The first `size` bytes of a buffer, which are written.
    fn bytes<'a>(&'a self, buffer: &'a Self::Buffer, size: usize) -> &'a [u8];

    /// Makes a buffer of exactly `size` bytes that `fill` writes; None where `fill` returns false.
    #[inline]
    fn make(&self, size: usize, fill: Fill<'_>) -> Result<Option<Self::Buffer>, OutOfMemory> {
        let mut buffer = self.begin(size)?;
        Ok(self.write(&mut buffer, 0, size, fill).then_some(buffer))
    }
}

/// There was no room for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<Owner, Buffer> {
    /// A client's context got audio: whole frames, never empty.
    Audio {
        /// The context's owner.
        owner: Owner,
        /// The frames, in the format that the context was opened with.
        data: Buffer,
        /// Seconds from the start of the context's audio to the first frame here.
        start_s: f64,
        /// The server's label of the segment.
        flush_id: Option<u64>,
    },
    /// A client's context got word or phoneme times.
    Timestamps {
        /// The context's owner.
        owner: Owner,
        /// Words or phonemes.
        kind: TimestampKind,
        /// Text, start and end in seconds, as received.
        items: Vec<(String, f64, f64)>,
        /// The server's label of the segment.
        flush_id: Option<u64>,
    },
    /// Everything of a client's context before this flush has arrived.
    FlushDone {
        /// The context's owner.
        owner: Owner,
        /// The server's label of the segment.
        flush_id: Option<u64>,
    },
    /// A client's context ended well.
    Finished {
        /// The context's owner.
        owner: Owner,
        /// The server ended it before our own close.
        expired: bool,
    },
    /// A client's context failed.
    Failed {
        /// The context's owner.
        owner: Owner,
        /// Why.
        failure: Box<Failure>,
    },
    /// A plain text message.
    Text(String),
    /// A plain binary message.
    Binary(Vec<u8>),
    /// A server got a generation request.
    Request {
        /// The value of `context_id` where it is a string.
        context_id: Option<String>,
        /// The members that the protocol names, in order.
        fields: Vec<(&'static str, json::Value)>,
    },
    /// A server got a cancel request.
    Cancel {
        /// The context.
        context_id: String,
    },
    /// A server got a message that is neither (protocol.md 3.6).
    Unusable {
        /// The context, where it could be read.
        context_id: Option<String>,
        /// Kind and byte position; quotes nothing of the message.
        reason: String,
        /// `continue`, where it could be read.
        continues: bool,
        /// The connection closes once this one is answered: it is the last of too many in a row.
        last: bool,
    },
    /// The last event: the WebSocket is over. Live contexts of a client got no event of their own: their end is this.
    Closed(Closed),
}

impl<Owner, Buffer> Event<Owner, Buffer> {
    /// The owner of the context that this is about; None for what is about no context of a client.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Audio { owner, .. }
            | Self::Timestamps { owner, .. }
            | Self::FlushDone { owner, .. }
            | Self::Finished { owner, .. }
            | Self::Failed { owner, .. } => Some(owner),
            _ => None,
        }
    }
}

/// Why a context failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The server said so; otherwise we found it, and a cancel was queued.
    pub remote: bool,
    /// The server's `error_code`, or one of [`failure_code`].
    pub code: Option<String>,
    /// `status_code` of a remote error.
    pub status: Option<u16>,
    /// One line; of a remote error its own words, at most 1000 characters.
    pub message: String,
    /// The server's id of the connection.
    pub request_id: Option<String>,
}

impl Failure {
    /// The name of the side that found it, as the binding shows it.
    pub const fn side(&self) -> &'static str {
        if self.remote { "remote" } else { "local" }
    }
}

/// Codes of failures that the client finds itself.
pub mod failure_code {
    /// A message with a wrong type in a member that is read.
    pub const INVALID_MESSAGE: &str = "invalid_message";
    /// Base64 that is not strict, or a stream that ends inside a sample.
    pub const INVALID_AUDIO: &str = "invalid_audio";
    /// The server owed something and sent nothing.
    pub const INACTIVITY: &str = "inactivity";
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The close code that counts; 1006 without a Close frame.
    pub code: u16,
    /// The peer's reason, or ours.
    pub reason: String,
    /// The closing handshake was completed.
    pub clean: bool,
    /// What the peer did wrong.
    pub error: Option<String>,
    /// The timer that ended it.
    pub timed_out: Option<TimedOut>,
}

/// A timer that ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOut {
    /// No pong came: the peer is dead.
    Ping,
    /// The peer did not answer our Close.
    Close,
}

impl TimedOut {
    /// The name that the binding shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }
}
