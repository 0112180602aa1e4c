//! Silence around audio: before the first sound, behind the last, and in between where the device is to keep running.

use voxwire_sink::Look;

use crate::meter::{Meter, Motion};

pub(crate) struct Silence {
    period: u64,
    preroll: u64,
    keep_running: bool,
    preroll_left: u64,
    padding_left: u64,
    /// What is to come behind the padding, for a device in real time.
    tail_left: u64,
    /// The audio frame behind which the padding of a finish was put.
    padded_at: Option<u64>,
    /// The device has rested: whatever takes time to wake up behind it may have gone to sleep.
    rested: bool,
    /// The device went dry behind audio that no finish ended then.
    starved: bool,
}

impl Silence {
    pub(crate) fn new(period: u64, preroll: u64, keep_running: bool) -> Self {
        Self {
            period,
            preroll,
            keep_running,
            preroll_left: 0,
            padding_left: 0,
            tail_left: 0,
            padded_at: None,
            rested: true,
            starved: false,
        }
    }

    /// The device was prepared.
    pub(crate) fn begin(&mut self) {
        self.preroll_left = 0;
        self.padding_left = 0;
        self.tail_left = 0;
        self.padded_at = None;
    }

    /// The device went dry, all was heard, and it was stopped.
    pub(crate) fn rest(&mut self, look: &Look) {
        self.starved |= look.taken > look.finished;
        self.rested = true;
    }

    /// A segment is over.
    pub(crate) fn clear(&mut self) {
        self.starved = false;
    }

    /// Frames of silence that are to come next, before any audio.
    pub(crate) fn due(&mut self, look: &Look, meter: &Meter, now: u64) -> u64 {
        let handed = meter.timeline.handed();
        if look.written > look.taken {
            self.padding_left = 0;
            self.tail_left = 0;
            if self.rested && handed == 0 && !self.in_speech(look) {
                self.preroll_left = self.preroll;
            }
            self.rested = false;
            return self.preroll_left;
        }
        let over = look.ends || meter.keeps_rest(now);
        if over && look.taken > 0 && self.padded_at != Some(look.taken) {
            self.starved |= look.taken > look.finished;
            self.padded_at = Some(look.taken);
            self.padding_left = self.to_period(handed);
            self.tail_left = self.period;
        }
        if self.padding_left == 0 && meter.paced {
            // Whatever stops at the last frame stops in silence.
            self.padding_left = std::mem::take(&mut self.tail_left);
        }
        if self.padding_left > 0 || !self.keeps_running(meter) {
            return self.padding_left;
        }
        let missing = (2 * self.period).saturating_sub(meter.holds());
        if missing == 0 {
            return 0;
        }
        self.starved |= look.taken > look.finished;
        missing + self.to_period(handed + missing)
    }

    /// The device is to run without audio too. It is known by its first sound.
    pub(crate) fn keeps_running(&self, meter: &Meter) -> bool {
        self.keep_running && meter.paced && meter.motion != Motion::Stopped
    }

    /// So much silence was handed over.
    pub(crate) fn note_silence(&mut self, frames: u64) {
        self.preroll_left = self.preroll_left.saturating_sub(frames);
        self.padding_left = self.padding_left.saturating_sub(frames);
    }

    /// Audio is handed over; true where that ends a gap in the middle of speech.
    pub(crate) fn note_audio(&mut self, look: &Look) -> bool {
        let gap = self.in_speech(look);
        self.starved = false;
        gap
    }

    fn in_speech(&self, look: &Look) -> bool {
        self.starved && look.finished < look.taken
    }

    fn to_period(&self, frames: u64) -> u64 {
        (self.period - frames % self.period) % self.period
    }
}
