//! The head of a frame (RFC 6455 section 5.2), judged as early as its bytes allow.

use super::{MAX_CONTROL_PAYLOAD, MAX_EMPTY_FRAGMENTS, Role};
use crate::error::{Error, ErrorKind};

/// Longest head of a frame: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER_BYTES: usize = 14;

pub(super) const FINAL: u8 = 0x80;
pub(super) const MASKED: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// Values of the 7-bit length that announce a longer one.
const LENGTH_16_BITS: u8 = 0x7E;
const LENGTH_64_BITS: u8 = 0x7F;

/// What a frame carries, by its opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Content {
    fn from_opcode(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A head that broke no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) content: Content,
    pub(super) is_final: bool,
    pub(super) len: u64,
    pub(super) key: Option<[u8; 4]>,
}

/// What a head is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) role: Role,
    pub(super) max_message: u64,
    /// Bytes of the fragmented message that is open, if one is.
    pub(super) open: Option<u64>,
    /// Empty fragments that came in a row, up to this frame.
    pub(super) empty_fragments: u32,
}

/// Reads a head from the front of `bytes`; `None` until it is whole. Returns it with its length in bytes.
///
/// Every rule is tested as soon as the bytes it speaks of are there, in the order of the bytes: so the first broken
/// rule is the same however the head was cut.
///
/// * `bytes`: what came of the frame so far
/// * `start`: place of the frame in the stream, for errors
/// * `rules`: what the head is judged by
pub(super) fn parse(bytes: &[u8], start: u64, rules: &Rules) -> Result<Option<(Header, usize)>, Error> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (content, is_final) = judge_first(first, rules).map_err(|kind| Error::remote(kind, start))?;
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    // All that follows speaks of what begins in the second byte.
    let fault = |kind| Error::remote(kind, start + 1);
    let is_masked = second & MASKED != 0;
    match rules.role {
        Role::Client if is_masked => return Err(fault(ErrorKind::MaskedFrame)),
        Role::Server if !is_masked => return Err(fault(ErrorKind::UnmaskedFrame)),
        Role::Client | Role::Server => {}
    }
    let short_len = second & !MASKED;
    if content.is_control() && usize::from(short_len) > MAX_CONTROL_PAYLOAD {
        return Err(fault(ErrorKind::ControlTooLong {
            len: u64::from(short_len),
        }));
    }
    let (len, rest) = match short_len {
        LENGTH_16_BITS => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes(*bytes));
            if len < 126 {
                return Err(fault(ErrorKind::LengthNotMinimal));
            }
            (len, rest)
        }
        LENGTH_64_BITS => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(*bytes);
            if len > i64::MAX.unsigned_abs() {
                return Err(fault(ErrorKind::LengthHighBit));
            }
            if u16::try_from(len).is_ok() {
                return Err(fault(ErrorKind::LengthNotMinimal));
            }
            (len, rest)
        }
        short_len => (u64::from(short_len), rest),
    };
    if !content.is_control() {
        judge_size(len, is_final, start, rules)?;
    }
    if !is_masked {
        return Ok(Some((
            Header {
                content,
                is_final,
                len,
                key: None,
            },
            bytes.len() - rest.len(),
        )));
    }
    let Some((key, rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    Ok(Some((
        Header {
            content,
            is_final,
            len,
            key: Some(*key),
        },
        bytes.len() - rest.len(),
    )))
}

fn judge_first(first: u8, rules: &Rules) -> Result<(Content, bool), ErrorKind> {
    if first & RESERVED != 0 {
        return Err(ErrorKind::ReservedBits);
    }
    let opcode = first & 0x0F;
    let content = Content::from_opcode(opcode).ok_or(ErrorKind::ReservedOpcode(opcode))?;
    let is_final = first & FINAL != 0;
    match content {
        Content::Close | Content::Ping | Content::Pong if !is_final => Err(ErrorKind::FragmentedControl),
        Content::Continuation if rules.open.is_none() => Err(ErrorKind::UnexpectedContinuation),
        Content::Text | Content::Binary if rules.open.is_some() => Err(ErrorKind::UnfinishedMessage),
        _ => Ok((content, is_final)),
    }
}

/// Tests the declared length of a data frame, before anything is awaited or allocated for it.
fn judge_size(len: u64, is_final: bool, start: u64, rules: &Rules) -> Result<(), Error> {
    let have = rules.open.unwrap_or(0);
    // Subtracting what is known to be within the limit cannot overflow; adding what a peer declared can.
    if len > rules.max_message.saturating_sub(have) {
        let kind = ErrorKind::MessageTooBig {
            len: have.saturating_add(len),
            limit: rules.max_message,
        };
        return Err(Error::remote(kind, start + 1));
    }
    if len == 0 && !is_final && rules.empty_fragments >= MAX_EMPTY_FRAGMENTS {
        return Err(Error::remote(
            ErrorKind::EmptyFragments {
                limit: MAX_EMPTY_FRAGMENTS,
            },
            start,
        ));
    }
    Ok(())
}

/// Bytes of the head that a frame of ours has.
pub(super) const fn written_len(payload_len: usize, is_masked: bool) -> usize {
    let length_bytes = if payload_len < 126 {
        2
    } else if payload_len <= 0xFFFF {
        4
    } else {
        10
    };
    length_bytes + if is_masked { 4 } else { 0 }
}

/// Writes the head of a whole frame into `out`, which has exactly its length (`written_len`).
pub(super) fn write(out: &mut [u8], content: Content, payload_len: usize, key: Option<[u8; 4]>) {
    let mask_bit = if key.is_some() { MASKED } else { 0 };
    out[0] = FINAL | content.opcode();
    let key_start = if payload_len < 126 {
        out[1] = mask_bit | payload_len as u8;
        2
    } else if let Ok(len) = u16::try_from(payload_len) {
        out[1] = mask_bit | LENGTH_16_BITS;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        out[1] = mask_bit | LENGTH_64_BITS;
        out[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    };
    if let Some(key) = key {
        out[key_start..].copy_from_slice(&key);
    }
}
