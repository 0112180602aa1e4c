//! What surrounds the audio of a chunk, learned from the messages that came before.
//!
//! A server builds every message from the same pieces: the names, the punctuation and the constant values are the same
//! bytes each time, and only the audio, the id, `step_time` and `flush_id` differ. Where the constant pieces are found
//! again, looked for from both ends since the length of the audio is not known, and what lies between them has the
//! grammar of what lay there before, the message is the learned one with other values: nothing else needs a look.

use super::json::{Kind, Token, is_plain, plain_run};

/// Shapes that one connection remembers; servers known have one, or one with `flush_id` and one without.
const SHAPES: usize = 4;
/// Bytes of a message besides its audio beyond which its shape is not learned.
const LARGEST: usize = 1024;
/// Digits of a `flush_id` at most, so that it cannot overflow; others are read by the general walk.
const FLUSH_ID_DIGITS: usize = 18;

/// A chunk that is the learned message with other values, provided that `data` decodes as base64 and that `context_id`
/// is known to be plain: then neither holds what could end a string.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enveloped<'a> {
    /// The id as it stands in the text, which is what it means if it is plain ([`super::is_plain_context_id`]).
    pub(crate) context_id: &'a [u8],
    /// The base64 text, not decoded.
    pub(crate) data: &'a [u8],
    /// The label of the segment.
    pub(crate) flush_id: Option<u64>,
}

/// What the beginning of a chunk tells of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Front {
    /// The shape that the chunk begins like.
    pub(crate) shape: usize,
    /// Bytes before the audio.
    pub(crate) size: usize,
    /// Bytes behind the audio, as many as the last one had.
    pub(crate) behind: usize,
    /// Characters of padding at the end of the audio, as many as the last one had.
    pub(crate) padding: usize,
}

/// Where the values that differ from message to message stand in one that was read by the general walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) context_id: Option<Token<'a>>,
    pub(crate) data: Option<Token<'a>>,
    pub(crate) step_time: Option<Token<'a>>,
    pub(crate) flush_id: Option<Token<'a>>,
}

/// A value that differs from message to message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    ContextId,
    StepTime,
    FlushId,
}

/// Constant bytes and the value behind them (before the audio) or before them (behind the audio).
#[derive(Debug)]
struct Piece {
    constant: Box<[u8]>,
    field: Field,
}

/// One way of writing a chunk.
#[derive(Debug)]
struct Shape {
    /// In the order of the text, then what stands between the last of them and the audio, quote included.
    front: Vec<Piece>,
    front_end: Box<[u8]>,
    /// From the end of the text backwards, then what stands between the last of them and the audio, quote included.
    back: Vec<Piece>,
    back_end: Box<[u8]>,
    /// Bytes of the last id, most likely those of the next one.
    id_len: usize,
    /// Bytes behind the audio, and its padding, in the last chunk.
    behind: usize,
    padding: usize,
}

/// The shapes of the chunks of one connection.
#[derive(Debug, Default)]
pub(crate) struct Envelopes {
    shapes: Vec<Shape>,
    /// The shape that was met last, which is looked for first and never replaced.
    latest: usize,
    /// Chunks of no known shape since one of a known shape came.
    strange: u32,
}

