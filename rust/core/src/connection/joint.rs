//! Small neighbouring chunks of one context in one read, as one piece of audio.

use std::mem;

use voxwire_kernels::base64;

use super::event::{Event, Host, OutOfMemory};
use super::stream::{Heard, Stream, Unheard, copy};

/// Chunks of so many bytes or more stay as they are: to join them costs more than it saves.
pub const JOINED_CHUNK_BYTES: usize = 4096;
/// Pieces grow no longer.
const PIECE_BYTES: usize = 64 * 1024;
/// Room that stays between reads.
const KEPT_BYTES: usize = 1024;

/// The piece that is being put together. Its event stands among the others already, still empty.
#[derive(Default)]
pub(super) struct Joint {
    bytes: Vec<u8>,
    /// Whose it is: the context's place in the order of opening.
    order: u64,
    flush_id: Option<u64>,
    /// Index of its event.
    index: usize,
}

impl Joint {
    /// Decodes a chunk into the piece that ends the events, or into a new one behind them.
    ///
    /// Returns false, with nothing done, for a chunk that is no matter of joining: a large one, or one that does not
    /// hold whole frames.
    #[inline]
    pub(super) fn decode<H: Host>(
        &mut self,
        (text, flush_id): (&[u8], Option<u64>),
        target: (u64, &H::Owner, &mut Stream),
        events: &mut Vec<Event<H::Owner, H::Buffer>>,
        host: &H,
    ) -> Result<bool, Unheard> {
        let size = base64::decoded_len(text).ok_or(Unheard::InvalidBase64)?;
        let append = |bytes: &mut Vec<u8>| base64::append_decoded(text, bytes).map_err(|_| Unheard::InvalidBase64);
        self.join((size, append, flush_id), target, events, host)
    }

    /// As [`Self::decode`], a chunk that is decoded already.
    pub(super) fn take<H: Host>(
        &mut self,
        (decoded, flush_id): (&[u8], Option<u64>),
        target: (u64, &H::Owner, &mut Stream),
        events: &mut Vec<Event<H::Owner, H::Buffer>>,
        host: &H,
    ) -> Result<bool, OutOfMemory> {
        let append = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(decoded);
            Ok(())
        };
        self.join((decoded.len(), append, flush_id), target, events, host)
    }

    #[inline]
    fn join<H: Host, Error: From<OutOfMemory>>(
        &mut self,
        (size, append, flush_id): (usize, impl FnOnce(&mut Vec<u8>) -> Result<(), Error>, Option<u64>),
        (order, owner, audio): (u64, &H::Owner, &mut Stream),
        events: &mut Vec<Event<H::Owner, H::Buffer>>,
        host: &H,
    ) -> Result<bool, Error> {
        if size >= JOINED_CHUNK_BYTES || !audio.takes_whole(size) {
            return Ok(false);
        }
        let goes_on = !self.bytes.is_empty()
            && (self.order, self.flush_id, self.index + 1) == (order, flush_id, events.len())
            && self.bytes.len() + size <= PIECE_BYTES;
        if !goes_on {
            self.finish(events, host)?;
        }
        append(&mut self.bytes)?;
        let heard = audio.heard((), size / audio.frame_bytes, flush_id);
        if let (false, Some(Heard { start_s, .. })) = (goes_on, heard) {
            (self.order, self.flush_id, self.index) = (order, flush_id, events.len());
            let data = host.make(0, &mut |_| true)?.ok_or(OutOfMemory)?;
            events.push(Event::Audio {
                owner: host.share(owner),
                data,
                start_s,
                flush_id,
            });
        }
        Ok(true)
    }

    /// Hands the piece over.
    pub(super) fn finish<H: Host>(
        &mut self,
        events: &mut Vec<Event<H::Owner, H::Buffer>>,
        host: &H,
    ) -> Result<(), OutOfMemory> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let made = host.make(self.bytes.len(), &mut |room| copy(&self.bytes, room));
        self.bytes.clear();
        let Ok(Some(piece)) = made else {
            events.remove(self.index);
            return Err(OutOfMemory);
        };
        if let Some(Event::Audio { data, .. }) = events.get_mut(self.index) {
            *data = piece;
        }
        Ok(())
    }

    /// As [`Self::finish`], at the end of a read: the room is given back.
    pub(super) fn end_read<H: Host>(
        &mut self,
        events: &mut Vec<Event<H::Owner, H::Buffer>>,
        host: &H,
    ) -> Result<(), OutOfMemory> {
        let finished = self.finish(events, host);
        if self.bytes.capacity() > KEPT_BYTES {
            drop(mem::take(&mut self.bytes));
        }
        finished
    }
}
