//! The audio between a host and a device, and all rules of counting it.
//!
//! Everything is counted in frames from the start of a *segment*: what was written between two clears. What the device
//! reports carries the number of the segment it is about, so that a report that comes late is never counted in the next.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::reading::{Consumed, Look, Loss, Piece, Position, Progress, Quality, Refusal, Written};
use crate::ring::Ring;
use crate::wake::Wake;

/// Audio on its way from the host to a device.
///
/// Frames that the device has taken stay here until it reports that they have left, so that they can be handed over
/// again: `rewind` after a pause or a restart. They count against the capacity until then.
pub struct Queue {
    state: Mutex<State>,
    wake: Wake,
}

struct State {
    ring: Ring,
    segment: u64,
    played: u64,
    discarded: u64,
    xruns: u64,
    at_ns: u64,
    bound: u64,
    /// Frames that count as played and may not have left after all.
    doubtful: u64,
    quality: Quality,
    /// A write was short: the host is owed a wake when half of the room is free.
    short: bool,
    /// Where finishes stand whose wake is owed.
    finishes: VecDeque<u64>,
    /// Where finishes stand that the device has not come to, and the last one that it has.
    finishes_ahead: VecDeque<u64>,
    finished: u64,
    /// Where the last finish stands.
    last_finish: Option<u64>,
    /// The device's thread sleeps.
    hungry: bool,
    end: Option<Refusal>,
}

impl Queue {
    /// An empty queue with room for `capacity` frames; `quality` and `at_ns` are those of its first position.
    pub fn new(frame_bytes: usize, capacity: u64, quality: Quality, at_ns: u64, wake: Wake) -> Self {
        Self {
            state: Mutex::new(State {
                ring: Ring::new(frame_bytes, capacity),
                segment: 0,
                played: 0,
                discarded: 0,
                xruns: 0,
                at_ns,
                bound: 0,
                doubtful: 0,
                quality,
                short: false,
                finishes: VecDeque::new(),
                finishes_ahead: VecDeque::new(),
                finished: 0,
                last_finish: None,
                hungry: true,
                end: None,
            }),
            wake,
        }
    }

    /// Frames that it holds at most.
    pub fn capacity(&self) -> u64 {
        self.lock().ring.capacity()
    }

    // --- the host's side ---

    /// Takes as many whole frames as there is room for.
    pub fn write(&self, data: &[u8]) -> Result<Written, Refusal> {
        let mut state = self.lock();
        let frame_bytes = state.ring.frame_bytes();
        if !data.len().is_multiple_of(frame_bytes) {
            return Err(Refusal::CutFrame {
                size_bytes: data.len(),
                frame_bytes,
            });
        }
        state.check()?;
        let frames = state.ring.push(data);
        if frames < (data.len() / frame_bytes) as u64 {
            state.short = true;
        }
        let rouse = frames > 0 && state.hungry;
        state.hungry &= !rouse;
        Ok(Written { frames, rouse })
    }

