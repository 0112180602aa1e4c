//! The body of a refusal, read as far as it is kept.

use super::head::Framing;
use super::{AnswerFault, ERROR_BODY_BYTES};

/// Longest line that tells the size of a chunk, in bytes, with its extensions.
const CHUNK_LINE_BYTES: usize = 1024;

/// What comes next.
#[derive(Debug)]
enum Next {
    /// This many bytes, then the end.
    Length(u64),
    /// Bytes up to the end of the stream.
    ToEnd,
    /// The line with the size of a chunk, of which this came.
    ChunkSize(Vec<u8>),
    /// This many bytes of a chunk.
    Chunk(u64),
    /// The rest of the line end behind a chunk.
    ChunkEnd(&'static [u8]),
    Nothing,
}

/// Collects a body, at most `ERROR_BODY_BYTES` of it.
#[derive(Debug)]
pub(super) struct Body {
    next: Next,
    bytes: Vec<u8>,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            next: match framing {
                Framing::Unsaid => Next::ToEnd,
                Framing::Length(len) => Next::Length(len),
                Framing::Chunked => Next::ChunkSize(Vec::new()),
            },
            bytes: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes bytes; returns whether the body is whole, or as much of it as is kept. The end of a chunked body is its last
    /// chunk: trailers say nothing that is used.
    pub(super) fn push(&mut self, mut data: &[u8]) -> Result<bool, AnswerFault> {
        loop {
            if self.bytes.len() == ERROR_BODY_BYTES {
                self.next = Next::Nothing;
            }
            match &mut self.next {
                Next::Nothing | Next::Length(0) => return Ok(true),
                Next::Chunk(0) => self.next = Next::ChunkEnd(b"\r\n"),
                Next::ChunkEnd([]) => self.next = Next::ChunkSize(Vec::new()),
                _ if data.is_empty() => return Ok(false),
                Next::ToEnd => {
                    keep(&mut self.bytes, &mut data, u64::MAX);
                }
                Next::Length(missing) | Next::Chunk(missing) => {
                    *missing -= keep(&mut self.bytes, &mut data, *missing);
                }
                Next::ChunkEnd(expected) => {
                    if expected.first() != data.first() {
                        return Err(AnswerFault::Chunk);
                    }
                    *expected = &expected[1..];
                    data = &data[1..];
                }
                Next::ChunkSize(line) => {
                    line.push(data[0]);
                    data = &data[1..];
                    // The library takes a line without a digit for a size of zero.
                    if !line[0].is_ascii_hexdigit() {
                        return Err(AnswerFault::Chunk);
                    }
                    if line.ends_with(b"\n") {
                        self.next = match httparse::parse_chunk_size(line) {
                            Ok(httparse::Status::Complete((_, 0))) => Next::Nothing,
                            Ok(httparse::Status::Complete((_, size))) => Next::Chunk(size),
                            Ok(httparse::Status::Partial) | Err(_) => return Err(AnswerFault::Chunk),
                        };
                    } else if line.len() >= CHUNK_LINE_BYTES {
                        return Err(AnswerFault::Chunk);
                    }
                }
            }
        }
    }
}

/// Moves at most `limit` bytes from `data` to `bytes`, as far as there is room; returns their number.
fn keep(bytes: &mut Vec<u8>, data: &mut &[u8], limit: u64) -> u64 {
    let room = (ERROR_BODY_BYTES - bytes.len()).min(data.len());
    let len = usize::try_from(limit).map_or(room, |limit| limit.min(room));
    let (kept, rest) = data.split_at(len);
    bytes.extend_from_slice(kept);
    *data = rest;
    len as u64
}