impl Envelopes {
    /// Reads a chunk of a known shape; see [`Enveloped`] for what is left to prove.
    #[inline]
    pub(crate) fn read<'a>(&mut self, payload: &'a [u8]) -> Option<Enveloped<'a>> {
        let latest = self.shapes.get_mut(self.latest)?;
        if let Some(enveloped) = latest.read(payload) {
            self.strange = 0;
            return Some(enveloped);
        }
        self.read_other(payload)
    }

    fn read_other<'a>(&mut self, payload: &'a [u8]) -> Option<Enveloped<'a>> {
        for (index, shape) in self.shapes.iter_mut().enumerate() {
            if index != self.latest
                && let Some(enveloped) = shape.read(payload)
            {
                self.meet(index);
                return Some(enveloped);
            }
        }
        None
    }

    /// What a chunk is likely to be that begins with `payload`; None where that does not reach to its audio.
    pub(crate) fn front(&self, payload: &[u8]) -> Option<Front> {
        let others = (0..self.shapes.len()).filter(|&index| index != self.latest);
        [self.latest].into_iter().chain(others).find_map(|index| {
            let shape = self.shapes.get(index)?;
            let rest = shape.read_front(payload, &mut Enveloped::default())?;
            Some(Front {
                shape: index,
                size: payload.len() - rest.len(),
                behind: shape.behind,
                padding: shape.padding,
            })
        })
    }

    /// As [`Self::read`], a chunk that began like `front`; `text` is all of it but audio from the start of `data`.
    pub(crate) fn read_behind<'a>(&mut self, front: &Front, text: &'a [u8]) -> Option<Enveloped<'a>> {
        // Servers write `flush_id` behind the audio of some chunks and not of others: shapes may begin alike.
        let others = (0..self.shapes.len()).filter(|&index| index != front.shape);
        let (index, enveloped) = [front.shape].into_iter().chain(others).find_map(|index| {
            let shape = self.shapes.get_mut(index)?;
            let enveloped = shape.read(text)?;
            let begins_there = text.len() == front.size + enveloped.data.len() + shape.behind;
            begins_there.then_some((index, enveloped))
        })?;
        self.meet(index);
        Some(enveloped)
    }

    fn meet(&mut self, shape: usize) {
        self.latest = shape;
        self.strange = 0;
    }

    /// Remembers the shape of a chunk that no known shape fitted and that was proven whole in another way.
    pub(crate) fn learn(&mut self, payload: &[u8], places: &Places<'_>) {
        self.strange = self.strange.saturating_add(1);
        // Where no two messages are alike there is nothing to learn, and hardly a try is made.
        if self.strange as usize > SHAPES && !self.strange.is_power_of_two() {
            return;
        }
        let Some(shape) = Shape::learn(payload, places) else {
            return;
        };
        if self.shapes.len() < SHAPES {
            self.latest = self.shapes.len();
            self.shapes.push(shape);
        } else {
            self.latest = (self.latest + 1) % SHAPES;
            self.shapes[self.latest] = shape;
        }
    }
}

impl Shape {
    #[inline]
    fn read<'a>(&mut self, payload: &'a [u8]) -> Option<Enveloped<'a>> {
        let mut enveloped = Enveloped::default();
        let from_data = self.read_front(payload, &mut enveloped)?;
        // What happens to stand before a quote may be the end of something else than the id.
        enveloped.data = self
            .read_back(from_data, Some(self.id_len), &mut enveloped)
            .or_else(|| self.read_back(from_data, None, &mut enveloped))?;
        self.id_len = enveloped.context_id.len();
        self.behind = from_data.len() - enveloped.data.len();
        self.padding = padding(enveloped.data);
        Some(enveloped)
    }

    /// Reads what stands before the audio; returns what is behind.
    #[inline]
    fn read_front<'a>(&self, payload: &'a [u8], enveloped: &mut Enveloped<'a>) -> Option<&'a [u8]> {
        let mut rest = payload;
        for piece in &self.front {
            rest = without_prefix(rest, &piece.constant)?;
            let length = match piece.field {
                Field::ContextId => string_prefix(rest, self.id_len),
                Field::StepTime | Field::FlushId => number_prefix(rest),
            };
            let (value, behind) = rest.split_at(length);
            enveloped.set(piece.field, value)?;
            rest = behind;
        }
        without_prefix(rest, &self.front_end)
    }

    /// Reads what stands behind the audio; returns what is before.
    #[inline]
    fn read_back<'a>(
        &self,
        text: &'a [u8],
        likely_id_len: Option<usize>,
        enveloped: &mut Enveloped<'a>,
    ) -> Option<&'a [u8]> {
        let mut rest = text;
        for piece in &self.back {
            rest = without_suffix(rest, &piece.constant)?;
            let length = match piece.field {
                Field::ContextId => string_suffix(rest, likely_id_len)?,
                Field::StepTime | Field::FlushId => number_suffix(rest),
            };
            let (before, value) = rest.split_at(rest.len() - length);
            enveloped.set(piece.field, value)?;
            rest = before;
        }
        without_suffix(rest, &self.back_end)
    }

    /// None where a value has a form that is left to the general walk.
    fn learn(payload: &[u8], places: &Places<'_>) -> Option<Self> {
        let (context_id, data) = (places.context_id?, places.data?);
        if payload.len() - data.raw.len() > LARGEST || data.kind != Kind::Plain {
            return None;
        }
        if context_id.kind != Kind::Plain || !is_plain(context_id.raw) {
            return None;
        }
        let mut values = vec![(Field::ContextId, context_id)];
        // What is no usual number is a constant: it is not looked at, so that it only has to be well-formed again.
        values.extend(
            places
                .step_time
                .filter(|token| is_number(token.raw))
                .map(|token| (Field::StepTime, token)),
        );
        match places.flush_id {
            None | Some(Token { kind: Kind::Null, .. }) => {}
            Some(token) if unsigned(token.raw).is_some() => values.push((Field::FlushId, token)),
            Some(_) => return None,
        }
        values.sort_unstable_by_key(|(_, token)| token.index);
        let (data_start, data_end) = (data.index, data.index + data.raw.len());
        let piece = |constant: &[u8], field| Piece {
            constant: constant.into(),
            field,
        };
        let (mut front, mut back) = (Vec::new(), Vec::new());
        let mut start = 0;
        for &(field, token) in values.iter().take_while(|(_, token)| token.index < data_start) {
            front.push(piece(&payload[start..token.index], field));
            start = token.index + token.raw.len();
        }
        let mut end = payload.len();
        for &(field, token) in values.iter().rev().take_while(|(_, token)| token.index > data_start) {
            back.push(piece(&payload[token.index + token.raw.len()..end], field));
            end = token.index;
        }
        Some(Self {
            front,
            front_end: payload[start..data_start].into(),
            back,
            back_end: payload[data_end..end].into(),
            id_len: context_id.raw.len(),
            behind: payload.len() - data_end,
            padding: padding(data.raw),
        })
    }
}

