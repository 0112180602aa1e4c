//! The contexts of one connection as its server sees them (protocol.md 6.2).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::is_speakable;
use crate::message::is_usable_context_id;

use ServerAction as Action;
use ServerRow as Row;
use ServerState as State;

/// Seconds for which an ended, expired or cancelled context is remembered.
pub const REMEMBERED_S: f64 = 300.0;
/// Seconds without input after which a failed context is forgotten.
pub const FAILED_S: f64 = 10.0;
/// Contexts without life that one connection remembers; the oldest goes first.
pub const REMEMBERED_CONTEXTS: usize = 4096;

/// Where a context stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// The id is not known.
    None,
    /// Takes text.
    Open,
    /// The close was received, audio is still due.
    Draining,
    /// The same, and an input came after the close: it is refused once the context is done.
    Refusing,
    /// `done` was sent after a close.
    Ended,
    /// `done` was sent by expiry.
    Expired,
    /// Stopped by a cancel, in silence.
    Cancelled,
    /// An error was sent: inputs under way are dropped.
    Failed,
}

impl ServerState {
    /// Every state, in the order of the columns of [`SERVER_TABLE`].
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Open,
        Self::Draining,
        Self::Refusing,
        Self::Ended,
        Self::Expired,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The state as one word; a refusal that is kept does not show.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Draining | Self::Refusing => "draining",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// For how many seconds the state is remembered; None where time does not end it.
    fn lifetime_s(self) -> Option<f64> {
        match self {
            Self::None | Self::Open | Self::Draining | Self::Refusing => None,
            Self::Ended | Self::Expired | Self::Cancelled => Some(REMEMBERED_S),
            Self::Failed => Some(FAILED_S),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAction {
    /// Nothing.
    Ignore,
    /// Make the context with this text.
    Create,
    /// The same, and it takes no more.
    CreateAndClose,
    /// Add the text.
    Append,
    /// Add the text, release the buffer, take no more.
    AppendAndClose,
    /// Add the text verbatim; it may yield no audio.
    AppendSilent,
    /// End the segment.
    EndSegment,
    /// Release the buffer, take no more.
    Close,
    /// Stop and drop everything, in silence.
    Stop,
    /// Send the error; there is no live context.
    Fail,
    /// Stop the audio and send the error.
    StopAndFail,
    /// Send the last error of this id once more.
    RepeatError,
    /// Send `done`.
    Done,
    /// Send `done`, then the refusal that was kept.
    DoneAndFail,
    /// Keep this refusal (the input's own error if it is invalid, else that the context is closed), send nothing now.
    Refuse,
}

impl ServerAction {
    /// The action as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Create => "create",
            Self::CreateAndClose => "create_and_close",
            Self::Append => "append",
            Self::AppendAndClose => "append_and_close",
            Self::AppendSilent => "append_silent",
            Self::EndSegment => "end_segment",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Fail => "fail",
            Self::StopAndFail => "stop_and_fail",
            Self::RepeatError => "repeat_error",
            Self::Done => "done",
            Self::DoneAndFail => "done_and_fail",
            Self::Refuse => "refuse",
        }
    }
}

/// What the synthesis of a live context reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// It failed.
    SynthesisFailed,
    /// The input is closed and all audio was sent.
    Drained,
    /// The expiry timer fired.
    Expired,
}

impl ServerEvent {
    /// The event of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SynthesisFailed, Self::Drained, Self::Expired]
            .into_iter()
            .find(|event| event.name() == name)
    }

    /// The event as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::SynthesisFailed => "synthesis_failed",
            Self::Drained => "drained",
            Self::Expired => "expired",
        }
    }
}

/// One input of a client.
#[derive(Debug, Clone, Copy)]
pub struct ServerInput<'a> {
    /// Its text; None where it could not be read.
    pub transcript: Option<&'a str>,
    /// More inputs may follow.
    pub continues: bool,
    /// It ends a segment.
    pub flush: bool,
    /// It passed validation and was admitted.
    pub valid: bool,
}

