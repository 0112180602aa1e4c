//! The thread of one open device: hands frames over, measures how far they got, and obeys orders.
//!
//! The device runs from the first whole period to the moment when it is dry. Then, once all is heard, it is stopped and
//! prepared again, and the next audio starts it anew. That is one path for the end of speech, for a host that was late,
//! and for every device that reports an underrun, or fails to.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use voxwire_audio::Encoding;
use voxwire_sink::{Look, Progress, Quality, Queue};

use crate::foreign::{Code, Pcm, Setup, State};
use crate::meter::{Meter, Motion};
use crate::shared::{Shared, now_ns};
use crate::silence::Silence;

const NS_PER_MS: u64 = 1_000_000;
/// How often a cut looks whether the device has moved.
const LOOK_NS: u64 = NS_PER_MS / 4;
/// What a stop takes of the time between two moves, and how long a server may keep a move to itself.
const STOP_NS: u64 = NS_PER_MS;
const NOTICE_NS: u64 = NS_PER_MS;
/// How long a cut waits for a move that is due once a period, or for the one behind it: half a period more, within
/// these.
const MOVE_NS: (u64, u64) = (10 * NS_PER_MS, 40 * NS_PER_MS);
/// How often a suspended device is asked, and for how long.
const RESUME_NS: u64 = 50 * NS_PER_MS;
const SUSPENDED_NS: u64 = 10_000 * NS_PER_MS;
/// Starts in a row that bring no frame across.
const FUTILE_STARTS: u32 = 5;

/// What the device was opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) encoding: Encoding,
    pub(crate) sample_rate: u32,
    pub(crate) frame_bytes: usize,
    /// Frames of silence before the first audio after a rest.
    pub(crate) preroll: u64,
    /// Silence keeps the device running where there is no audio.
    pub(crate) keep_running: bool,
}

pub(crate) struct Player<'a> {
    pcm: &'a mut Pcm,
    shared: &'a Shared,
    rouser: &'a OwnedFd,
    queue: &'a Queue,
    setup: Setup,
    frame_bytes: usize,
    /// Room for one buffer of the device.
    block: Vec<u8>,
    /// A period of silence.
    quiet: Vec<u8>,
    meter: Meter,
    silence: Silence,
    segment: u64,
    cleared: u64,
    paused: bool,
    suspended_at: Option<u64>,
    /// There is more to hand over than the device takes now.
    blocked: bool,
    /// The device called itself ready and took nothing.
    spurious: bool,
    futile_starts: u32,
}

impl<'a> Player<'a> {
    pub(crate) fn new(
        pcm: &'a mut Pcm,
        shared: &'a Shared,
        rouser: &'a OwnedFd,
        queue: &'a Queue,
        setup: Setup,
        manner: Manner,
    ) -> Result<Self, Code> {
        let mut quiet = vec![0; setup.period as usize * manner.frame_bytes];
        pcm.silence(manner.encoding, &mut quiet)?;
        Ok(Self {
            pcm,
            shared,
            rouser,
            queue,
            setup,
            frame_bytes: manner.frame_bytes,
            block: vec![0; setup.buffer as usize * manner.frame_bytes],
            quiet,
            meter: Meter::new(setup, manner.sample_rate),
            silence: Silence::new(setup.period, manner.preroll, manner.keep_running),
            segment: 0,
            cleared: 0,
            paused: false,
            suspended_at: None,
            blocked: false,
            spurious: false,
            futile_starts: 0,
        })
    }

    /// Plays until a close is ordered or the device is lost.
    pub(crate) fn run(&mut self) -> Result<(), Code> {
        let mut ready = false;
        while self.obey()? {
            if self.suspended_at.is_some() {
                self.revive()?;
            }
            let known = (self.meter.motion, self.meter.paced);
            let progressed = self.hand_over()?;
            self.start()?;
            self.measure()?;
            if (self.meter.motion, self.meter.paced) != known {
                // What there is to hand over depends on them.
                continue;
            }
            let now = now_ns();
            if self.meter.is_dry(now) && self.meter.is_over() {
                self.rest()?;
                continue;
            }
            if self.meter.stands_still(now) && self.suspended_at.is_none() {
                self.take_back()?;
                self.meter.note_restart();
                continue;
            }
            self.spurious = ready && self.blocked && !progressed;
            let (watch, timeout) = self.next_wait(now);
            ready = match self.pcm.wait(self.rouser.as_fd(), watch, timeout) {
                Ok(ready) => ready,
                Err(code) => self.heed(code).map(|()| false)?,
            };
        }
        Ok(())
    }

