//! The thread that sends for all streams of the process.
//!
//! It sleeps to the next slot of the wheel in which a stream has its turn, by absolute times, and sends what is due
//! there. On the way of a packet it allocates nothing and needs neither the interpreter nor a lock that somebody holds
//! for longer than a copy; a stream whose queue is just being used has its turn again behind the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxwire_sink::Loss;

use crate::clock::{Alarm, monotonic_ns, thread_cpu_ns};
use crate::entry::Entry;
use crate::outbox::Outbox;
use crate::sender::{Slot, Turn};
use crate::statistics::Totals;
use crate::stream::Stream;
use crate::wheel::{Place, SLOT_NS, SLOTS, Wheel};

/// Times that it goes without looking how much CPU time it has used.
const UNMEASURED_TURNS: u32 = 64;
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
        for entry in self.wheel.iter_mut() {
            let slots_of_round = SLOTS / u64::from(entry.sender.settings().ptime_ms);
            entry.sender.skip(rounds * slots_of_round);
        }
        self.note_stall();
    }

    fn note_stall(&mut self) {
        if !self.stalled {
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
        let mut skipped = false;
        for index in 0..list.len() {
            let turn = Turn {
                due_ns,
                now_ns,
                paused: false,
                wait: false,
            };
            match give_turn(&mut list[index], turn, &mut self.outbox.bytes) {
                Slot::Passed { packet, owed } => {
                    self.outbox.put(index, packet);
                    if owed {
                        self.owed.push(index);
                    }
                }
                Slot::Busy => self.busy.push(index),
                Slot::Skipped => skipped = true,
            }
            let next = list.get(index + 1);
            if !next.is_some_and(|next| next.is_beside(&list[index])) || self.outbox.is_full() {
                now_ns = self.outbox.send(list, self.totals, now_ns);
            }
        }
        for index in self.busy.drain(..) {
            let turn = Turn {
                due_ns,
                now_ns,
                paused: false,
                wait: true,
            };
            if let Slot::Passed { packet, owed } = give_turn(&mut list[index], turn, &mut self.outbox.bytes) {
                self.outbox.put(index, packet);
                now_ns = self.outbox.send(list, self.totals, now_ns);
                if owed {
                    self.owed.push(index);
                }
            }
        }
        // All that need not be in time comes behind.
        for index in self.owed.drain(..) {
            list[index].stream.queue.wake();
        }
        let mut leaving = false;
        for entry in list {
            leaving |= entry.goodbye_ns.is_some();
            if entry.owes_report(now_ns) {
                entry.report(now_ns, false);
            }
        }
        if leaving {
            self.remove(place, |entry| entry.leave(now_ns));
        }
        if skipped {
            self.note_stall();
        }
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
            entry.stream.queue.lose(Loss {
                errno: None,
                message: format!(
                    "{} was lost: internal fault of the thread that sends",
                    entry.stream.name
                ),
            });
            entry.stream.end();
        }
        self.desk.lock().ended = true;
    }
}

/// Gives a stream its turn; one that is leaving or lost has nothing to send.
fn give_turn(entry: &mut Entry, mut turn: Turn, bytes: &mut Vec<u8>) -> Slot {
    if entry.goodbye_ns.is_some() || entry.lost {
        return Slot::Passed {
            packet: None,
            owed: false,
        };
    }
    entry.obey(turn.now_ns);
    turn.paused = entry.stream.paused();
    entry.sender.pass(&turn, &entry.stream.queue, bytes)
}
