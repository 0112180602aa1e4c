//! Bytes -> messages and control frames, one a call, borrowed from the input where they lie whole in it.

use super::header::{self, Content, Header, MAX_HEADER_BYTES, Rules};
use super::{MAX_CONTROL_PAYLOAD, Role};
use crate::error::{Error, ErrorKind, close_code};
use crate::utf8::{bad_index, first_bad_byte};
use voxwire_kernels::mask;

/// Bytes of buffer that an idle reader may keep; more is given back.
const KEPT_BYTES: usize = 4096;
/// Longest text message whose pieces are offered: what keeps it decoded makes room for all of it at its first piece.
const OFFERED_BYTES: usize = 256 * 1024;
/// First allocation for a message that does not come whole.
const FIRST_BYTES: usize = 256;
/// How far the buffer of a message of many small frames runs ahead of them.
const AHEAD_BYTES: usize = 64 * 1024;

/// One message or control frame of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text {
        /// The text.
        payload: &'a [u8],
        /// True where the text was proved to be UTF-8 as it arrived; false for a whole frame still lying in the
        /// input: then whoever reads it proves it, or calls `check_utf8`.
        checked: bool,
        /// Place in the stream of the first byte of the payload.
        index: u64,
    },
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The end: the reader looks at nothing that follows.
    Close {
        /// The code, if one was given.
        code: Option<u16>,
        /// The reason; empty if none was given.
        reason: &'a str,
    },
}

/// A piece of a text message of one frame that is not whole in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The bytes that came, never none.
    pub payload: &'a [u8],
    /// Bytes of the message before them.
    pub have: usize,
    /// Bytes of the message behind them.
    pub missing: usize,
}

/// Proves that `payload` is UTF-8.
///
/// * `payload`: a text message
/// * `base_index`: place of its first byte in the stream
///
/// Errors: remote `InvalidUtf8` at the first byte that no UTF-8 text could have there; at the end if the last
/// character is cut off.
pub fn check_utf8(payload: &[u8], base_index: u64) -> Result<&str, Error> {
    simdutf8::basic::from_utf8(payload).map_err(|_| {
        let bad = bad_index(payload).unwrap_or(payload.len());
        Error::remote(ErrorKind::InvalidUtf8, base_index + bad as u64)
    })
}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    content: Content,
    is_final: bool,
    key: Option<[u8; 4]>,
    /// Bytes that have come.
    have: usize,
    /// Bytes that are to come.
    missing: usize,
    /// Its payload is not collected but handed out, piece by piece.
    is_offered: bool,
}

/// The message whose frames are arriving.
#[derive(Clone, Copy, Debug)]
struct Message {
    is_text: bool,
    /// Place in the stream of its first byte of payload.
    index: u64,
    /// Bytes from its start that are proved to be whole characters.
    valid: usize,
    empty_fragments: u32,
}

/// What was found, and where its payload lies.
enum Found<'input> {
    /// Whole in the input.
    Borrowed {
        content: Content,
        payload: &'input [u8],
        index: u64,
    },
    /// In the message buffer.
    Message(Message),
    /// In the control buffer.
    Control { content: Content, len: usize, index: u64 },
}

/// Reads the frames of one direction of one connection.
///
/// Call `read` until it returns `None`; after an error or a Close the reader is over and discards what comes.
pub struct FrameReader {
    role: Role,
    max_message: u64,
    offers_parts: bool,
    /// Bytes of the stream that were consumed.
    position: u64,
    is_over: bool,
    /// Beginning of a head that was cut off.
    head: [u8; MAX_HEADER_BYTES],
    head_len: usize,
    frame: Option<Frame>,
    /// A fragmented message, or one whose single frame did not come whole. Control frames may come between its frames,
    /// hence their own buffer.
    message: Option<Message>,
    buffer: Vec<u8>,
    /// The buffer holds a message that the caller was shown.
    is_delivered: bool,
    control: [u8; MAX_CONTROL_PAYLOAD],
}

