//! JSON to messages: what a client receives, and what a server receives.

mod client;
mod server;

use crate::message::json::{ErrorKind, Kind, Scanner, Token};

pub use client::{ClientMessage, Unusable, UnusableReason, decode_client};
pub(crate) use server::decode_server_placed;
pub use server::{decode_server, decode_server_strict};

/// A member that may be read: its value as it stands in the text; None where it is missing.
#[derive(Debug, Clone, Copy, Default)]
struct Field<'a>(Option<Token<'a>>);

impl<'a> Field<'a> {
    #[inline]
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ErrorKind> {
        let first = scanner.peek()?;
        if let b'{' | b'[' = first {
            let index = scanner.index();
            scanner.skip()?;
            return Ok(Self(Some(Token {
                kind: Kind::Compound,
                index,
                raw: &[],
            })));
        }
        let kind = scanner.scalar(first)?;
        Ok(Self(Some(scanner.token(kind))))
    }

    /// The string, None where the member is missing or null, an error where it is something else.
    fn string(self) -> Result<Option<Token<'a>>, WrongType> {
        match self.0 {
            None | Some(Token { kind: Kind::Null, .. }) => Ok(None),
            Some(
                token @ Token {
                    kind: Kind::Plain | Kind::Escaped,
                    ..
                },
            ) => Ok(Some(token)),
            Some(_) => Err(WrongType),
        }
    }

    /// The same for a number of integral value.
    fn unsigned(self) -> Result<Option<u64>, WrongType> {
        match self.0 {
            None | Some(Token { kind: Kind::Null, .. }) => Ok(None),
            Some(token) => token.unsigned().map(Some).ok_or(WrongType),
        }
    }

    /// The same for a truth value.
    fn bool(self) -> Result<Option<bool>, WrongType> {
        match self.0.map(|token| token.kind) {
            None | Some(Kind::Null) => Ok(None),
            Some(Kind::True) => Ok(Some(true)),
            Some(Kind::False) => Ok(Some(false)),
            Some(_) => Err(WrongType),
        }
    }
}

struct WrongType;
