//! Why a command had no effect.

use std::fmt;

use voxwire_audio::FormatError;

use crate::error::{Error, ErrorKind};
use crate::message::encode::SettingsError;

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandError {
    /// The connection is closing or closed.
    Closing,
    /// A command of a client on something else.
    NoClient,
    /// A command of a server on something else.
    NoServer,
    /// A context id that is empty, longer than 256 code points, or holds a NUL.
    InvalidContextId,
    /// A context id that is in use or was so lately.
    ContextInUse,
    /// A format without channels or with a sample rate of 0.
    InvalidFormat,
    /// No stream leads from the format of the context to the one to deliver.
    Conversion(FormatError),
    /// A context id that was never opened here, or ended long ago.
    UnknownContext,
    /// Settings that are not one JSON object, or that name a member of the request itself.
    Settings(SettingsError),
    /// A chunk without audio.
    EmptyChunk,
    /// What the frame layer refused.
    Frame(Error),
}

impl CommandError {
    /// Whether the call came at the wrong moment, rather than with a wrong value.
    pub const fn is_misuse(&self) -> bool {
        matches!(self, Self::Closing | Self::NoClient | Self::NoServer)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closing => formatter.write_str("the connection is closing, nothing more can be sent"),
            Self::NoClient => formatter.write_str("a command of a client, the connection is none"),
            Self::NoServer => formatter.write_str("a command of a server, the connection is none"),
            Self::InvalidContextId => formatter.write_str("context id must have 1 to 256 characters and no NUL"),
            Self::ContextInUse => formatter.write_str("context id is in use, each needs a fresh one"),
            Self::InvalidFormat => formatter.write_str("format needs at least 1 channel and 1 Hz"),
            Self::Conversion(error) => error.fmt(formatter),
            Self::UnknownContext => formatter.write_str("context id was not opened here, or ended long ago"),
            Self::Settings(error) => write!(formatter, "settings: {error}"),
            Self::EmptyChunk => formatter.write_str("chunk without audio, must hold at least one sample"),
            Self::Frame(error) if error.kind == ErrorKind::InvalidUtf8 => error.fmt(formatter),
            // Of the others the place says nothing: it is in what we send.
            Self::Frame(error) => error.kind.fmt(formatter),
        }
    }
}

impl std::error::Error for CommandError {}
