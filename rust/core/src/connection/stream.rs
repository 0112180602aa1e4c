//! The audio of one context: chunks of base64 in, whole frames out, in another format where one is asked for.

use std::mem::MaybeUninit;

use voxwire_audio::{self as audio, Format, FormatError};
use voxwire_kernels::base64;

use super::event::{Host, OutOfMemory};

/// What is needed to make whole frames of a context's chunks.
pub(super) struct Stream {
    pub(super) frame_bytes: usize,
    /// Of what is delivered.
    sample_rate: f64,
    /// Frames delivered.
    frames: u64,
    /// The beginning of a frame that the last chunk cut.
    pub(super) cut: Vec<u8>,
    /// The way to the format that is delivered, where it is not that of the chunks.
    conversion: Option<Box<Conversion>>,
}

struct Conversion {
    stream: audio::Stream,
    frame_bytes: usize,
    /// Label of the last chunk, to which what the stream still holds belongs.
    flush_id: Option<u64>,
}

/// Audio for the user.
pub(super) struct Heard<Buffer> {
    pub(super) data: Buffer,
    /// Seconds from the start of the context's audio to the first frame.
    pub(super) start_s: f64,
    pub(super) flush_id: Option<u64>,
}

/// Why no audio came of a chunk.
pub(super) enum Unheard {
    InvalidBase64,
    OutOfMemory,
}

impl From<OutOfMemory> for Unheard {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl Stream {
    /// * `format`: of the chunks
    /// * `deliver`: of what the user gets, if another
    pub(super) fn new(format: Format, deliver: Option<Format>) -> Result<Self, FormatError> {
        let conversion = match deliver {
            Some(deliver) if deliver != format => Some(Box::new(Conversion {
                stream: audio::Stream::new(format, deliver)?,
                frame_bytes: deliver.frame_bytes(),
                flush_id: None,
            })),
            _ => None,
        };
        Ok(Self {
            frame_bytes: format.frame_bytes(),
            sample_rate: f64::from(deliver.unwrap_or(format).sample_rate),
            frames: 0,
            cut: Vec::new(),
            conversion,
        })
    }

    /// Decodes the text of a chunk into whole frames, and the time of the first; None where no frame is whole yet.
    ///
    /// The usual chunk holds whole samples and is written once, by the decoder, into the buffer that the user gets.
    #[inline]
    pub(super) fn decode<H: Host>(
        &mut self,
        text: &[u8],
        flush_id: Option<u64>,
        host: &H,
    ) -> Result<Option<Heard<H::Buffer>>, Unheard> {
        let size = base64::decoded_len(text).ok_or(Unheard::InvalidBase64)?;
        let decoded = host
            .make(size, &mut |room| base64::decode(text, room).is_ok())?
            .ok_or(Unheard::InvalidBase64)?;
        Ok(self.take((decoded, size), flush_id, host)?)
    }

    /// Makes whole frames of the bytes of a chunk, as [`Self::decode`].
    #[inline]
    pub(super) fn take<H: Host>(
        &mut self,
        (mut decoded, mut size): (H::Buffer, usize),
        flush_id: Option<u64>,
        host: &H,
    ) -> Result<Option<Heard<H::Buffer>>, OutOfMemory> {
        if !self.cut.is_empty() || !size.is_multiple_of(self.frame_bytes) {
            (decoded, size) = self.join(host.bytes(&decoded, size), host)?;
        }
        if let Some(conversion) = &mut self.conversion {
            conversion.flush_id = flush_id;
            let mut out = Vec::new();
            // What was joined to whole frames is never refused.
            let _ = conversion.stream.process(host.bytes(&decoded, size), &mut out);
            return self.converted(&out, flush_id, host);
        }
        Ok(self.heard(decoded, size / self.frame_bytes, flush_id))
    }

    /// Everything that is still due for the chunks so far, if something is.
    pub(super) fn flush<H: Host>(&mut self, host: &H) -> Result<Option<Heard<H::Buffer>>, OutOfMemory> {
        let Some(conversion) = &mut self.conversion else {
            return Ok(None);
        };
        let (mut out, flush_id) = (Vec::new(), conversion.flush_id);
        conversion.stream.flush(&mut out);
        self.converted(&out, flush_id, host)
    }

    fn converted<H: Host>(
        &mut self,
        out: &[u8],
        flush_id: Option<u64>,
        host: &H,
    ) -> Result<Option<Heard<H::Buffer>>, OutOfMemory> {
        let frame_bytes = self.conversion.as_ref().map_or(self.frame_bytes, |to| to.frame_bytes);
        if out.is_empty() {
            return Ok(None);
        }
        let made = host.make(out.len(), &mut |room| copy(out, room))?;
        Ok(made.and_then(|data| self.heard(data, out.len() / frame_bytes, flush_id)))
    }

    /// Whether a chunk of this size is delivered as it is.
    pub(super) fn takes_whole(&self, size: usize) -> bool {
        self.conversion.is_none() && self.cut.is_empty() && size.is_multiple_of(self.frame_bytes)
    }

    /// Counts frames of the delivered format.
    #[inline]
    pub(super) fn heard<Buffer>(
        &mut self,
        data: Buffer,
        frames: usize,
        flush_id: Option<u64>,
    ) -> Option<Heard<Buffer>> {
        if frames == 0 {
            return None;
        }
        let start_s = self.frames as f64 / self.sample_rate;
        self.frames += frames as u64;
        Some(Heard {
            data,
            start_s,
            flush_id,
        })
    }

    /// Puts the rest of the last chunk before this one and keeps what it cuts off (protocol.md 13).
    fn join<H: Host>(&mut self, decoded: &[u8], host: &H) -> Result<(H::Buffer, usize), OutOfMemory> {
        let cut = (self.cut.len() + decoded.len()) % self.frame_bytes;
        let whole = self.cut.len() + decoded.len() - cut;
        let bytes = || self.cut.iter().chain(decoded).copied();
        let mut fill = |room: &mut [MaybeUninit<u8>]| {
            room.iter_mut().zip(bytes()).for_each(|(slot, byte)| {
                slot.write(byte);
            });
            true
        };
        let data = host.make(whole, &mut fill)?.ok_or(OutOfMemory)?;
        self.cut = bytes().skip(whole).collect();
        Ok((data, whole))
    }
}

/// Fills `room` with as many bytes.
pub(super) fn copy(bytes: &[u8], room: &mut [MaybeUninit<u8>]) -> bool {
    room.iter_mut().zip(bytes).for_each(|(slot, &byte)| {
        slot.write(byte);
    });
    true
}