    // --- orders ---

    /// Carries out what was ordered; false for the end.
    fn obey(&mut self) -> Result<bool, Code> {
        // Before anything is looked at, so that what comes later rouses again. Fails where nothing had roused.
        let _ = rustix::io::read(self.rouser, &mut [0; 8]);
        let orders = self.shared.orders();
        if orders.close {
            let (heard, bound) = self.cut();
            self.queue.close(Some(heard), bound, now_ns());
            return Ok(false);
        }
        if orders.clears > self.cleared {
            self.cleared = orders.clears;
            let (heard, bound) = self.cut();
            let last = self.queue.clear(Some(heard), bound, now_ns());
            // Answered before the device is ready again, which the caller need not wait for.
            self.shared.answer_clears(self.cleared, last);
            self.segment = self.queue.look().segment;
            self.silence.clear();
            self.begin(0)?;
        }
        if orders.pause != self.paused {
            self.paused = orders.pause;
            if self.paused {
                self.take_back()?;
            }
        }
        Ok(true)
    }

    /// Stops the device where it stands; what has not left it is handed over again at the next start.
    fn take_back(&mut self) -> Result<(), Code> {
        let (heard, bound) = self.cut();
        self.report(heard, heard, bound, Quality::Measured);
        self.queue.rewind(self.segment, heard);
        self.begin(heard)
    }

    /// Stops the device and returns how much of the segment's audio will have been heard, and by how many frames that
    /// may be off. What the buffer still held is gone.
    fn cut(&mut self) -> (u64, u64) {
        let handed = self.meter.timeline.handed();
        if handed == 0 {
            return (self.meter.timeline.audio_at(0), 0);
        }
        let waiting = self.meter.motion == Motion::Waiting;
        let mut next_move_at = None;
        if !waiting && self.suspended_at.is_none() {
            next_move_at = self.wait_for_move();
        }
        // Refused where the device has stopped by itself.
        let _ = self.pcm.stop();
        let left = self.meter.left;
        // What waited for its start was not passed on.
        let in_time = next_move_at.is_some_and(|at| now_ns() < at);
        let bound = if waiting || in_time { 0 } else { handed - left };
        (self.meter.timeline.audio_at(left), bound)
    }

    /// A device behind a server is moved on by whole steps. Between the look at it and the stop it must not move, so the
    /// stop comes just behind a move that leaves time enough for it. Returns when the next one may come; None without
    /// such a move.
    fn wait_for_move(&mut self) -> Option<u64> {
        let until = now_ns() + (self.meter.period_ns() * 5 / 2).clamp(MOVE_NS.0, MOVE_NS.1);
        let mut still: Option<(u64, u64)> = None;
        loop {
            let now = now_ns();
            self.look().ok()?;
            let left = self.meter.left;
            if let Some((before, at)) = still.filter(|(before, _)| *before < left) {
                let next = self.meter.next_move_at(at, left - before);
                if now + STOP_NS + NOTICE_NS < next {
                    return Some(next - NOTICE_NS);
                }
            }
            if left == self.meter.timeline.handed() || now >= until {
                return None;
            }
            still = Some((left, now));
            std::thread::sleep(Duration::from_nanos(LOOK_NS));
        }
    }

    // --- handing over ---

