//! JSON as voxwire reads it: RFC 8259 in UTF-8, one object per message, stricter where leniency hides damage.
//!
//! Refused are lone or swapped surrogate escapes, raw control characters, a byte order mark, more than one document,
//! nesting deeper than [`JSON_DEPTH`](super::JSON_DEPTH), and duplicate keys (compared after unescaping) in every object
//! whose members are read. A number that fits no type is refused only where it is read.

mod names;
mod scanner;
mod text;
mod token;
mod value;

use std::fmt;

pub(crate) use names::Names;
pub(crate) use scanner::Scanner;
pub(crate) use text::{is_plain, next_special, plain_run};
pub(crate) use token::{Kind, Token};

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing but whitespace.
    Empty,
    /// The text ends inside a value.
    UnexpectedEnd,
    /// A byte that the grammar does not allow here.
    UnexpectedByte,
    /// Something follows the first value.
    TrailingData,
    /// The value is no object.
    NotAnObject,
    /// A raw character below U+0020 in a string.
    ControlCharacter,
    /// A backslash with something else behind it than the grammar knows.
    InvalidEscape,
    /// An escaped surrogate without its other half, or the halves swapped.
    LoneSurrogate,
    /// A leading zero, or a sign, point or exponent without digits.
    InvalidNumber,
    /// Nested deeper than [`JSON_DEPTH`](super::JSON_DEPTH).
    TooDeep,
    /// A key occurs twice in one object.
    DuplicateKey,
    /// The bytes are no UTF-8.
    Utf8,
}

impl ErrorKind {
    /// The kind as one word, for logs and for the shared test vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnexpectedEnd => "unexpected_end",
            Self::UnexpectedByte => "unexpected_byte",
            Self::TrailingData => "trailing_data",
            Self::NotAnObject => "not_an_object",
            Self::ControlCharacter => "control_character",
            Self::InvalidEscape => "invalid_escape",
            Self::LoneSurrogate => "lone_surrogate",
            Self::InvalidNumber => "invalid_number",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::Utf8 => "utf8",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "empty text, expected a json object",
            Self::UnexpectedEnd => "json that ends inside a value",
            Self::UnexpectedByte => "invalid json",
            Self::TrailingData => "more than one json document",
            Self::NotAnObject => "json that is no object",
            Self::ControlCharacter => "control character that is not escaped",
            Self::InvalidEscape => "invalid escape in a string",
            Self::LoneSurrogate => "escaped surrogate without its other half",
            Self::InvalidNumber => "invalid number",
            Self::TooDeep => "json nested deeper than 32 levels",
            Self::DuplicateKey => "duplicate key in an object",
            Self::Utf8 => "text that is not utf-8",
        })
    }
}

/// Why a JSON text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where it was seen, in bytes from the start of the text.
    pub index: usize,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, index: usize) -> Self {
        Self { kind, index }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at byte {}", self.kind, self.index)
    }
}

impl std::error::Error for Error {}

/// A value that was read whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent; `-0` is 0.
    Int(i64),
    /// Any other number; finite.
    Float(f64),
    /// A number that neither type holds, such as 2^64 or 1e400: no field accepts it.
    OutOfRange,
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object in the order of its members, without duplicate keys.
    Object(Vec<(String, Value)>),
}
