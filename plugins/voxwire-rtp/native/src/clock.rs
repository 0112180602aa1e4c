//! The clocks, and a sleep that others may end.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::NS_PER_S;

/// Nanoseconds of the clock that Python's `time.monotonic_ns` reads.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds since 1970, at a moment of the monotonic clock: what the reports of a process say of time goes together
/// also after somebody has set the clock.
pub fn unix_ns_at(monotonic: u64) -> u64 {
    static BEHIND: OnceLock<u64> = OnceLock::new();
    let behind = || nanoseconds(clock_gettime(ClockId::Realtime)).saturating_sub(monotonic_ns());
    monotonic + BEHIND.get_or_init(behind)
}

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * NS_PER_S + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// What a thread sleeps on. The one sleeps to an absolute time, without a descriptor; any other may rouse it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(AtomicU32);

impl Alarm {
    /// Rouses the sleeper, or keeps it from falling asleep if it has looked before this.
    pub(crate) fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // Fails for nobody: a number of sleepers, none of whom there must be.
        let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
    }

    /// How often it rang. Whoever is going to sleep asks this before it looks what there is to do.
    pub(crate) fn rings(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Sleeps until that time of the monotonic clock, or for ever, unless it rang since; may return early.
    pub(crate) fn sleep(&self, rings: u32, until_ns: Option<u64>) {
        let until = until_ns.map(|until_ns| Timespec {
            tv_sec: (until_ns / NS_PER_S).cast_signed(),
            tv_nsec: (until_ns % NS_PER_S).cast_signed(),
        });
        let any = std::num::NonZeroU32::MAX;
        // Every outcome is a reason to look: the time, a ring before or during the sleep, a signal.
        let _ = futex::wait_bitset(&self.0, futex::Flags::PRIVATE, rings, until.as_ref(), any);
    }
}
