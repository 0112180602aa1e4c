//! The corridor: frame -> message -> context -> event, and the commands back; the only file that knows all three.
//!
//! A connection is one WebSocket after its upgrade. It owns no socket and no clock: `handle_*` tell it what the world
//! did and never fail (failure is an event), commands fail only by the caller's own mistake, and after each of both the
//! caller drains [`Connection::poll_transmit`], [`Connection::poll_events`] and [`Connection::poll_timeout`].
//!
//! | phase | begins with | ends with |
//! |---|---|---|
//! | open | the upgrade | any of the below |
//! | condemned | a server's tenth unusable message in a row | its events are drained, then the next `poll_transmit` |
//! | closing | our Close is queued | the peer's Close, the end of the stream, a violation, the timer |
//! | closed | the peer's Close, the end of the stream, a violation, a dead peer | never |
//!
//! Messages that came whole before a violation are delivered before the connection fails. Once our Close is queued,
//! protocol messages are no longer looked at, and nothing but their frames is checked.

mod client;
mod event;
mod liveness;
mod server;

pub use client::Input;
pub use event::{Closed, Event, Failure, Fill, Host, OutOfMemory, TimedOut, failure_code};
pub use server::{CHUNK_BYTES, FIRST_CHUNK_BYTES, UNUSABLE_MESSAGES};

use std::fmt;
use std::mem;

use self::client::Client;
use self::liveness::{Due, Liveness};
use self::server::{Server, Verdict};
use crate::error::{Error, ErrorKind, Side as Fault, close_code};
use crate::frame::{self, FrameReader, FrameWriter, Incoming, Opcode, Role};
use crate::message::encode::SettingsError;

/// Bytes of one message that a client accepts at most (protocol.md 13); plain connections too.
pub const CLIENT_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one message that a server accepts at most (protocol.md 2.6).
pub const SERVER_MESSAGE_BYTES: u64 = 1024 * 1024;
/// Seconds from one of our pings to the next, by default.
pub const PING_INTERVAL_S: f64 = 20.0;
/// Seconds that a pong may take, by default.
pub const PING_TIMEOUT_S: f64 = 20.0;
/// Seconds that the peer's Close may take, by default.
pub const CLOSE_TIMEOUT_S: f64 = 2.0;
/// Seconds that a server may owe an answer and send nothing, by default.
pub const INACTIVITY_TIMEOUT_S: f64 = 10.0;
/// Bytes of a close reason at most: a control frame's payload less the code (RFC 6455 section 5.5).
const CLOSE_REASON_BYTES: usize = frame::MAX_CONTROL_PAYLOAD - 2;

/// What a connection is told at its start. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// False delivers plain WebSocket messages.
    pub messages: bool,
    /// Bytes of one received message at most; None for the role's own limit.
    pub max_message_bytes: Option<u64>,
    /// From one of our pings to the next; None for none.
    pub ping_interval_s: Option<f64>,
    /// How long a pong may take before the peer counts as dead.
    pub ping_timeout_s: f64,
    /// How long the peer's Close may take.
    pub close_timeout_s: f64,
    /// How long a server may owe something to a client's context and send nothing; None for any time.
    pub inactivity_timeout_s: Option<f64>,
    /// Random bytes for the masks of a client.
    pub seed: [u8; 32],
    /// Present time on a monotonic clock of the caller's choice.
    pub now: f64,
}

impl Config {
    /// The defaults of faults.md section 2, at time 0.
    pub const fn new(role: Role, seed: [u8; 32]) -> Self {
        Self {
            role,
            messages: true,
            max_message_bytes: None,
            ping_interval_s: Some(PING_INTERVAL_S),
            ping_timeout_s: PING_TIMEOUT_S,
            close_timeout_s: CLOSE_TIMEOUT_S,
            inactivity_timeout_s: Some(INACTIVITY_TIMEOUT_S),
            seed,
            now: 0.0,
        }
    }
}

