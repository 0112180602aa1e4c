//! The server's part of a connection: requests in, the count of unusable messages, answers out.

use super::event::Event;
use super::inner::{Outlet, Side};
use super::{CommandError, Connection};
use crate::context::{ServerAction, ServerContexts, ServerEvent, ServerInput, ServerState};
use crate::frame::Opcode;
use crate::message::{self, ClientMessage, TimestampKind, encode};

/// So many unusable messages in a row end the connection (protocol.md 3.6).
pub const UNUSABLE_MESSAGES: u32 = 10;
/// Bytes of audio in a chunk at most, before base64 (protocol.md 2.5).
pub const CHUNK_BYTES: usize = 16 * 1024;
/// Bytes of audio in the first chunk of a context at most, for an early start (protocol.md 2.5).
pub const FIRST_CHUNK_BYTES: usize = 4 * 1024;

pub(super) struct Server {
    contexts: ServerContexts,
    unusable_in_a_row: u32,
}

/// What a message means for the connection.
pub(super) enum Verdict {
    Served,
    /// The last tolerated unusable message: the connection is to close once its answer had the chance to go out.
    OneTooMany,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            contexts: ServerContexts::new(),
            unusable_in_a_row: 0,
        }
    }

    /// Takes one message: text, whose UTF-8 the reader has proven with the mask, or binary, which need not be any.
    pub(super) fn handle_message<Owner, Buffer>(
        &mut self,
        payload: &[u8],
        events: &mut Vec<Event<Owner, Buffer>>,
    ) -> Verdict {
        match message::decode_client(payload) {
            Ok(ClientMessage::Request { context_id, fields }) => {
                self.unusable_in_a_row = 0;
                events.push(Event::Request { context_id, fields });
            }
            Ok(ClientMessage::Cancel { context_id }) => {
                self.unusable_in_a_row = 0;
                events.push(Event::Cancel { context_id });
            }
            Err(unusable) => {
                let reason = unusable.to_string();
                let (context_id, continues) = (unusable.context_id, unusable.continues);
                self.unusable_in_a_row += 1;
                let last = self.unusable_in_a_row >= UNUSABLE_MESSAGES;
                events.push(Event::Unusable {
                    context_id,
                    reason,
                    continues,
                    last,
                });
                if last {
                    return Verdict::OneTooMany;
                }
            }
        }
        Verdict::Served
    }
}

/// Commands of a server. The state table is protocol.md 6.2; the caller carries out its actions.
impl<Owner, Buffer> Connection<Owner, Buffer> {
    /// The state of a context.
    pub fn context_state(&mut self, context_id: &str, now: Option<f64>) -> Result<ServerState, CommandError> {
        let now = self.advance(now);
        Ok(self.server()?.contexts.state(context_id, now))
    }

    /// Applies an input to the table.
    pub fn handle_input(
        &mut self,
        context_id: &str,
        input: &ServerInput<'_>,
        now: Option<f64>,
    ) -> Result<ServerAction, CommandError> {
        let now = self.advance(now);
        Ok(self.server()?.contexts.input(context_id, input, now))
    }

    /// Applies a cancel to the table.
    pub fn handle_cancel(&mut self, context_id: &str, now: Option<f64>) -> Result<ServerAction, CommandError> {
        let now = self.advance(now);
        Ok(self.server()?.contexts.cancel(context_id, now))
    }

    /// Applies what happened to a context to the table.
    pub fn handle_context(
        &mut self,
        context_id: &str,
        event: ServerEvent,
        now: Option<f64>,
    ) -> Result<ServerAction, CommandError> {
        let now = self.advance(now);
        Ok(self.server()?.contexts.event(context_id, event, now))
    }

    /// Sends audio: frame head, JSON and base64 in one pass.
    pub fn send_chunk(
        &mut self,
        context_id: &str,
        data: &[u8],
        step_time_ms: f64,
        flush_id: Option<u64>,
    ) -> Result<(), CommandError> {
        if data.is_empty() {
            return Err(CommandError::EmptyChunk);
        }
        let chunk = encode::Chunk::new(context_id, data, step_time_ms, flush_id);
        self.server_outlet()?
            .text(chunk.encoded_len(), |out| chunk.append_to(out))
    }

    /// Sends word or phoneme times: text, start and end in seconds.
    pub fn send_timestamps<S: AsRef<str>>(
        &mut self,
        context_id: &str,
        kind: TimestampKind,
        items: &[(S, f64, f64)],
        flush_id: Option<u64>,
    ) -> Result<(), CommandError> {
        self.server_outlet()?.text(items.len() * 32, |out| {
            encode::timestamps(out, context_id, kind, items, flush_id);
        })
    }

    /// Sends that everything before a flush is out.
    pub fn send_flush_done(&mut self, context_id: &str, flush_id: u64) -> Result<(), CommandError> {
        self.server_outlet()?
            .text(0, |out| encode::flush_done(out, context_id, flush_id))
    }

    /// Sends the end of a context.
    pub fn send_done(&mut self, context_id: &str) -> Result<(), CommandError> {
        self.server_outlet()?.text(0, |out| encode::done(out, context_id))
    }

    /// Sends the failure of a context, or of what belongs to none.
    pub fn send_error(&mut self, error: &encode::Error<'_>) -> Result<(), CommandError> {
        self.server_outlet()?
            .text(error.message.len() * 2, |out| encode::error(out, error))
    }

    fn server(&mut self) -> Result<&mut Server, CommandError> {
        match &mut self.inner.side {
            Side::Server(server) => Ok(server),
            Side::Client(_) | Side::Plain => Err(CommandError::NoServer),
        }
    }

    fn server_outlet(&mut self) -> Result<&mut Outlet, CommandError> {
        self.server()?;
        self.inner.outlet()
    }
}

impl Outlet {
    fn text(&mut self, payload_hint: usize, append: impl FnOnce(&mut Vec<u8>)) -> Result<(), CommandError> {
        self.writer
            .write_with(&mut self.transmit, Opcode::Text, payload_hint, append)
            .map_err(CommandError::Frame)
    }
}
