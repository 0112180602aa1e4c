//! What is counted: of each stream, and of all together.
//!
//! Every number has one writer, so that counting is a load and a store. Whoever reads sees each number as it is, and
//! numbers of neighbouring moments side by side.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Begins at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// As it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, value: u64) {
        self.set(self.get() + value);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }
}

/// The numbers of one stream.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets that the system took.
    pub packets: Count,
    /// Their payload, in bytes.
    pub octets: Count,
    /// Packets that left a packet's length or more after their time.
    pub late: Count,
    /// Slots in which nothing left since a stall had lasted too long.
    pub skipped: Count,
    /// Packets that the system refused.
    pub unsent: Count,
    /// Interarrival jitter as a receiver would see it that stands where we send, in nanoseconds.
    pub jitter_ns: Count,
    /// The worst that it was.
    pub worst_jitter_ns: Count,
    /// The SSRC now.
    pub ssrc: Count,
    /// The sequence number of the first packet under this SSRC.
    pub base_sequence: Count,
    /// SSRCs given up after collisions.
    pub collisions: Count,
}

/// Interarrival jitter (RFC 3550 6.4.1, A.8), over times of sending.
///
/// Timestamps follow the schedule exactly, so the difference of two transit times is that of two delays behind the
/// schedule.
#[derive(Debug, Default)]
pub(crate) struct Jitter {
    last_delay_ns: Option<i64>,
    estimate_ns: f64,
}

impl Jitter {
    /// A packet left so long after its time; returns the jitter now, in nanoseconds.
    pub(crate) fn note(&mut self, delay_ns: i64) -> u64 {
        if let Some(last) = self.last_delay_ns.replace(delay_ns) {
            let difference = (delay_ns - last).unsigned_abs() as f64;
            self.estimate_ns += (difference - self.estimate_ns) / 16.0;
        }
        #[expect(clippy::cast_sign_loss, reason = "a mean of magnitudes")]
        {
            self.estimate_ns as u64
        }
    }
}

/// Upper bounds of the histogram of delays, in microseconds; one bucket more is for all above.
pub const DELAY_BOUNDS_US: [u64; 12] = [20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 20_000, 100_000];

/// The numbers of the thread that sends, over all streams since the process began.
#[derive(Debug)]
pub struct Totals {
    /// Packets that the system took.
    pub packets: Count,
    /// Packets that left a packet's length or more after their time.
    pub late: Count,
    /// The longest time by which the thread woke after a slot's time, in nanoseconds.
    pub worst_delay_ns: Count,
    /// How often it woke so late, by [`DELAY_BOUNDS_US`].
    pub delays: [Count; DELAY_BOUNDS_US.len() + 1],
    /// How often slots had to be skipped.
    pub stalls: Count,
    /// CPU time of threads that have ended, and of the running one up to a moment ago, in nanoseconds.
    pub cpu_ns: Count,
}

impl Totals {
    /// Begins at zero.
    pub const fn new() -> Self {
        Self {
            packets: Count::new(),
            late: Count::new(),
            worst_delay_ns: Count::new(),
            delays: [const { Count::new() }; DELAY_BOUNDS_US.len() + 1],
            stalls: Count::new(),
            cpu_ns: Count::new(),
        }
    }

    /// The thread woke so long after a slot's time.
    pub(crate) fn note_delay(&self, delay_ns: u64) {
        self.worst_delay_ns.raise_to(delay_ns);
        let bucket = DELAY_BOUNDS_US.partition_point(|&bound| bound * 1000 < delay_ns);
        self.delays[bucket].add(1);
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self::new()
    }
}
