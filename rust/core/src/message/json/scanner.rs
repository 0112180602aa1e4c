//! The tokens of JSON: strings, numbers, words, and the members of an object.

use super::text::{escape, next_special, next_special_near};
use super::{Error, ErrorKind, Kind, Token};

/// Walks over one JSON text.
///
/// The methods return what fits into registers, since the walk over a small message is dominated by what goes through
/// memory: where the last token lies is asked by [`token`](Self::token), where a failure was seen by
/// [`error`](Self::error). After a failure nothing else may be asked.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The last token, without the quotes of a string.
    start: usize,
    end: usize,
    utf8_checked: bool,
    /// Where a key was found for the second time. The walk goes on: a server wants the `context_id` all the same.
    duplicate: Option<usize>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8], utf8_checked: bool) -> Self {
        Self {
            bytes,
            at: 0,
            start: 0,
            end: 0,
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

    /// The last token, which is of this kind.
    #[inline]
    pub(crate) fn token(&self, kind: Kind) -> Token<'a> {
        Token {
            kind,
            index: self.start,
            raw: &self.bytes[self.start..self.end],
        }
    }

    /// The failure of this kind, which was just met.
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error { kind, index: self.at }
    }

    pub(crate) fn note_duplicate(&mut self, index: usize) {
        self.duplicate.get_or_insert(index);
    }

    pub(crate) fn duplicate(&self) -> Option<Error> {
        self.duplicate.map(|index| Error {
            kind: ErrorKind::DuplicateKey,
            index,
        })
    }

    fn fail<T>(&mut self, kind: ErrorKind, index: usize) -> Result<T, ErrorKind> {
        self.at = index;
        Err(kind)
    }

    #[inline]
    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no whitespace, not consumed.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, ErrorKind> {
        self.whitespace();
        self.bytes.get(self.at).copied().ok_or(ErrorKind::UnexpectedEnd)
    }

    /// What is not consumed yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Consumes what was peeked or looked at.
    #[inline]
    pub(crate) fn advance(&mut self, length: usize) {
        self.at += length;
    }

    /// Enters the outermost object.
    pub(crate) fn open_object(&mut self) -> Result<(), ErrorKind> {
        self.whitespace();
        match self.bytes.get(self.at) {
            Some(b'{') => {
                self.at += 1;
                Ok(())
            }
            None => Err(ErrorKind::Empty),
            Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Err(ErrorKind::NotAnObject),
            Some(_) => Err(ErrorKind::UnexpectedByte),
        }
    }

    /// Whether the outermost object goes on; the scanner then stands where the next key must be.
    #[inline]
    pub(crate) fn member_follows(&mut self, first: bool) -> Result<bool, ErrorKind> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(false);
            }
            b',' if !first => self.at += 1,
            _ if first => {}
            _ => return Err(ErrorKind::UnexpectedByte),
        }
        self.whitespace();
        Ok(true)
    }

    /// A key and the colon behind it.
    pub(crate) fn key(&mut self) -> Result<Kind, ErrorKind> {
        if self.peek()? != b'"' {
            return Err(ErrorKind::UnexpectedByte);
        }
        let kind = self.string()?;
        if self.peek()? != b':' {
            return Err(ErrorKind::UnexpectedByte);
        }
        self.at += 1;
        Ok(kind)
    }

    /// Nothing but whitespace may follow the outermost object.
    pub(crate) fn finish(&mut self) -> Result<(), ErrorKind> {
        self.whitespace();
        if self.at < self.bytes.len() {
            Err(ErrorKind::TrailingData)
        } else {
            Ok(())
        }
    }

    /// The value that begins with `first`, which was peeked and opens neither object nor array.
    #[inline]
    pub(crate) fn scalar(&mut self, first: u8) -> Result<Kind, ErrorKind> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Kind::True),
            b'f' => self.word(b"false", Kind::False),
            b'n' => self.word(b"null", Kind::Null),
            _ => Err(ErrorKind::UnexpectedByte),
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, ErrorKind> {
        let rest = self.rest();
        if rest.starts_with(word) {
            self.start = self.at;
            self.at += word.len();
            self.end = self.at;
            return Ok(kind);
        }
        self.at += rest
            .iter()
            .zip(word)
            .take_while(|(found, expected)| found == expected)
            .count();
        Err(if self.at == self.bytes.len() {
            ErrorKind::UnexpectedEnd
        } else {
            ErrorKind::UnexpectedByte
        })
    }

    fn digits(&mut self) -> Result<(), ErrorKind> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            _ if self.at > start => Ok(()),
            None => Err(ErrorKind::UnexpectedEnd),
            Some(_) => Err(ErrorKind::InvalidNumber),
        }
    }

    fn number(&mut self) -> Result<Kind, ErrorKind> {
        self.start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(ErrorKind::InvalidNumber);
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
        self.end = self.at;
        Ok(if self.at == whole { Kind::Integer } else { Kind::Float })
    }

    /// The string whose opening quote is the next byte.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Kind, ErrorKind> {
        self.start = self.at + 1;
        let end = next_special_near(self.bytes, self.start);
        if self.bytes.get(end) == Some(&b'"') {
            self.end = end;
            self.at = end + 1;
            return Ok(Kind::Plain);
        }
        self.unusual_string(end)
    }

    /// The rest of a string that is not both short and plain; nothing is special before `at`.
    #[inline(never)]
    fn unusual_string(&mut self, mut at: usize) -> Result<Kind, ErrorKind> {
        let mut kind = Kind::Plain;
        let mut ascii = true;
        loop {
            at = next_special(self.bytes, at, ascii);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => match escape(self.bytes, at) {
                    Ok((_, next)) => {
                        at = next;
                        kind = Kind::Escaped;
                    }
                    Err(error) => return self.fail(error.kind, error.index),
                },
                Some(0..0x20) => return self.fail(ErrorKind::ControlCharacter, at),
                Some(_) => {
                    ascii = false;
                    at += 1;
                }
                None => return self.fail(ErrorKind::UnexpectedEnd, at),
            }
        }
        if !ascii && !self.utf8_checked && simdutf8::basic::from_utf8(&self.bytes[self.start..at]).is_err() {
            return self.fail(ErrorKind::Utf8, self.start);
        }
        self.end = at;
        self.at = at + 1;
        Ok(kind)
    }

    /// The string whose opening quote is the next byte, taken to hold none of `"`, `\`, control characters: the closing
    /// quote is the first one in the last `tail` bytes of the text.
    ///
    /// Right whenever what it returns turns out to be base64, wherever the true end is; else nothing is known.
    #[inline]
    pub(crate) fn string_guessed(&mut self, tail: usize) -> Result<Kind, ErrorKind> {
        self.start = self.at + 1;
        let from = self.bytes.len().saturating_sub(tail).max(self.start);
        let Some(length) = self.bytes.get(from..).and_then(|rest| memchr::memchr(b'"', rest)) else {
            return Err(ErrorKind::UnexpectedEnd);
        };
        self.end = from + length;
        self.at = self.end + 1;
        Ok(Kind::Plain)
    }
}
