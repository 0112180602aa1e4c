//! Whole frames in the order they came, in one block of memory.

/// The frames of a segment. Three marks walk through them and never pass one another: `released` (gone for good, their
/// room is free), `taken` (with the device, kept here because they may come back), `written`.
pub(crate) struct Ring {
    bytes: Box<[u8]>,
    frame_bytes: usize,
    written: u64,
    taken: u64,
    released: u64,
}

impl Ring {
    /// Room for that many frames, at least one.
    pub(crate) fn new(frame_bytes: usize, frames: u64) -> Self {
        let frame_bytes = frame_bytes.max(1);
        Self {
            bytes: vec![0; frame_bytes * frames.max(1) as usize].into_boxed_slice(),
            frame_bytes,
            written: 0,
            taken: 0,
            released: 0,
        }
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    pub(crate) fn capacity(&self) -> u64 {
        (self.bytes.len() / self.frame_bytes) as u64
    }

    pub(crate) fn room(&self) -> u64 {
        self.capacity() - (self.written - self.released)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Copies in as many of the whole frames as there is room for, and returns how many.
    pub(crate) fn push(&mut self, data: &[u8]) -> u64 {
        let frames = ((data.len() / self.frame_bytes) as u64).min(self.room());
        let data = &data[..frames as usize * self.frame_bytes];
        let start = self.place(self.written);
        let (to_end, from_start) = data.split_at(data.len().min(self.bytes.len() - start));
        self.bytes[start..start + to_end.len()].copy_from_slice(to_end);
        self.bytes[..from_start.len()].copy_from_slice(from_start);
        self.written += frames;
        frames
    }

    /// Copies out the next frames, as many as there are and as fit, and returns how many; they are not taken yet.
    pub(crate) fn peek(&self, room: &mut [u8]) -> u64 {
        let frames = ((room.len() / self.frame_bytes) as u64).min(self.written - self.taken);
        let room = &mut room[..frames as usize * self.frame_bytes];
        let start = self.place(self.taken);
        let (to_end, from_start) = room.split_at_mut(room.len().min(self.bytes.len() - start));
        to_end.copy_from_slice(&self.bytes[start..start + to_end.len()]);
        from_start.copy_from_slice(&self.bytes[..from_start.len()]);
        frames
    }

    /// Moves on by that many frames, to `written` at most.
    pub(crate) fn take(&mut self, frames: u64) {
        self.taken = (self.taken + frames).min(self.written);
    }

    /// Frees the room of all frames before `mark`, of taken ones at most.
    pub(crate) fn release_to(&mut self, mark: u64) {
        self.released = mark.clamp(self.released, self.taken);
    }

    /// Goes back to `mark`, as far as frames are still here: they will be taken again.
    pub(crate) fn rewind_to(&mut self, mark: u64) {
        self.taken = mark.clamp(self.released, self.taken);
    }

    /// Forgets everything: a new segment begins.
    pub(crate) fn reset(&mut self) {
        self.written = 0;
        self.taken = 0;
        self.released = 0;
    }

    fn place(&self, frame: u64) -> usize {
        (frame % self.capacity()) as usize * self.frame_bytes
    }
}
