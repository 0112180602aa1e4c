//! The client's part of a connection: its contexts, and what each message means to them.

use std::collections::{HashMap, VecDeque};

use super::Counters;
use super::event::{Event, Failure, Host, failure_code};
use super::inner::Outlet;
use super::stream::{Stream, Unheard};
use crate::context::{ClientAction, ClientContext, ClientEvent, REMEMBERED_CONTEXTS, Received, TOMBSTONE_S};
use crate::message::{self, ErrorEvent, MessageError, ServerMessage, json};

pub(super) struct Client<Owner> {
    pub(super) contexts: HashMap<Box<str>, Context<Owner>>,
    /// Ended contexts in the order of their end: they are forgotten by age and by number.
    pub(super) ended: VecDeque<(f64, Box<str>)>,
    pub(super) opened: u64,
    pub(super) inactivity_timeout_s: Option<f64>,
    /// No inactivity timer is due before this time; infinite where none runs.
    pub(super) due_at: f64,
}

pub(super) struct Context<Owner> {
    pub(super) life: ClientContext,
    /// None once the context has ended: then this is the memory of its id only.
    pub(super) owner: Option<Owner>,
    /// Place in the order of opening.
    pub(super) order: u64,
    /// Something was sent for it, so that the server may know it.
    pub(super) is_known: bool,
    pub(super) audio: Stream,
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
    pub(super) fn end(&mut self, id: &str, now: f64) -> Option<Owner> {
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