/// What was counted on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Data messages received.
    pub messages: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Messages dropped because their context had ended.
    pub late: u64,
    /// Messages dropped because they name no context that we know.
    pub unknown_contexts: u64,
    /// Messages of a type that we do not know.
    pub unknown_types: u64,
    /// Timestamps dropped because their arrays were missing, unequal or out of range.
    pub dropped_timestamps: u64,
}

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandError {
    /// The connection is closing or closed.
    Closing,
    /// A command of a client on something else.
    NoClient,
    /// A command of a server on something else.
    NoServer,
    /// A context id that is empty, longer than 256 code points, or holds a NUL.
    InvalidContextId,
    /// A context id that is in use or was so lately.
    ContextInUse,
    /// A format without channels or with a sample rate of 0.
    InvalidFormat,
    /// A context id that was never opened here, or ended long ago.
    UnknownContext,
    /// Settings that are not one JSON object, or that name a member of the request itself.
    Settings(SettingsError),
    /// A chunk without audio.
    EmptyChunk,
    /// What the frame layer refused.
    Frame(Error),
}

impl CommandError {
    /// Whether the call came at the wrong moment, rather than with a wrong value.
    pub const fn is_misuse(&self) -> bool {
        matches!(self, Self::Closing | Self::NoClient | Self::NoServer)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closing => formatter.write_str("the connection is closing, nothing more can be sent"),
            Self::NoClient => formatter.write_str("a command of a client, the connection is none"),
            Self::NoServer => formatter.write_str("a command of a server, the connection is none"),
            Self::InvalidContextId => formatter.write_str("context id must have 1 to 256 characters and no NUL"),
            Self::ContextInUse => formatter.write_str("context id is in use, each needs a fresh one"),
            Self::InvalidFormat => formatter.write_str("format needs at least 1 channel and 1 Hz"),
            Self::UnknownContext => formatter.write_str("context id was not opened here, or ended long ago"),
            Self::Settings(error) => write!(formatter, "settings: {error}"),
            Self::EmptyChunk => formatter.write_str("chunk without audio, must hold at least one sample"),
            Self::Frame(error) if error.kind == ErrorKind::InvalidUtf8 => error.fmt(formatter),
            // Of the others the place says nothing: it is in what we send.
            Self::Frame(error) => error.kind.fmt(formatter),
        }
    }
}

impl std::error::Error for CommandError {}

/// What the caller sees of the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Both directions work.
    Open,
    /// Our Close is on its way.
    Closing,
    /// It is over.
    Closed,
}

impl State {
    /// The name that the binding shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

enum Phase {
    Open,
    /// Ten unusable messages: the Close goes out after the caller could answer the last of them.
    Condemned {
        drained: bool,
    },
    Closing {
        deadline: f64,
        code: u16,
        reason: String,
    },
    Closed,
}

enum Side<Owner> {
    Client(Client<Owner>),
    Server(Server),
    /// Plain WebSocket messages, either role.
    Plain,
}

/// What goes out.
struct Outlet {
    writer: FrameWriter,
    transmit: Vec<u8>,
}

/// One WebSocket after its upgrade: bytes in, events out (RFC 6455 and protocol.md); no socket, no clock.
///
/// `Owner` and `Buffer` are those of the [`Host`] that the calls get.
pub struct Connection<Owner, Buffer> {
    reader: FrameReader,
    /// Where the last whole frame ended in the stream.
    whole_at: u64,
    inner: Inner<Owner, Buffer>,
}

/// All but the reader, since a message borrows that while it is worked on.
struct Inner<Owner, Buffer> {
    role: Role,
    side: Side<Owner>,
    phase: Phase,
    outlet: Outlet,
    events: Vec<Event<Owner, Buffer>>,
    liveness: Liveness,
    close_timeout_s: f64,
    counters: Counters,
    now: f64,
}

impl<Owner, Buffer> Connection<Owner, Buffer> {
    /// A connection whose upgrade is complete.
    pub fn new(config: &Config) -> Self {
        let &Config {
            role, messages, now, ..
        } = config;
        let default_limit = if messages && role == Role::Server {
            SERVER_MESSAGE_BYTES
        } else {
            CLIENT_MESSAGE_BYTES
        };
        let side = match role {
            _ if !messages => Side::Plain,
            Role::Client => Side::Client(Client::new(config.inactivity_timeout_s)),
            Role::Server => Side::Server(Server::new()),
        };
        Self {
            reader: FrameReader::new(role, config.max_message_bytes.unwrap_or(default_limit)),
            whole_at: 0,
            inner: Inner {
                role,
                side,
                phase: Phase::Open,
                outlet: Outlet {
                    writer: FrameWriter::new(role, config.seed),
                    transmit: Vec::new(),
                },
                events: Vec::new(),
                liveness: Liveness::new(config.ping_interval_s, config.ping_timeout_s, now),
                close_timeout_s: config.close_timeout_s,
                counters: Counters::default(),
                now,
            },
        }
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.inner.role
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        match self.inner.phase {
            Phase::Open | Phase::Condemned { .. } => State::Open,
            Phase::Closing { .. } => State::Closing,
            Phase::Closed => State::Closed,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.inner.counters
    }

    /// Bytes that wait in [`Self::poll_transmit`].
    pub fn transmit_size(&self) -> usize {
        self.inner.outlet.transmit.len()
    }

    /// Every owner that is held, for a host that collects garbage: of contexts, then of waiting events.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        let contexts = match &self.inner.side {
            Side::Client(client) => Some(client.owners()),
            Side::Server(_) | Side::Plain => None,
        };
        let events = self.inner.events.iter().filter_map(|event| match event {
            Event::Audio { owner, .. }
            | Event::Timestamps { owner, .. }
            | Event::FlushDone { owner, .. }
            | Event::Finished { owner, .. }
            | Event::Failed { owner, .. } => Some(owner),
            _ => None,
        });
        contexts.into_iter().flatten().chain(events)
    }

