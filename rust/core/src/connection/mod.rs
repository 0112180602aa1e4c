//! The corridor: frame -> message -> context -> event, and the commands back; the only file that knows all three.
//!
//! A connection is one WebSocket after its upgrade. It owns no socket and no clock: `handle_*` tell it what the world
//! did and never fail (failure is an event), commands fail only by the caller's own mistake, and after each of both the
//! caller drains [`Connection::poll_events`], answers, and drains [`Connection::poll_transmit`] and
//! [`Connection::poll_timeout`].
//!
//! | phase | begins with | ends with |
//! |---|---|---|
//! | open | the upgrade | any of the below |
//! | answering | the peer's Close, a violation or a server's tenth unusable message in a row, while there are messages to answer | the events are drained, then the next `poll_transmit` |
//! | closing | our Close is queued | the peer's Close, the end of the stream, a violation, the timer |
//! | closed | the peer's Close, the end of the stream, a violation, a dead peer | never |
//!
//! Messages that came whole before a violation are delivered, and can be answered, before the connection fails. Once
//! our Close is decided on, later messages of the protocol are not looked at: only their frames are checked.

mod arriving;
mod client;
mod commands;
mod config;
mod error;
mod event;
mod ids;
mod inner;
mod joint;
mod liveness;
mod receive;
mod server;
mod stream;
mod tombstones;

pub use commands::Input;
pub use config::{
    CLIENT_MESSAGE_BYTES, CLOSE_TIMEOUT_S, Config, INACTIVITY_TIMEOUT_S, PING_INTERVAL_S, PING_TIMEOUT_S,
    SERVER_MESSAGE_BYTES,
};
pub use error::CommandError;
pub use event::{Closed, Event, Failure, Fill, Host, OutOfMemory, TimedOut, failure_code};
pub use joint::JOINED_CHUNK_BYTES;
pub use server::{CHUNK_BYTES, FIRST_CHUNK_BYTES, UNUSABLE_MESSAGES};

use std::mem;

use self::client::Client;
use self::inner::{Inner, Outlet, Phase, Side};
use self::liveness::{Due, Liveness};
use self::server::Server;
use crate::error::{Error, close_code};
use crate::frame::{self, FrameReader, FrameWriter, Opcode, Role};

/// Bytes of a transmit buffer that an idle connection may keep; a larger one costs little beside what it carried.
const KEPT_BYTES: usize = 4096;

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

/// One WebSocket after its upgrade: bytes in, events out (RFC 6455 and protocol.md); no socket, no clock.
///
/// `Owner` and `Buffer` are those of the [`Host`] that the calls get.
pub struct Connection<Owner, Buffer> {
    reader: FrameReader,
    /// Where the last whole frame ended in the stream.
    whole_at: u64,
    inner: Inner<Owner, Buffer>,
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
        let mut reader = FrameReader::new(role, config.max_message_bytes.unwrap_or(default_limit));
        if let Side::Client(_) = side {
            reader = reader.offering_parts();
        }
        Self {
            reader,
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
            Phase::Open | Phase::Answering { .. } => State::Open,
            Phase::Closing { .. } => State::Closing,
            Phase::Closed => State::Closed,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.inner.counters
    }

    /// Bytes that must come before the next event can: the rest of the frame that has begun.
    pub fn missing_bytes(&self) -> usize {
        match self.inner.phase {
            Phase::Closed => 0,
            _ => self.reader.missing(),
        }
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
        let events = self.inner.events.iter().filter_map(Event::owner);
        contexts.into_iter().flatten().chain(events)
    }

    /// The peer sent these bytes. They are not kept, however they are cut.
    pub fn handle_data(&mut self, data: &[u8], now: Option<f64>, host: &impl Host<Owner = Owner, Buffer = Buffer>) {
        let now = self.advance(now);
        let Self {
            reader,
            whole_at,
            inner,
        } = self;
        inner.counters.bytes += data.len() as u64;
        if !data.is_empty() {
            inner.liveness.postpone(now);
        }
        let mut rest = data;
        while !matches!(inner.phase, Phase::Closed | Phase::Answering { is_over: true, .. }) {
            match reader.read(&mut rest) {
                Ok(Some(incoming)) => {
                    inner.handle_incoming(incoming, host);
                    *whole_at = reader.position();
                }
                Ok(None) => {
                    let Some(part) = reader.take_part(&mut rest) else { break };
                    let index = reader.position() - (part.have + part.payload.len()) as u64;
                    match inner.handle_part(&part, index, host).map(|text| reader.collect(&text)) {
                        None if part.missing == 0 => *whole_at = reader.position(),
                        None | Some(Ok(())) => {}
                        Some(Err(error)) => inner.fail(&error),
                    }
                }
                Err(error) => inner.fail(&error),
            }
        }
        inner.end_read(host);
    }

    /// The peer took what was sent to it before: our ping may wait behind that, so its pong may take longer.
    pub fn handle_progress(&mut self, now: f64) {
        let now = self.advance(Some(now));
        self.inner.liveness.postpone(now);
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
            Phase::Closing { .. } | Phase::Answering { .. } | Phase::Closed => {}
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
        self.inner.finish_answering();
        mem::take(&mut self.inner.outlet.transmit)
    }

    /// Takes a buffer of [`Self::poll_transmit`] back, whose bytes were sent or copied: a small one is used again.
    pub fn reuse_transmit(&mut self, mut buffer: Vec<u8>) {
        let transmit = &mut self.inner.outlet.transmit;
        if transmit.capacity() == 0 && buffer.capacity() <= KEPT_BYTES {
            buffer.clear();
            *transmit = buffer;
        }
    }

    /// What happened since the last call, in order.
    pub fn poll_events(&mut self) -> Vec<Event<Owner, Buffer>> {
        let inner = &mut self.inner;
        match &mut inner.phase {
            Phase::Answering { drained, .. } => *drained = true,
            Phase::Closed => {
                if let Side::Client(client) = &mut inner.side {
                    client.release();
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
            Phase::Answering { .. } | Phase::Closed => None,
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
        if !matches!(inner.phase, Phase::Open | Phase::Answering { is_over: false, .. }) {
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
            client.release();
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