    /// Gives the device what it takes; true where that was something.
    fn hand_over(&mut self) -> Result<bool, Code> {
        self.blocked = false;
        let mut progressed = false;
        if self.paused || self.suspended_at.is_some() {
            return Ok(false);
        }
        loop {
            let look = self.queue.look();
            let waiting = look.written - look.taken;
            let idle = self.meter.timeline.handed() == 0 && !self.silence.keeps_running(&self.meter);
            if waiting == 0 && idle {
                if self.queue.await_write(&look) {
                    return Ok(progressed);
                }
                continue;
            }
            let Some(room) = self.device_room()? else {
                return Ok(progressed);
            };
            let silence = self.silence.due(&look, &self.meter, now_ns());
            let running = self.meter.motion == Motion::Running;
            let (wanted, frames) = if silence > 0 {
                (silence, self.portion(silence, room, true))
            } else {
                // Whole periods, unless the end of speech is known or the device has little left.
                let all = look.ends || (running && self.meter.holds() < self.setup.buffer / 2);
                (waiting, self.portion(waiting, room, all))
            };
            if wanted > room && (frames == 0 || (progressed && running && room < self.setup.period)) {
                self.blocked = true;
                return Ok(progressed);
            }
            if frames == 0 {
                if self.queue.await_write(&look) {
                    return Ok(progressed);
                }
                continue;
            }
            let written = if silence > 0 {
                self.write_silence(frames)?
            } else {
                self.write_audio(&look, frames)?
            };
            if written == 0 {
                return Ok(progressed);
            }
            progressed = true;
            self.meter.note_handed();
        }
    }

    /// Frames that the device has room for; None where it takes none before a new start.
    fn device_room(&mut self) -> Result<Option<u64>, Code> {
        if self.meter.motion == Motion::Stopped {
            return Ok(None);
        }
        match self.pcm.avail() {
            Ok(room) => {
                let now = now_ns();
                self.meter.observe(room, now);
                Ok((!self.meter.is_dry(now)).then_some(room.min(self.setup.buffer)))
            }
            Err(code) => self.heed(code).map(|()| None),
        }
    }

    /// How many of the frames to hand over at once.
    ///
    /// Never a whole buffer to a device that has not got anything yet: the plugin of the server `PulseAudio` would count
    /// from the wrong place. And to the end of a period wherever that can be: a server that passes on its own periods
    /// in one piece then tells of each at once, and a cut falls between two of them.
    fn portion(&self, wanted: u64, room: u64, all: bool) -> u64 {
        let (handed, period) = (self.meter.timeline.handed(), self.setup.period);
        let most = if handed == 0 {
            wanted.min(room).min(period)
        } else {
            wanted.min(room)
        };
        let over = (handed + most) % period;
        match (over < most, all) {
            (true, true) if most == wanted => most,
            (true, _) => most - over,
            (false, true) => most,
            (false, false) => 0,
        }
    }

    fn write_audio(&mut self, look: &Look, frames: u64) -> Result<u64, Code> {
        let piece = self.queue.peek(&mut self.block[..frames as usize * self.frame_bytes]);
        if piece.frames == 0 {
            return Ok(0);
        }
        let taken = match self.pcm.write(&self.block[..piece.frames as usize * self.frame_bytes]) {
            Ok(taken) => taken,
            Err(code) => return self.heed(code).map(|()| 0),
        };
        self.queue.take(piece.segment, taken);
        self.meter.timeline.push_audio(taken);
        if taken > 0 && self.silence.note_audio(look) {
            self.queue.count_xrun();
        }
        Ok(taken)
    }

    fn write_silence(&mut self, frames: u64) -> Result<u64, Code> {
        let frames = frames.min(self.setup.period);
        let taken = match self.pcm.write(&self.quiet[..frames as usize * self.frame_bytes]) {
            Ok(taken) => taken,
            Err(code) => return self.heed(code).map(|()| 0),
        };
        self.meter.timeline.push_silence(taken);
        self.silence.note_silence(taken);
        Ok(taken)
    }

    /// Sorts what a device reports: what passes, what a new start mends, and what is the end.
    fn heed(&mut self, code: Code) -> Result<(), Code> {
        match code.0 {
            libc::EAGAIN => self.blocked = true,
            libc::EINTR => (),
            libc::EPIPE => self.meter.motion = Motion::Stopped,
            libc::ESTRPIPE => self.suspended_at = Some(now_ns()),
            _ => return Err(code),
        }
        Ok(())
    }

    /// Starts the device once it has a whole period. By its threshold it has done so itself, unless it is one that
    /// waits for more, or for ever.
    fn start(&mut self) -> Result<(), Code> {
        if self.meter.motion != Motion::Waiting || self.meter.timeline.handed() < self.setup.period {
            return Ok(());
        }
        match self.pcm.state() {
            State::Prepared => match self.pcm.start() {
                // It was faster than we.
                Ok(()) | Err(Code(libc::EBADFD)) => (),
                Err(code) => return self.heed(code),
            },
            State::Xrun => return self.heed(Code(libc::EPIPE)),
            State::Suspended => return self.heed(Code(libc::ESTRPIPE)),
            State::Disconnected => return Err(Code(libc::ENODEV)),
            State::Running | State::Other => (),
        }
        self.meter.run(now_ns());
        Ok(())
    }