    /// The peer sent these bytes. They are not kept, however they are cut.
    pub fn handle_data(&mut self, data: &[u8], now: Option<f64>, host: &impl Host<Owner = Owner, Buffer = Buffer>) {
        self.advance(now);
        let Self {
            reader,
            whole_at,
            inner,
        } = self;
        inner.counters.bytes += data.len() as u64;
        let mut rest = data;
        while matches!(inner.phase, Phase::Open | Phase::Closing { .. }) {
            match reader.read(&mut rest) {
                Ok(Some(incoming)) => {
                    inner.handle_incoming(incoming, host);
                    *whole_at = reader.position();
                }
                Ok(None) => break,
                Err(error) => inner.fail(&error),
            }
        }
    }

    /// The peer ended its stream, or the stream broke.
    pub fn handle_eof(&mut self, now: Option<f64>) {
        self.advance(now);
        self.inner.lose(None, None);
    }

    /// The time that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: f64) {
        let now = self.advance(Some(now));
        match self.inner.phase {
            Phase::Closing { deadline, .. } if now >= deadline => self.inner.lose(Some(TimedOut::Close), None),
            Phase::Open => self.handle_open_timeout(now),
            Phase::Closing { .. } | Phase::Condemned { .. } | Phase::Closed => {}
        }
    }

    fn handle_open_timeout(&mut self, now: f64) {
        let Self {
            reader,
            whole_at,
            inner,
        } = self;
        match inner.liveness.advance(now) {
            Due::Nothing => {}
            Due::Ping(payload) => inner.outlet.control(Opcode::Ping, &payload),
            // No closing handshake is waited for with a dead peer, and nothing more is sent to it.
            Due::Dead => return inner.lose(Some(TimedOut::Ping), None),
        }
        let Side::Client(client) = &mut inner.side else { return };
        let timed_out = client.handle_timeout(now, &mut inner.outlet, &mut inner.events);
        // A server that falls silent inside a frame cannot be cancelled either (protocol.md 13).
        let index = reader.position();
        if timed_out && index != *whole_at {
            inner.lose(None, Some(format!("message left unfinished at byte {index}")));
        }
    }

    /// Bytes to send, in order; empty when there are none.
    pub fn poll_transmit(&mut self) -> Vec<u8> {
        if matches!(self.inner.phase, Phase::Condemned { drained: true }) {
            let reason = format!("{UNUSABLE_MESSAGES} unusable messages in a row");
            self.inner.phase = Phase::Open;
            // The phase allows it and the code is a valid one.
            let _ = self.close(Some(close_code::POLICY), &reason, None);
        }
        mem::take(&mut self.inner.outlet.transmit)
    }

    /// What happened since the last call, in order.
    pub fn poll_events(&mut self) -> Vec<Event<Owner, Buffer>> {
        let inner = &mut self.inner;
        match &mut inner.phase {
            Phase::Condemned { drained } => *drained = true,
            Phase::Closed => {
                if let Side::Client(client) = &mut inner.side {
                    client.release_owners();
                }
            }
            Phase::Open | Phase::Closing { .. } => {}
        }
        mem::take(&mut inner.events)
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<f64> {
        match &self.inner.phase {
            Phase::Open => {
                let inactivity = match &self.inner.side {
                    Side::Client(client) => client.due_at(),
                    Side::Server(_) | Side::Plain => None,
                };
                match (self.inner.liveness.due_at(), inactivity) {
                    (Some(ping), Some(inactivity)) => Some(ping.min(inactivity)),
                    (ping, inactivity) => ping.or(inactivity),
                }
            }
            Phase::Closing { deadline, .. } => Some(*deadline),
            Phase::Condemned { .. } | Phase::Closed => None,
        }
    }

    /// Sends one text message as it is; bytes that are no UTF-8 are refused.
    pub fn send_text(&mut self, payload: &[u8]) -> Result<(), CommandError> {
        let outlet = self.inner.outlet()?;
        if let Err(error) = frame::check_utf8(payload, 0) {
            return Err(CommandError::Frame(Error::local(error.kind, error.index)));
        }
        outlet
            .writer
            .write(&mut outlet.transmit, Opcode::Text, payload)
            .map_err(CommandError::Frame)
    }

    /// Sends one binary message.
    pub fn send_binary(&mut self, payload: &[u8]) -> Result<(), CommandError> {
        let outlet = self.inner.outlet()?;
        outlet
            .writer
            .write(&mut outlet.transmit, Opcode::Binary, payload)
            .map_err(CommandError::Frame)
    }

    /// Sends a ping of the caller's own; its pong is not reported.
    pub fn send_ping(&mut self, payload: &[u8]) -> Result<(), CommandError> {
        let outlet = self.inner.outlet()?;
        outlet
            .writer
            .write(&mut outlet.transmit, Opcode::Ping, payload)
            .map_err(CommandError::Frame)
    }

    /// Starts the closing handshake; once it has begun, or all is over, this does nothing.
    ///
    /// Fails for a code that may not be sent and for a reason over 123 bytes.
    pub fn close(&mut self, code: Option<u16>, reason: &str, now: Option<f64>) -> Result<(), CommandError> {
        let now = self.advance(now);
        let inner = &mut self.inner;
        let outlet = &mut inner.outlet;
        // Checked also where nothing is written any more: a wrong argument is wrong at every moment.
        let size_before = outlet.transmit.len();
        outlet
            .writer
            .write_close(&mut outlet.transmit, code, reason)
            .map_err(CommandError::Frame)?;
        if !matches!(inner.phase, Phase::Open | Phase::Condemned { .. }) {
            outlet.transmit.truncate(size_before);
            return Ok(());
        }
        inner.phase = Phase::Closing {
            deadline: now + inner.close_timeout_s,
            code: code.unwrap_or(close_code::NO_STATUS),
            reason: reason.to_owned(),
        };
        Ok(())
    }

    /// Lets go of every owner and every waiting event: for a host whose garbage collector found that nobody calls us.
    pub fn abandon(&mut self) {
        self.inner.phase = Phase::Closed;
        self.inner.events.clear();
        if let Side::Client(client) = &mut self.inner.side {
            client.release_owners();
        }
    }

    /// Tells the time; it never runs backwards.
    fn advance(&mut self, now: Option<f64>) -> f64 {
        if let Some(now) = now {
            self.inner.now = self.inner.now.max(now);
        }
        self.inner.now
    }
}

