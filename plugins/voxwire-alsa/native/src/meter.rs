//! How far a device got with what it was given. It is told what the device says, and does the reckoning.
//!
//! Two numbers, two meanings. What *left* is what the device's buffer no longer holds: it will be heard whatever happens
//! now, so a clear counts it. What was *heard* is less by the way that is left behind the buffer: a sound server, a
//! converter.
//!
//! A device that has nothing left is *dry*. It says so, or fails to: dryness is also found by counting.

use voxwire_sink::Timeline;

use crate::foreign::Setup;

const NS_PER_S: u64 = 1_000_000_000;
/// How long after its time a device may hold frames before something is done about it.
const STANDSTILL_NS: u64 = NS_PER_S * 3 / 10;
/// How long what is behind the buffer may take to be heard: what a device says beyond that is not believed.
const LONGEST_DELAY_NS: u64 = NS_PER_S * 2;

/// A move that came early is forgotten in so many moves: one that was late for a reason that lasts is the rule then.
const PHASE_LEAK: u64 = 16;

/// What a device is doing with what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Motion {
    /// It waits for its start.
    Waiting,
    Running,
    /// It has told of an underrun.
    Stopped,
}

pub(crate) struct Meter {
    setup: Setup,
    sample_rate: u64,
    /// What the device was given since its last start.
    pub(crate) timeline: Timeline,
    pub(crate) motion: Motion,
    /// It holds what it is given for a while, unlike a device that only pretends. Once true it stays.
    pub(crate) paced: bool,
    /// Frames that it held at the last look.
    held: u64,
    /// Frames of the timeline that have left the buffer, and that were heard.
    pub(crate) left: u64,
    pub(crate) heard: u64,
    /// When it runs out of what it held at its last move, and how much it had been given by then.
    dry_at: u64,
    given: u64,
    /// Frames from the device's end to the ear at the last look, where it knows.
    delay: Option<u64>,
    /// When all that has left is heard at the latest; None while some has not left.
    heard_by: Option<u64>,
    /// It was started anew since frames left last.
    restarted: bool,
    /// When the device, going by its earliest moves, would have moved its first frame on; None before its first move.
    phase: Option<u64>,
}

impl Meter {
    pub(crate) fn new(setup: Setup, sample_rate: u32) -> Self {
        Self {
            setup,
            sample_rate: u64::from(sample_rate.max(1)),
            timeline: Timeline::default(),
            motion: Motion::Waiting,
            paced: false,
            held: 0,
            left: 0,
            heard: 0,
            dry_at: 0,
            given: 0,
            delay: None,
            heard_by: None,
            restarted: false,
            phase: None,
        }
    }

    /// The device was prepared; the next frame that it is given is number `audio` of its segment.
    pub(crate) fn begin(&mut self, audio: u64) {
        self.timeline.restart(audio);
        self.motion = Motion::Waiting;
        self.held = 0;
        self.left = 0;
        self.heard = 0;
        self.delay = None;
        self.heard_by = None;
    }

    /// The device runs from now on, or goes on.
    pub(crate) fn run(&mut self, now: u64) {
        self.held = self.holds();
        self.motion = Motion::Running;
        self.phase = None;
        self.given = self.timeline.handed();
        self.dry_at = now + self.duration_ns(self.held);
    }

    /// The device was started anew although it had not told of an underrun: once is enough.
    pub(crate) fn note_restart(&mut self) {
        self.restarted = true;
    }

    /// The device was given more.
    pub(crate) fn note_handed(&mut self) {
        self.heard_by = None;
    }

