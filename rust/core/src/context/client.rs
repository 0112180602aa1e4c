//! A context as its client sees it (protocol.md 6.5), and the clock that notices a silent server (protocol.md 13).

use super::is_speakable;

use ClientAction as Action;
use ClientEvent as Event;
use ClientState as State;

/// Milliseconds that a server may hold text back where an input does not say (protocol.md 7.1).
pub const BUFFER_DELAY_MS: u32 = 3000;

/// Seconds for which a cancelled id is remembered where the server sends no last message for it.
pub const TOMBSTONE_S: f64 = 300.0;

/// Where a context stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Takes text.
    Open,
    /// Our own close was sent.
    Closing,
    /// Our own cancel was sent.
    Cancelled,
    /// `done` came after our close.
    Ended,
    /// `done` came before our close.
    Expired,
    /// The server's error, a lost socket, or a fault that we found.
    Failed,
}

impl ClientState {
    /// Every state, in the order of the columns of [`CLIENT_TABLE`].
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Closing,
        Self::Cancelled,
        Self::Ended,
        Self::Expired,
        Self::Failed,
    ];

    /// The state as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Cancelled => "cancelled",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// Whether something may still come for the application.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Closing)
    }
}

/// What happens to a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    /// The application pushes text, or flushes; more may follow.
    Push,
    /// The application pushes its last text.
    PushAndClose,
    /// The application closes without text.
    Close,
    /// The application cancels.
    Cancel,
    /// The client itself gives the context up, and knows why.
    GiveUp,
    /// `chunk`, `timestamps`, `phoneme_timestamps` or `flush_done` came.
    Message,
    /// `done` came.
    Done,
    /// `error` came, for this context or for all.
    Error,
    /// A message came that breaks the protocol or whose audio does not decode.
    Fault,
    /// The socket is lost, whatever its close code.
    Lost,
    /// The server was silent for too long.
    Inactive,
}

impl ClientEvent {
    /// The event as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::PushAndClose => "push_and_close",
            Self::Close => "close",
            Self::Cancel => "cancel",
            Self::GiveUp => "give_up",
            Self::Message => "message",
            Self::Done => "done",
            Self::Error => "error",
            Self::Fault => "fault",
            Self::Lost => "lost",
            Self::Inactive => "inactive",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAction {
    /// Send the request.
    Send,
    /// Refuse: wrong use of a context that was closed.
    Usage,
    /// Refuse: the context was cancelled.
    ContextEnded,
    /// Refuse: the context expired.
    ContextExpired,
    /// Refuse: the context failed.
    ContextFailed,
    /// Nothing.
    Ignore,
    /// Send a cancel.
    SendCancel,
    /// Hand the message to the application.
    Deliver,
    /// Drop the message.
    Drop,
    /// Drop the message and count it as late.
    DropAndCount,
    /// Drop the message and forget the id: nothing can follow.
    DropAndForget,
    /// Tell the application that the context ended well.
    Finish,
    /// Tell the application that the server ended the context early.
    Expire,
    /// Tell the application that the context failed.
    Fail,
    /// Tell the application so, and send a cancel.
    FailAndCancel,
    /// Forget the id.
    Forget,
}

impl ClientAction {
    /// The action as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Usage => "usage",
            Self::ContextEnded => "context_ended",
            Self::ContextExpired => "context_expired",
            Self::ContextFailed => "context_failed",
            Self::Ignore => "ignore",
            Self::SendCancel => "send_cancel",
            Self::Deliver => "deliver",
            Self::Drop => "drop",
            Self::DropAndCount => "drop_and_count",
            Self::DropAndForget => "drop_and_forget",
            Self::Finish => "finish",
            Self::Expire => "expire",
            Self::Fail => "fail",
            Self::FailAndCancel => "fail_and_cancel",
            Self::Forget => "forget",
        }
    }
}

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientVerdict {
    /// The request is to be sent.
    Sent,
    /// Nothing to do: a close of what is closed.
    Ignored,
    /// Refused: wrong use of a context that was closed.
    Usage,
    /// Refused: the context was cancelled.
    Ended,
    /// Refused: the context expired.
    Expired,
    /// Refused: the context failed.
    Failed,
}

