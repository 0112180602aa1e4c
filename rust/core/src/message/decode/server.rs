//! The six messages of a server (protocol.md 4), read with the leniency that protocol.md 13 asks of a client.

use std::borrow::Cow;

use super::{Field, WrongType};
use crate::message::envelope::Places;
use crate::message::json::{Error, ErrorKind, Kind, Names, Scanner, Token, Value};
use crate::message::server::{ErrorEvent, MessageError, ServerMessage, Timed, TimestampKind};
use crate::utf8::bad_index;

/// Where the closing quote of `data` is looked for, in bytes from the end of the message. What follows the audio is
/// shorter in every server known, the longest id aside; where it is not, the only cost is a second look.
const TAIL: usize = 512;

/// Reads one message of a server, without looking into the audio.
///
/// For a [`ServerMessage::Chunk`] with `proven` false the closing quote of `data` was guessed from the end of the
/// message. If `data` then decodes as base64 the guess was right and the message is proven whole, since no base64 holds
/// a quote, a backslash, a control character or anything beyond ASCII. If it does not decode, or if the caller has no
/// use for the audio, [`decode_server_strict`] must be asked and its answer be taken instead.
///
/// `utf8_checked` says that the payload is known to be UTF-8.
pub fn decode_server(payload: &[u8], utf8_checked: bool) -> Result<ServerMessage<'_>, MessageError> {
    decode_server_placed(payload, utf8_checked).0
}

/// As [`decode_server`], and of a chunk whose end was guessed where its values stand.
pub(crate) fn decode_server_placed(
    payload: &[u8],
    utf8_checked: bool,
) -> (Result<ServerMessage<'_>, MessageError>, Option<Places<'_>>) {
    let mut members = Members::default();
    let scanned = members.scan(payload, utf8_checked, true);
    let decoded = scanned
        .map_err(MessageError::from)
        .and_then(|()| members.message(payload));
    match decoded {
        decoded if !members.guessed => (decoded.map_err(in_utf8(payload)), None),
        Ok(chunk @ ServerMessage::Chunk { .. }) => (Ok(chunk), Some(members.places())),
        _ => (decode_server_strict(payload), None),
    }
}

/// Reads one message of a server, every byte of it. See [`decode_server`].
pub fn decode_server_strict(payload: &[u8]) -> Result<ServerMessage<'_>, MessageError> {
    let mut members = Members::default();
    let scanned = members.scan(payload, false, false);
    scanned
        .map_err(MessageError::from)
        .and_then(|()| members.message(payload))
        .map_err(in_utf8(payload))
}

/// A text that is no UTF-8 is refused for that reason before any other, as it is where its bytes come in pieces and are
/// checked as they come.
fn in_utf8(payload: &[u8]) -> impl Fn(MessageError) -> MessageError {
    move |error| match bad_index(payload) {
        None => error,
        Some(index) => MessageError::Utf8 { index },
    }
}

macro_rules! members {
    ($($member:ident = $name:literal),+ $(,)?) => {
        /// The members that are known, the frequent ones first.
        #[derive(Clone, Copy)]
        enum Member {
            $($member),+
        }

        impl Member {
            const COUNT: usize = [$($name),+].len();

            fn named(name: &[u8]) -> Option<Self> {
                $(if name == $name.as_bytes() {
                    return Some(Self::$member);
                })+
                None
            }

            /// The member whose key and colon, in their shortest form, `rest` begins with; and the length of both.
            #[inline]
            fn at_start_of(rest: &[u8]) -> Option<(Self, usize)> {
                $({
                    const KEY: &[u8] = concat!('"', $name, "\":").as_bytes();
                    if rest.starts_with(KEY) {
                        return Some((Self::$member, KEY.len()));
                    }
                })+
                None
            }
        }
    };
}

members! {
    Type = "type",
    ContextId = "context_id",
    Data = "data",
    Done = "done",
    StatusCode = "status_code",
    StepTime = "step_time",
    FlushId = "flush_id",
    WordTimestamps = "word_timestamps",
    PhonemeTimestamps = "phoneme_timestamps",
    FlushDone = "flush_done",
    ErrorCode = "error_code",
    Title = "title",
    Message = "message",
    Error = "error",
    RequestId = "request_id",
}

#[derive(Default)]
struct Members<'a> {
    fields: [Field<'a>; Member::COUNT],
    /// The end of `data` was guessed.
    guessed: bool,
}

impl<'a> Members<'a> {
    fn scan(&mut self, payload: &'a [u8], utf8_checked: bool, guess: bool) -> Result<(), Error> {
        let mut scanner = Scanner::new(payload, utf8_checked);
        self.walk(&mut scanner, guess).map_err(|kind| scanner.error(kind))?;
        scanner.duplicate().map_or(Ok(()), Err)
    }

    fn walk(&mut self, scanner: &mut Scanner<'a>, guess: bool) -> Result<(), ErrorKind> {
        let mut unread = Names::default();
        scanner.open_object()?;
        let mut first = true;
        while scanner.member_follows(first)? {
            first = false;
            let index = scanner.index();
            let member = if let Some((member, length)) = Member::at_start_of(scanner.rest()) {
                scanner.advance(length);
                member
            } else {
                let kind = scanner.key()?;
                let name = scanner.token(kind).bytes();
                let Some(member) = Member::named(&name) else {
                    if !unread.insert(name) {
                        scanner.note_duplicate(index);
                    }
                    scanner.skip()?;
                    continue;
                };
                member
            };
            let field = &mut self.fields[member as usize];
            if field.0.is_some() {
                scanner.note_duplicate(index);
            }
            if matches!(member, Member::Data) && guess && scanner.peek()? == b'"' {
                self.guessed = true;
                let kind = scanner.string_guessed(TAIL)?;
                field.0 = Some(scanner.token(kind));
            } else {
                *field = Field::read(scanner)?;
            }
        }
        scanner.finish()
    }