impl<'a> Enveloped<'a> {
    /// Takes a value; None where it has not the grammar of its field.
    #[inline]
    fn set(&mut self, field: Field, value: &'a [u8]) -> Option<()> {
        match field {
            Field::ContextId => self.context_id = value,
            Field::StepTime => return is_number(value).then_some(()),
            Field::FlushId => self.flush_id = Some(unsigned(value)?),
        }
        Some(())
    }
}

/// `text` without `prefix`; None where it begins otherwise.
#[inline]
fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = text.split_at_checked(prefix.len())?;
    (found == prefix).then_some(rest)
}

/// `text` without `suffix`; None where it ends otherwise.
#[inline]
fn without_suffix<'a>(text: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let (rest, found) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    (found == suffix).then_some(rest)
}

/// Characters of padding at the end of a text.
#[inline]
fn padding(text: &[u8]) -> usize {
    match text {
        [.., b'=', b'='] => 2,
        [.., b'='] => 1,
        _ => 0,
    }
}

fn is_part_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// Bytes at the front that may be a number.
#[inline]
fn number_prefix(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_part_of_number(byte)).count()
}

/// Bytes at the end that may be a number.
#[inline]
fn number_suffix(text: &[u8]) -> usize {
    text.iter().rev().take_while(|&&byte| is_part_of_number(byte)).count()
}

/// Bytes at the front that lie before a quote, as far as is looked.
#[inline]
fn string_prefix(text: &[u8], likely: usize) -> usize {
    if text.get(likely) == Some(&b'"') {
        likely
    } else {
        plain_run(text)
    }
}

/// Bytes at the end that lie behind a quote; None where there is none.
#[inline]
fn string_suffix(text: &[u8], likely: Option<usize>) -> Option<usize> {
    let ends_there = |&length: &usize| text.len().checked_sub(length + 1).is_some_and(|at| text[at] == b'"');
    if let Some(length) = likely.filter(ends_there) {
        return Some(length);
    }
    let quote = memchr::memrchr(b'"', text)?;
    Some(text.len() - (quote + 1))
}

/// Whether a text is a number without sign and exponent: digits, a leading zero only alone, digits behind a point.
#[inline]
fn is_number(text: &[u8]) -> bool {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction_is_well = match text[whole..].split_first() {
        None => true,
        Some((b'.', digits)) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    whole > 0 && (whole == 1 || text[0] != b'0') && fraction_is_well
}

/// The value of a short number without sign, fraction and exponent.
#[inline]
fn unsigned(text: &[u8]) -> Option<u64> {
    if text.len() > FLUSH_ID_DIGITS || text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    text.iter().try_fold(0, |value, &byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}
