//! One HTTP head: collected under the limits, judged byte by byte as it arrives, parsed once when it is whole.

use super::{Fault, HEAD_BYTES, HEAD_HEADERS, HEAD_LINE_BYTES, WEBSOCKET_HEADER_BYTES};

/// Headers in order: name in lower case, value as Latin-1.
pub(super) type Headers = Vec<(String, String)>;

/// Which first line a head has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLine {
    Request,
    Status,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FirstLine,
    /// At the start of a header line, or of the empty one.
    LineStart,
    Name,
    Value,
    /// Behind a CR.
    LineEnd,
}

/// Collects a head. Each byte is looked at once, however they come; what is wrong is found with the byte that is.
///
/// The library that parses the head is more tolerant than we are (bare line feeds, empty lines in front): what it would
/// forgive is refused here.
#[derive(Debug)]
pub(super) struct HeadReader {
    kind: FirstLine,
    bytes: Vec<u8>,
    scanned: usize,
    line_start: usize,
    place: Place,
    headers: usize,
    /// Bytes that heads may still take: an interim answer uses up part of it.
    budget: usize,
}

impl HeadReader {
    pub(super) fn new(kind: FirstLine) -> Self {
        Self {
            kind,
            bytes: Vec::new(),
            scanned: 0,
            line_start: 0,
            place: Place::FirstLine,
            headers: 0,
            budget: HEAD_BYTES,
        }
    }

    /// Every byte taken and not dropped.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes bytes; returns where the head ends once it is whole.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<Option<usize>, Fault> {
        self.bytes.extend_from_slice(data);
        let result = self.scan();
        if result.is_err() {
            self.bytes = Vec::new();
        }
        result
    }

    /// Takes bytes that belong to no head.
    pub(super) fn append(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// Drops a whole head of `end` bytes, to read the next one from what followed it.
    pub(super) fn restart(&mut self, end: usize) {
        self.bytes.drain(..end);
        self.budget -= end;
        self.scanned = 0;
        self.line_start = 0;
        self.place = Place::FirstLine;
        self.headers = 0;
    }

    /// Drops a whole head of `end` bytes and returns what followed it.
    pub(super) fn take_rest(&mut self, end: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(end);
        self.bytes = Vec::new();
        rest
    }

    fn scan(&mut self) -> Result<Option<usize>, Fault> {
        while let Some(&byte) = self.bytes.get(self.scanned) {
            if self.scanned >= self.budget {
                return Err(Fault::HeadTooLong);
            }
            let line_len = self.scanned - self.line_start;
            match (self.place, byte) {
                (Place::LineEnd, b'\n') if line_len == 1 => {
                    self.scanned += 1;
                    return Ok(Some(self.scanned));
                }
                (Place::LineEnd, b'\n') => {
                    self.line_start = self.scanned + 1;
                    self.place = Place::LineStart;
                }
                (Place::LineEnd, _) | (_, b'\n') => return Err(Fault::BareLineEnd),
                // An empty first line, or a header without a colon.
                (Place::FirstLine, b'\r') if line_len == 0 => return Err(Fault::Malformed),
                (Place::Name, b'\r') => return Err(Fault::Malformed),
                (_, b'\r') => self.place = Place::LineEnd,
                _ => self.judge(byte)?,
            }
            self.scanned += 1;
        }
        Ok(None)
    }

    /// Judges a byte that is part of a line.
    fn judge(&mut self, byte: u8) -> Result<(), Fault> {
        let is_first_line = self.place == Place::FirstLine;
        if self.scanned - self.line_start >= HEAD_LINE_BYTES {
            return Err(if is_first_line {
                Fault::FirstLineTooLong
            } else {
                Fault::HeaderLineTooLong
            });
        }
        match byte {
            b'\t' if is_first_line && self.kind == FirstLine::Request => return Err(Fault::ControlCharacter),
            b'\t' => {}
            0..=0x1F | 0x7F => return Err(Fault::ControlCharacter),
            0x80.. if is_first_line && self.kind == FirstLine::Request => return Err(Fault::Malformed),
            _ => {}
        }
        let is_space = byte == b' ' || byte == b'\t';
        match self.place {
            Place::LineStart => {
                if is_space {
                    return Err(Fault::FoldedLine);
                }
                if self.headers == HEAD_HEADERS {
                    return Err(Fault::TooManyHeaders);
                }
                self.headers += 1;
                self.place = if byte == b':' { Place::Value } else { Place::Name };
            }
            Place::Name if is_space => return Err(Fault::SpaceBeforeColon),
            Place::Name if byte == b':' => self.place = Place::Value,
            _ => {}
        }
        Ok(())
    }
}

