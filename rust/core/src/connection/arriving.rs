//! A chunk whose frame comes in pieces: its audio is decoded as it comes, into the buffer that the user gets.
//!
//! A long chunk is hardly ever whole in a record of TLS, and a fast stream cuts one with every read. How such a message
//! begins tells, by what was learned of others, where its audio stands: what is audio for sure is decoded, the rest of
//! the text is kept until the message is whole. Base64 that is strict has one text only, so that the message can be
//! written again wherever it turns out to be another.

use std::mem::MaybeUninit;

use voxwire_kernels::base64;

use super::event::Host;
use super::stream::copy;
use crate::message::{Envelopes, Front};

/// Characters of a group of base64, and the bytes that it stands for.
const GROUP_CHARACTERS: usize = 4;
const GROUP_BYTES: usize = 3;
/// Characters at the end of the audio that are kept as text: so many more may stand behind it than behind the last.
const SPARE: usize = 16;

/// What has come of it.
pub(super) struct Arriving<Buffer> {
    pub(super) front: Front,
    /// The text without the audio that is decoded.
    pub(super) text: Vec<u8>,
    /// Characters that are still to come and will be audio.
    due: usize,
    pub(super) audio: Audio<Buffer>,
}

/// Audio that is decoded up to some place.
pub(super) struct Audio<Buffer> {
    buffer: Buffer,
    /// Of the buffer: what all of the audio is expected to have.
    size: usize,
    decoded: usize,
}

impl<Buffer> Arriving<Buffer> {
    /// Begins with a message of `len` bytes whose first are `payload`; None where that tells too little, or where
    /// nothing of it can be decoded before it is whole. Nothing of `payload` is taken yet but what stands before the
    /// audio: see [`Self::take`].
    pub(super) fn begin<H: Host<Buffer = Buffer>>(
        payload: &[u8],
        len: usize,
        envelopes: &Envelopes,
        host: &H,
    ) -> Option<Self> {
        // That the id in it is one is seen at the end; whoever else reads the text is to look at it at once.
        let front = envelopes
            .front(payload)
            .filter(|front| payload[..front.size].is_ascii())?;
        let characters = len.checked_sub(front.size + front.behind)?;
        let groups = characters.saturating_sub(SPARE) / GROUP_CHARACTERS;
        if groups == 0 {
            return None;
        }
        let size = characters / GROUP_CHARACTERS * GROUP_BYTES - front.padding;
        let mut text = Vec::with_capacity(len - groups * GROUP_CHARACTERS + GROUP_CHARACTERS);
        text.extend_from_slice(&payload[..front.size]);
        Some(Self {
            front,
            text,
            due: groups * GROUP_CHARACTERS,
            audio: Audio {
                buffer: host.begin(size).ok()?,
                size,
                decoded: 0,
            },
        })
    }

    /// Takes what follows; where it is not what was expected, returns the end of it that was not taken.
    pub(super) fn take<'a, H: Host<Buffer = Buffer>>(&mut self, piece: &'a [u8], host: &H) -> Result<(), &'a [u8]> {
        let (mut rest, behind) = piece.split_at(self.due.min(piece.len()));
        let cut = self.text.len() - self.front.size;
        if !rest.is_empty() && cut > 0 {
            let (end, later) = rest.split_at((GROUP_CHARACTERS - cut).min(rest.len()));
            self.keep(end).map_err(|()| &piece[end.len()..])?;
            self.due -= end.len();
            rest = later;
            if cut + end.len() == GROUP_CHARACTERS {
                let group = &self.text[self.front.size..];
                if !self.audio.decode(group, host) {
                    return Err(&piece[end.len()..]);
                }
                self.text.truncate(self.front.size);
            }
        }
        let (groups, end) = rest.split_at(rest.len() / GROUP_CHARACTERS * GROUP_CHARACTERS);
        if !groups.is_empty() && !self.audio.decode(groups, host) {
            return Err(&piece[piece.len() - behind.len() - rest.len()..]);
        }
        self.due -= rest.len();
        // What is due ends with a group: of these one is empty.
        let kept = if behind.is_empty() { end } else { behind };
        self.keep(kept).map_err(|()| &piece[..0])
    }

    /// Keeps text, and fails after that where it is not ASCII: whoever else reads it is to look at it at once.
    fn keep(&mut self, text: &[u8]) -> Result<(), ()> {
        self.text.extend_from_slice(text);
        if text.is_ascii() { Ok(()) } else { Err(()) }
    }

    /// The message as it came.
    pub(super) fn whole_text<H: Host<Buffer = Buffer>>(&self, host: &H) -> Vec<u8> {
        let (front, behind) = self.text.split_at(self.front.size);
        let mut text = front.to_vec();
        base64::encode(self.audio.bytes(host), &mut text);
        text.extend_from_slice(behind);
        text
    }
}

impl<Buffer> Audio<Buffer> {
    /// Decodes whole groups that are not the last ones; false, with nothing done, where they are no base64 or padded.
    fn decode<H: Host<Buffer = Buffer>>(&mut self, groups: &[u8], host: &H) -> bool {
        let size = groups.len() / GROUP_CHARACTERS * GROUP_BYTES;
        let is_decoded = base64::decoded_len(groups) == Some(size)
            && host.write(&mut self.buffer, self.decoded, size, &mut |room| {
                base64::decode(groups, room).is_ok()
            });
        if is_decoded {
            self.decoded += size;
        }
        is_decoded
    }

    /// Decodes the last groups, all that is left; false, with nothing done, where `text` is no base64 or where there is
    /// no room: what that means is for the text as a whole to show.
    pub(super) fn finish<H: Host<Buffer = Buffer>>(&mut self, text: &[u8], host: &H) -> bool {
        let Some(more) = base64::decoded_len(text) else {
            return false;
        };
        let whole = self.decoded + more;
        let mut decode = |room: &mut [MaybeUninit<u8>]| base64::decode(text, room).is_ok();
        if whole == self.size {
            let is_decoded = host.write(&mut self.buffer, self.decoded, more, &mut decode);
            self.decoded += if is_decoded { more } else { 0 };
            return is_decoded;
        }
        // The text behind the audio, or its padding, is another than the last.
        let decoded = host.bytes(&self.buffer, self.decoded);
        let made = host.make(whole, &mut |room| {
            let (front, back) = room.split_at_mut(decoded.len());
            copy(decoded, front) && decode(back)
        });
        let Ok(Some(buffer)) = made else {
            return false;
        };
        (self.buffer, self.size, self.decoded) = (buffer, whole, whole);
        true
    }

    /// The audio that was finished, and its size.
    pub(super) fn into_whole(self) -> (Buffer, usize) {
        (self.buffer, self.size)
    }

    pub(super) fn bytes<'a, H: Host<Buffer = Buffer>>(&'a self, host: &'a H) -> &'a [u8] {
        host.bytes(&self.buffer, self.decoded)
    }
}
