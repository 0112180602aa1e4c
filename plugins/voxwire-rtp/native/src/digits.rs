//! Telephone events, slot by slot: what of a digit is due (RFC 4733 2.5).

use std::collections::VecDeque;

use crate::packet::Event;

/// The last packet of an event is sent so many times, since nothing else tells of its end.
const END_PACKETS: u64 = 3;

/// One digit that waits for its time; lengths are in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// See [`crate::packet::event_code`].
    pub code: u8,
    /// How long it sounds, at least one slot.
    pub slots: u64,
    /// How long nothing follows it; the repeated end packets fall into that time, so it takes their time at least.
    pub pause_slots: u64,
}

/// What of an event belongs to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// None is being sent.
    Nothing,
    /// This packet of it; the first one begins it.
    Event { event: Event, first: bool },
    /// The pause behind it.
    Pause,
}

/// The digits of a stream.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    waiting: VecDeque<Digit>,
    current: Option<Digit>,
    /// Slots since the current one began.
    elapsed: u64,
}

impl Digits {
    pub(crate) fn push(&mut self, digit: Digit) {
        self.waiting.push_back(digit);
    }

    /// What waits is dropped, and the digit that is being sent ends with its next packet, whose repetitions follow.
    pub(crate) fn release(&mut self) {
        self.waiting.clear();
        self.current = self
            .current
            .filter(|digit| self.elapsed < digit.slots + END_PACKETS - 1);
        if let Some(digit) = &mut self.current {
            digit.slots = digit.slots.min(self.elapsed + 1);
            digit.pause_slots = 0;
        }
    }

    /// A digit has begun whose time, with the pause behind it, is not over.
    pub(crate) fn is_sending(&self) -> bool {
        self.current.is_some()
    }

    /// What the next slot carries; `frames` is the length of a slot.
    pub(crate) fn next(&mut self, frames: u64) -> Due {
        if self.current.is_none() {
            self.current = self.waiting.pop_front();
            self.elapsed = 0;
        }
        let Some(digit) = self.current else {
            return Due::Nothing;
        };
        let slot = self.elapsed;
        // From the last slot of the digit on, whose packet is the first of these.
        let end_packets = (slot + 2).saturating_sub(digit.slots);
        self.elapsed += 1;
        if self.elapsed == digit.slots + digit.pause_slots.max(END_PACKETS - 1) {
            self.current = None;
        }
        if end_packets > END_PACKETS {
            return Due::Pause;
        }
        let duration = (slot + 1).min(digit.slots) * frames;
        let event = Event {
            code: digit.code,
            end: end_packets > 0,
            duration: u16::try_from(duration).unwrap_or(u16::MAX),
        };
        Due::Event {
            event,
            first: slot == 0,
        }
    }
}
