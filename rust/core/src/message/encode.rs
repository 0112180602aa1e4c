//! Messages to JSON, appended to a buffer (protocol.md 3 and 4; what each field must be is binding there, 12.8).
//!
//! Strings are escaped as little as JSON allows, floats written in their shortest exact form. A float that is not finite
//! has no form in JSON and is written as 0.0.

use std::fmt;
use std::io::Write as _;

use voxwire_kernels::base64;

use super::TimestampKind;
use super::json::{self, ErrorKind, Names, Scanner, next_special};

/// `status_code` of everything but an error.
const PARTIAL_CONTENT: &str = "206";

/// A `chunk`: its length is known before it is written, so that a frame's head can be.
pub struct Chunk<'a> {
    context_id: &'a str,
    context_id_len: usize,
    data: &'a [u8],
    step_time: Float,
    flush_id: Option<u64>,
}

impl<'a> Chunk<'a> {
    const HEAD: &'static str = r#"{"type":"chunk","context_id":"#;
    const DATA: &'static str = r#","data":""#;
    const TAIL: &'static str = r#"","done":false,"status_code":206,"step_time":"#;
    const FLUSH_ID: &'static str = r#","flush_id":"#;

    /// `data` are the bytes of whole samples, `step_time_ms` the milliseconds that it took to make them.
    pub fn new(context_id: &'a str, data: &'a [u8], step_time_ms: f64, flush_id: Option<u64>) -> Self {
        Self {
            context_id,
            context_id_len: string_len(context_id),
            data,
            step_time: Float::new(step_time_ms),
            flush_id,
        }
    }

    /// Exactly how many bytes [`append_to`](Self::append_to) appends.
    pub fn encoded_len(&self) -> usize {
        Self::HEAD.len()
            + self.context_id_len
            + Self::DATA.len()
            + base64::encoded_len(self.data.len()).unwrap_or_default()
            + Self::TAIL.len()
            + self.step_time.as_bytes().len()
            + self
                .flush_id
                .map_or(0, |flush_id| Self::FLUSH_ID.len() + decimal_len(flush_id))
            + 1
    }

    /// Appends the message.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(Self::HEAD.as_bytes());
        string(out, self.context_id);
        out.extend_from_slice(Self::DATA.as_bytes());
        base64::encode(self.data, out);
        out.extend_from_slice(Self::TAIL.as_bytes());
        out.extend_from_slice(self.step_time.as_bytes());
        flush_id(out, self.flush_id);
        out.push(b'}');
    }
}

/// Appends `timestamps` or `phoneme_timestamps`; `items` are (text, start in seconds, end in seconds).
pub fn timestamps<S: AsRef<str>>(
    out: &mut Vec<u8>,
    context_id: &str,
    kind: TimestampKind,
    items: &[(S, f64, f64)],
    flush_id: Option<u64>,
) {
    let (message_type, member) = match kind {
        TimestampKind::Words => ("timestamps", "word_timestamps"),
        TimestampKind::Phonemes => ("phoneme_timestamps", "phoneme_timestamps"),
    };
    head(out, message_type, context_id, false);
    self::flush_id(out, flush_id);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":{\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(b"\":");
    array(out, items, |out, (text, _, _)| {
        string(out, text.as_ref());
    });
    out.extend_from_slice(b",\"start\":");
    array(out, items, |out, &(_, start, _)| {
        out.extend_from_slice(Float::new(start).as_bytes());
    });
    out.extend_from_slice(b",\"end\":");
    array(out, items, |out, &(_, _, end)| {
        out.extend_from_slice(Float::new(end).as_bytes());
    });
    out.extend_from_slice(b"}}");
}

/// Appends `flush_done`.
pub fn flush_done(out: &mut Vec<u8>, context_id: &str, flush_id: u64) {
    head(out, "flush_done", context_id, false);
    self::flush_id(out, Some(flush_id));
    out.extend_from_slice(b",\"flush_done\":true}");
}

/// Appends `done`.
pub fn done(out: &mut Vec<u8>, context_id: &str) {
    head(out, "done", context_id, true);
    out.push(b'}');
}

/// An `error`, to be sent in the superset shape (protocol.md 4.6 and 9.1).
#[derive(Debug, Clone, Copy)]
pub struct Error<'a> {
    /// The context; left out where it is not known.
    pub context_id: Option<&'a str>,
    /// `status_code`.
    pub status: u16,
    /// `error_code`; null where there is none.
    pub code: Option<&'a str>,
    /// `title`.
    pub title: &'a str,
    /// `message`.
    pub message: &'a str,
    /// `request_id`: that of the connection.
    pub request_id: &'a str,
}

