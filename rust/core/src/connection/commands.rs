//! Commands of a client: what goes out for its contexts (protocol.md 6.5).

use voxwire_audio::Format;

use super::client::{Client, Context};
use super::ids::Id;
use super::inner::{Outlet, Side};
use super::stream::Stream;
use super::{CommandError, Connection};
use crate::context::{ClientAction, ClientContext, ClientEvent, ClientInput, ClientVerdict};
use crate::frame::Opcode;
use crate::message::{self, encode};

/// One generation request.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Text to speak.
    pub transcript: &'a str,
    /// More inputs may follow.
    pub continues: bool,
    /// Ends the segment.
    pub flush: bool,
    /// One JSON object with every other field.
    pub settings: &'a [u8],
    /// How long the server may hold the text back, in milliseconds.
    pub buffer_delay_ms: u32,
}

/// Commands of a client. The state table is protocol.md 6.5.
impl<Owner, Buffer> Connection<Owner, Buffer> {
    /// Registers a context; its events carry `owner`.
    ///
    /// * `format`: of the audio that the server sends
    /// * `deliver`: of the audio that the events carry, decoded, resampled and encoded on the way; None for `format`
    pub fn open_context(
        &mut self,
        context_id: &str,
        owner: Owner,
        format: Format,
        deliver: Option<Format>,
        now: Option<f64>,
    ) -> Result<(), CommandError> {
        let now = self.advance(now);
        self.inner.outlet()?;
        let client = self.client()?;
        if !message::is_usable_context_id(context_id) {
            return Err(CommandError::InvalidContextId);
        }
        if format.frame_bytes() == 0 || format.sample_rate == 0 {
            return Err(CommandError::InvalidFormat);
        }
        if client.contexts.contains_key(context_id.as_bytes()) || client.ended.contains(context_id) {
            return Err(CommandError::ContextInUse);
        }
        let audio = Stream::new(format, deliver).map_err(CommandError::Conversion)?;
        client.opened += 1;
        let context = Box::new(Context {
            life: ClientContext::new(now),
            owner: Some(owner),
            order: client.opened,
            is_known: false,
            has_plain_id: message::is_plain_context_id(context_id),
            joins: false,
            audio,
        });
        client.contexts.insert(Id(context_id.into()), context);
        Ok(())
    }

    /// Sends a generation request if the table allows it, and says what became of it.
    pub fn send_input(
        &mut self,
        context_id: &str,
        input: &Input<'_>,
        now: Option<f64>,
    ) -> Result<ClientVerdict, CommandError> {
        let now = self.advance(now);
        let is_open = self.inner.outlet().is_ok();
        let Side::Client(client) = &mut self.inner.side else {
            return Err(CommandError::NoClient);
        };
        let mut ended;
        let (life, is_known) = match client.contexts.get_mut(context_id.as_bytes()) {
            Some(context) => (&mut context.life, Some(&mut context.is_known)),
            None => match client.ended.get_mut(context_id.as_bytes()) {
                Some(stone) => {
                    ended = ClientContext::ended(stone.state);
                    (&mut ended, None)
                }
                None => return Err(CommandError::UnknownContext),
            },
        };
        if !is_open && life.state().is_live() {
            return Err(CommandError::Closing);
        }
        let &Input {
            transcript,
            continues,
            flush,
            settings,
            buffer_delay_ms,
        } = input;
        // Written first, since the settings may be refused, and taken back where the table says that nothing is sent.
        let outlet = &mut self.inner.outlet;
        let size_before = outlet.transmit.len();
        let mut written = Ok(());
        let request = encode::Request {
            context_id,
            transcript,
            continues,
            flush,
            settings,
        };
        let hint = context_id.len() + transcript.len() + settings.len() + REQUEST_ENVELOPE_BYTES;
        let framed = outlet
            .writer
            .write_with(&mut outlet.transmit, Opcode::Text, hint, |out| {
                written = encode::request(out, &request);
            });
        let verdict = framed
            .map_err(CommandError::Frame)
            .and(written.map_err(CommandError::Settings))
            .map(|()| {
                life.input(
                    &ClientInput {
                        transcript,
                        continues,
                        flush,
                        buffer_delay_ms,
                    },
                    now,
                )
            });
        if verdict != Ok(ClientVerdict::Sent) {
            outlet.transmit.truncate(size_before);
            return verdict;
        }
        if let Some(is_known) = is_known {
            *is_known = true;
        }
        if let Some(timeout_s) = client.inactivity_timeout_s {
            client.due_at = client.due_at.min(life.deadline(timeout_s).unwrap_or(f64::INFINITY));
        }
        verdict
    }

    /// From the next read on, neighbouring small chunks of the context come as one piece of audio.
    pub fn join_audio(&mut self, context_id: &str) -> Result<(), CommandError> {
        if let Some(context) = self.client()?.contexts.get_mut(context_id.as_bytes()) {
            context.joins = true;
        }
        Ok(())
    }

    /// Cancels; false where there is nothing to cancel. Later messages of the id are dropped.
    pub fn send_cancel(&mut self, context_id: &str, now: Option<f64>) -> Result<bool, CommandError> {
        self.stop_context(context_id, ClientEvent::Cancel, now)
    }

    /// The caller lets the context go: sends a cancel if it is live, emits no event. Returns how many messages came for
    /// it since it ended; those that are still to come are counted for the connection.
    pub fn forget_context(&mut self, context_id: &str, now: Option<f64>) -> Result<u64, CommandError> {
        self.stop_context(context_id, ClientEvent::GiveUp, now)?;
        let stone = self.client()?.ended.get_mut(context_id.as_bytes());
        Ok(stone.map_or(0, |stone| stone.late))
    }

    fn stop_context(&mut self, context_id: &str, event: ClientEvent, now: Option<f64>) -> Result<bool, CommandError> {
        let now = self.advance(now);
        let is_open = self.inner.outlet().is_ok();
        let Side::Client(client) = &mut self.inner.side else {
            return Err(CommandError::NoClient);
        };
        let Some(context) = client.contexts.get_mut(context_id.as_bytes()) else {
            return Ok(false);
        };
        let stopped = context.life.apply(event, now) == ClientAction::SendCancel;
        if stopped && context.is_known && is_open {
            self.inner.outlet.cancel(context_id);
        }
        client.end(context_id, now);
        Ok(stopped)
    }

    fn client(&mut self) -> Result<&mut Client<Owner, Buffer>, CommandError> {
        match &mut self.inner.side {
            Side::Client(client) => Ok(client),
            Side::Server(_) | Side::Plain => Err(CommandError::NoClient),
        }
    }
}

/// Room for the names and punctuation of a request.
const REQUEST_ENVELOPE_BYTES: usize = 80;

impl Outlet {
    pub(super) fn cancel(&mut self, context_id: &str) {
        // Only control frames can be too long for the frame layer.
        let _ = self.writer.write_with(
            &mut self.transmit,
            Opcode::Text,
            context_id.len() + REQUEST_ENVELOPE_BYTES,
            |out| encode::cancel(out, context_id),
        );
    }
}
