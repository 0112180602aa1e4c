//! What can go wrong below the messages: which rule, whose mistake, at which byte, and the close code that says so.

use std::fmt;

/// Close codes of RFC 6455 section 7.4, the one home of these numbers.
pub mod close_code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The endpoint goes away: a server shuts down.
    pub const GOING_AWAY: u16 = 1001;
    /// A rule of framing was broken.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of data that the endpoint does not take.
    pub const UNSUPPORTED: u16 = 1003;
    /// Never sent: the Close frame carried no code.
    pub const NO_STATUS: u16 = 1005;
    /// Never sent: the stream ended without a Close frame.
    pub const ABNORMAL: u16 = 1006;
    /// Data that is not what its type says, such as text that is no UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// A policy was broken; for what no other code names.
    pub const POLICY: u16 = 1008;
    /// A message over the limit.
    pub const TOO_BIG: u16 = 1009;
    /// An internal fault.
    pub const INTERNAL: u16 = 1011;

    /// Returns whether a Close frame may carry `code`: 1000-1003, 1007-1014 and 3000-4999.
    ///
    /// RFC 6455 section 7.4 and the registry it founds; 1004-1006 and 1015 are reserved and never on the wire.
    pub const fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Whose mistake an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller's: the call had no effect.
    Local,
    /// The peer's: the connection fails.
    Remote,
}

/// Which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A reserved bit is set, and no extension was agreed on.
    ReservedBits,
    /// An opcode without meaning: 3-7 or 11-15.
    ReservedOpcode(u8),
    /// A control frame that is not whole.
    FragmentedControl,
    /// A control frame with a payload over 125 bytes.
    ControlTooLong {
        /// Bytes of payload; a remote header over the limit is refused before its exact length is read, then 126.
        len: u64,
    },
    /// A continuation with no message open.
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    UnfinishedMessage,
    /// A frame from a client without a mask.
    UnmaskedFrame,
    /// A frame from a server with a mask.
    MaskedFrame,
    /// A payload length in more bytes than it needs.
    LengthNotMinimal,
    /// A 64-bit payload length with its highest bit set.
    LengthHighBit,
    /// A message over the limit.
    MessageTooBig {
        /// Bytes so far and declared, together.
        len: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Too many empty fragments in a row.
    EmptyFragments {
        /// Fragments allowed.
        limit: u32,
    },
    /// Text, or the reason of a Close, that is no UTF-8.
    InvalidUtf8,
    /// A Close with a payload of one byte, half a code.
    CloseTooShort,
    /// A close code that no Close frame may carry.
    InvalidCloseCode(u16),
    /// No memory for the payload.
    OutOfMemory,
    /// A reason of a Close over 123 bytes.
    CloseReasonTooLong {
        /// Bytes of the reason.
        len: u64,
    },
    /// A reason of a Close without a code before it.
    CloseReasonWithoutCode,
    /// A character that would break the HTTP head, in the part that is named.
    ForbiddenCharacter(&'static str),
    /// A header that the handshake writes itself, or that changes what the frames mean.
    ReservedHeader,
    /// An HTTP status that refuses nothing.
    InvalidStatus(u16),
    /// A request that is no valid upgrade was to be accepted.
    NotAnUpgrade,
}

impl ErrorKind {
    /// Returns the close code with which a connection fails for this.
    ///
    /// What only a caller can do wrong never closes a connection; asked nevertheless, it counts as internal.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong { .. }
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::LengthNotMinimal
            | Self::LengthHighBit
            | Self::CloseTooShort
            | Self::InvalidCloseCode(_) => close_code::PROTOCOL_ERROR,
            Self::MessageTooBig { .. } => close_code::TOO_BIG,
            Self::EmptyFragments { .. } => close_code::POLICY,
            Self::InvalidUtf8 => close_code::INVALID_DATA,
            Self::OutOfMemory
            | Self::CloseReasonTooLong { .. }
            | Self::CloseReasonWithoutCode
            | Self::ForbiddenCharacter(_)
            | Self::ReservedHeader
            | Self::InvalidStatus(_)
            | Self::NotAnUpgrade => close_code::INTERNAL,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => formatter.write_str("reserved bits are set, no extension was agreed on"),
            Self::ReservedOpcode(opcode) => write!(formatter, "opcode {opcode} is reserved"),
            Self::FragmentedControl => formatter.write_str("control frame is fragmented, it must be whole"),
            Self::ControlTooLong { .. } => {
                formatter.write_str("control frame has a payload over the limit of 125 bytes")
            }
            Self::UnexpectedContinuation => formatter.write_str("continuation frame with no message open"),
            Self::UnfinishedMessage => {
                formatter.write_str("new message inside a fragmented one, expected a continuation frame")
            }
            Self::UnmaskedFrame => formatter.write_str("frame of a client is not masked"),
            Self::MaskedFrame => formatter.write_str("frame of a server is masked"),
            Self::LengthNotMinimal => formatter.write_str("payload length takes more bytes than it needs"),
            Self::LengthHighBit => formatter.write_str("payload length has its highest bit set"),
            Self::MessageTooBig { len, limit } => {
                write!(formatter, "message of at least {len} bytes, limit is {limit}")
            }
            Self::EmptyFragments { limit } => {
                write!(formatter, "more than {limit} empty fragments in a row")
            }
            Self::InvalidUtf8 => formatter.write_str("text is not valid utf-8"),
            Self::CloseTooShort => formatter.write_str("close frame has one byte, a close code has two"),
            Self::InvalidCloseCode(code) => write!(
                formatter,
                "close code {code} is not allowed, expected 1000-1003, 1007-1014 or 3000-4999"
            ),
            Self::OutOfMemory => formatter.write_str("no memory for the payload"),
            Self::CloseReasonTooLong { len } => {
                write!(formatter, "close reason of {len} bytes, limit is 123")
            }
            Self::CloseReasonWithoutCode => formatter.write_str("close reason needs a close code"),
            Self::ForbiddenCharacter(part) => write!(formatter, "forbidden character in {part}"),
            Self::ReservedHeader => formatter.write_str("header belongs to the handshake, remove it"),
            Self::InvalidStatus(status) => {
                write!(formatter, "status {status} refuses nothing, expected 300-599")
            }
            Self::NotAnUpgrade => formatter.write_str("request is no valid websocket upgrade"),
        }
    }
}