/// The rows of [`SERVER_TABLE`]: inputs by what they hold, and the other events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRow {
    /// Text to speak; more may follow.
    Speakable,
    /// The last text to speak.
    SpeakableClose,
    /// Text without anything to speak, or nothing at all; more may follow.
    Unspeakable,
    /// Nothing or whitespace, with `flush`; more may follow.
    EmptyFlush,
    /// A close with `""`.
    EmptyClose,
    /// A close with whitespace.
    WhitespaceClose,
    /// A close with other text without anything to speak.
    UnspeakableClose,
    /// A cancel request.
    Cancel,
    /// Invalid or not admitted; more may follow.
    Invalid,
    /// Invalid or not admitted, and the last.
    InvalidClose,
    /// The synthesis failed.
    SynthesisFailed,
    /// The input is closed and all audio was sent.
    Drained,
    /// The expiry timer fired.
    Expired,
}

impl From<&ServerInput<'_>> for ServerRow {
    fn from(input: &ServerInput<'_>) -> Self {
        let Some(transcript) = input.transcript.filter(|_| input.valid) else {
            return if input.continues {
                Self::Invalid
            } else {
                Self::InvalidClose
            };
        };
        let blank = transcript.trim().is_empty();
        match input.continues {
            true if is_speakable(transcript) => Self::Speakable,
            false if is_speakable(transcript) => Self::SpeakableClose,
            true if blank && input.flush => Self::EmptyFlush,
            true => Self::Unspeakable,
            false if transcript.is_empty() => Self::EmptyClose,
            false if blank => Self::WhitespaceClose,
            false => Self::UnspeakableClose,
        }
    }
}

impl From<ServerEvent> for ServerRow {
    fn from(event: ServerEvent) -> Self {
        match event {
            ServerEvent::SynthesisFailed => Self::SynthesisFailed,
            ServerEvent::Drained => Self::Drained,
            ServerEvent::Expired => Self::Expired,
        }
    }
}

/// What is done in a state, and which state follows.
type Cell = (ServerAction, ServerState);

/// The server's state table: for each row a cell per state, in the order of [`ServerState::ALL`].
#[rustfmt::skip]
pub const SERVER_TABLE: [(ServerRow, [Cell; 8]); 13] = [
    (Row::Speakable, [
        (Action::Create, State::Open), (Action::Append, State::Open),
        (Action::Refuse, State::Refusing), (Action::Ignore, State::Refusing),
        (Action::Create, State::Open), (Action::Create, State::Open), (Action::Create, State::Open),
        (Action::Ignore, State::Failed),
    ]),
    (Row::SpeakableClose, [
        (Action::CreateAndClose, State::Draining), (Action::AppendAndClose, State::Draining),
        (Action::Refuse, State::Refusing), (Action::Ignore, State::Refusing),
        (Action::CreateAndClose, State::Draining), (Action::CreateAndClose, State::Draining),
        (Action::CreateAndClose, State::Draining),
        (Action::Ignore, State::None),
    ]),
    (Row::Unspeakable, [
        (Action::Fail, State::Failed), (Action::AppendSilent, State::Open),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::Failed),
    ]),
    (Row::EmptyFlush, [
        (Action::Fail, State::Failed), (Action::EndSegment, State::Open),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::Failed),
    ]),
    (Row::EmptyClose, [
        (Action::Fail, State::None), (Action::Close, State::Draining),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Ended), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::None),
    ]),
    (Row::WhitespaceClose, [
        (Action::Fail, State::None), (Action::Close, State::Draining),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Done, State::Ended), (Action::Ignore, State::Cancelled),
        (Action::RepeatError, State::None),
    ]),
    (Row::UnspeakableClose, [
        (Action::Fail, State::None), (Action::Close, State::Draining),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Ended), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::None),
    ]),
    (Row::Cancel, [
        (Action::Ignore, State::None), (Action::Stop, State::Cancelled),
        (Action::Stop, State::Cancelled), (Action::Stop, State::Cancelled),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::None),
    ]),
    (Row::Invalid, [
        (Action::Fail, State::Failed), (Action::StopAndFail, State::Failed),
        (Action::Refuse, State::Refusing), (Action::Ignore, State::Refusing),
        (Action::Fail, State::Failed), (Action::Fail, State::Failed), (Action::Fail, State::Failed),
        (Action::Ignore, State::Failed),
    ]),
    (Row::InvalidClose, [
        (Action::Fail, State::None), (Action::StopAndFail, State::Failed),
        (Action::Refuse, State::Refusing), (Action::Ignore, State::Refusing),
        (Action::Fail, State::None), (Action::Fail, State::None), (Action::Fail, State::None),
        (Action::Ignore, State::None),
    ]),
    (Row::SynthesisFailed, [
        (Action::Ignore, State::None), (Action::StopAndFail, State::Failed),
        (Action::StopAndFail, State::Ended), (Action::StopAndFail, State::Ended),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::Failed),
    ]),
    (Row::Drained, [
        (Action::Ignore, State::None), (Action::Ignore, State::Open),
        (Action::Done, State::Ended), (Action::DoneAndFail, State::Failed),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::Failed),
    ]),
    (Row::Expired, [
        (Action::Ignore, State::None), (Action::Done, State::Expired),
        (Action::Ignore, State::Draining), (Action::Ignore, State::Refusing),
        (Action::Ignore, State::Ended), (Action::Ignore, State::Expired), (Action::Ignore, State::Cancelled),
        (Action::Ignore, State::Failed),
    ]),
];