/// Parses the first line and the headers of a whole request head: method, target, headers.
pub(super) fn parse_request(head: &[u8]) -> Result<(String, String, Headers), Fault> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::Version) if has_http_version(head, FirstLine::Request) => {
            return Err(Fault::HttpVersion);
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(Fault::Malformed),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Fault::Malformed);
    };
    if request.version != Some(1) {
        return Err(Fault::HttpVersion);
    }
    Ok((method.to_owned(), target.to_owned(), parse_headers(request.headers)?))
}

/// Parses the first line and the headers of a whole answer head: minor version of HTTP/1, status, headers.
pub(super) fn parse_answer(head: &[u8]) -> Result<(u8, u16, Headers), Fault> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_HEADERS];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::Version) if has_http_version(head, FirstLine::Status) => {
            return Err(Fault::HttpVersion);
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(Fault::Malformed),
    }
    let (Some(version), Some(status)) = (answer.version, answer.code) else {
        return Err(Fault::Malformed);
    };
    // RFC 9110 section 15: three digits, of which the first says the class.
    if !(100..=599).contains(&status) {
        return Err(Fault::Malformed);
    }
    Ok((version, status, parse_headers(answer.headers)?))
}

/// Returns whether the first line is well formed but for a version of HTTP that is another one: then the status is 505,
/// not 400.
fn has_http_version(head: &[u8], kind: FirstLine) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let version = match kind {
        FirstLine::Request => {
            let version = words.by_ref().nth(2);
            if words.next().is_some() { None } else { version }
        }
        FirstLine::Status => words.next(),
    };
    matches!(
        version,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
    )
}

fn parse_headers(fields: &[httparse::Header<'_>]) -> Result<Headers, Fault> {
    fields
        .iter()
        .map(|field| {
            let name = field.name.to_ascii_lowercase();
            if name.starts_with("sec-websocket-") && field.value.len() > WEBSOCKET_HEADER_BYTES {
                return Err(Fault::WebSocketHeaderTooLong);
            }
            let value: String = field.value.iter().copied().map(char::from).collect();
            Ok((name, value.trim_matches([' ', '\t']).to_owned()))
        })
        .collect()
}

/// All values of a header, in order.
pub(super) fn values<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.0 == name)
        .map(|header| header.1.as_str())
}

/// The value of a header that may be there once.
pub(super) fn single<'a>(headers: &'a Headers, name: &'static str) -> Result<Option<&'a str>, Fault> {
    let mut values = values(headers, name);
    let value = values.next();
    if values.next().is_some() {
        return Err(Fault::DoubledHeader(name));
    }
    Ok(value)
}

/// The members of a header that is a list, over all its lines.
pub(super) fn tokens<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = &'a str> {
    values(headers, name).flat_map(split_list)
}

/// The members of the value of a list header.
pub(super) fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Unsaid,
    Length(u64),
    Chunked,
}

/// Reads how the length of the body is told; what two parsers could read differently is refused.
pub(super) fn framing(headers: &Headers) -> Result<Framing, Fault> {
    let has_encoding = values(headers, "transfer-encoding").next().is_some();
    if has_encoding && values(headers, "content-length").next().is_some() {
        return Err(Fault::LengthAndTransferEncoding);
    }
    if has_encoding {
        let mut codings = tokens(headers, "transfer-encoding");
        let is_chunked = codings
            .next()
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        return if is_chunked && codings.next().is_none() {
            Ok(Framing::Chunked)
        } else {
            Err(Fault::TransferEncoding)
        };
    }
    let Some(length) = single(headers, "content-length")? else {
        return Ok(Framing::Unsaid);
    };
    // The parser of the standard library would take a sign.
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::ContentLength);
    }
    length.parse().map(Framing::Length).map_err(|_| Fault::ContentLength)
}