    fn field(&self, member: Member) -> Field<'a> {
        self.fields[member as usize]
    }

    fn places(&self) -> Places<'a> {
        Places {
            context_id: self.field(Member::ContextId).0,
            data: self.field(Member::Data).0,
            step_time: self.field(Member::StepTime).0,
            flush_id: self.field(Member::FlushId).0,
        }
    }

    fn message(&self, payload: &'a [u8]) -> Result<ServerMessage<'a>, MessageError> {
        let Ok(context_id) = self.field(Member::ContextId).string() else {
            return Err(MessageError::Invalid {
                context_id: None,
                field: "context_id",
            });
        };
        let context_id = context_id.map(Token::text).transpose()?;
        let invalid = |field| MessageError::Invalid {
            context_id: context_id.as_deref().map(str::to_owned),
            field,
        };
        let Ok(Some(kind)) = self.field(Member::Type).string() else {
            return Err(invalid("type"));
        };
        let kind = kind.bytes();
        if kind.as_ref() == b"error" {
            return Ok(ServerMessage::Error(self.error(context_id)?));
        }
        if !matches!(
            kind.as_ref(),
            b"chunk" | b"timestamps" | b"phoneme_timestamps" | b"flush_done" | b"done"
        ) {
            return Ok(ServerMessage::Unknown { context_id });
        }
        self.field(Member::Done).bool().map_err(|WrongType| invalid("done"))?;
        if kind.as_ref() == b"done" {
            return Ok(ServerMessage::Done { context_id });
        }
        let flush_id = self
            .field(Member::FlushId)
            .unsigned()
            .map_err(|WrongType| invalid("flush_id"))?;
        match kind.as_ref() {
            b"chunk" => {
                let data = self
                    .field(Member::Data)
                    .string()
                    .map_err(|WrongType| invalid("data"))?
                    .map(Token::bytes);
                Ok(ServerMessage::Chunk {
                    context_id,
                    data,
                    flush_id,
                    proven: !self.guessed,
                })
            }
            b"timestamps" => {
                let items = self.timestamps(Member::WordTimestamps, TimestampKind::Words, payload)?;
                Ok(ServerMessage::Timestamps {
                    kind: TimestampKind::Words,
                    context_id,
                    items,
                    flush_id,
                })
            }
            b"phoneme_timestamps" => {
                let items = self.timestamps(Member::PhonemeTimestamps, TimestampKind::Phonemes, payload)?;
                Ok(ServerMessage::Timestamps {
                    kind: TimestampKind::Phonemes,
                    context_id,
                    items,
                    flush_id,
                })
            }
            _ => Ok(ServerMessage::FlushDone { context_id, flush_id }),
        }
    }

    fn error(&self, context_id: Option<Cow<'a, str>>) -> Result<ErrorEvent<'a>, Error> {
        let text = |member| self.field(member).string().ok().flatten().map(Token::text).transpose();
        let status = self.field(Member::StatusCode).unsigned().ok().flatten();
        Ok(ErrorEvent {
            context_id,
            status: status.and_then(|status| status.try_into().ok()),
            code: text(Member::ErrorCode)?,
            title: text(Member::Title)?,
            message: text(Member::Message)?,
            error: text(Member::Error)?,
            request_id: text(Member::RequestId)?,
        })
    }

    /// The times in `member`. It was stepped over, since the type may come behind it: this is a second look.
    fn timestamps(&self, member: Member, kind: TimestampKind, payload: &'a [u8]) -> Result<Option<Vec<Timed>>, Error> {
        let Some(Token {
            kind: Kind::Compound,
            index,
            ..
        }) = self.field(member).0
        else {
            return Ok(None);
        };
        let mut scanner = Scanner::at(payload, index);
        let value = scanner.value().map_err(|kind| scanner.error(kind))?;
        match scanner.duplicate() {
            Some(error) => Err(error),
            None => Ok(items(value, kind)),
        }
    }
}

/// The three arrays as one list; None where one is missing, or they are of unequal length or hold something else.
fn items(value: Value, kind: TimestampKind) -> Option<Vec<Timed>> {
    let Value::Object(members) = value else { return None };
    let (mut texts, mut starts, mut ends) = (None, None, None);
    for (name, value) in members {
        let slot = match name.as_str() {
            "start" => &mut starts,
            "end" => &mut ends,
            name if name == kind.name() => &mut texts,
            _ => continue,
        };
        let Value::Array(items) = value else { return None };
        *slot = Some(items);
    }
    let (texts, starts, ends) = (texts?, starts?, ends?);
    if texts.len() != starts.len() || texts.len() != ends.len() {
        return None;
    }
    let times = starts.into_iter().zip(ends);
    texts
        .into_iter()
        .zip(times)
        .map(|(text, (start, end))| Some((string(text)?, number(&start)?, number(&end)?)))
        .collect()
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(string) => Some(string),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Int(integer) => Some(integer as f64),
        Value::Float(float) => Some(float),
        _ => None,
    }
}