impl<Owner, Buffer> Inner<Owner, Buffer> {
    /// The way out, while messages may still be sent.
    fn outlet(&mut self) -> Result<&mut Outlet, CommandError> {
        match self.phase {
            Phase::Open | Phase::Condemned { .. } => Ok(&mut self.outlet),
            Phase::Closing { .. } | Phase::Closed => Err(CommandError::Closing),
        }
    }

    fn handle_incoming(&mut self, incoming: Incoming<'_>, host: &impl Host<Owner = Owner, Buffer = Buffer>) {
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

    fn handle_text(
        &mut self,
        payload: &[u8],
        checked: bool,
        index: u64,
        host: &impl Host<Owner = Owner, Buffer = Buffer>,
    ) {
        self.counters.messages += 1;
        let is_open = matches!(self.phase, Phase::Open);
        match &mut self.side {
            Side::Client(client) if is_open => {
                let Self {
                    outlet,
                    events,
                    counters,
                    now,
                    ..
                } = self;
                let mut surroundings = client::Surroundings {
                    outlet,
                    events,
                    counters,
                    now: *now,
                    host,
                };
                if let Err(violation) = client.handle_text(payload, checked, &mut surroundings) {
                    match violation {
                        client::Violation::Utf8 { index: at } => {
                            self.fail(&Error::remote(ErrorKind::InvalidUtf8, index + at as u64));
                        }
                        client::Violation::Json { kind, index: at } => {
                            let text = format!("message is no usable JSON, {kind} at byte {}", index + at as u64);
                            self.violate(close_code::INVALID_DATA, text);
                        }
                        client::Violation::OutOfMemory => {
                            self.fail(&Error::local(ErrorKind::OutOfMemory, index));
                        }
                    }
                }
            }
            Side::Server(server) if is_open => match server.handle_message(payload, Some(index), &mut self.events) {
                Ok(verdict) => self.obey(&verdict),
                Err(error) => self.fail(&error),
            },
            Side::Plain => match frame::check_utf8(payload, index) {
                Ok(text) => self.events.push(Event::Text(text.to_owned())),
                Err(error) => self.fail(&error),
            },
            Side::Client(_) | Side::Server(_) => {}
        }
    }

    fn handle_binary(&mut self, payload: &[u8]) {
        self.counters.messages += 1;
        let is_open = matches!(self.phase, Phase::Open);
        match &mut self.side {
            Side::Client(_) if is_open => {
                let text = "binary message, a speech server sends text only".to_owned();
                self.violate(close_code::INVALID_DATA, text);
            }
            Side::Server(server) if is_open => match server.handle_message(payload, None, &mut self.events) {
                Ok(verdict) => self.obey(&verdict),
                Err(error) => self.fail(&error),
            },
            Side::Plain => self.events.push(Event::Binary(payload.to_owned())),
            Side::Client(_) | Side::Server(_) => {}
        }
    }

    fn obey(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Served => {}
            Verdict::OneTooMany => self.phase = Phase::Condemned { drained: false },
        }
    }