impl FrameReader {
    /// Makes a reader.
    ///
    /// * `role`: which end this is
    /// * `max_message`: longest message taken, in bytes, over all its fragments
    pub fn new(role: Role, max_message: u64) -> Self {
        Self {
            role,
            // So that every length that passed the limit fits into memory arithmetic, on every platform.
            max_message: max_message.min(isize::MAX.unsigned_abs() as u64),
            offers_parts: false,
            position: 0,
            is_over: false,
            head: [0; MAX_HEADER_BYTES],
            head_len: 0,
            frame: None,
            message: None,
            buffer: Vec::new(),
            is_delivered: false,
            control: [0; MAX_CONTROL_PAYLOAD],
        }
    }

    /// Offers text messages that are one frame, not masked, and not whole in the input to [`Self::take_part`].
    #[must_use]
    pub fn offering_parts(mut self) -> Self {
        self.offers_parts = true;
        self
    }

    /// Bytes of the stream consumed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that the frame which has begun still lacks; none are known of one whose head has not come.
    pub fn missing(&self) -> usize {
        self.frame.map_or(0, |frame| frame.missing)
    }

    /// Bytes of heap held for an unfinished message.
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes bytes off the front of `input` up to the end of the next message or control frame, and returns that.
    ///
    /// Call again until it returns `None`: then `input` is used up, but for what [`Self::take_part`] takes, and
    /// everything that was whole before a violation was returned before the error is.
    ///
    /// Errors: remote, with kind and place in the stream; local `OutOfMemory`. The reader is over then.
    pub fn read<'a, 'input: 'a>(&'a mut self, input: &mut &'input [u8]) -> Result<Option<Incoming<'a>>, Error> {
        if self.is_delivered {
            self.is_delivered = false;
            self.buffer.clear();
        }
        let found = match self.advance(input) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.release();
                return Ok(None);
            }
            Err(error) => return Err(self.fail(error)),
        };
        let (content, payload, index) = match found {
            Found::Message(Message { is_text, index, .. }) => {
                self.is_delivered = true;
                let payload = self.buffer.as_slice();
                return Ok(Some(if is_text {
                    Incoming::Text {
                        payload,
                        checked: true,
                        index,
                    }
                } else {
                    Incoming::Binary(payload)
                }));
            }
            Found::Borrowed {
                content,
                payload,
                index,
            } => (content, payload, index),
            Found::Control { content, len, index } => (content, &self.control[..len], index),
        };
        match content {
            Content::Text => Ok(Some(Incoming::Text {
                payload,
                checked: false,
                index,
            })),
            // A continuation is never found borrowed: it belongs to a message in the buffer.
            Content::Binary | Content::Continuation => Ok(Some(Incoming::Binary(payload))),
            Content::Ping => Ok(Some(Incoming::Ping(payload))),
            Content::Pong => Ok(Some(Incoming::Pong(payload))),
            Content::Close => {
                self.is_over = true;
                self.buffer = Vec::new();
                parse_close(payload, index).map(Some)
            }
        }
    }

    /// Takes bytes of a message that is offered in pieces off the front of `input`, if there are any.
    ///
    /// Whoever has taken all parts has had the message; whoever has no use for it gives all of it that came, UTF-8 or
    /// not, to [`Self::collect`], and [`Self::read`] goes on with it as with any other.
    pub fn take_part<'input>(&mut self, input: &mut &'input [u8]) -> Option<Part<'input>> {
        let mut frame = self.frame.filter(|frame| frame.is_offered && !input.is_empty())?;
        let payload = self.take(input, frame.missing.min(input.len()));
        let have = frame.have;
        frame.have += payload.len();
        frame.missing -= payload.len();
        self.frame = (frame.missing > 0).then_some(frame);
        Some(Part {
            payload,
            have,
            missing: frame.missing,
        })
    }

    /// Takes back a message that was offered, whose parts so far are `text`: all of them, as they came.
    ///
    /// Errors: as those of [`Self::read`].
    pub fn collect(&mut self, text: &[u8]) -> Result<(), Error> {
        debug_assert!(self.message.is_none(), "a message that was offered is alone");
        let index = self.position - text.len() as u64;
        let frame = self.frame.get_or_insert(Frame {
            content: Content::Text,
            is_final: true,
            key: None,
            have: text.len(),
            missing: 0,
            is_offered: false,
        });
        debug_assert_eq!(frame.have, text.len(), "all that came of the message");
        frame.is_offered = false;
        let missing = frame.missing;
        let mut message = Message {
            is_text: true,
            index,
            valid: 0,
            empty_fragments: 0,
        };
        let collected = self.grow(text.len(), missing, true).and_then(|()| {
            self.buffer.extend_from_slice(text);
            prove(&mut message, &self.buffer, 0, index)
        });
        self.message = Some(message);
        collected.map_err(|error| self.fail(error))
    }

    /// Consumes bytes until something is whole or the input is used up.
    fn advance<'input>(&mut self, input: &mut &'input [u8]) -> Result<Option<Found<'input>>, Error> {
        loop {
            if self.is_over {
                self.take(input, input.len());
                return Ok(None);
            }
            if self.frame.is_none() {
                let Some(header) = self.take_header(input)? else {
                    return Ok(None);
                };
                // Within the limit, which fits.
                let len = header.len as usize;
                let is_alone = header.content.is_control() || (header.is_final && self.message.is_none());
                if is_alone && header.key.is_none() && input.len() >= len {
                    let index = self.position;
                    let payload = self.take(input, len);
                    return Ok(Some(Found::Borrowed {
                        content: header.content,
                        payload,
                        index,
                    }));
                }
                self.begin_frame(&header, len, is_alone);
            }
            if self.frame.is_some_and(|frame| frame.is_offered) {
                return Ok(None);
            }
            if let Some(found) = self.take_payload(input)? {
                return Ok(Some(found));
            }
            if self.frame.is_some() {
                return Ok(None);
            }
        }
    }

    fn take<'input>(&mut self, input: &mut &'input [u8], len: usize) -> &'input [u8] {
        let (taken, rest) = input.split_at(len);
        *input = rest;
        self.position += len as u64;
        taken
    }

    /// Returns the next head once it is whole.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Error> {
        let rules = Rules {
            role: self.role,
            max_message: self.max_message,
            open: self.message.map(|_| self.buffer.len() as u64),
            empty_fragments: self.message.map_or(0, |message| message.empty_fragments),
        };
        if self.head_len == 0 {
            if let Some((header, len)) = header::parse(input, self.position, &rules)? {
                self.take(input, len);
                return Ok(Some(header));
            }
            let rest = self.take(input, input.len());
            self.head[..rest.len()].copy_from_slice(rest);
            self.head_len = rest.len();
            return Ok(None);
        }
        let old_len = self.head_len;
        let start = self.position - old_len as u64;
        let new_len = (old_len + input.len()).min(MAX_HEADER_BYTES);
        self.head[old_len..new_len].copy_from_slice(&input[..new_len - old_len]);
        if let Some((header, len)) = header::parse(&self.head[..new_len], start, &rules)? {
            self.take(input, len - old_len);
            self.head_len = 0;
            return Ok(Some(header));
        }
        self.take(input, new_len - old_len);
        self.head_len = new_len;
        Ok(None)
    }

    fn begin_frame(&mut self, header: &Header, len: usize, is_alone: bool) {
        let is_offered = self.offers_parts
            && is_alone
            && header.content == Content::Text
            && header.key.is_none()
            && len <= OFFERED_BYTES;
        self.frame = Some(Frame {
            content: header.content,
            is_final: header.is_final,
            key: header.key,
            have: 0,
            missing: len,
            is_offered,
        });
        if is_offered || header.content.is_control() {
            return;
        }
        let message = self.message.get_or_insert(Message {
            is_text: header.content == Content::Text,
            index: self.position,
            valid: 0,
            empty_fragments: 0,
        });
        message.empty_fragments = if len == 0 { message.empty_fragments + 1 } else { 0 };
    }

    /// Moves payload of the present frame from the input to where it is collected.
    fn take_payload<'input>(&mut self, input: &mut &'input [u8]) -> Result<Option<Found<'input>>, Error> {
        let Some(mut frame) = self.frame else {
            return Ok(None);
        };
        let index = self.position;
        let piece = self.take(input, frame.missing.min(input.len()));
        let (have, missing) = (frame.have, frame.missing - piece.len());
        frame.have += piece.len();
        frame.missing = missing;
        self.frame = (missing > 0).then_some(frame);
        if frame.content.is_control() {
            let room = &mut self.control[have..frame.have];
            room.copy_from_slice(piece);
            if let Some(key) = frame.key {
                mask::apply(room, key, have);
            }
            let found = Found::Control {
                content: frame.content,
                len: frame.have,
                index: self.position - frame.have as u64,
            };
            return Ok((missing == 0).then_some(found));
        }
        let old_len = self.buffer.len();
        self.grow(piece.len(), missing, frame.is_final)?;
        self.buffer.extend_from_slice(piece);
        if let Some(key) = frame.key {
            mask::apply(&mut self.buffer[old_len..], key, have);
        }
        let ends = missing == 0 && frame.is_final;
        if let Some(message) = &mut self.message
            && message.is_text
        {
            prove(message, &self.buffer, old_len, index)?;
            if ends && message.valid != self.buffer.len() {
                return Err(Error::remote(ErrorKind::InvalidUtf8, self.position));
            }
        }
        Ok(if ends {
            self.message.take().map(Found::Message)
        } else {
            None
        })
    }

    /// Makes room for `more` bytes; grows with what came, never by what was merely declared.
    ///
    /// * `more`: bytes at hand
    /// * `missing`: bytes of this frame that are still to come
    /// * `is_final`: the message ends with this frame
    fn grow(&mut self, more: usize, missing: usize, is_final: bool) -> Result<(), Error> {
        let have = self.buffer.len();
        let needed = have + more;
        let capacity = self.buffer.capacity();
        if needed <= capacity {
            return Ok(());
        }
        let frame_end = needed + missing;
        // Within a declared frame the room doubles up to its end. Beyond it nothing is known, and a message of many
        // small fragments is to cost little more than itself: then the room grows in smaller steps.
        let within_frame = (2 * capacity).min(frame_end);
        let ahead = (capacity / 16).max(capacity.min(AHEAD_BYTES)).max(FIRST_BYTES);
        let mut target = needed.max(within_frame).max(capacity + ahead);
        if is_final {
            target = target.min(frame_end);
        }
        self.buffer
            .try_reserve_exact(target - have)
            .map_err(|_| Error::local(ErrorKind::OutOfMemory, self.position))
    }

    /// Gives memory back when no message is under way.
    fn release(&mut self) {
        if self.message.is_none() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.is_over = true;
        self.buffer = Vec::new();
        error
    }
}

/// Checks the text that arrived last, together with a character that was cut off before it.
fn prove(message: &mut Message, buffer: &[u8], old_len: usize, index: u64) -> Result<(), Error> {
    let unproved = &buffer[message.valid..];
    match simdutf8::compat::from_utf8(unproved) {
        Ok(_) => message.valid = buffer.len(),
        Err(error) => {
            if let Some(bad) = first_bad_byte(unproved, &error) {
                // Had it come earlier it would have failed then: the bad byte is among the new ones.
                let bad = (message.valid + bad).saturating_sub(old_len);
                return Err(Error::remote(ErrorKind::InvalidUtf8, index + bad as u64));
            }
            message.valid += error.valid_up_to();
        }
    }
    Ok(())
}

fn parse_close(payload: &[u8], index: u64) -> Result<Incoming<'_>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Incoming::Close { code: None, reason: "" })
        } else {
            Err(Error::remote(ErrorKind::CloseTooShort, index))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code::may_be_sent(code) {
        return Err(Error::remote(ErrorKind::InvalidCloseCode(code), index));
    }
    Ok(Incoming::Close {
        code: Some(code),
        reason: check_utf8(reason, index + 2)?,
    })
}
