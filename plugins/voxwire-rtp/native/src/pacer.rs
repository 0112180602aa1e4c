//! The thread that sends for all streams of the process.
//!
//! It sleeps to the next slot of the wheel in which a stream has its turn, by absolute times, and sends what is due
//! there. On the way of a packet it allocates nothing and needs neither the interpreter nor a lock that somebody holds
//! for longer than a copy; a stream whose queue is just being used has its turn again behind the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use voxwire_sink::Loss;

use crate::clock::{Alarm, monotonic_ns, thread_cpu_ns};
use crate::entry::Entry;
use crate::outbox::Outbox;
use crate::slot::{Slot, Turn};
use crate::statistics::Totals;
use crate::stream::Stream;
use crate::wheel::{Place, SLOT_NS, SLOTS, Wheel};

/// Times that it goes without looking how much CPU time it has used.
const UNMEASURED_TURNS: u32 = 64;
/// A queue that is in use is tried so often again, behind the other streams of its slot and before the next slot.
const TRIES: u32 = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_micros(20);
/// Of a stall that is longer only the rest is gone through slot by slot.
const LONG_STALL: u64 = 2 * SLOTS;

/// What the thread is told.
pub(crate) enum Command {
    Add(Box<Entry>),
    Close(Arc<Stream>),
}

/// What it shares with those who tell it.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    pub(crate) alarm: Alarm,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) commands: Vec<Command>,
    /// Streams that were added and not given up; without any the thread ends.
    pub(crate) streams: usize,
    /// The thread obeys no command any more.
    pub(crate) ended: bool,
}

impl Desk {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole life of the thread.
pub(crate) fn serve(desk: &Desk, totals: &Totals) {
    // Without it an ordinary thread may be woken 50 us late, so that its waking can be joined with others.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut pacer = Pacer::new(desk, totals);
    // A fault of ours must end what waits for this thread, not leave it waiting.
    if catch_unwind(AssertUnwindSafe(|| pacer.run())).is_err() {
        pacer.give_up();
    }
}

struct Pacer<'a> {
    desk: &'a Desk,
    totals: &'a Totals,
    wheel: Wheel<Entry>,
    /// When slot 0 was.
    epoch_ns: u64,
    /// The first slot that was not served.
    slot: u64,
    outbox: Outbox,
    /// Entries whose slot is to be run again, and those whose host is owed a wake.
    busy: Vec<usize>,
    owed: Vec<usize>,
    /// Slots are being skipped.
    stalled: bool,
    unmeasured_turns: u32,
    /// Of this thread, as it was counted last.
    cpu_ns: u64,
}

impl<'a> Pacer<'a> {
    fn new(desk: &'a Desk, totals: &'a Totals) -> Self {
        Self {
            desk,
            totals,
            wheel: Wheel::new(),
            epoch_ns: monotonic_ns(),
            slot: 0,
            outbox: Outbox::new(),
            busy: Vec::new(),
            owed: Vec::new(),
            stalled: false,
            unmeasured_turns: 0,
            cpu_ns: 0,
        }
    }

    /// Sends until there is no stream left.
    fn run(&mut self) {
        let mut heeded = None;
        loop {
            let rings = self.desk.alarm.rings();
            if heeded != Some(rings) {
                heeded = Some(rings);
                self.obey();
            }
            let Some(slot) = self.wheel.next(self.slot) else {
                self.measure();
                if self.may_end() {
                    return;
                }
                self.desk.alarm.sleep(rings, None);
                continue;
            };
            let due_ns = self.epoch_ns + slot * SLOT_NS;
            let now_ns = monotonic_ns();
            if now_ns < due_ns {
                self.desk.alarm.sleep(rings, Some(due_ns));
                continue;
            }
            self.slot = slot + 1;
            self.turn(slot, due_ns, now_ns);
        }
    }

    // --- commands ---

    /// Does what it was told.
    fn obey(&mut self) {
        let commands = std::mem::take(&mut self.desk.lock().commands);
        let now_ns = monotonic_ns();
        for command in commands {
            match command {
                Command::Add(entry) => self.add(*entry, now_ns),
                Command::Close(stream) => self.close(&stream, now_ns),
            }
        }
    }

    fn may_end(&self) -> bool {
        let mut state = self.desk.lock();
        state.ended = state.commands.is_empty() && state.streams == 0;
        state.ended
    }

    fn add(&mut self, entry: Entry, now_ns: u64) {
        // Its first turn lies ahead; those of others that are due stay so.
        let ahead = (now_ns - self.epoch_ns) / SLOT_NS + 1;
        let next = self.wheel.next(self.slot);
        self.slot = next.map_or(ahead, |next| next.min(ahead)).max(self.slot);
        let ptime_ms = entry.sender.settings().ptime_ms;
        let stream = Arc::clone(&entry.stream);
        stream.set_place(self.wheel.insert(ptime_ms, entry, Entry::is_beside));
        self.busy.reserve(self.wheel.len());
        self.owed.reserve(self.wheel.len());
    }

    fn close(&mut self, stream: &Arc<Stream>, now_ns: u64) {
        // Commands come in the order they were given: it was added.
        if let Some(place) = stream.place() {
            self.remove(place, |entry| Arc::ptr_eq(&entry.stream, stream) && entry.close(now_ns));
        }
    }

    fn remove(&mut self, place: Place, meant: impl FnMut(&mut Entry) -> bool) {
        for entry in self.wheel.remove(place, meant) {
            entry.end();
        }
    }

    // --- turns ---