/// A broken rule: which, by whom, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The rule.
    pub kind: ErrorKind,
    /// Who broke it.
    pub side: Side,
    /// Of a remote error the offending byte, counted from the first byte after the upgrade; of a local one from the
    /// start of the argument.
    pub index: u64,
}

impl Error {
    /// Makes an error of the caller.
    pub const fn local(kind: ErrorKind, index: u64) -> Self {
        Self {
            kind,
            side: Side::Local,
            index,
        }
    }

    /// Makes an error of the peer.
    pub const fn remote(kind: ErrorKind, index: u64) -> Self {
        Self {
            kind,
            side: Side::Remote,
            index,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at byte {}", self.kind, self.index)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind, Side, close_code};

    #[test]
    fn close_codes_of_the_registry_and_of_applications_may_be_sent() {
        let allowed: Vec<u16> = (0..=u16::MAX).filter(|&code| close_code::may_be_sent(code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(allowed, expected);
    }

    #[test]
    fn an_error_says_rule_and_place_in_one_line() {
        let error = Error::remote(
            ErrorKind::MessageTooBig {
                len: 70000,
                limit: 65536,
            },
            12,
        );
        assert_eq!(
            error.to_string(),
            "message of at least 70000 bytes, limit is 65536 at byte 12"
        );
        assert_eq!(
            (error.side, error.kind.close_code()),
            (Side::Remote, close_code::TOO_BIG)
        );
    }
}
