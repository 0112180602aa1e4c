//! The two messages of a client (protocol.md 3), read for the server.

use std::fmt;

use crate::message::is_usable_context_id;
use crate::message::json::{Error, ErrorKind, Names, Scanner, Value};
use crate::utf8::bad_index;

/// The members of a generation request that the server reads (protocol.md 3.1). The legacy ones are not among them.
const REQUEST_MEMBERS: [&str; 17] = [
    "model_id",
    "transcript",
    "voice",
    "output_format",
    "context_id",
    "continue",
    "max_buffer_delay_ms",
    "flush",
    "language",
    "locale",
    "normalization",
    "add_timestamps",
    "add_phoneme_timestamps",
    "use_normalized_timestamps",
    "pronunciation_dict_id",
    "generation_config",
    "speed",
];

/// A message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// A generation request: an object with a `transcript`, whatever else is right or wrong about it.
    Request {
        /// `context_id` where it is a string.
        context_id: Option<String>,
        /// The members that protocol.md 3.1 names, in their order, `context_id` among them. `cancel` is added where it
        /// is neither a truth value nor null, for the validation to name.
        fields: Vec<(&'static str, Value)>,
    },
    /// A cancel request.
    Cancel {
        /// The context; an id that a context may have.
        context_id: String,
    },
}

/// A message that is neither (protocol.md 3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub reason: UnusableReason,
    /// The byte where it was seen; 0 where it is the message as a whole.
    pub index: usize,
    /// The context that the answer names: the message parses as an object with exactly one string of that name.
    pub context_id: Option<String>,
    /// `continue` where the message parses and has it, else false.
    pub continues: bool,
}

impl Unusable {
    /// Whether the message is not even text.
    pub fn utf8(&self) -> bool {
        self.reason == UnusableReason::Json(ErrorKind::Utf8)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            UnusableReason::Json(kind) => Error::new(kind, self.index).fmt(formatter),
            UnusableReason::NeitherRequestNorCancel => {
                formatter.write_str("message with neither a transcript nor cancel true")
            }
            UnusableReason::CancelWithoutContext => {
                formatter.write_str("cancel without a context_id of 1 to 256 characters")
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// What makes a message unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusableReason {
    /// It is no JSON object as voxwire reads it.
    Json(ErrorKind),
    /// It has neither a `transcript` nor `cancel: true`.
    NeitherRequestNorCancel,
    /// It has `cancel: true`, but no `context_id` that a context may have.
    CancelWithoutContext,
}

impl UnusableReason {
    /// The reason as one word, for logs and for the shared test vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json(kind) => kind.name(),
            Self::NeitherRequestNorCancel => "neither_request_nor_cancel",
            Self::CancelWithoutContext => "cancel_without_context",
        }
    }
}

/// Reads one message of a client, of a text or a binary frame; checks that it is UTF-8.
pub fn decode_client(payload: &[u8]) -> Result<ClientMessage, Unusable> {
    let mut members = Members::default();
    match members.scan(payload) {
        Ok(None) => members.message(),
        Ok(Some(duplicate)) => Err(members.unusable(UnusableReason::Json(duplicate.kind), duplicate.index)),
        Err(Error { kind, index }) => {
            let reason = UnusableReason::Json(kind);
            Err(Unusable {
                reason,
                index,
                context_id: None,
                continues: false,
            })
        }
    }
}

#[derive(Default)]
struct Members {
    fields: Vec<(&'static str, Value)>,
    cancel: Option<Value>,
}

impl Members {
    /// Takes the message apart; the first duplicate key where there is one.
    fn scan(&mut self, payload: &[u8]) -> Result<Option<Error>, Error> {
        if let Some(index) = bad_index(payload) {
            return Err(Error::new(ErrorKind::Utf8, index));
        }
        let mut scanner = Scanner::new(payload, true);
        self.walk(&mut scanner).map_err(|kind| scanner.error(kind))?;
        Ok(scanner.duplicate())
    }

    fn walk(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ErrorKind> {
        let mut names = Names::default();
        scanner.open_object()?;
        let mut first = true;
        while scanner.member_follows(first)? {
            first = false;
            let index = scanner.index();
            let kind = scanner.key()?;
            let name = scanner.token(kind).bytes();
            if name.as_ref() == b"cancel" {
                self.cancel = Some(scanner.value()?);
            } else if let Some(member) = REQUEST_MEMBERS.iter().find(|member| member.as_bytes() == name.as_ref()) {
                self.fields.push((member, scanner.value()?));
            } else {
                scanner.skip()?;
            }
            if !names.insert(name) {
                scanner.note_duplicate(index);
            }
        }
        scanner.finish()
    }

    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Value> {
        self.fields
            .iter()
            .filter(move |(member, _)| *member == name)
            .map(|(_, value)| value)
    }

    fn context_id(&self) -> Option<&str> {
        let mut values = self.all("context_id");
        match (values.next(), values.next()) {
            (Some(Value::String(context_id)), None) => Some(context_id),
            _ => None,
        }
    }

    fn unusable(&self, reason: UnusableReason, index: usize) -> Unusable {
        let mut continues = self.all("continue");
        let continues = matches!((continues.next(), continues.next()), (Some(Value::Bool(true)), None));
        Unusable {
            reason,
            index,
            context_id: self.context_id().map(str::to_owned),
            continues,
        }
    }

    fn message(self) -> Result<ClientMessage, Unusable> {
        if self.cancel == Some(Value::Bool(true)) {
            return match self.context_id().filter(|context_id| is_usable_context_id(context_id)) {
                Some(context_id) => Ok(ClientMessage::Cancel {
                    context_id: context_id.to_owned(),
                }),
                None => Err(self.unusable(UnusableReason::CancelWithoutContext, 0)),
            };
        }
        if self.all("transcript").next().is_none() {
            return Err(self.unusable(UnusableReason::NeitherRequestNorCancel, 0));
        }
        let context_id = self.context_id().map(str::to_owned);
        let mut fields = self.fields;
        match self.cancel {
            None | Some(Value::Bool(_) | Value::Null) => {}
            Some(wrong) => fields.push(("cancel", wrong)),
        }
        Ok(ClientMessage::Request { context_id, fields })
    }
}
