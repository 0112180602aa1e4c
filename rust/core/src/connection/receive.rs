//! What a message of the server means to the contexts of a client.

use super::Counters;
use super::arriving::Arriving;
use super::client::{Client, Context};
use super::event::{Event, Failure, Host, OutOfMemory, failure_code};
use super::inner::Outlet;
use super::joint::Joint;
use super::stream::{Heard, Unheard};
use crate::context::{ClientAction, ClientContext, ClientEvent, Received};
use crate::message::{self, ErrorEvent, MessageError, ServerMessage, json};

/// What surrounds the client while it works on a message.
pub(super) struct Surroundings<'a, H: Host> {
    pub(super) outlet: &'a mut Outlet,
    pub(super) events: &'a mut Vec<Event<H::Owner, H::Buffer>>,
    pub(super) counters: &'a mut Counters,
    pub(super) now: f64,
    pub(super) host: &'a H,
}

/// What ends the whole connection: with an unreadable message audio may be missing (faults.md C1).
#[derive(Clone, Copy)]
pub(super) enum Violation {
    Utf8 { index: usize },
    Json { kind: json::ErrorKind, index: usize },
    OutOfMemory,
}

impl From<OutOfMemory> for Violation {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl<Owner, Buffer> Client<Owner, Buffer> {
    /// A chunk that was decoded as it came; where it turns out to be something else it is given back, with nothing done.
    pub(super) fn handle_arrived<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        mut arrived: Box<Arriving<Buffer>>,
        around: &mut Surroundings<'_, H>,
    ) -> Result<Option<Box<Arriving<Buffer>>>, Violation> {
        let Arriving { front, text, audio, .. } = &mut *arrived;
        let Some(chunk) = self.envelopes.read_behind(front, text) else {
            return Ok(Some(arrived));
        };
        let flush_id = chunk.flush_id;
        let Some(context) = self.contexts.get_mut(chunk.context_id) else {
            // What still comes after an interruption is hardly ever anything else.
            return match str::from_utf8(chunk.context_id) {
                Ok(id) if message::is_plain_context_id(id) && audio.finish(chunk.data, around.host) => {
                    self.handle_late(id, Some(Received::Audio), around);
                    Ok(None)
                }
                _ => Ok(Some(arrived)),
            };
        };
        if !context.has_plain_id || !audio.finish(chunk.data, around.host) {
            return Ok(Some(arrived));
        }
        context.life.received(Received::Audio, around.now);
        let Some(owner) = &context.owner else {
            return Ok(None);
        };
        if context.joins {
            let target = (context.order, owner, &mut context.audio);
            let joint = &mut self.joint;
            if joint.take((audio.bytes(around.host), flush_id), target, around.events, around.host)? {
                return Ok(None);
            }
        }
        let whole = context.audio.take(arrived.audio.into_whole(), flush_id, around.host)?;
        deliver(whole, owner, around);
        Ok(None)
    }

