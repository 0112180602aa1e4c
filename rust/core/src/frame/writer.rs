//! Messages and control frames -> bytes. Everything is sent whole; a client masks.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use voxwire_kernels::mask;

use super::header::{self, Content, MAX_HEADER_BYTES};
use super::{MAX_CONTROL_PAYLOAD, Role};
use crate::error::{Error, ErrorKind, close_code};

/// What a frame of ours carries; `FrameWriter::write_close` writes the fifth kind, and nothing is ever fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A text message; the payload must be UTF-8, which the caller warrants.
    Text,
    /// A binary message.
    Binary,
    /// A question whether the peer is alive, payload at most 125 bytes.
    Ping,
    /// The answer, with the payload of the ping.
    Pong,
}

impl Opcode {
    const fn content(self) -> Content {
        match self {
            Self::Text => Content::Text,
            Self::Binary => Content::Binary,
            Self::Ping => Content::Ping,
            Self::Pong => Content::Pong,
        }
    }
}

/// Appends frames to a buffer of the caller.
pub struct FrameWriter {
    /// A client's source of masking keys: they must not be foreseen by who chooses the payload (RFC 6455 10.3). In a box,
    /// since a server, with as many connections, has no use for its 300 bytes.
    masks: Option<Box<ChaCha8Rng>>,
}

impl FrameWriter {
    /// Makes a writer for `role`.
    ///
    /// * `role`: which end this is; only a client masks
    /// * `seed`: 32 unpredictable bytes, from which a client's masking keys are drawn
    pub fn new(role: Role, seed: [u8; 32]) -> Self {
        Self {
            masks: match role {
                Role::Client => Some(Box::new(ChaCha8Rng::from_seed(seed))),
                Role::Server => None,
            },
        }
    }

    /// Appends one frame.
    ///
    /// Errors: local `ControlTooLong` for a ping or pong over 125 bytes, then `out` is as it was; a message never fails.
    pub fn write(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> Result<(), Error> {
        self.write_with(out, opcode, payload.len(), |out| out.extend_from_slice(payload))
    }

    /// Appends one frame whose payload `fill` appends in place, behind the head: no second buffer, no copy.
    ///
    /// * `out`: takes the frame
    /// * `opcode`: what the payload is
    /// * `len_hint`: bytes that `fill` will append; where it appends another number, the head is put right, at the price
    ///   of moving the payload if the head then has another length
    /// * `fill`: appends the payload and touches nothing before it
    ///
    /// Errors: as `write`.
    pub fn write_with(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        len_hint: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.write_content(out, opcode.content(), len_hint, fill)
    }

    /// Appends a Close frame.
    ///
    /// Errors, all local, with `out` as it was: `InvalidCloseCode`, `CloseReasonTooLong` over 123 bytes,
    /// `CloseReasonWithoutCode`.
    pub fn write_close(&mut self, out: &mut Vec<u8>, code: Option<u16>, reason: &str) -> Result<(), Error> {
        let Some(code) = code else {
            if !reason.is_empty() {
                return Err(Error::local(ErrorKind::CloseReasonWithoutCode, 0));
            }
            return self.write_content(out, Content::Close, 0, |_| {});
        };
        if !close_code::may_be_sent(code) {
            return Err(Error::local(ErrorKind::InvalidCloseCode(code), 0));
        }
        let code = code.to_be_bytes();
        let max_reason = MAX_CONTROL_PAYLOAD - code.len();
        if reason.len() > max_reason {
            let kind = ErrorKind::CloseReasonTooLong {
                len: reason.len() as u64,
            };
            return Err(Error::local(kind, max_reason as u64));
        }
        self.write_content(out, Content::Close, code.len() + reason.len(), |out| {
            out.extend_from_slice(&code);
            out.extend_from_slice(reason.as_bytes());
        })
    }

    fn write_content(
        &mut self,
        out: &mut Vec<u8>,
        content: Content,
        len_hint: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        let is_masked = self.masks.is_some();
        let start = out.len();
        let hinted = header::written_len(len_hint, is_masked);
        out.reserve(hinted.saturating_add(len_hint));
        out.extend_from_slice(&[0; MAX_HEADER_BYTES][..hinted]);
        fill(out);
        let len = out.len() - start - hinted;
        if content.is_control() && len > MAX_CONTROL_PAYLOAD {
            out.truncate(start);
            let kind = ErrorKind::ControlTooLong { len: len as u64 };
            return Err(Error::local(kind, MAX_CONTROL_PAYLOAD as u64));
        }
        let header_len = header::written_len(len, is_masked);
        if header_len != hinted {
            out.resize(start + header_len.max(hinted) + len, 0);
            out.copy_within(start + hinted..start + hinted + len, start + header_len);
            out.truncate(start + header_len + len);
        }
        let key = self.masks.as_mut().map(|masks| masks.next_u32().to_le_bytes());
        let (head, payload) = out[start..].split_at_mut(header_len);
        header::write(head, content, len, key);
        if let Some(key) = key {
            mask::apply(payload, key, 0);
        }
        Ok(())
    }
}