    /// The peer's Close: its code is echoed if ours did not come first (RFC 6455 section 5.5.1).
    fn handle_close(&mut self, peer_code: Option<u16>, peer_reason: &str) {
        let (code, reason) = match &mut self.phase {
            Phase::Closing { code, reason, .. } => {
                let ours = mem::take(reason);
                let reason = if peer_reason.is_empty() {
                    ours
                } else {
                    peer_reason.to_owned()
                };
                (peer_code.unwrap_or(*code), reason)
            }
            Phase::Open | Phase::Condemned { .. } | Phase::Closed => {
                // The reader lets pass only codes that may be sent, so that the echo cannot be refused.
                let _ = self.outlet.writer.write_close(&mut self.outlet.transmit, peer_code, "");
                (peer_code.unwrap_or(close_code::NO_STATUS), peer_reason.to_owned())
            }
        };
        self.end(Closed {
            code,
            reason,
            clean: true,
            error: None,
            timed_out: None,
        });
    }

    /// The frame layer refused what came, or had no room for it.
    fn fail(&mut self, error: &Error) {
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
        // Codes of errors may be sent, and the reason fits.
        let _ = self
            .outlet
            .writer
            .write_close(&mut self.outlet.transmit, Some(code), &reason[..size]);
        self.end(Closed {
            code,
            reason,
            clean: false,
            error,
            timed_out: None,
        });
    }

    /// The stream is gone without a Close of the peer.
    fn lose(&mut self, timed_out: Option<TimedOut>, error: Option<String>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.outlet.transmit.clear();
        let reason = match &mut self.phase {
            Phase::Closing { reason, .. } => mem::take(reason),
            Phase::Open | Phase::Condemned { .. } | Phase::Closed => String::new(),
        };
        self.end(Closed {
            code: close_code::ABNORMAL,
            reason,
            clean: false,
            error,
            timed_out,
        });
    }

    fn end(&mut self, closed: Closed) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        if let Side::Client(client) = &mut self.side {
            client.handle_lost(self.now);
        }
        self.events.push(Event::Closed(closed));
    }
}

impl Outlet {
    /// Queues a ping or pong whose payload is known to fit.
    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        // Ours has 8 bytes, and the reader lets no control frame over 125 pass.
        let _ = self.writer.write(&mut self.transmit, opcode, payload);
    }
}
