//! What Python's threads and the device's thread share: the queue, orders in one direction, answers in the other.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};
use voxwire_sink::{Loss, Position, Queue};

/// How long a clear waits for the device's thread. A device that takes this long to stop is as good as gone, and the
/// caller may be an event loop.
const CLEAR_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a close waits for the device's thread before it leaves the thread behind.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages of the library that wait for Python at most.
const MESSAGES_KEPT: usize = 64;

/// What Python asks of the device's thread.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders {
    pub(crate) close: bool,
    pub(crate) pause: bool,
    /// How many clears were asked for so far.
    pub(crate) clears: u64,
}

/// How far the opening came.
#[derive(Debug, Clone)]
pub(crate) enum Opening {
    Pending,
    Open(Opened),
    Failed(Failure),
}

/// What the device was opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    /// Which of the offered formats.
    pub(crate) format: usize,
    pub(crate) period: u64,
}

/// Why a device could not be opened, in one line.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// It does none of the formats.
    Format(String),
    /// Somebody else uses it.
    Busy(String),
    /// Anything else.
    Other(String),
}

pub(crate) struct Shared {
    /// Whose device it is, for messages: `sink 'alsa:default'`.
    pub(crate) name: String,
    /// Made once the format is known.
    queue: OnceLock<Queue>,
    /// Rouses the device's thread; None once it has ended.
    rouser: Mutex<Option<Arc<OwnedFd>>>,
    state: Mutex<State>,
    answered: Condvar,
    messages: Mutex<Vec<String>>,
}

struct State {
    orders: Orders,
    opening: Opening,
    /// How many of the clears were carried out, and what the last one said.
    cleared: u64,
    last: Option<Position>,
    /// The thread has let go of the device.
    ended: bool,
}

impl Shared {
    pub(crate) fn new(name: String) -> std::io::Result<Self> {
        let rouser = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            name,
            queue: OnceLock::new(),
            rouser: Mutex::new(Some(Arc::new(rouser))),
            state: Mutex::new(State {
                orders: Orders::default(),
                opening: Opening::Pending,
                cleared: 0,
                last: None,
                ended: false,
            }),
            answered: Condvar::new(),
            messages: Mutex::new(Vec::new()),
        })
    }

    /// The queue; None until the device is open.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.queue.get()
    }

    /// What the library said since the last time.
    pub(crate) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // --- Python's side ---

    /// Waits until the device is open; None if that took too long or a close came between.
    pub(crate) fn wait_open(&self, timeout: Duration) -> Option<Result<Opened, Failure>> {
        let (state, _) = self
            .answered
            .wait_timeout_while(self.lock(), timeout, |state| {
                matches!(state.opening, Opening::Pending) && !state.orders.close && !state.ended
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &state.opening {
            Opening::Pending => None,
            Opening::Open(opened) => Some(Ok(*opened)),
            Opening::Failed(failure) => Some(Err(failure.clone())),
        }
    }

    /// True once a close was ordered.
    pub(crate) fn closing(&self) -> bool {
        self.lock().orders.close
    }

    /// Rouses the device's thread.
    pub(crate) fn rouse(&self) {
        if let Some(rouser) = self.rouser() {
            // Fails only where it is roused already, as often as the counter can count.
            let _ = rustix::io::write(&rouser, &1_u64.to_ne_bytes());
        }
    }

    /// Drops what can still be dropped; see the contract.
    pub(crate) fn clear(&self, queue: &Queue) -> Position {
        let before = queue.position();
        if before.written == 0 {
            return before;
        }
        let mut state = self.lock();
        state.orders.clears += 1;
        let ticket = state.orders.clears;
        self.rouse();
        let (state, _) = self
            .answered
            .wait_timeout_while(state, CLEAR_TIMEOUT, |state| state.cleared < ticket && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last.filter(|_| state.cleared >= ticket) {
            return last;
        }
        let ended = state.ended;
        drop(state);
        if ended {
            // The device is gone, and with it all that was not heard.
            return queue.clear(Some(0), 0, now_ns());
        }
        queue.lose(Loss {
            errno: Some(libc::ETIMEDOUT),
            message: format!("{} was lost: its device does not answer", self.name),
        });
        // What the device holds will sound once it comes back.
        queue.clear(None, unheard(queue), now_ns())
    }

    pub(crate) fn pause(&self, pause: bool) {
        self.lock().orders.pause = pause;
        self.rouse();
    }

    /// Orders the end and waits for it; false where the thread does not end in time.
    pub(crate) fn close(&self) -> bool {
        self.abandon();
        let (state, _) = self
            .answered
            .wait_timeout_while(self.lock(), CLOSE_TIMEOUT, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = state.ended;
        drop(state);
        self.rouser.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = self.queue() {
            // Settled by the thread already, unless that is stuck: then all that the device holds counts as heard.
            queue.close(None, unheard(queue), now_ns());
        }
        ended
    }

    /// Orders the end, and waits for nothing.
    pub(crate) fn abandon(&self) {
        self.lock().orders.close = true;
        self.answered.notify_all();
        self.rouse();
    }

    // --- the device's side ---

    /// The orders as they stand.
    pub(crate) fn orders(&self) -> Orders {
        self.lock().orders
    }

    /// What the device's thread sleeps on, beside the device; None where it need not begin.
    pub(crate) fn rouser(&self) -> Option<Arc<OwnedFd>> {
        self.rouser.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device is open, with this queue; false where nobody waits for it any more.
    pub(crate) fn opened(&self, opened: Opened, queue: Queue) -> bool {
        if self.queue.set(queue).is_err() {
            return false;
        }
        let mut state = self.lock();
        state.opening = Opening::Open(opened);
        self.answered.notify_all();
        !state.orders.close
    }

    /// The device could not be opened.
    pub(crate) fn failed(&self, failure: Failure) {
        let mut state = self.lock();
        state.opening = Opening::Failed(failure);
        self.answered.notify_all();
    }

    /// So many clears were carried out, the last with these numbers.
    pub(crate) fn answer_clears(&self, count: u64, last: Position) {
        let mut state = self.lock();
        state.cleared = count;
        state.last = Some(last);
        self.answered.notify_all();
    }

    /// The thread has let go of the device.
    pub(crate) fn ended(&self) {
        self.lock().ended = true;
        self.answered.notify_all();
    }

    /// Keeps what the library said until Python asks.
    pub(crate) fn keep_messages(&self, lines: Vec<String>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MESSAGES_KEPT.saturating_sub(messages.len());
        messages.extend(lines.into_iter().take(room));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames that the device has taken and that are not known to be heard.
fn unheard(queue: &Queue) -> u64 {
    queue.look().taken.saturating_sub(queue.position().played)
}

/// Nanoseconds of the clock that Python's `time.monotonic_ns` reads.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
