//! The client's part of a connection: its contexts, the way of a chunk, commands.

use std::collections::{HashMap, VecDeque};

use voxwire_audio::Format;
use voxwire_kernels::base64;

use super::event::{Event, Failure, Host, OutOfMemory, failure_code};
use super::{CommandError, Connection, Counters, Outlet, Side};
use crate::context::{
    ClientAction, ClientContext, ClientEvent, ClientInput, ClientVerdict, REMEMBERED_CONTEXTS, Received, TOMBSTONE_S,
};
use crate::frame::Opcode;
use crate::message::{self, ErrorEvent, MessageError, ServerMessage, encode, json};

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

pub(super) struct Client<Owner> {
    contexts: HashMap<Box<str>, Context<Owner>>,
    /// Ended contexts in the order of their end: they are forgotten by age and by number.
    ended: VecDeque<(f64, Box<str>)>,
    opened: u64,
    inactivity_timeout_s: Option<f64>,
    /// No inactivity timer is due before this time; infinite where none runs.
    due_at: f64,
}

struct Context<Owner> {
    life: ClientContext,
    /// None once the context has ended: then this is the memory of its id only.
    owner: Option<Owner>,
    /// Place in the order of opening.
    order: u64,
    /// Something was sent for it, so that the server may know it.
    is_known: bool,
    audio: Stream,
}

/// What is needed to make whole frames of a context's chunks.
struct Stream {
    frame_bytes: usize,
    sample_rate: f64,
    /// Frames delivered.
    frames: u64,
    /// The beginning of a frame that the last chunk cut.
    cut: Vec<u8>,
}

/// What surrounds the client while it works on a message.
pub(super) struct Surroundings<'a, H: Host> {
    pub(super) outlet: &'a mut Outlet,
    pub(super) events: &'a mut Vec<Event<H::Owner, H::Buffer>>,
    pub(super) counters: &'a mut Counters,
    pub(super) now: f64,
    pub(super) host: &'a H,
}

/// What ends the whole connection: with an unreadable message audio may be missing (faults.md C1).
pub(super) enum Violation {
    Utf8 { index: usize },
    Json { kind: json::ErrorKind, index: usize },
    OutOfMemory,
}

/// Why no audio came of a chunk.
enum Unheard {
    InvalidBase64,
    OutOfMemory,
}

impl From<OutOfMemory> for Unheard {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl<Owner> Client<Owner> {
    pub(super) fn new(inactivity_timeout_s: Option<f64>) -> Self {
        Self {
            contexts: HashMap::new(),
            ended: VecDeque::new(),
            opened: 0,
            inactivity_timeout_s,
            due_at: f64::INFINITY,
        }
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.contexts.values().filter_map(|context| context.owner.as_ref())
    }

    pub(super) fn release_owners(&mut self) {
        for context in self.contexts.values_mut() {
            context.owner = None;
        }
    }

    pub(super) fn due_at(&self) -> Option<f64> {
        Some(self.due_at).filter(|at| at.is_finite())
    }

    /// The socket is gone. Owners stay until the events were drained: letting go of one may run foreign code.
    pub(super) fn handle_lost(&mut self, now: f64) {
        for context in self.contexts.values_mut() {
            context.life.apply(ClientEvent::Lost, now);
        }
        self.due_at = f64::INFINITY;
    }

    /// Fails every context whose inactivity time is over; returns whether there was one.
    pub(super) fn handle_timeout<Buffer>(
        &mut self,
        now: f64,
        outlet: &mut Outlet,
        events: &mut Vec<Event<Owner, Buffer>>,
    ) -> bool {
        let Some(timeout_s) = self.inactivity_timeout_s.filter(|_| now >= self.due_at) else {
            return false;
        };
        let mut late = Vec::new();
        self.due_at = f64::INFINITY;
        for (id, context) in &self.contexts {
            match context.life.deadline(timeout_s) {
                Some(deadline) if deadline <= now => late.push((context.order, id.clone())),
                Some(deadline) => self.due_at = self.due_at.min(deadline),
                None => {}
            }
        }
        late.sort_unstable();
        for (_, id) in &late {
            let failure = Failure {
                code: Some(failure_code::INACTIVITY.to_owned()),
                message: format!("nothing came for {timeout_s} s, though the server owed an answer"),
                ..Failure::default()
            };
            self.fail_locally(id, ClientEvent::Inactive, failure, now, outlet, events);
        }
        !late.is_empty()
    }

