//! JSON to messages: what a client receives, and what a server receives.

mod client;
mod server;

use crate::message::json::{Error, Scalar, Scanner, Text};

pub use client::{ClientMessage, Unusable, UnusableReason, decode_client};
pub use server::{decode_server, decode_server_strict};

/// A member that may be read: its value as it stands in the text.
#[derive(Debug, Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Scalar(Scalar<'a>),
    /// An object or array that begins at this index; it was stepped over.
    Compound(usize),
}

impl<'a> Field<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Error> {
        let first = scanner.peek()?;
        if let b'{' | b'[' = first {
            let index = scanner.index();
            scanner.skip()?;
            return Ok(Self::Compound(index));
        }
        scanner.scalar(first).map(Self::Scalar)
    }

    /// The string, None where the member is missing or null, an error where it is something else.
    fn string(self) -> Result<Option<Text<'a>>, WrongType> {
        match self {
            Self::Absent | Self::Scalar(Scalar::Null) => Ok(None),
            Self::Scalar(Scalar::String(text)) => Ok(Some(text)),
            _ => Err(WrongType),
        }
    }

    /// The same for a number of integral value.
    fn unsigned(self) -> Result<Option<u64>, WrongType> {
        match self {
            Self::Absent | Self::Scalar(Scalar::Null) => Ok(None),
            Self::Scalar(Scalar::Number(number)) => number.unsigned().map(Some).ok_or(WrongType),
            _ => Err(WrongType),
        }
    }

    /// The same for a truth value.
    fn bool(self) -> Result<Option<bool>, WrongType> {
        match self {
            Self::Absent | Self::Scalar(Scalar::Null) => Ok(None),
            Self::Scalar(Scalar::Bool(bool)) => Ok(Some(bool)),
            _ => Err(WrongType),
        }
    }
}

struct WrongType;