#[derive(Debug)]
struct Context {
    state: ServerState,
    /// When the state is forgotten, and its place among those that are remembered; 0 for a live context.
    forget_at: f64,
    order: u64,
}

/// Every context of one connection, and what is remembered of past ones.
#[derive(Debug, Default)]
pub struct ServerContexts {
    contexts: HashMap<Arc<str>, Context>,
    /// The contexts without life, the oldest first.
    remembered: BTreeMap<u64, Arc<str>>,
    next_order: u64,
}

impl ServerContexts {
    /// A connection without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a context stands.
    pub fn state(&self, id: &str, now: f64) -> ServerState {
        match self.contexts.get(id) {
            Some(context) if context.state.lifetime_s().is_none() || now < context.forget_at => context.state,
            _ => State::None,
        }
    }

    /// A generation request came.
    pub fn input(&mut self, id: &str, input: &ServerInput<'_>, now: f64) -> ServerAction {
        self.apply(id, Row::from(input), now)
    }

    /// A cancel request came.
    pub fn cancel(&mut self, id: &str, now: f64) -> ServerAction {
        self.apply(id, Row::Cancel, now)
    }

    /// The synthesis of a context reports.
    pub fn event(&mut self, id: &str, event: ServerEvent, now: f64) -> ServerAction {
        self.apply(id, event.into(), now)
    }

    fn apply(&mut self, id: &str, row: ServerRow, now: f64) -> ServerAction {
        let before = self.state(id, now);
        let (action, after) = SERVER_TABLE[row as usize].1[before as usize];
        // An input that a failed context swallows restarts its time; whatever else is ignored changes nothing.
        let is_input = row as usize <= Row::InvalidClose as usize;
        if after != before || (after == State::Failed && is_input) {
            self.set(id, after, now);
        }
        action
    }

    fn set(&mut self, id: &str, state: ServerState, now: f64) {
        if let Some(context) = self.contexts.get(id) {
            self.remembered.remove(&context.order);
        }
        // No context can come to be under such an id, and it may be a megabyte long.
        if state == State::None || !is_usable_context_id(id) {
            self.contexts.remove(id);
            return;
        }
        let Some(lifetime_s) = state.lifetime_s() else {
            self.contexts.insert(
                id.into(),
                Context {
                    state,
                    forget_at: f64::INFINITY,
                    order: 0,
                },
            );
            return;
        };
        self.next_order += 1;
        let id: Arc<str> = id.into();
        let context = Context {
            state,
            forget_at: now + lifetime_s,
            order: self.next_order,
        };
        self.contexts.insert(Arc::clone(&id), context);
        self.remembered.insert(self.next_order, id);
        self.forget(now);
    }

    /// Forgets what is over the bound, and from the oldest on what has had its time.
    fn forget(&mut self, now: f64) {
        while let Some((&order, id)) = self.remembered.first_key_value() {
            let in_time = self.contexts.get(id).is_some_and(|context| now < context.forget_at);
            if in_time && self.remembered.len() <= REMEMBERED_CONTEXTS {
                return;
            }
            self.contexts.remove(id);
            self.remembered.remove(&order);
        }
    }
}
