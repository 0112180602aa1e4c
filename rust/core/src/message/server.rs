//! What a server may say (protocol.md 4), and what may be wrong with it.

use std::borrow::Cow;
use std::fmt;

use super::json::{Error, ErrorKind};

/// Which of the two messages with times it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampKind {
    /// `timestamps`, with `word_timestamps`.
    Words,
    /// `phoneme_timestamps`.
    Phonemes,
}

impl TimestampKind {
    /// `words` or `phonemes`, which is also the name of the array with the texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Phonemes => "phonemes",
        }
    }
}

/// A word or phoneme with its start and end in seconds from the start of the context's audio.
pub type Timed = (String, f64, f64);

/// A message of a server. Where `context_id` is None, the message names no context.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage<'a> {
    /// A piece of audio.
    Chunk {
        /// The context.
        context_id: Option<Cow<'a, str>>,
        /// The base64 text, not decoded; None where it is missing or null. None and an empty text are zero samples.
        data: Option<Cow<'a, [u8]>>,
        /// The label of the segment.
        flush_id: Option<u64>,
        /// False: the message is what it seems if `data` decodes as base64, see [`decode_server`](super::decode_server).
        proven: bool,
    },
    /// Word or phoneme times.
    Timestamps {
        /// Which of both.
        kind: TimestampKind,
        /// The context.
        context_id: Option<Cow<'a, str>>,
        /// None where they are to be dropped and counted: something is missing, out of range, of another type or length.
        items: Option<Vec<Timed>>,
        /// The label of the segment.
        flush_id: Option<u64>,
    },
    /// Everything before a flush was sent.
    FlushDone {
        /// The context.
        context_id: Option<Cow<'a, str>>,
        /// The label of the segment that ended.
        flush_id: Option<u64>,
    },
    /// The context ended well.
    Done {
        /// The context.
        context_id: Option<Cow<'a, str>>,
    },
    /// The context failed; all of them where no context is named.
    Error(ErrorEvent<'a>),
    /// A type that this version does not know.
    Unknown {
        /// The context.
        context_id: Option<Cow<'a, str>>,
    },
}

impl ServerMessage<'_> {
    /// The context that the message names.
    pub fn context_id(&self) -> Option<&str> {
        match self {
            Self::Chunk { context_id, .. }
            | Self::Timestamps { context_id, .. }
            | Self::FlushDone { context_id, .. }
            | Self::Done { context_id }
            | Self::Error(ErrorEvent { context_id, .. })
            | Self::Unknown { context_id } => context_id.as_deref(),
        }
    }
}

/// An `error` message in the structured, the legacy or the superset shape. An error ends its context whatever else it
/// says, so a member of the wrong type counts as missing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorEvent<'a> {
    /// The context.
    pub context_id: Option<Cow<'a, str>>,
    /// `status_code`.
    pub status: Option<u16>,
    /// `error_code`.
    pub code: Option<Cow<'a, str>>,
    /// `title`.
    pub title: Option<Cow<'a, str>>,
    /// `message`.
    pub message: Option<Cow<'a, str>>,
    /// `error`, the legacy text.
    pub error: Option<Cow<'a, str>>,
    /// `request_id`.
    pub request_id: Option<Cow<'a, str>>,
}

impl ErrorEvent<'_> {
    /// `title: message`, or the one that there is, or the legacy text; at most 1000 characters.
    pub fn text(&self) -> String {
        let present = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        let text = match (present(&self.title), present(&self.message)) {
            (Some(title), Some(message)) => Some(title + ": " + &message),
            (title, message) => title.or(message),
        };
        text.or_else(|| present(&self.error))
            .unwrap_or_default()
            .chars()
            .take(1000)
            .collect()
    }
}

/// Why a message of a server is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// The text is no UTF-8: the connection fails.
    Utf8 {
        /// The first bad byte.
        index: usize,
    },
    /// The text is no JSON object as voxwire reads it: the connection fails.
    Syntax {
        /// What is wrong.
        kind: ErrorKind,
        /// The byte where it was seen.
        index: usize,
    },
    /// A member has a type that it must not have: its context fails.
    Invalid {
        /// The context; None where the message belongs to none.
        context_id: Option<String>,
        /// The member.
        field: &'static str,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf8 { index } => Error::new(ErrorKind::Utf8, *index).fmt(formatter),
            Self::Syntax { kind, index } => Error::new(*kind, *index).fmt(formatter),
            Self::Invalid { field, .. } => write!(formatter, "message with a missing or wrongly typed member {field}"),
        }
    }
}

impl std::error::Error for MessageError {}

impl From<Error> for MessageError {
    fn from(error: Error) -> Self {
        match error {
            Error {
                kind: ErrorKind::Utf8,
                index,
            } => Self::Utf8 { index },
            Error { kind, index } => Self::Syntax { kind, index },
        }
    }
}