    pub(super) fn handle_text<H: Host<Owner = Owner>>(
        &mut self,
        payload: &[u8],
        checked: bool,
        around: &mut Surroundings<'_, H>,
    ) -> Result<(), Violation> {
        let mut decoded = message::decode_server(payload, checked);
        if let Ok(ServerMessage::Chunk {
            context_id,
            data,
            flush_id,
            proven: false,
        }) = &decoded
        {
            // The end of the text was guessed: base64 that decodes proves the guess, anything else is read again.
            let data = data.as_deref().unwrap_or_default();
            if self.handle_guessed_chunk(context_id.as_deref(), data, *flush_id, around)? {
                return Ok(());
            }
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
    fn handle_guessed_chunk<H: Host<Owner = Owner>>(
        &mut self,
        context_id: Option<&str>,
        data: &[u8],
        flush_id: Option<u64>,
        around: &mut Surroundings<'_, H>,
    ) -> Result<bool, Violation> {
        let Some(context) = context_id.and_then(|id| self.contexts.get_mut(id)) else {
            return Ok(false);
        };
        let Some(owner) = context.owner.as_ref().filter(|_| !data.is_empty()) else {
            return Ok(false);
        };
        match context.audio.decode(data, around.host) {
            Ok(audio) => {
                context.life.received(Received::Audio, around.now);
                deliver(audio, owner, flush_id, around);
                Ok(true)
            }
            Err(Unheard::InvalidBase64) => Ok(false),
            Err(Unheard::OutOfMemory) => Err(Violation::OutOfMemory),
        }
    }

    fn handle_message<H: Host<Owner = Owner>>(
        &mut self,
        message: ServerMessage<'_>,
        around: &mut Surroundings<'_, H>,
    ) -> Result<(), Violation> {
        if let ServerMessage::Unknown { .. } = message {
            around.counters.unknown_types += 1;
            return Ok(());
        }
        let Some(id) = message.context_id().map(str::to_owned) else {
            match message {
                ServerMessage::Error(error) => self.fail_waiting(&error, around),
                _ => around.counters.unknown_contexts += 1,
            }
            return Ok(());
        };
        let Some(context) = self.contexts.get_mut(id.as_str()) else {
            around.counters.unknown_contexts += 1;
            return Ok(());
        };
        let Some(owner) = context.owner.as_ref() else {
            around.counters.late += 1;
            if context.life.received(kind_of(&message), around.now) == ClientAction::DropAndForget {
                self.contexts.remove(id.as_str());
            }
            return Ok(());
        };
        let kind = kind_of(&message);
        match message {
            ServerMessage::Chunk { data, flush_id, .. } => {
                match context.audio.decode(data.as_deref().unwrap_or_default(), around.host) {
                    Ok(audio) => {
                        context.life.received(kind, around.now);
                        deliver(audio, owner, flush_id, around);
                    }
                    Err(Unheard::OutOfMemory) => return Err(Violation::OutOfMemory),
                    Err(Unheard::InvalidBase64) => {
                        let text = "audio is no strict base64".to_owned();
                        self.fail_for_fault(&id, failure_code::INVALID_AUDIO, text, around);
                    }
                }
            }
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
                let owner = around.host.share(owner);
                around.events.push(Event::FlushDone { owner, flush_id });
            }
            ServerMessage::Done { .. } => match context.audio.cut.len() {
                0 => {
                    let expired = context.life.received(kind, around.now) == ClientAction::Expire;
                    let owner = self.end(&id, around.now);
                    around
                        .events
                        .extend(owner.map(|owner| Event::Finished { owner, expired }));
                }
                cut => {
                    let whole = context.audio.frame_bytes;
                    let text = format!("audio ends inside a frame, {cut} of its {whole} bytes came");
                    self.fail_for_fault(&id, failure_code::INVALID_AUDIO, text, around);
                }
            },
            ServerMessage::Error(error) => {
                context.life.received(kind, around.now);
                let owner = self.end(&id, around.now);
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
    fn handle_invalid<H: Host<Owner = Owner>>(&mut self, error: &MessageError, around: &mut Surroundings<'_, H>) {
        let MessageError::Invalid {
            context_id: Some(id), ..
        } = error
        else {
            around.counters.unknown_contexts += 1;
            return;
        };
        match self.contexts.get(id.as_str()).map(|context| context.owner.is_some()) {
            None => around.counters.unknown_contexts += 1,
            Some(false) => around.counters.late += 1,
            Some(true) => {
                self.fail_for_fault(id, failure_code::INVALID_MESSAGE, error.to_string(), around);
            }
        }
    }

    /// An error that names no context ends every one that waits for something (protocol.md 13).
    fn fail_waiting<H: Host<Owner = Owner>>(&mut self, error: &ErrorEvent<'_>, around: &mut Surroundings<'_, H>) {
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
            if let Some(context) = self.contexts.get_mut(&id) {
                context.life.received(Received::Error, around.now);
            }
            let owner = self.end(&id, around.now);
            let failure = Box::new(remote_failure(error));
            around
                .events
                .extend(owner.map(|owner| Event::Failed { owner, failure }));
        }
    }

    fn fail_for_fault<H: Host<Owner = Owner>>(
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

    /// What we found ourselves ends the context, and the server is told to stop.
    fn fail_locally<Buffer>(
        &mut self,
        id: &str,
        event: ClientEvent,
        failure: Failure,
        now: f64,
        outlet: &mut Outlet,
        events: &mut Vec<Event<Owner, Buffer>>,
    ) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.life.apply(event, now) == ClientAction::FailAndCancel && context.is_known {
            outlet.cancel(id);
        }
        let owner = self.end(id, now);
        events.extend(owner.map(|owner| Event::Failed {
            owner,
            failure: Box::new(failure),
        }));
    }

    /// Takes the owner of a context that has just ended; its id is remembered for a while.
    fn end(&mut self, id: &str, now: f64) -> Option<Owner> {
        let owner = self.contexts.get_mut(id)?.owner.take()?;
        self.ended.push_back((now, id.into()));
        while let Some((ended_at, oldest)) = self.ended.front() {
            if self.ended.len() <= REMEMBERED_CONTEXTS && now - ended_at < TOMBSTONE_S {
                break;
            }
            if self.contexts.get(oldest).is_some_and(|context| context.owner.is_none()) {
                self.contexts.remove(oldest);
            }
            self.ended.pop_front();
        }
        Some(owner)
    }
}

/// Commands of a client. The state table is protocol.md 6.5.
impl<Owner, Buffer> Connection<Owner, Buffer> {
    /// Registers a context; its events carry `owner`, its audio has `format`.
    pub fn open_context(
        &mut self,
        context_id: &str,
        owner: Owner,
        format: Format,
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
        if client.contexts.contains_key(context_id) {
            return Err(CommandError::ContextInUse);
        }
        client.opened += 1;
        let context = Context {
            life: ClientContext::new(now),
            owner: Some(owner),
            order: client.opened,
            is_known: false,
            audio: Stream::new(format),
        };
        client.contexts.insert(context_id.into(), context);
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
        let context = client
            .contexts
            .get_mut(context_id)
            .ok_or(CommandError::UnknownContext)?;
        if !is_open && context.life.state().is_live() {
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
                context.life.input(
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
        context.is_known = true;
        if let Some(timeout_s) = client.inactivity_timeout_s {
            client.due_at = client
                .due_at
                .min(context.life.deadline(timeout_s).unwrap_or(f64::INFINITY));
        }
        verdict
    }

    /// Cancels; false where there is nothing to cancel. Later messages of the id are dropped.
    pub fn send_cancel(&mut self, context_id: &str, now: Option<f64>) -> Result<bool, CommandError> {
        self.stop_context(context_id, ClientEvent::Cancel, now)
    }

    /// The caller lets the context go: sends a cancel if it is live, emits no event. Late messages stay counted.
    pub fn give_up_context(&mut self, context_id: &str, now: Option<f64>) -> Result<(), CommandError> {
        self.stop_context(context_id, ClientEvent::GiveUp, now).map(drop)
    }

    fn stop_context(&mut self, context_id: &str, event: ClientEvent, now: Option<f64>) -> Result<bool, CommandError> {
        let now = self.advance(now);
        let is_open = self.inner.outlet().is_ok();
        let Side::Client(client) = &mut self.inner.side else {
            return Err(CommandError::NoClient);
        };
        let Some(context) = client.contexts.get_mut(context_id) else {
            return Ok(false);
        };
        let stopped = context.life.apply(event, now) == ClientAction::SendCancel;
        if stopped && context.is_known && is_open {
            self.inner.outlet.cancel(context_id);
        }
        client.end(context_id, now);
        Ok(stopped)
    }

    fn client(&mut self) -> Result<&mut Client<Owner>, CommandError> {
        match &mut self.inner.side {
            Side::Client(client) => Ok(client),
            Side::Server(_) | Side::Plain => Err(CommandError::NoClient),
        }
    }
}

/// Room for the names and punctuation of a request.
const REQUEST_ENVELOPE_BYTES: usize = 80;

impl Outlet {
    fn cancel(&mut self, context_id: &str) {
        // Only control frames can be too long for the frame layer.
        let _ = self.writer.write_with(
            &mut self.transmit,
            Opcode::Text,
            context_id.len() + REQUEST_ENVELOPE_BYTES,
            |out| encode::cancel(out, context_id),
        );
    }
}

impl Stream {
    fn new(format: Format) -> Self {
        Self {
            frame_bytes: format.frame_bytes(),
            sample_rate: f64::from(format.sample_rate),
            frames: 0,
            cut: Vec::new(),
        }
    }

    /// Decodes the text of a chunk into whole frames, and the time of the first; None where no frame is whole yet.
    ///
    /// The usual chunk holds whole samples and is written once, by the decoder, into the buffer that the user gets.
    fn decode<H: Host>(&mut self, text: &[u8], host: &H) -> Result<Option<(H::Buffer, f64)>, Unheard> {
        let size = base64::decoded_len(text).ok_or(Unheard::InvalidBase64)?;
        let decoded = host
            .make(size, &mut |room| base64::decode(text, room).is_ok())?
            .ok_or(Unheard::InvalidBase64)?;
        let data = if self.cut.is_empty() && size.is_multiple_of(self.frame_bytes) {
            decoded
        } else {
            self.join(host.bytes(&decoded), host)?
        };
        let frames = host.bytes(&data).len() / self.frame_bytes;
        if frames == 0 {
            return Ok(None);
        }
        let start_s = self.frames as f64 / self.sample_rate;
        self.frames += frames as u64;
        Ok(Some((data, start_s)))
    }

    /// Puts the rest of the last chunk before this one and keeps what it cuts off (protocol.md 13).
    fn join<H: Host>(&mut self, decoded: &[u8], host: &H) -> Result<H::Buffer, Unheard> {
        let cut = (self.cut.len() + decoded.len()) % self.frame_bytes;
        let whole = self.cut.len() + decoded.len() - cut;
        let bytes = || self.cut.iter().chain(decoded).copied();
        let mut fill = |room: &mut [std::mem::MaybeUninit<u8>]| {
            room.iter_mut().zip(bytes()).for_each(|(slot, byte)| {
                slot.write(byte);
            });
            true
        };
        let data = host.make(whole, &mut fill)?.ok_or(Unheard::InvalidBase64)?;
        self.cut = bytes().skip(whole).collect();
        Ok(data)
    }
}

/// Tells the user of audio, unless no frame was whole yet.
fn deliver<H: Host>(
    audio: Option<(H::Buffer, f64)>,
    owner: &H::Owner,
    flush_id: Option<u64>,
    around: &mut Surroundings<'_, H>,
) {
    if let Some((data, start_s)) = audio {
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