    pub(super) fn handle_text<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        payload: &[u8],
        checked: bool,
        around: &mut Surroundings<'_, H>,
    ) -> Result<(), Violation> {
        if let Some(chunk) = self.envelopes.read(payload)
            && self.handle_guessed_chunk(chunk.context_id, chunk.data, chunk.flush_id, around)?
        {
            return Ok(());
        }
        let (mut decoded, places) = message::decode_server_placed(payload, checked);
        if let (
            Ok(ServerMessage::Chunk {
                context_id: Some(context_id),
                data: Some(data),
                flush_id,
                ..
            }),
            Some(places),
        ) = (&decoded, places)
        {
            // The end of the text was guessed: base64 that decodes proves the guess, anything else is read again.
            if self.handle_guessed_chunk(context_id.as_bytes(), data, *flush_id, around)? {
                self.envelopes.learn(payload, &places);
                return Ok(());
            }
        }
        if places.is_some() {
            decoded = message::decode_server_strict(payload);
        }
        match decoded {
            Ok(message) => self.handle_message(message, around),
            Err(MessageError::Utf8 { index }) => Err(Violation::Utf8 { index }),
            Err(MessageError::Syntax { kind, index }) => Err(Violation::Json { kind, index }),
            Err(error @ MessageError::Invalid { .. }) => {
                self.handle_invalid(&error, around);
                Ok(())
            }
        }
    }

    /// Delivers a chunk if all is well; otherwise returns false and has done nothing.
    #[inline]
    fn handle_guessed_chunk<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        context_id: &[u8],
        data: &[u8],
        flush_id: Option<u64>,
        around: &mut Surroundings<'_, H>,
    ) -> Result<bool, Violation> {
        // That it is the id of such a context proves the id, too.
        let context = self.contexts.get_mut(context_id);
        let Some(context) = context.filter(|context| context.has_plain_id && !data.is_empty()) else {
            return Ok(false);
        };
        match hear(context, &mut self.joint, data, flush_id, around) {
            Ok(()) => {
                context.life.received(Received::Audio, around.now);
                Ok(true)
            }
            Err(Unheard::InvalidBase64) => Ok(false),
            Err(Unheard::OutOfMemory) => Err(Violation::OutOfMemory),
        }
    }

    fn handle_message<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        message: ServerMessage<'_>,
        around: &mut Surroundings<'_, H>,
    ) -> Result<(), Violation> {
        if let ServerMessage::Unknown { .. } = message {
            around.counters.unknown_types += 1;
            return Ok(());
        }
        let Some(id) = message.context_id() else {
            match message {
                ServerMessage::Error(error) => self.fail_waiting(&error, around),
                _ => around.counters.unknown_contexts += 1,
            }
            return Ok(());
        };
        let kind = kind_of(&message);
        let Some(context) = self.contexts.get_mut(id.as_bytes()) else {
            self.handle_late(id, Some(kind), around);
            return Ok(());
        };
        let Some(owner) = context.owner.as_ref() else {
            return Ok(());
        };
        match message {
            ServerMessage::Chunk {
                context_id,
                data,
                flush_id,
                ..
            } => match hear(
                context,
                &mut self.joint,
                data.as_deref().unwrap_or_default(),
                flush_id,
                around,
            ) {
                Ok(()) => {
                    context.life.received(kind, around.now);
                }
                Err(Unheard::OutOfMemory) => return Err(Violation::OutOfMemory),
                Err(Unheard::InvalidBase64) => {
                    let text = "audio is no strict base64".to_owned();
                    let id = context_id.unwrap_or_default();
                    self.fail_for_fault(&id, failure_code::INVALID_AUDIO, text, around);
                }
            },
            ServerMessage::Timestamps {
                kind: what,
                items,
                flush_id,
                ..
            } => {
                context.life.received(kind, around.now);
                match items {
                    Some(items) => {
                        let owner = around.host.share(owner);
                        around.events.push(Event::Timestamps {
                            owner,
                            kind: what,
                            items,
                            flush_id,
                        });
                    }
                    None => around.counters.dropped_timestamps += 1,
                }
            }
            ServerMessage::FlushDone { flush_id, .. } => {
                context.life.received(kind, around.now);
                // All that came before is to be delivered before, also what a resampler holds.
                deliver(context.audio.flush(around.host)?, owner, around);
                let owner = around.host.share(owner);
                around.events.push(Event::FlushDone { owner, flush_id });
            }
            ServerMessage::Done { context_id } => {
                let id = context_id.unwrap_or_default();
                let cut = context.audio.cut.len();
                if cut > 0 {
                    let whole = context.audio.frame_bytes;
                    let text = format!("audio ends inside a frame, {cut} of its {whole} bytes came");
                    self.fail_for_fault(&id, failure_code::INVALID_AUDIO, text, around);
                } else {
                    let expired = context.life.received(kind, around.now) == ClientAction::Expire;
                    deliver(context.audio.flush(around.host)?, owner, around);
                    let owner = self.end(&id, around.now);
                    around
                        .events
                        .extend(owner.map(|owner| Event::Finished { owner, expired }));
                }
            }
            ServerMessage::Error(error) => {
                context.life.received(kind, around.now);
                let owner = self.end(error.context_id.as_deref().unwrap_or_default(), around.now);
                let failure = Box::new(remote_failure(&error));
                around
                    .events
                    .extend(owner.map(|owner| Event::Failed { owner, failure }));
            }
            ServerMessage::Unknown { .. } => {}
        }
        Ok(())
    }

    /// Well-formed JSON with a wrong type in a member that is read: the context fails, not the connection.
    fn handle_invalid<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        error: &MessageError,
        around: &mut Surroundings<'_, H>,
    ) {
        let MessageError::Invalid {
            context_id: Some(id), ..
        } = error
        else {
            around.counters.unknown_contexts += 1;
            return;
        };
        if self.contexts.contains_key(id.as_bytes()) {
            self.fail_for_fault(id, failure_code::INVALID_MESSAGE, error.to_string(), around);
        } else {
            self.handle_late(id, None, around);
        }
    }

    /// A message for no context of ours: it is dropped, and counted where the context has ended.
    ///
    /// * `kind`: what it is to a context, if it could be read
    fn handle_late<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        id: &str,
        kind: Option<Received>,
        around: &mut Surroundings<'_, H>,
    ) {
        let Some(stone) = self.ended.get_mut(id.as_bytes()) else {
            around.counters.unknown_contexts += 1;
            return;
        };
        around.counters.late += 1;
        stone.late += 1;
        let action = kind.map(|kind| ClientContext::ended(stone.state).received(kind, around.now));
        if action == Some(ClientAction::DropAndForget) {
            self.ended.remove(id.as_bytes());
        }
    }

    /// An error that names no context ends every one that waits for something (protocol.md 13).
    fn fail_waiting<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        error: &ErrorEvent<'_>,
        around: &mut Surroundings<'_, H>,
    ) {
        let mut waiting: Vec<_> = self
            .contexts
            .iter()
            .filter(|(_, context)| context.owner.is_some() && context.is_known)
            .map(|(id, context)| (context.order, id.clone()))
            .collect();
        if waiting.is_empty() {
            around.counters.unknown_contexts += 1;
        }
        waiting.sort_unstable();
        for (_, id) in waiting {
            if let Some(context) = self.contexts.get_mut(id.0.as_bytes()) {
                context.life.received(Received::Error, around.now);
            }
            let owner = self.end(&id.0, around.now);
            let failure = Box::new(remote_failure(error));
            around
                .events
                .extend(owner.map(|owner| Event::Failed { owner, failure }));
        }
    }

    fn fail_for_fault<H: Host<Owner = Owner, Buffer = Buffer>>(
        &mut self,
        id: &str,
        code: &'static str,
        message: String,
        around: &mut Surroundings<'_, H>,
    ) {
        let failure = Failure {
            code: Some(code.to_owned()),
            message,
            ..Failure::default()
        };
        self.fail_locally(
            id,
            ClientEvent::Fault,
            failure,
            around.now,
            around.outlet,
            around.events,
        );
    }
}