    /// The device has room for that many frames.
    pub(crate) fn observe(&mut self, room: u64, now: u64) {
        let held = if self.is_dry(now) {
            0
        } else {
            self.setup.buffer.saturating_sub(room)
        };
        if self.motion == Motion::Waiting {
            return;
        }
        let handed = self.timeline.handed();
        // PulseAudio's plugin never admits that it holds nothing: it says one frame.
        self.held = if held == 1 { 0 } else { held.min(handed) };
        self.paced |= self.held > 0;
        let left = handed - self.held;
        if left > self.left || handed > self.given {
            self.dry_at = now + self.duration_ns(self.held);
            self.given = handed;
        }
        if left > self.left {
            let here = now.saturating_sub(self.duration_ns(left));
            let later = self.duration_ns(left - self.left) / PHASE_LEAK;
            self.phase = Some(self.phase.map_or(here, |phase| here.min(phase + later)));
            self.left = left;
            self.restarted = false;
        }
    }

    /// When the device may move on next at the earliest, after it was seen standing at `standing` and then to move by
    /// `step` frames. A server that was late is not late the next time, so its earlier moves count too.
    pub(crate) fn next_move_at(&self, standing: u64, step: u64) -> u64 {
        let on_time = self.phase.map_or(standing, |phase| phase + self.duration_ns(self.left));
        standing.min(on_time) + self.duration_ns(step.min(self.setup.period))
    }

    /// The next frame given would be heard after that many; None where the device does not know.
    pub(crate) fn hear(&mut self, delay: Option<u64>, now: u64) {
        let handed = self.timeline.handed();
        self.delay = delay;
        let mut heard = delay.map_or(self.left, |delay| self.left.min(handed.saturating_sub(delay)));
        if self.left == handed {
            let behind_ns = self.duration_ns(delay.unwrap_or(0)).min(LONGEST_DELAY_NS);
            if now >= *self.heard_by.get_or_insert(now + behind_ns) {
                heard = handed;
            }
        }
        self.heard = self.heard.max(heard);
    }

    /// Frames that the device holds: before its start all that it was given.
    pub(crate) fn holds(&self) -> u64 {
        if self.motion == Motion::Waiting {
            self.timeline.handed()
        } else {
            self.held
        }
    }

    /// The device holds less than a period although its time is over: some servers keep a rest until more comes.
    pub(crate) fn keeps_rest(&self, now: u64) -> bool {
        self.motion == Motion::Running && 0 < self.held && self.held < self.setup.period && now >= self.dry_at
    }

    /// Everything that the device was given was heard.
    pub(crate) fn is_over(&self) -> bool {
        self.heard == self.timeline.handed()
    }

    /// The device has nothing left to pass on: it says so, or its time is over. A server takes its last frames a period
    /// before they are due, and until then more may follow without a gap.
    ///
    /// A server that moves by periods may not tell of a rest that is less. Then the way to the ear decides, once it had
    /// the time to become shorter.
    pub(crate) fn is_dry(&self, now: u64) -> bool {
        let untold = self.held < self.setup.period
            && now >= self.dry_at + STANDSTILL_NS
            && self.delay.is_none_or(|delay| delay < self.held);
        let over = now >= self.dry_at + self.period_ns() && (self.held == 0 || untold);
        match self.motion {
            Motion::Waiting => false,
            Motion::Running => self.paced && over,
            Motion::Stopped => true,
        }
    }

    /// The device holds frames and passes none on, although their time is over: a server that went dry may wait for more
    /// than it will ever get.
    pub(crate) fn stands_still(&self, now: u64) -> bool {
        let holds = self.motion == Motion::Running && self.held > 0 && !self.is_dry(now);
        holds && !self.restarted && now >= self.dry_at + STANDSTILL_NS
    }

    /// Time until all is heard, where that is known.
    pub(crate) fn until_heard_ns(&self, now: u64) -> Option<u64> {
        self.heard_by.map(|by| by.saturating_sub(now))
    }

    pub(crate) fn period_ns(&self) -> u64 {
        self.duration_ns(self.setup.period)
    }

    pub(crate) fn duration_ns(&self, frames: u64) -> u64 {
        frames * NS_PER_S / self.sample_rate
    }
}
