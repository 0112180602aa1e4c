//! The audio of one context: chunks of base64 in, whole frames out.

use voxwire_audio::Format;
use voxwire_kernels::base64;

use super::event::{Host, OutOfMemory};

/// What is needed to make whole frames of a context's chunks.
pub(super) struct Stream {
    pub(super) frame_bytes: usize,
    sample_rate: f64,
    /// Frames delivered.
    frames: u64,
    /// The beginning of a frame that the last chunk cut.
    pub(super) cut: Vec<u8>,
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
    pub(super) fn new(format: Format) -> Self {
        Self {
            frame_bytes: format.frame_bytes(),
            sample_rate: f64::from(format.sample_rate),
            frames: 0,
            cut: Vec::new(),
        }
    }

    /// Decodes the text of a chunk into whole frames, and the time of the first; None where no frame is whole yet.
    ///
    /// The usual chunk holds whole samples and is written once, by the decoder, into the buffer that the user gets.
    pub(super) fn decode<H: Host>(&mut self, text: &[u8], host: &H) -> Result<Option<(H::Buffer, f64)>, Unheard> {
        let size = base64::decoded_len(text).ok_or(Unheard::InvalidBase64)?;
        let decoded = host
            .make(size, &mut |room| base64::decode(text, room).is_ok())?
            .ok_or(Unheard::InvalidBase64)?;
        let data = if self.cut.is_empty() && size.is_multiple_of(self.frame_bytes) {
            decoded
        } else {
            self.join(host.bytes(&decoded), host)?
        };
        let frames = host.bytes(&data).len() / self.frame_bytes;
        if frames == 0 {
            return Ok(None);
        }
        let start_s = self.frames as f64 / self.sample_rate;
        self.frames += frames as u64;
        Ok(Some((data, start_s)))
    }

    /// Puts the rest of the last chunk before this one and keeps what it cuts off (protocol.md 13).
    fn join<H: Host>(&mut self, decoded: &[u8], host: &H) -> Result<H::Buffer, Unheard> {
        let cut = (self.cut.len() + decoded.len()) % self.frame_bytes;
        let whole = self.cut.len() + decoded.len() - cut;
        let bytes = || self.cut.iter().chain(decoded).copied();
        let mut fill = |room: &mut [std::mem::MaybeUninit<u8>]| {
            room.iter_mut().zip(bytes()).for_each(|(slot, byte)| {
                slot.write(byte);
            });
            true
        };
        let data = host.make(whole, &mut fill)?.ok_or(Unheard::InvalidBase64)?;
        self.cut = bytes().skip(whole).collect();
        Ok(data)
    }
}
