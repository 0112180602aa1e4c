//! The client's half: writes the request, judges the answer (RFC 6455 section 4.1).

use super::body::Body;
use super::head::{self, FirstLine, Framing, HeadReader, Headers};
use super::{AnswerFault, Fault, VERSION, accept_value, emit, encode_base64};
use crate::error::{Error, ErrorKind};

/// Headers that the request has already, or that would change what follows the answer.
const RESERVED: [&str; 9] = [
    "host",
    "upgrade",
    "connection",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-accept",
];

/// How far the answer has come.
#[derive(Debug)]
enum Progress {
    Head,
    /// The body of a refusal.
    Body(Body),
    /// A refusal, whole.
    Refused(Body),
    /// A valid 101, and what followed it.
    Accepted(Vec<u8>),
    Failed(AnswerFault),
}

/// One upgrade: send `poll_transmit`, then hand every byte of the answer to `handle_data` until it returns true.
#[derive(Debug)]
pub struct ClientHandshake {
    request: Vec<u8>,
    /// What `Sec-WebSocket-Accept` must be.
    accept: String,
    /// Subprotocols offered by the caller's headers.
    subprotocols: Vec<String>,
    head: HeadReader,
    status: Option<u16>,
    headers: Headers,
    progress: Progress,
}

impl ClientHandshake {
    /// Builds the request.
    ///
    /// * `host`: value of the Host header: host, and port where it is not the scheme's own
    /// * `target`: path and query, beginning with a slash
    /// * `headers`: further headers
    /// * `key`: 16 random bytes
    ///
    /// Errors, all local: `ForbiddenCharacter` for control characters, line breaks, non-ASCII, and for spaces in host or
    /// target; `ReservedHeader` for a header that the handshake writes itself.
    pub fn new(host: &str, target: &str, headers: &[(&str, &str)], key: [u8; 16]) -> Result<Self, Error> {
        if host.is_empty() {
            return Err(Error::local(ErrorKind::ForbiddenCharacter("host"), 0));
        }
        emit::check("host", host, |byte| byte.is_ascii_graphic())?;
        if !target.starts_with('/') {
            return Err(Error::local(ErrorKind::ForbiddenCharacter("target"), 0));
        }
        // A fragment is never sent (RFC 6455 section 3).
        emit::check("target", target, |byte| byte.is_ascii_graphic() && byte != b'#')?;
        let key = encode_base64(&key);
        let mut request = Vec::new();
        request.extend_from_slice(b"GET ");
        request.extend_from_slice(target.as_bytes());
        request.extend_from_slice(b" HTTP/1.1\r\n");
        emit::line(&mut request, "Host", host);
        emit::line(&mut request, "Upgrade", "websocket");
        emit::line(&mut request, "Connection", "Upgrade");
        emit::line(&mut request, "Sec-WebSocket-Key", &key);
        emit::line(&mut request, "Sec-WebSocket-Version", VERSION);
        emit::headers(&mut request, headers, &RESERVED)?;
        request.extend_from_slice(b"\r\n");
        let subprotocols = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))
            .flat_map(|(_, value)| head::split_list(value))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            request,
            accept: accept_value(&key),
            subprotocols,
            head: HeadReader::new(FirstLine::Status),
            status: None,
            headers: Headers::new(),
            progress: Progress::Head,
        })
    }

    /// Returns the request, once; then nothing.
    pub fn poll_transmit(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request)
    }

    /// Takes bytes; true once the answer is whole, or as much of it as is kept, or refused.
    pub fn handle_data(&mut self, data: &[u8]) -> bool {
        let result = match &mut self.progress {
            Progress::Head => self.read_head(data),
            Progress::Body(body) => body.push(data).map(|is_whole| {
                if is_whole {
                    self.end_body();
                }
            }),
            Progress::Accepted(remainder) => {
                remainder.extend_from_slice(data);
                Ok(())
            }
            Progress::Refused(_) | Progress::Failed(_) => Ok(()),
        };
        if let Err(fault) = result {
            self.progress = Progress::Failed(fault);
        }
        !matches!(self.progress, Progress::Head | Progress::Body(_))
    }

    /// The stream ended. True where the answer is known: the end is that of a body without length, or cuts one short
    /// whose status says enough. False where the stream ended before the head was whole.
    pub fn handle_eof(&mut self) -> bool {
        self.end_body();
        !matches!(self.progress, Progress::Head)
    }

    /// Whether the answer is a 101 that fulfils every rule.
    pub fn accepted(&self) -> bool {
        matches!(self.progress, Progress::Accepted(_))
    }

    /// Why the answer is no valid HTTP or no valid upgrade; nothing for a plain refusal by status.
    pub fn failure(&self) -> Option<AnswerFault> {
        match self.progress {
            Progress::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// The status of the answer, once its head is whole.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The headers of the answer in order, names in lower case, values decoded as Latin-1.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body of a refusal, at most `ERROR_BODY_BYTES`.
    pub fn body(&self) -> &[u8] {
        match &self.progress {
            Progress::Body(body) | Progress::Refused(body) => body.bytes(),
            _ => &[],
        }
    }

    /// What followed the head of an accepted upgrade: the first frames.
    pub fn remainder(&self) -> &[u8] {
        match &self.progress {
            Progress::Accepted(remainder) => remainder,
            _ => &[],
        }
    }

    fn read_head(&mut self, mut data: &[u8]) -> Result<(), AnswerFault> {
        while let Some(end) = self.head.push(data)? {
            let (version, status, headers) = head::parse_answer(&self.head.bytes()[..end])?;
            if matches!(status, 100 | 102..=199) {
                // An interim answer: the true one follows (RFC 9110 section 15.2).
                self.head.restart(end);
                data = &[];
                continue;
            }
            self.status = Some(status);
            self.headers = headers;
            let rest = self.head.take_rest(end);
            if status == 101 {
                self.judge_upgrade(version)?;
                self.progress = Progress::Accepted(rest);
                return Ok(());
            }
            let framing = if matches!(status, 204 | 304) {
                Framing::Length(0)
            } else {
                head::framing(&self.headers)?
            };
            let mut body = Body::new(framing);
            self.progress = if body.push(&rest)? {
                Progress::Refused(body)
            } else {
                Progress::Body(body)
            };
            return Ok(());
        }
        Ok(())
    }

    fn end_body(&mut self) {
        match std::mem::replace(&mut self.progress, Progress::Head) {
            Progress::Body(body) => self.progress = Progress::Refused(body),
            progress => self.progress = progress,
        }
    }

    /// Judges a 101 by the numbered list of RFC 6455 section 4.1.
    fn judge_upgrade(&self, version: u8) -> Result<(), AnswerFault> {
        if version != 1 {
            return Err(Fault::HttpVersion.into());
        }
        let mut upgrades = head::tokens(&self.headers, "upgrade");
        if !upgrades
            .next()
            .is_some_and(|token| token.eq_ignore_ascii_case("websocket"))
            || upgrades.next().is_some()
        {
            return Err(Fault::Upgrade.into());
        }
        if !head::tokens(&self.headers, "connection").any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return Err(Fault::Connection.into());
        }
        if head::single(&self.headers, "sec-websocket-accept")? != Some(self.accept.as_str()) {
            return Err(AnswerFault::Accept);
        }
        if head::tokens(&self.headers, "sec-websocket-extensions").next().is_some() {
            return Err(AnswerFault::Extension);
        }
        match head::single(&self.headers, "sec-websocket-protocol")? {
            Some(chosen) if !self.subprotocols.iter().any(|offered| offered == chosen) => Err(AnswerFault::Subprotocol),
            _ => Ok(()),
        }
    }
}
