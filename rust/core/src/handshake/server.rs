//! The server's half: reads one request head, then answers (RFC 6455 section 4.2).

use super::head::{self, FirstLine, Framing, HeadReader, Headers};
use super::{Fault, VERSION, accept_value, emit};
use crate::error::{Error, ErrorKind};

/// Headers that a request may have once: two of them, and two readers would believe different ones.
const SINGLE: [&str; 4] = ["host", "sec-websocket-key", "sec-websocket-version", "origin"];

/// Headers that a 101 has already, or that would change what follows it.
const RESERVED_ON_ACCEPT: [&str; 6] = [
    "upgrade",
    "connection",
    "content-length",
    "transfer-encoding",
    "sec-websocket-accept",
    "sec-websocket-extensions",
];

/// Headers that a refusal has already.
const RESERVED_ON_REFUSE: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// How far the request has come.
#[derive(Debug)]
enum Progress {
    Head,
    /// Whole, its head ending at this byte.
    Whole(usize),
    Failed(Fault),
}

/// One request: hand every byte to `handle_data` until it returns true.
///
/// It need not be an upgrade: an ordinary request is replayed from `received` to a parser of HTTP.
#[derive(Debug)]
pub struct ServerHandshake {
    head: HeadReader,
    progress: Progress,
    method: String,
    target: String,
    headers: Headers,
}

impl Default for ServerHandshake {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerHandshake {
    /// Makes a reader of one head.
    pub fn new() -> Self {
        Self {
            head: HeadReader::new(FirstLine::Request),
            progress: Progress::Head,
            method: String::new(),
            target: String::new(),
            headers: Headers::new(),
        }
    }

    /// Takes bytes; true once the head is whole or refused.
    pub fn handle_data(&mut self, data: &[u8]) -> bool {
        match self.progress {
            Progress::Head => {
                if let Err(fault) = self.read_head(data) {
                    self.progress = Progress::Failed(fault);
                }
            }
            Progress::Whole(_) => self.head.append(data),
            Progress::Failed(_) => {}
        }
        !matches!(self.progress, Progress::Head)
    }

    /// Why the head cannot be read, or is dangerous to hand on; `Fault::status` is the status to refuse it with.
    pub fn failure(&self) -> Option<Fault> {
        match self.progress {
            Progress::Failed(fault) => Some(fault),
            Progress::Head | Progress::Whole(_) => None,
        }
    }

    /// The method; empty until the head is whole.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request target as it was sent; empty until the head is whole.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The headers in order, names in lower case, values decoded as Latin-1.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Every byte taken, to be replayed to another parser; nothing of a head that was refused while it came.
    pub fn received(&self) -> &[u8] {
        self.head.bytes()
    }

    /// What followed the head.
    pub fn remainder(&self) -> &[u8] {
        match self.progress {
            Progress::Whole(end) => &self.head.bytes()[end..],
            Progress::Head | Progress::Failed(_) => &[],
        }
    }

    /// Why this head is no upgrade to a WebSocket; nothing if it is one. A refusal of `Fault::Version` carries the header
    /// `Sec-WebSocket-Version` with the value `VERSION`.
    pub fn upgrade_failure(&self) -> Option<Fault> {
        self.upgrade_key().err()
    }

    /// Returns the 101 that accepts the upgrade.
    ///
    /// Errors, all local: `NotAnUpgrade` where `upgrade_failure` or `failure` has something to say or the head is not
    /// whole; `ForbiddenCharacter`, `ReservedHeader`.
    pub fn accept(&self, headers: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let key = self
            .upgrade_key()
            .map_err(|_| Error::local(ErrorKind::NotAnUpgrade, 0))?;
        let mut answer = Vec::new();
        answer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        emit::line(&mut answer, "Upgrade", "websocket");
        emit::line(&mut answer, "Connection", "Upgrade");
        emit::line(&mut answer, "Sec-WebSocket-Accept", &accept_value(key));
        emit::headers(&mut answer, headers, &RESERVED_ON_ACCEPT)?;
        answer.extend_from_slice(b"\r\n");
        Ok(answer)
    }

    /// Returns a whole answer after which the connection is closed.
    ///
    /// Errors, all local: `InvalidStatus` for a status outside 300-599, `ForbiddenCharacter`, `ReservedHeader`.
    pub fn refuse(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>, Error> {
        if !(300..=599).contains(&status) {
            return Err(Error::local(ErrorKind::InvalidStatus(status), 0));
        }
        let mut answer = Vec::new();
        answer.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).as_bytes());
        emit::line(&mut answer, "Connection", "close");
        emit::line(&mut answer, "Content-Length", &body.len().to_string());
        emit::headers(&mut answer, headers, &RESERVED_ON_REFUSE)?;
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(body);
        Ok(answer)
    }

    fn read_head(&mut self, data: &[u8]) -> Result<(), Fault> {
        let Some(end) = self.head.push(data)? else {
            return Ok(());
        };
        (self.method, self.target, self.headers) = head::parse_request(&self.head.bytes()[..end])?;
        for name in SINGLE {
            head::single(&self.headers, name)?;
        }
        if head::values(&self.headers, "host").next().is_none() {
            return Err(Fault::MissingHost);
        }
        let has_body = !matches!(head::framing(&self.headers)?, Framing::Unsaid | Framing::Length(0));
        if has_body && self.method == "GET" {
            return Err(Fault::BodyOnGet);
        }
        self.progress = Progress::Whole(end);
        Ok(())
    }

    /// The key of a valid upgrade.
    fn upgrade_key(&self) -> Result<&str, Fault> {
        if let Progress::Failed(fault) = self.progress {
            return Err(fault);
        }
        if self.method != "GET" {
            return Err(Fault::Method);
        }
        let names =
            |name, token: &str| head::tokens(&self.headers, name).any(|member| member.eq_ignore_ascii_case(token));
        if !names("upgrade", "websocket") {
            return Err(Fault::Upgrade);
        }
        if !names("connection", "upgrade") {
            return Err(Fault::Connection);
        }
        // Before the key: a version that we do not know may have other rules for it.
        match head::single(&self.headers, "sec-websocket-version")? {
            None => return Err(Fault::MissingVersion),
            Some(VERSION) => {}
            Some(_) => return Err(Fault::Version),
        }
        let key = head::single(&self.headers, "sec-websocket-key")?.ok_or(Fault::MissingKey)?;
        if is_key(key.as_bytes()) {
            Ok(key)
        } else {
            Err(Fault::Key)
        }
    }
}

/// Returns whether `text` is base64 of 16 bytes: 22 digits, the last of which has four bits that no byte takes, and
/// padding.
fn is_key(text: &[u8]) -> bool {
    let Some((digits, b"==")) = text.split_last_chunk() else {
        return false;
    };
    digits.len() == 22
        && digits
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && matches!(digits.last(), Some(b'A' | b'Q' | b'g' | b'w'))
}

/// The words of RFC 9110 section 15 for the statuses that a handshake is refused with; others go without.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
