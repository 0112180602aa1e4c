//! All of a connection but the reader, since a message borrows that while it is worked on: what is done with each
//! message, and how a connection ends.

use std::borrow::Cow;
use std::mem;

use super::arriving::Arriving;
use super::client::Client;
use super::liveness::Liveness;
use super::receive::{Surroundings, Violation};
use super::server::{Server, UNUSABLE_MESSAGES, Verdict};
use super::{Closed, CommandError, Counters, Event, Host, TimedOut};
use crate::error::{Error, ErrorKind, Side as Fault, close_code};
use crate::frame::{self, FrameWriter, Incoming, Opcode, Part, Role};

/// Bytes of a close reason at most: a control frame's payload less the code (RFC 6455 section 5.5).
const CLOSE_REASON_BYTES: usize = frame::MAX_CONTROL_PAYLOAD - 2;

pub(super) enum Phase {
    Open,
    /// The Close is decided on, and goes out after the caller could answer what came before it.
    Answering {
        /// The caller has seen the events.
        drained: bool,
        code: Option<u16>,
        reason: String,
        /// The event that all is over is among them; otherwise the peer's Close is waited for.
        is_over: bool,
    },
    Closing {
        deadline: f64,
        code: u16,
        reason: String,
    },
    Closed,
}

pub(super) enum Side<Owner, Buffer> {
    Client(Client<Owner, Buffer>),
    Server(Server),
    /// Plain WebSocket messages, either role.
    Plain,
}

/// What goes out.
pub(super) struct Outlet {
    pub(super) writer: FrameWriter,
    pub(super) transmit: Vec<u8>,
}

pub(super) struct Inner<Owner, Buffer> {
    pub(super) role: Role,
    pub(super) side: Side<Owner, Buffer>,
    pub(super) phase: Phase,
    pub(super) outlet: Outlet,
    pub(super) events: Vec<Event<Owner, Buffer>>,
    pub(super) liveness: Liveness,
    pub(super) close_timeout_s: f64,
    pub(super) counters: Counters,
    pub(super) now: f64,
}

impl<Owner, Buffer> Inner<Owner, Buffer> {
    /// The way out, while messages may still be sent.
    pub(super) fn outlet(&mut self) -> Result<&mut Outlet, CommandError> {
        match self.phase {
            Phase::Open | Phase::Answering { .. } => Ok(&mut self.outlet),
            Phase::Closing { .. } | Phase::Closed => Err(CommandError::Closing),
        }
    }

    pub(super) fn handle_incoming(&mut self, incoming: Incoming<'_>, host: &impl Host<Owner = Owner, Buffer = Buffer>) {
        match incoming {
            Incoming::Text {
                payload,
                checked,
                index,
            } => self.handle_text(payload, checked, index, host),
            Incoming::Binary(payload) => self.handle_binary(payload),
            // A pong after our Close would follow the last frame that we may send.
            Incoming::Ping(payload) if matches!(self.phase, Phase::Open) => {
                self.outlet.control(Opcode::Pong, payload);
            }
            Incoming::Ping(_) => {}
            Incoming::Pong(payload) => self.liveness.handle_pong(payload),
            Incoming::Close { code, reason } => self.handle_close(code, reason),
        }
    }

    /// All messages of a read were handled.
    pub(super) fn end_read(&mut self, host: &impl Host<Owner = Owner, Buffer = Buffer>) {
        if let Side::Client(client) = &mut self.side
            && client.joint.end_read(&mut self.events, host).is_err()
            && !matches!(self.phase, Phase::Closed)
        {
            self.fail(&Error::local(ErrorKind::OutOfMemory, 0));
        }
    }