    // --- measuring ---

    /// Looks how far the device got, and reports it.
    fn measure(&mut self) -> Result<(), Code> {
        if self.meter.motion == Motion::Waiting || self.suspended_at.is_some() {
            return Ok(());
        }
        self.look()?;
        if self.suspended_at.is_some() {
            return Ok(());
        }
        // Not every plugin knows; then what has left counts as heard.
        let delay = self.pcm.delay().ok();
        self.meter.hear(delay, now_ns());
        let timeline = &self.meter.timeline;
        let (left, heard) = (timeline.audio_at(self.meter.left), timeline.audio_at(self.meter.heard));
        let over = heard == timeline.audio_at(timeline.handed());
        let bound = if over { 0 } else { self.setup.period };
        let quality = if delay.is_some() {
            Quality::Measured
        } else {
            Quality::Estimated
        };
        self.report(left, heard, bound, quality);
        self.meter.timeline.forget_before(self.meter.heard);
        Ok(())
    }

    /// Looks how much the device still holds.
    fn look(&mut self) -> Result<(), Code> {
        let room = match self.meter.motion {
            Motion::Stopped => Ok(self.setup.buffer),
            _ => self.pcm.avail(),
        };
        match room {
            Ok(room) => self.meter.observe(room, now_ns()),
            Err(code) => {
                self.heed(code)?;
                if self.meter.motion == Motion::Stopped {
                    self.meter.observe(self.setup.buffer, now_ns());
                }
            }
        }
        Ok(())
    }

    fn report(&self, left: u64, heard: u64, bound: u64, quality: Quality) {
        self.queue.advance(Progress {
            segment: self.segment,
            left,
            heard,
            at_ns: now_ns(),
            bound,
            quality,
        });
    }

    /// Everything was heard and nothing follows: the device is made ready for whatever comes.
    fn rest(&mut self) -> Result<(), Code> {
        let look = self.queue.look();
        self.futile_starts = if self.meter.left == 0 {
            self.futile_starts + 1
        } else {
            0
        };
        if self.futile_starts > FUTILE_STARTS {
            return Err(Code(libc::EPIPE));
        }
        let _ = self.pcm.stop();
        self.silence.rest(&look);
        self.begin(look.taken)
    }

    /// Prepares a device that was stopped; the next frame handed over is number `audio` of its segment.
    fn begin(&mut self, audio: u64) -> Result<(), Code> {
        self.meter.begin(audio);
        self.silence.begin();
        self.suspended_at = None;
        self.pcm.prepare()
    }

    /// A suspended device goes on where it stood if it can, else what it held is handed over again.
    fn revive(&mut self) -> Result<(), Code> {
        let now = now_ns();
        match self.pcm.resume() {
            Ok(()) => {
                self.suspended_at = None;
                self.meter.run(now);
                Ok(())
            }
            Err(Code(libc::EAGAIN)) if self.suspended_at.is_some_and(|since| now < since + SUSPENDED_NS) => Ok(()),
            Err(code @ Code(libc::EAGAIN | libc::ENODEV)) => Err(code),
            Err(_) => self.take_back(),
        }
    }

    // --- waiting ---

    /// Whether to sleep on the device too, and for how long.
    fn next_wait(&self, now: u64) -> (bool, Option<Duration>) {
        let active = self.meter.motion != Motion::Waiting && (self.meter.paced || !self.meter.is_over());
        let timeout_ns = if self.suspended_at.is_some() {
            Some(RESUME_NS)
        } else if active {
            // Numbers are to be fresh.
            let period_ns = self.meter.period_ns();
            Some(
                self.meter
                    .until_heard_ns(now)
                    .map_or(period_ns, |time| time.min(period_ns)),
            )
        } else if self.blocked {
            Some(self.meter.period_ns())
        } else {
            None
        };
        let timeout = timeout_ns.map(|time| Duration::from_nanos(time.max(NS_PER_MS)));
        (
            self.blocked && !self.spurious && self.meter.motion != Motion::Stopped,
            timeout,
        )
    }
}