/// Appends an `error`.
pub fn error(out: &mut Vec<u8>, error: &Error<'_>) {
    out.extend_from_slice(br#"{"type":"error","done":true"#);
    if let Some(context_id) = error.context_id {
        out.extend_from_slice(br#","context_id":"#);
        string(out, context_id);
    }
    out.extend_from_slice(br#","status_code":"#);
    integer(out, error.status.into());
    out.extend_from_slice(br#","error_code":"#);
    match error.code {
        Some(code) => string(out, code),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","title":"#);
    string(out, error.title);
    out.extend_from_slice(br#","message":"#);
    string(out, error.message);
    out.extend_from_slice(br#","error":""#);
    escape(out, error.title);
    out.extend_from_slice(b": ");
    escape(out, error.message);
    out.extend_from_slice(br#"","request_id":"#);
    string(out, error.request_id);
    out.push(b'}');
}

/// A generation request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The context.
    pub context_id: &'a str,
    /// The text of this input.
    pub transcript: &'a str,
    /// More inputs may follow.
    pub continues: bool,
    /// This input ends a segment; sent only where true.
    pub flush: bool,
    /// Every other member, as one JSON object.
    pub settings: &'a [u8],
}

/// Why the settings of a request cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsError {
    /// They are no JSON object as voxwire reads it.
    Json(json::Error),
    /// They hold a member that the request has itself.
    Reserved {
        /// The member.
        name: &'static str,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(formatter, "settings with {error}"),
            Self::Reserved { name } => write!(formatter, "settings with the member {name}, which is set by itself"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Appends a generation request; nothing where the settings are refused.
pub fn request(out: &mut Vec<u8>, request: &Request<'_>) -> Result<(), SettingsError> {
    let members = members_of(request.settings)?;
    out.reserve(members.len() + request.transcript.len() + request.context_id.len() + 64);
    out.extend_from_slice(br#"{"context_id":"#);
    string(out, request.context_id);
    out.extend_from_slice(br#","transcript":"#);
    string(out, request.transcript);
    out.extend_from_slice(if request.continues {
        br#","continue":true"#
    } else {
        br#","continue":false"#
    });
    if request.flush {
        out.extend_from_slice(br#","flush":true"#);
    }
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
    out.push(b'}');
    Ok(())
}

/// Appends a cancel request.
pub fn cancel(out: &mut Vec<u8>, context_id: &str) {
    out.extend_from_slice(br#"{"context_id":"#);
    string(out, context_id);
    out.extend_from_slice(br#","cancel":true}"#);
}

/// What stands between the braces of `settings`, proven to be members that may stand in a request.
fn members_of(settings: &[u8]) -> Result<&[u8], SettingsError> {
    let mut scanner = Scanner::new(settings, false);
    let members = walk_settings(settings, &mut scanner).map_err(|kind| SettingsError::Json(scanner.error(kind)))??;
    scanner
        .duplicate()
        .map_or(Ok(members), |error| Err(SettingsError::Json(error)))
}

fn walk_settings<'a>(
    settings: &'a [u8],
    scanner: &mut Scanner<'a>,
) -> Result<Result<&'a [u8], SettingsError>, ErrorKind> {
    let mut names = Names::default();
    scanner.open_object()?;
    let start = scanner.index();
    let mut end = start;
    while scanner.member_follows(end == start)? {
        let index = scanner.index();
        let kind = scanner.key()?;
        let name = scanner.token(kind).bytes();
        for reserved in ["context_id", "transcript", "continue", "flush", "cancel"] {
            if name.as_ref() == reserved.as_bytes() {
                return Ok(Err(SettingsError::Reserved { name: reserved }));
            }
        }
        if !names.insert(name) {
            scanner.note_duplicate(index);
        }
        scanner.skip()?;
        end = scanner.index();
    }
    scanner.finish()?;
    Ok(Ok(&settings[start..end]))
}

fn head(out: &mut Vec<u8>, message_type: &str, context_id: &str, done: bool) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(message_type.as_bytes());
    out.extend_from_slice(br#"","context_id":"#);
    string(out, context_id);
    out.extend_from_slice(if done { br#","done":true"# } else { br#","done":false"# });
    out.extend_from_slice(br#","status_code":"#);
    out.extend_from_slice(PARTIAL_CONTENT.as_bytes());
}

fn flush_id(out: &mut Vec<u8>, flush_id: Option<u64>) {
    if let Some(flush_id) = flush_id {
        out.extend_from_slice(Chunk::FLUSH_ID.as_bytes());
        integer(out, flush_id);
    }
}

fn array<T>(out: &mut Vec<u8>, items: &[T], mut item: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(out, value);
    }
    out.push(b']');
}

fn integer(out: &mut Vec<u8>, integer: u64) {
    let mut digits = [0; 20];
    let start = write_digits(&mut digits, integer);
    out.extend_from_slice(&digits[start..]);
}

/// Writes the decimal digits at the end of a room that is large enough; returns where they begin.
fn write_digits(room: &mut [u8], mut integer: u64) -> usize {
    let mut start = room.len();
    loop {
        start -= 1;
        room[start] = b'0' + (integer % 10) as u8;
        integer /= 10;
        if integer == 0 {
            return start;
        }
    }
}

fn decimal_len(integer: u64) -> usize {
    integer.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The text of a float, which lies at the end of its room. The longest that Rust writes has 24 bytes.
struct Float {
    room: [u8; 32],
    start: usize,
}

impl Float {
    /// Thousandths up to which a decimal has so few digits (15) that each is the shortest of its float.
    const THOUSANDTHS: f64 = 1e15;

    fn new(value: f64) -> Self {
        let value = if value.is_finite() { value } else { 0.0 };
        Self::short(value).unwrap_or_else(|| Self::any(value))
    }

    /// What has at most three decimals, as times in milliseconds and seconds mostly have: without the machinery that
    /// finds the shortest form of any float.
    fn short(value: f64) -> Option<Self> {
        let thousandths = (value * 1000.0).round();
        if !(0.0..Self::THOUSANDTHS).contains(&thousandths) || value.is_sign_negative() {
            return None;
        }
        // The quotient is the float nearest to the decimal: where they are equal the decimal is a form of the value.
        if (thousandths / 1000.0).to_bits() != value.to_bits() {
            return None;
        }
        #[expect(clippy::cast_sign_loss, reason = "between 0 and 10^15, and integral")]
        let thousandths = thousandths as u64;
        let mut room = [0; 32];
        // Three decimals are written, and one at least is kept.
        let mut end = room.len();
        let mut decimals = thousandths % 1000;
        let mut digits = 3;
        while digits > 1 && decimals.is_multiple_of(10) {
            decimals /= 10;
            digits -= 1;
        }
        for _ in 0..digits {
            end -= 1;
            room[end] = b'0' + (decimals % 10) as u8;
            decimals /= 10;
        }
        end -= 1;
        room[end] = b'.';
        let start = write_digits(&mut room[..end], thousandths / 1000);
        Some(Self { room, start })
    }

    fn any(value: f64) -> Self {
        let mut room = [0; 32];
        let mut rest = &mut room[..];
        // `Debug` writes exponents where `Display` writes hundreds of digits; both are the shortest exact form.
        let written = write!(rest, "{value:?}").map(|()| rest.len());
        let length = room.len() - written.unwrap_or(room.len());
        let start = room.len() - length;
        room.rotate_right(start);
        Self { room, start }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.room[self.start..]
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Appends `text` with what JSON asks to be escaped, and only that, escaped.
fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let run = next_special(rest, 0, false);
        out.extend_from_slice(&rest[..run]);
        let Some(&special) = rest.get(run) else { return };
        match special {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                let digit = |number: u8| b"0123456789abcdef"[usize::from(number & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            }
        }
        rest = &rest[run + 1..];
    }
}

/// How long [`string`] is.
fn string_len(text: &str) -> usize {
    let plain = next_special(text.as_bytes(), 0, false);
    let escapes = text.as_bytes()[plain..].iter().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    });
    text.len() + 2 + escapes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::Float;

    #[test]
    fn short_decimals_are_written_as_any_float_is() {
        let some = (0..20_000).map(|thousandths| f64::from(thousandths) / 1000.0);
        let other = [
            0.0,
            -0.0,
            -1.5,
            1e-4,
            1e-5,
            999_999_999.999,
            1e12,
            1e15,
            1e16,
            1e17,
            0.1 + 0.2,
            f64::MAX,
            f64::NAN,
        ];
        for value in some.chain(other) {
            let value = if value.is_finite() { value } else { 0.0 };
            assert_eq!(Float::new(value).as_bytes(), format!("{value:?}").as_bytes());
        }
    }
}
