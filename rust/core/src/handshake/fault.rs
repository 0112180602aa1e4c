//! Why a head is refused: by a server, with the HTTP status that says so; by a client.

use std::fmt;

use super::{HEAD_BYTES, HEAD_HEADERS, HEAD_LINE_BYTES, VERSION, WEBSOCKET_HEADER_BYTES};

/// What is wrong with a head, or with a request that was to be an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first line is too long.
    FirstLineTooLong,
    /// A header line is too long.
    HeaderLineTooLong,
    /// Too many headers.
    TooManyHeaders,
    /// The head is too long.
    HeadTooLong,
    /// The value of a `Sec-WebSocket-*` header is too long.
    WebSocketHeaderTooLong,
    /// A NUL or another control character.
    ControlCharacter,
    /// A CR or LF that is not part of a CRLF.
    BareLineEnd,
    /// A header line that goes on with the last one.
    FoldedLine,
    /// Whitespace between the name of a header and its colon.
    SpaceBeforeColon,
    /// Something else that is no HTTP.
    Malformed,
    /// HTTP of a version other than 1.1.
    HttpVersion,
    /// A header that may be there once, by its name in lower case.
    DoubledHeader(&'static str),
    /// No `Host`.
    MissingHost,
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthAndTransferEncoding,
    /// A `Content-Length` that is no number.
    ContentLength,
    /// A `Transfer-Encoding` other than chunked.
    TransferEncoding,
    /// A GET with a body.
    BodyOnGet,
    /// Not an upgrade: a method other than GET.
    Method,
    /// Not an upgrade: no `Upgrade: websocket`.
    Upgrade,
    /// Not an upgrade: no `Connection: Upgrade`.
    Connection,
    /// Not an upgrade: no `Sec-WebSocket-Version`.
    MissingVersion,
    /// Not an upgrade that we know: another `Sec-WebSocket-Version`.
    Version,
    /// Not an upgrade: no `Sec-WebSocket-Key`.
    MissingKey,
    /// Not an upgrade: a key that is not 16 bytes in base64.
    Key,
}

impl Fault {
    /// Returns the HTTP status with which a server refuses such a request.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::FirstLineTooLong => 414,
            Self::Version => 426,
            Self::HeaderLineTooLong | Self::TooManyHeaders | Self::HeadTooLong | Self::WebSocketHeaderTooLong => 431,
            Self::TransferEncoding => 501,
            Self::HttpVersion => 505,
            Self::ControlCharacter
            | Self::BareLineEnd
            | Self::FoldedLine
            | Self::SpaceBeforeColon
            | Self::Malformed
            | Self::DoubledHeader(_)
            | Self::MissingHost
            | Self::LengthAndTransferEncoding
            | Self::ContentLength
            | Self::BodyOnGet
            | Self::Upgrade
            | Self::Connection
            | Self::MissingVersion
            | Self::MissingKey
            | Self::Key => 400,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstLineTooLong => write!(formatter, "first line over {HEAD_LINE_BYTES} bytes"),
            Self::HeaderLineTooLong => write!(formatter, "header line over {HEAD_LINE_BYTES} bytes"),
            Self::TooManyHeaders => write!(formatter, "more than {HEAD_HEADERS} headers"),
            Self::HeadTooLong => write!(formatter, "head over {HEAD_BYTES} bytes"),
            Self::WebSocketHeaderTooLong => {
                write!(formatter, "sec-websocket header over {WEBSOCKET_HEADER_BYTES} bytes")
            }
            Self::ControlCharacter => formatter.write_str("control character in the head"),
            Self::BareLineEnd => formatter.write_str("line end is not cr lf"),
            Self::FoldedLine => formatter.write_str("folded header line"),
            Self::SpaceBeforeColon => formatter.write_str("space before the colon of a header"),
            Self::Malformed => formatter.write_str("head is not valid http"),
            Self::HttpVersion => formatter.write_str("http version is not supported, expected 1.1"),
            Self::DoubledHeader(name) => write!(formatter, "header {name} is given more than once"),
            Self::MissingHost => formatter.write_str("header host is missing"),
            Self::LengthAndTransferEncoding => formatter.write_str("content-length together with transfer-encoding"),
            Self::ContentLength => formatter.write_str("content-length is not a number"),
            Self::TransferEncoding => formatter.write_str("transfer-encoding is not supported, expected chunked"),
            Self::BodyOnGet => formatter.write_str("get request with a body"),
            Self::Method => formatter.write_str("method is not get"),
            Self::Upgrade => formatter.write_str("header upgrade is not websocket"),
            Self::Connection => formatter.write_str("header connection does not name upgrade"),
            Self::MissingVersion => formatter.write_str("header sec-websocket-version is missing"),
            Self::Version => write!(formatter, "websocket version is not supported, expected {VERSION}"),
            Self::MissingKey => formatter.write_str("header sec-websocket-key is missing"),
            Self::Key => formatter.write_str("sec-websocket-key is not 16 bytes in base64"),
        }
    }
}

/// Why an answer is no valid HTTP, or a 101 no valid upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// The head, or a header that a 101 shares with the request.
    Head(Fault),
    /// A chunk of the body of a refusal is not valid.
    Chunk,
    /// `Sec-WebSocket-Accept` does not answer the key.
    Accept,
    /// An extension was agreed on that was not offered.
    Extension,
    /// A subprotocol was chosen that was not offered.
    Subprotocol,
}

impl From<Fault> for AnswerFault {
    fn from(fault: Fault) -> Self {
        Self::Head(fault)
    }
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(fault) => fault.fmt(formatter),
            Self::Chunk => formatter.write_str("chunk of the body is not valid"),
            Self::Accept => formatter.write_str("sec-websocket-accept does not answer the key"),
            Self::Extension => formatter.write_str("extension that was not offered"),
            Self::Subprotocol => formatter.write_str("subprotocol that was not offered"),
        }
    }
}