/// Decodes a chunk for the user.
#[inline]
fn hear<H: Host>(
    context: &mut Context<H::Owner>,
    joint: &mut Joint,
    data: &[u8],
    flush_id: Option<u64>,
    around: &mut Surroundings<'_, H>,
) -> Result<(), Unheard> {
    let Some(owner) = &context.owner else {
        return Ok(());
    };
    if context.joins {
        let target = (context.order, owner, &mut context.audio);
        if joint.decode((data, flush_id), target, around.events, around.host)? {
            return Ok(());
        }
    }
    deliver(context.audio.decode(data, flush_id, around.host)?, owner, around);
    Ok(())
}

/// Tells the user of audio, unless no frame was whole yet.
fn deliver<H: Host>(heard: Option<Heard<H::Buffer>>, owner: &H::Owner, around: &mut Surroundings<'_, H>) {
    if let Some(Heard {
        data,
        start_s,
        flush_id,
    }) = heard
    {
        let owner = around.host.share(owner);
        around.events.push(Event::Audio {
            owner,
            data,
            start_s,
            flush_id,
        });
    }
}

/// What a message is to the life of its context. A chunk without audio is a sign of life only.
fn kind_of(message: &ServerMessage<'_>) -> Received {
    match message {
        ServerMessage::Chunk { data: Some(data), .. } if !data.is_empty() => Received::Audio,
        ServerMessage::Chunk { .. } | ServerMessage::Timestamps { .. } | ServerMessage::Unknown { .. } => {
            Received::Other
        }
        ServerMessage::FlushDone { .. } => Received::FlushDone,
        ServerMessage::Done { .. } => Received::Done,
        ServerMessage::Error(_) => Received::Error,
    }
}

fn remote_failure(error: &ErrorEvent<'_>) -> Failure {
    Failure {
        remote: true,
        code: error.code.as_deref().map(str::to_owned),
        status: error.status,
        message: error.text(),
        request_id: error.request_id.as_deref().map(str::to_owned),
    }
}