    /// A piece of a text message; returns all that has come of the message where it is to be collected as text.
    pub(super) fn handle_part<'a, H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        part: &Part<'a>,
        index: u64,
        host: &H,
    ) -> Option<Cow<'a, [u8]>> {
        let is_open = matches!(self.phase, Phase::Open);
        let Side::Client(client) = &mut self.side else {
            return Some(part.payload.into());
        };
        let mut piece = part.payload;
        let mut arriving = if part.have > 0 {
            // Taken with the first part, or no other would have come.
            client.arriving.take()?
        } else {
            let len = piece.len() + part.missing;
            let begin = || Arriving::begin(piece, len, &client.envelopes, host);
            let Some(arriving) = is_open.then(begin).flatten() else {
                return Some(piece.into());
            };
            piece = &piece[arriving.front.size..];
            Box::new(arriving)
        };
        let mut untaken = &[][..];
        match arriving.take(piece, host) {
            Ok(()) if part.missing > 0 => {
                client.arriving = Some(arriving);
                return None;
            }
            // Once our Close is decided on, messages are not looked at any more: the text is proved, and that is all.
            Ok(()) if is_open => arriving = self.handle_arrived(arriving, index, host)?,
            Ok(()) => {}
            Err(rest) => untaken = rest,
        }
        let mut text = arriving.whole_text(host);
        text.extend_from_slice(untaken);
        Some(text.into())
    }

    /// A chunk that was decoded as it came is whole; where it turns out to be something else it is given back.
    fn handle_arrived<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        arrived: Box<Arriving<Buffer>>,
        index: u64,
        host: &H,
    ) -> Option<Box<Arriving<Buffer>>> {
        let Some((client, mut surroundings)) = self.client(host) else {
            return Some(arrived);
        };
        let outcome = match client.handle_arrived(arrived, &mut surroundings) {
            Ok(Some(other)) => return Some(other),
            Ok(None) => Ok(()),
            Err(violation) => Err(violation),
        };
        self.conclude(outcome, index);
        None
    }

    /// The client's part, and what surrounds it.
    fn client<'a, H: Host<Owner = Owner, Buffer = Buffer>>(
        &'a mut self,
        host: &'a H,
    ) -> Option<(&'a mut Client<Owner, Buffer>, Surroundings<'a, H>)> {
        let Side::Client(client) = &mut self.side else {
            return None;
        };
        let surroundings = Surroundings {
            outlet: &mut self.outlet,
            events: &mut self.events,
            counters: &mut self.counters,
            now: self.now,
            host,
        };
        Some((client, surroundings))
    }

    /// A client has worked on a text message that began at `index`.
    fn conclude(&mut self, outcome: Result<(), Violation>, index: u64) {
        match outcome {
            Ok(()) => {}
            // Not counted: where it comes in pieces it never becomes a message.
            Err(Violation::Utf8 { index: at }) => {
                return self.fail(&Error::remote(ErrorKind::InvalidUtf8, index + at as u64));
            }
            Err(Violation::Json { kind, index: at }) => {
                let text = format!("message is no usable JSON, {kind} at byte {}", index + at as u64);
                self.violate(close_code::INVALID_DATA, text);
            }
            Err(Violation::OutOfMemory) => self.fail(&Error::local(ErrorKind::OutOfMemory, index)),
        }
        self.counters.messages += 1;
    }

    fn handle_text(
        &mut self,
        payload: &[u8],
        checked: bool,
        index: u64,
        host: &impl Host<Owner = Owner, Buffer = Buffer>,
    ) {
        let is_open = matches!(self.phase, Phase::Open);
        if is_open && let Some((client, mut surroundings)) = self.client(host) {
            let outcome = client.handle_text(payload, checked, &mut surroundings);
            return self.conclude(outcome, index);
        }
        match &mut self.side {
            Side::Server(server) if is_open => {
                let verdict = server.handle_message(payload, &mut self.events);
                self.obey(&verdict);
            }
            Side::Plain => match frame::check_utf8(payload, index) {
                Ok(text) => self.events.push(Event::Text(text.to_owned())),
                Err(error) => return self.fail(&error),
            },
            // Frames are checked to the end, also those whose messages nobody looks at any more.
            Side::Client(_) | Side::Server(_) => {
                if let (false, Err(error)) = (checked, frame::check_utf8(payload, index)) {
                    return self.fail(&error);
                }
            }
        }
        // What is no UTF-8 is not counted: where it comes in pieces it never becomes a message.
        self.counters.messages += 1;
    }

    fn handle_binary(&mut self, payload: &[u8]) {
        self.counters.messages += 1;
        let is_open = matches!(self.phase, Phase::Open);
        match &mut self.side {
            Side::Client(_) if is_open => {
                let text = "binary message, a speech server sends text only".to_owned();
                self.violate(close_code::INVALID_DATA, text);
            }
            Side::Server(server) if is_open => {
                let verdict = server.handle_message(payload, &mut self.events);
                self.obey(&verdict);
            }
            Side::Plain => self.events.push(Event::Binary(payload.to_owned())),
            Side::Client(_) | Side::Server(_) => {}
        }
    }

    fn obey(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Served => {}
            Verdict::OneTooMany => {
                self.phase = Phase::Answering {
                    drained: false,
                    code: Some(close_code::POLICY),
                    reason: format!("{UNUSABLE_MESSAGES} unusable messages in a row"),
                    is_over: false,
                };
            }
        }
    }

    /// The peer's Close: its code is echoed if ours did not come first (RFC 6455 section 5.5.1).
    fn handle_close(&mut self, peer_code: Option<u16>, peer_reason: &str) {
        let closed = |code, reason| Closed {
            code,
            reason,
            clean: true,
            error: None,
            timed_out: None,
        };
        let peer_reason = peer_reason.to_owned();
        if let Phase::Closing { code, reason, .. } = &mut self.phase {
            let reason = if peer_reason.is_empty() {
                mem::take(reason)
            } else {
                peer_reason
            };
            let code = peer_code.unwrap_or(*code);
            return self.end(closed(code, reason));
        }
        let code = peer_code.unwrap_or(close_code::NO_STATUS);
        self.answer_and_end(peer_code, String::new(), closed(code, peer_reason));
    }

    /// The frame layer refused what came, or had no room for it.
    pub(super) fn fail(&mut self, error: &Error) {
        match error.side {
            Fault::Remote => self.violate(error.kind.close_code(), error.to_string()),
            Fault::Local => self.break_off(error.kind.close_code(), error.kind.to_string(), None),
        }
    }

    /// The peer broke a rule.
    fn violate(&mut self, code: u16, text: String) {
        self.break_off(code, text.clone(), Some(text));
    }

    /// Says why in a Close of ours, if none was sent, and waits for no answer.
    fn break_off(&mut self, code: u16, reason: String, error: Option<String>) {
        if matches!(self.phase, Phase::Closing { .. }) {
            return self.lose(None, error);
        }
        let mut size = reason.len().min(CLOSE_REASON_BYTES);
        while !reason.is_char_boundary(size) {
            size -= 1;
        }
        let said = reason[..size].to_owned();
        let closed = Closed {
            code,
            reason,
            clean: false,
            error,
            timed_out: None,
        };
        self.answer_and_end(Some(code), said, closed);
    }

    /// Ends with a Close frame, which waits while there is something that the caller may answer: messages, or for a
    /// server the end itself, which its contexts are told of (protocol.md 2.7).
    fn answer_and_end(&mut self, code: Option<u16>, reason: String, closed: Closed) {
        let answers = match self.side {
            Side::Client(_) => false,
            Side::Server(_) => !closed.clean || !self.events.is_empty(),
            Side::Plain => !self.events.is_empty(),
        };
        if !answers {
            self.write_close(code, &reason);
            return self.end(closed);
        }
        self.events.push(Event::Closed(closed));
        self.phase = Phase::Answering {
            drained: false,
            code,
            reason,
            is_over: true,
        };
    }

    /// Writes a Close that was decided on before, once the caller had the chance to answer.
    pub(super) fn finish_answering(&mut self) {
        let Phase::Answering {
            drained: true,
            code,
            reason,
            is_over,
        } = &mut self.phase
        else {
            return;
        };
        let (code, reason, is_over) = (*code, mem::take(reason), *is_over);
        self.write_close(code, &reason);
        self.phase = if is_over {
            Phase::Closed
        } else {
            Phase::Closing {
                deadline: self.now + self.close_timeout_s,
                code: code.unwrap_or(close_code::NO_STATUS),
                reason,
            }
        };
    }

    fn write_close(&mut self, code: Option<u16>, reason: &str) {
        // Codes of errors, and those that the reader lets pass, may be sent, and the reason was cut to fit.
        let _ = self.outlet.writer.write_close(&mut self.outlet.transmit, code, reason);
    }

    /// The stream is gone without a Close of the peer.
    pub(super) fn lose(&mut self, timed_out: Option<TimedOut>, error: Option<String>) {
        let reason = match &mut self.phase {
            Phase::Closed => return,
            Phase::Closing { reason, .. } => mem::take(reason),
            Phase::Answering { is_over: true, .. } => {
                self.phase = Phase::Closed;
                return self.outlet.transmit.clear();
            }
            Phase::Open | Phase::Answering { .. } => String::new(),
        };
        self.outlet.transmit.clear();
        self.end(Closed {
            code: close_code::ABNORMAL,
            reason,
            clean: false,
            error,
            timed_out,
        });
    }

    fn end(&mut self, closed: Closed) {
        self.phase = Phase::Closed;
        if let Side::Client(client) = &mut self.side {
            client.handle_lost(self.now);
        }
        self.events.push(Event::Closed(closed));
    }
}

impl Outlet {
    /// Queues a ping or pong whose payload is known to fit.
    pub(super) fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        // Ours has 8 bytes, and the reader lets no control frame over 125 pass.
        let _ = self.writer.write(&mut self.transmit, opcode, payload);
    }
}