    /// Serves one slot of the wheel.
    fn turn(&mut self, slot: u64, due_ns: u64, now_ns: u64) {
        self.totals.note_delay(now_ns - due_ns);
        let behind = (now_ns - due_ns) / SLOT_NS;
        if behind > LONG_STALL {
            return self.skip_rounds(slot, behind / SLOTS - 1);
        }
        self.stalled &= behind > 0;
        for place in self.wheel.places(slot) {
            self.serve(place, due_ns, now_ns);
        }
        self.unmeasured_turns += 1;
        if self.unmeasured_turns >= UNMEASURED_TURNS {
            self.measure();
        }
    }

    fn skip_rounds(&mut self, slot: u64, rounds: u64) {
        self.slot = slot + rounds * SLOTS;
        let mut skipped = 0;
        for entry in self.wheel.iter_mut() {
            let slots_of_round = SLOTS / u64::from(entry.sender.settings().ptime_ms);
            skipped += entry.sender.skip(rounds * slots_of_round);
        }
        self.note_skipped(skipped);
    }

    fn note_skipped(&mut self, slots: u64) {
        self.totals.skipped.add(slots);
        if slots > 0 && !self.stalled {
            self.stalled = true;
            self.totals.stalls.add(1);
        }
    }

    /// Gives all streams of a place their turn.
    fn serve(&mut self, place: Place, due_ns: u64, mut now_ns: u64) {
        let list = self.wheel.list(place);
        if list.is_empty() {
            return;
        }
        let mut skipped = 0;
        let mut work = Work {
            outbox: &mut self.outbox,
            owed: &mut self.owed,
            totals: self.totals,
            skipped: &mut skipped,
        };
        for index in 0..list.len() {
            if !work.serve(index, &mut list[index], due_ns, now_ns) {
                self.busy.push(index);
            }
            let next = list.get(index + 1);
            if !next.is_some_and(|next| next.is_beside(&list[index])) || work.outbox.is_full() {
                now_ns = work.outbox.send(list, self.totals, now_ns);
            }
        }
        for index in self.busy.drain(..) {
            let mut tries = 0;
            while !work.serve(index, &mut list[index], due_ns, now_ns) {
                if tries == TRIES {
                    // Whoever holds its queue may do so for long, as when the system fetches what is copied: it waits
                    // alone.
                    list[index].missed += 1;
                    break;
                }
                // This thread may have interrupted the other one in the middle of its copy, on the same processor: that
                // goes on only while this one sleeps.
                tries += 1;
                thread::sleep(TRY_AGAIN_AFTER);
                now_ns = monotonic_ns();
            }
            now_ns = work.outbox.send(list, self.totals, now_ns);
        }
        // All that need not be in time comes behind.
        for index in self.owed.drain(..) {
            list[index].stream.queue.wake();
        }
        let mut leaving = false;
        for entry in list {
            leaving |= entry.closing;
            if entry.owes_report(now_ns) {
                entry.report(now_ns, false);
            }
        }
        if leaving {
            self.remove(place, |entry| entry.leave(now_ns));
        }
        self.note_skipped(skipped);
    }

    // --- the thread itself ---

    fn measure(&mut self) {
        self.unmeasured_turns = 0;
        let cpu_ns = thread_cpu_ns();
        self.totals.cpu_ns.add(cpu_ns - self.cpu_ns);
        self.cpu_ns = cpu_ns;
    }

    /// Ends all streams after a fault of ours.
    fn give_up(&mut self) {
        for entry in self.wheel.iter_mut() {
            lose(entry);
        }
        let mut state = self.desk.lock();
        state.ended = true;
        for command in state.commands.drain(..) {
            if let Command::Add(entry) = command {
                lose(&entry);
            }
        }
    }
}

fn lose(entry: &Entry) {
    entry.stream.queue.lose(Loss {
        errno: None,
        message: format!(
            "{} was lost: internal fault of the thread that sends",
            entry.stream.name
        ),
    });
    entry.stream.end();
}

/// What the turns of one place come to.
struct Work<'a> {
    outbox: &'a mut Outbox,
    owed: &'a mut Vec<usize>,
    totals: &'a Totals,
    skipped: &'a mut u64,
}

impl Work<'_> {
    /// Gives a stream the turns that it missed, and this one; false where somebody else is just using its queue.
    fn serve(&mut self, index: usize, entry: &mut Entry, due_ns: u64, now_ns: u64) -> bool {
        let ptime_ns = entry.sender.settings().ptime_ns();
        loop {
            let turn = Turn {
                due_ns: due_ns - u64::from(entry.missed) * ptime_ns,
                now_ns,
                paused: false,
            };
            match give_turn(entry, turn, &mut self.outbox.bytes) {
                Slot::Passed { packet, owed, xrun } => {
                    self.outbox.put(index, packet);
                    self.owed.extend(owed.then_some(index));
                    self.totals.xruns.add(u64::from(xrun));
                }
                Slot::Busy => return false,
                Slot::Skipped => *self.skipped += 1,
            }
            if entry.missed == 0 {
                return true;
            }
            entry.missed -= 1;
        }
    }
}

/// Gives a stream its turn. One that is leaving obeys no more: it only ends what it has begun.
fn give_turn(entry: &mut Entry, mut turn: Turn, bytes: &mut Vec<u8>) -> Slot {
    if entry.is_silent() {
        return Slot::EMPTY;
    }
    if !entry.closing {
        entry.obey(turn.now_ns);
    }
    turn.paused = entry.stream.paused();
    entry.sender.pass(&turn, &entry.stream.queue, bytes)
}