impl ClientVerdict {
    /// The verdict as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Ignored => "ignored",
            Self::Usage => "usage",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

/// What is done with an event in a state, and which state follows.
type Cell = (ClientAction, ClientState);

/// The client's state table: for each event a cell per state, in the order of [`ClientState::ALL`].
#[rustfmt::skip]
pub const CLIENT_TABLE: [(ClientEvent, [Cell; 6]); 11] = [
    //                    open                                   closing                                cancelled                                ended                              expired                                 failed
    (Event::Push,         [(Action::Send, State::Open),          (Action::Usage, State::Closing),       (Action::ContextEnded, State::Cancelled),  (Action::Usage, State::Ended),        (Action::ContextExpired, State::Expired), (Action::ContextFailed, State::Failed)]),
    (Event::PushAndClose, [(Action::Send, State::Closing),       (Action::Usage, State::Closing),       (Action::ContextEnded, State::Cancelled),  (Action::Usage, State::Ended),        (Action::ContextExpired, State::Expired), (Action::ContextFailed, State::Failed)]),
    (Event::Close,        [(Action::Send, State::Closing),       (Action::Ignore, State::Closing),      (Action::Ignore, State::Cancelled),        (Action::Ignore, State::Ended),       (Action::Ignore, State::Expired),         (Action::Ignore, State::Failed)]),
    (Event::Cancel,       [(Action::SendCancel, State::Cancelled), (Action::SendCancel, State::Cancelled), (Action::Ignore, State::Cancelled),     (Action::Ignore, State::Ended),       (Action::Ignore, State::Expired),         (Action::Ignore, State::Failed)]),
    (Event::GiveUp,       [(Action::SendCancel, State::Failed),  (Action::SendCancel, State::Failed),   (Action::Ignore, State::Cancelled),        (Action::Ignore, State::Ended),       (Action::Ignore, State::Expired),         (Action::Ignore, State::Failed)]),
    (Event::Message,      [(Action::Deliver, State::Open),       (Action::Deliver, State::Closing),     (Action::Drop, State::Cancelled),          (Action::DropAndCount, State::Ended), (Action::DropAndCount, State::Expired),   (Action::DropAndCount, State::Failed)]),
    (Event::Done,         [(Action::Expire, State::Expired),     (Action::Finish, State::Ended),        (Action::DropAndForget, State::Cancelled), (Action::Drop, State::Ended),         (Action::Drop, State::Expired),           (Action::Drop, State::Failed)]),
    (Event::Error,        [(Action::Fail, State::Failed),        (Action::Fail, State::Failed),         (Action::DropAndForget, State::Cancelled), (Action::Drop, State::Ended),         (Action::Drop, State::Expired),           (Action::Drop, State::Failed)]),
    (Event::Fault,        [(Action::FailAndCancel, State::Failed), (Action::FailAndCancel, State::Failed), (Action::Drop, State::Cancelled),       (Action::DropAndCount, State::Ended), (Action::DropAndCount, State::Expired),   (Action::DropAndCount, State::Failed)]),
    (Event::Lost,         [(Action::Fail, State::Failed),        (Action::Fail, State::Failed),         (Action::Forget, State::Cancelled),        (Action::Ignore, State::Ended),       (Action::Ignore, State::Expired),         (Action::Ignore, State::Failed)]),
    (Event::Inactive,     [(Action::FailAndCancel, State::Failed), (Action::FailAndCancel, State::Failed), (Action::Ignore, State::Cancelled),     (Action::Ignore, State::Ended),       (Action::Ignore, State::Expired),         (Action::Ignore, State::Failed)]),
];

/// One input of the application.
#[derive(Debug, Clone, Copy)]
pub struct ClientInput<'a> {
    /// Its text.
    pub transcript: &'a str,
    /// More inputs may follow.
    pub continues: bool,
    /// It ends a segment.
    pub flush: bool,
    /// `max_buffer_delay_ms` of this input, in milliseconds.
    pub buffer_delay_ms: u32,
}

