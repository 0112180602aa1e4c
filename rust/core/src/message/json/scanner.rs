//! The tokens of JSON: strings, numbers, words, and the members of an object.

use super::text::{Text, escape, next_special};
use super::{Error, ErrorKind, Value};

/// A number as it stands in the text: its grammar is proven, its value is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    raw: &'a [u8],
    integer: bool,
}

impl Number<'_> {
    pub(crate) fn value(self) -> Value {
        let text = std::str::from_utf8(self.raw).unwrap_or_default();
        if self.integer {
            return text.parse().map_or(Value::OutOfRange, Value::Int);
        }
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Value::Float(float),
            _ => Value::OutOfRange,
        }
    }

    /// The number as an integer, also where it is written as a float (`1.0`, `1e3`).
    pub(crate) fn unsigned(self) -> Option<u64> {
        match self.value() {
            Value::Int(integer) => integer.try_into().ok(),
            #[expect(
                clippy::cast_sign_loss,
                reason = "the range is checked, and below 2^53 every integer is exact"
            )]
            Value::Float(float) if float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float) => {
                Some(float as u64)
            }
            Value::OutOfRange if self.integer => std::str::from_utf8(self.raw).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// A value that is neither object nor array.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    String(Text<'a>),
}

/// Walks over one JSON text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    utf8_checked: bool,
    /// Where a key was found for the second time. The walk goes on: a server wants the `context_id` all the same.
    duplicate: Option<usize>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8], utf8_checked: bool) -> Self {
        Self {
            bytes,
            at: 0,
            utf8_checked,
            duplicate: None,
        }
    }

    /// A second look at the value that begins at `index`.
    pub(crate) fn at(bytes: &'a [u8], index: usize) -> Self {
        Self {
            at: index,
            ..Self::new(bytes, true)
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.at
    }

    pub(crate) fn note_duplicate(&mut self, index: usize) {
        self.duplicate.get_or_insert(index);
    }

    pub(crate) fn duplicate(&self) -> Option<usize> {
        self.duplicate
    }

    fn error<T>(&self, kind: ErrorKind) -> Result<T, Error> {
        Err(Error::new(kind, self.at))
    }

    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no whitespace, not consumed.
    pub(crate) fn peek(&mut self) -> Result<u8, Error> {
        self.whitespace();
        match self.bytes.get(self.at) {
            Some(&byte) => Ok(byte),
            None => self.error(ErrorKind::UnexpectedEnd),
        }
    }

    /// Consumes the byte that was peeked.
    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) fn expect(&mut self, expected: u8) -> Result<(), Error> {
        if self.peek()? != expected {
            return self.error(ErrorKind::UnexpectedByte);
        }
        self.at += 1;
        Ok(())
    }

    /// Enters the outermost object.
    pub(crate) fn open_object(&mut self) -> Result<(), Error> {
        self.whitespace();
        match self.bytes.get(self.at) {
            Some(b'{') => {
                self.at += 1;
                Ok(())
            }
            None => self.error(ErrorKind::Empty),
            Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.error(ErrorKind::NotAnObject),
            Some(_) => self.error(ErrorKind::UnexpectedByte),
        }
    }

    /// The next key of the outermost object and its index, the scanner then stands before the value; None at its end.
    pub(crate) fn next_member(&mut self, first: bool) -> Result<Option<(Text<'a>, usize)>, Error> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !first => self.at += 1,
            _ if first => {}
            _ => return self.error(ErrorKind::UnexpectedByte),
        }
        self.key().map(Some)
    }

    /// A key and the colon behind it.
    pub(super) fn key(&mut self) -> Result<(Text<'a>, usize), Error> {
        if self.peek()? != b'"' {
            return self.error(ErrorKind::UnexpectedByte);
        }
        let index = self.at;
        let key = self.string()?;
        self.expect(b':')?;
        Ok((key, index))
    }

    /// Nothing but whitespace may follow the outermost object.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.whitespace();
        if self.at < self.bytes.len() {
            self.error(ErrorKind::TrailingData)
        } else {
            Ok(())
        }
    }

    /// The value that begins with `first`, which was peeked and opens neither object nor array.
    pub(crate) fn scalar(&mut self, first: u8) -> Result<Scalar<'a>, Error> {
        match first {
            b'"' => self.string().map(Scalar::String),
            b'-' | b'0'..=b'9' => self.number().map(Scalar::Number),
            b't' => self.word(b"true").map(|()| Scalar::Bool(true)),
            b'f' => self.word(b"false").map(|()| Scalar::Bool(false)),
            b'n' => self.word(b"null").map(|()| Scalar::Null),
            _ => self.error(ErrorKind::UnexpectedByte),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Error> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.at += rest
            .iter()
            .zip(word)
            .take_while(|(found, expected)| found == expected)
            .count();
        self.error(if self.at == self.bytes.len() {
            ErrorKind::UnexpectedEnd
        } else {
            ErrorKind::UnexpectedByte
        })
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            _ if self.at > start => Ok(()),
            None => self.error(ErrorKind::UnexpectedEnd),
            Some(_) => self.error(ErrorKind::InvalidNumber),
        }
    }

    fn number(&mut self) -> Result<Number<'a>, Error> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return self.error(ErrorKind::InvalidNumber);
            }
        } else {
            self.digits()?;
        }
        let whole = self.at;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Number {
            raw: &self.bytes[start..self.at],
            integer: self.at == whole,
        })
    }

    /// The string whose opening quote is the next byte.
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Error> {
        let bytes = self.bytes;
        let start = self.at + 1;
        let mut at = start;
        let mut ascii = true;
        let mut escaped = false;
        loop {
            at = next_special(bytes, at, ascii);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    at = escape(bytes, at)?.1;
                    escaped = true;
                }
                Some(0..0x20) => return Err(Error::new(ErrorKind::ControlCharacter, at)),
                Some(_) => {
                    ascii = false;
                    at += 1;
                }
                None => return Err(Error::new(ErrorKind::UnexpectedEnd, at)),
            }
        }
        let raw = &bytes[start..at];
        if !ascii && !self.utf8_checked && simdutf8::basic::from_utf8(raw).is_err() {
            return Err(Error::new(ErrorKind::Utf8, start));
        }
        self.at = at + 1;
        Ok(Text::new(raw, start, escaped))
    }

    /// The string whose opening quote is the next byte, taken to hold none of `"`, `\`, control characters: the closing
    /// quote is the first one in the last `tail` bytes of the text. None where there is no quote.
    ///
    /// Right whenever what it returns turns out to be base64, wherever the true end is; else nothing is known.
    pub(crate) fn string_guessed(&mut self, tail: usize) -> Option<Text<'a>> {
        let start = self.at + 1;
        let from = self.bytes.len().saturating_sub(tail).max(start);
        let end = from + memchr::memchr(b'"', self.bytes.get(from..)?)?;
        self.at = end + 1;
        Some(Text::new(&self.bytes[start..end], start, false))
    }
}