    /// Owes the host a wake for when everything written so far has been heard. The device is to be roused.
    pub fn finish(&self) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.check()?;
        let written = state.ring.written();
        state.last_finish = Some(written);
        put(&mut state.finishes, written);
        put(&mut state.finishes_ahead, written);
        state.pass_finishes();
        let owed = state.settle_finishes();
        self.unlock_and_wake(state, owed);
        Ok(())
    }

    /// Where the sink stands.
    pub fn position(&self) -> Position {
        self.lock().position()
    }

    /// Ends the segment and returns its final numbers: `heard` of its frames will have been heard (None for all that the
    /// device has taken; never fewer than were played already), the rest is dropped. An empty segment goes on.
    pub fn clear(&self, heard: Option<u64>, bound: u64, at_ns: u64) -> Position {
        let mut state = self.lock();
        if state.ring.written() == 0 {
            return state.position();
        }
        state.settle(heard, bound, at_ns);
        let last = state.position();
        state.segment += 1;
        state.ring.reset();
        state.played = 0;
        state.discarded = 0;
        state.bound = 0;
        state.doubtful = 0;
        last
    }

    /// Takes nothing more and wakes nobody any more; the numbers are settled as by [`Self::clear`], without a new
    /// segment. A second close changes nothing.
    pub fn close(&self, heard: Option<u64>, bound: u64, at_ns: u64) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.settle(heard, bound, at_ns);
            state.end = Some(Refusal::Closed);
        }
        drop(state);
        self.wake.close();
    }

    // --- the device's side ---

    /// What there is to do.
    pub fn look(&self) -> Look {
        let state = self.lock();
        Look {
            segment: state.segment,
            written: state.ring.written(),
            taken: state.ring.taken(),
            finished: state.finished,
            ends: state.last_finish == Some(state.ring.written()),
        }
    }

    /// The device's thread has done what it could for this look and goes to sleep: the next write asks to rouse it. False
    /// where it must look again, as something was written meanwhile.
    pub fn await_write(&self, look: &Look) -> bool {
        let mut state = self.lock();
        state.hungry = (state.segment, state.ring.written()) == (look.segment, look.written);
        state.hungry
    }

    /// Copies out the next frames, as many as fit; they are taken only by [`Self::take`].
    pub fn peek(&self, room: &mut [u8]) -> Piece {
        let state = self.lock();
        Piece {
            segment: state.segment,
            frames: state.ring.peek(room),
        }
    }

    /// The device has taken frames of that segment; they are kept until they have left.
    pub fn take(&self, segment: u64, frames: u64) {
        let mut state = self.lock();
        if state.segment == segment {
            state.ring.take(frames);
            state.pass_finishes();
        }
    }

    /// The device reports how far its audio got. Numbers that would fall are not heeded.
    pub fn advance(&self, progress: Progress) {
        let mut state = self.lock();
        if state.segment != progress.segment || state.end.is_some() {
            return;
        }
        state.ring.release_to(progress.left);
        state.played = progress.heard.clamp(state.played, state.ring.taken());
        state.at_ns = progress.at_ns.max(state.at_ns);
        state.bound = progress.bound;
        state.quality = progress.quality;
        let finished = state.settle_finishes();
        let free = state.settle_short();
        self.unlock_and_wake(state, finished || free);
    }

    /// The device gives back what it has not passed on: frames of that segment from `mark` are taken once more.
    pub fn rewind(&self, segment: u64, mark: u64) {
        let mut state = self.lock();
        if state.segment == segment {
            let mark = mark.max(state.played);
            state.ring.rewind_to(mark);
        }
    }

    /// Copies out the next frames, as many as there are and as fit, for a device that keeps none back: they have left, and
    /// count as played, in the same move. A clear that comes before takes all of them, one that comes after takes none.
    /// The wake that this may owe is the caller's to give, once it has time.
    pub fn consume(&self, room: &mut [u8], at_ns: u64) -> Consumed {
        self.lock().consume(room, at_ns)
    }

    /// As [`Self::consume`]; None where somebody else is just using the queue.
    pub fn try_consume(&self, room: &mut [u8], at_ns: u64) -> Option<Consumed> {
        match self.state.try_lock() {
            Ok(mut state) => Some(state.consume(room, at_ns)),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner().consume(room, at_ns)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Frames of that segment were consumed and could not be sent: by so many more `played` may be off.
    pub fn doubt(&self, segment: u64, frames: u64) {
        let mut state = self.lock();
        if state.segment == segment {
            state.doubtful += frames;
        }
    }

    /// Gives the wake that [`Self::consume`] owed.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// The device ran dry in the middle of audio.
    pub fn count_xrun(&self) {
        self.lock().xruns += 1;
    }

    /// The device is gone: every write from now on says so. Only the first loss counts, and none after a close.
    pub fn lose(&self, loss: Loss) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(Refusal::Lost(loss));
            self.unlock_and_wake(state, true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another thread while it held the lock cannot have left numbers that are worse than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock_and_wake(&self, state: MutexGuard<'_, State>, owed: bool) {
        drop(state);
        if owed {
            self.wake.wake();
        }
    }
}

impl State {
    fn check(&self) -> Result<(), Refusal> {
        self.end.clone().map_or(Ok(()), Err)
    }

    fn position(&self) -> Position {
        Position {
            segment: self.segment,
            written: self.ring.written(),
            played: self.played,
            discarded: self.discarded,
            xruns: self.xruns,
            at_ns: self.at_ns,
            bound: self.bound + self.doubtful,
            quality: self.quality,
        }
    }

    fn consume(&mut self, room: &mut [u8], at_ns: u64) -> Consumed {
        let begins = self.end.is_some() || self.finished == self.ring.taken();
        let mut consumed = Consumed {
            segment: self.segment,
            frames: 0,
            begins,
            ends: begins,
            owed: false,
        };
        if self.end.is_none() {
            consumed.frames = self.ring.peek(room);
            self.ring.take(consumed.frames);
            let taken = self.ring.taken();
            self.ring.release_to(taken);
            self.played = taken;
            self.at_ns = at_ns.max(self.at_ns);
            self.pass_finishes();
            consumed.ends = self.finished == taken;
            let finished = self.settle_finishes();
            consumed.owed = self.settle_short() || finished;
        }
        consumed
    }

    fn settle(&mut self, heard: Option<u64>, bound: u64, at_ns: u64) {
        let taken = self.ring.taken();
        self.played = heard.unwrap_or(taken).clamp(self.played, taken);
        self.discarded = self.ring.written() - self.played;
        self.bound = bound;
        self.at_ns = at_ns.max(self.at_ns);
        self.short = false;
        self.finishes.clear();
        self.finishes_ahead.clear();
        self.finished = 0;
        self.last_finish = None;
    }

    fn pass_finishes(&mut self) {
        let passed = pass(&mut self.finishes_ahead, self.ring.taken());
        self.finished = passed.unwrap_or(self.finished);
    }

    fn settle_finishes(&mut self) -> bool {
        pass(&mut self.finishes, self.played).is_some()
    }

    fn settle_short(&mut self) -> bool {
        let owed = self.short && 2 * self.ring.room() >= self.ring.capacity();
        self.short &= !owed;
        owed
    }
}

/// Adds a mark behind the others, once.
fn put(marks: &mut VecDeque<u64>, mark: u64) {
    if marks.back() != Some(&mark) {
        marks.push_back(mark);
    }
}

/// Removes the marks up to a frame, and returns the last of them.
fn pass(marks: &mut VecDeque<u64>, frame: u64) -> Option<u64> {
    let mut last = None;
    while marks.front().is_some_and(|&mark| mark <= frame) {
        last = marks.pop_front();
    }
    last
}