/// A message of the server for a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A chunk with audio in it.
    Audio,
    /// A chunk without audio, or times.
    Other,
    /// `flush_done`.
    FlushDone,
    /// `done`.
    Done,
    /// `error`.
    Error,
}

/// One context of a client.
#[derive(Debug, Clone)]
pub struct ClientContext {
    state: ClientState,
    ended_at: Option<f64>,
    /// When the last input was sent, and what the server may wait before it speaks it.
    last_input_at: f64,
    buffer_delay_s: f64,
    last_message_at: Option<f64>,
    /// Speakable text was sent, and no audio has come since.
    audio_owed: bool,
    flushes_owed: u64,
}

impl ClientContext {
    /// A context to which nothing was sent yet.
    pub fn new(now: f64) -> Self {
        Self {
            state: State::Open,
            ended_at: None,
            last_input_at: now,
            buffer_delay_s: 0.0,
            last_message_at: None,
            audio_owed: false,
            flushes_owed: 0,
        }
    }

    /// What is left of a context that ended in `state`: it answers as the whole one would.
    pub fn ended(state: ClientState) -> Self {
        Self {
            state,
            ..Self::new(0.0)
        }
    }

    /// Where the context stands.
    pub fn state(&self) -> ClientState {
        self.state
    }

    /// When the context stopped being live.
    pub fn ended_at(&self) -> Option<f64> {
        self.ended_at
    }

    /// The application wishes to send an input; on [`ClientVerdict::Sent`] the caller sends it.
    pub fn input(&mut self, input: &ClientInput<'_>, now: f64) -> ClientVerdict {
        let event = match (input.continues, input.transcript.is_empty()) {
            (true, _) => Event::Push,
            (false, false) => Event::PushAndClose,
            (false, true) => Event::Close,
        };
        match self.apply(event, now) {
            Action::Send => {}
            Action::Usage => return ClientVerdict::Usage,
            Action::ContextEnded => return ClientVerdict::Ended,
            Action::ContextExpired => return ClientVerdict::Expired,
            Action::ContextFailed => return ClientVerdict::Failed,
            _ => return ClientVerdict::Ignored,
        }
        self.last_input_at = now;
        self.buffer_delay_s = f64::from(input.buffer_delay_ms) / 1000.0;
        self.audio_owed |= is_speakable(input.transcript);
        self.flushes_owed += u64::from(input.flush);
        ClientVerdict::Sent
    }

    /// The server sent a message for this context.
    pub fn received(&mut self, message: Received, now: f64) -> ClientAction {
        self.last_message_at = Some(now);
        match message {
            Received::Audio => self.audio_owed = false,
            // In custom mode a server also sends some unasked, and not every server does: each pays for one flush.
            Received::FlushDone => self.flushes_owed = self.flushes_owed.saturating_sub(1),
            Received::Other | Received::Done | Received::Error => {}
        }
        let event = match message {
            Received::Audio | Received::Other | Received::FlushDone => Event::Message,
            Received::Done => Event::Done,
            Received::Error => Event::Error,
        };
        self.apply(event, now)
    }

    /// Anything else happened.
    pub fn apply(&mut self, event: ClientEvent, now: f64) -> ClientAction {
        let (action, state) = CLIENT_TABLE[event as usize].1[self.state as usize];
        if self.state.is_live() && !state.is_live() {
            self.ended_at = Some(now);
        }
        self.state = state;
        action
    }

    /// When [`ClientEvent::Inactive`] is due; None while the server owes nothing.
    ///
    /// It owes while a close or a flush is unanswered, or audio for text that was sent has not begun. The time counts
    /// from the later of the last message and the last input, the latter with its buffer delay while the context takes
    /// text (protocol.md 13).
    pub fn deadline(&self, inactivity_timeout_s: f64) -> Option<f64> {
        let input = match self.state {
            State::Open if self.audio_owed || self.flushes_owed > 0 => self.last_input_at + self.buffer_delay_s,
            State::Closing => self.last_input_at,
            _ => return None,
        };
        let last = self.last_message_at.map_or(input, |message| message.max(input));
        Some(last + inactivity_timeout_s)
    }
}
