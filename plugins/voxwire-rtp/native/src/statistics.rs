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

/// Upper bounds of a histogram of times, in microseconds; one bucket more is for all above.
pub const BOUNDS_US: [u64; 12] = [20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 20_000, 100_000];

/// How often which times were seen, by [`BOUNDS_US`].
#[derive(Debug, Default)]
pub struct Histogram([Count; BOUNDS_US.len() + 1]);

impl Histogram {
    /// Begins with nothing.
    pub const fn new() -> Self {
        Self([const { Count::new() }; BOUNDS_US.len() + 1])
    }

    /// One more of that length.
    pub(crate) fn note(&self, time_ns: u64) {
        self.0[BOUNDS_US.partition_point(|&bound| bound * 1000 < time_ns)].add(1);
    }

    /// Upper bounds, the last without one, and counts.
    pub fn counts(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = BOUNDS_US.into_iter().map(Some).chain([None]);
        bounds.zip(self.0.iter().map(Count::get))
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
    /// What went into it: by how much the distances of packets were longer or shorter than they should be.
    pub variations: Histogram,
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
    /// A packet left so long after its time; returns by how much that differs from the one before, in nanoseconds.
    pub(crate) fn note(&mut self, delay_ns: i64) -> Option<u64> {
        let last = self.last_delay_ns.replace(delay_ns)?;
        let variation = (delay_ns - last).unsigned_abs();
        self.estimate_ns += (variation as f64 - self.estimate_ns) / 16.0;
        Some(variation)
    }

    /// The jitter now.
    #[expect(clippy::cast_sign_loss, reason = "a mean of magnitudes")]
    pub(crate) fn estimate_ns(&self) -> u64 {
        self.estimate_ns as u64
    }
}

/// The numbers of the thread that sends, over all streams since the process began.
#[derive(Debug)]
pub struct Totals {
    /// Packets that the system took.
    pub packets: Count,
    /// Packets that left a packet's length or more after their time.
    pub late: Count,
    /// The longest time by which the thread woke after a slot's time, in nanoseconds.
    pub worst_delay_ns: Count,
    /// How often it woke how late.
    pub delays: Histogram,
    /// Of all packets, see [`Counters::variations`].
    pub variations: Histogram,
    /// How often slots had to be skipped.
    pub stalls: Count,
    /// Slots that were.
    pub skipped: Count,
    /// Packets that the system refused.
    pub unsent: Count,
    /// Underruns.
    pub xruns: Count,
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
            delays: Histogram::new(),
            variations: Histogram::new(),
            stalls: Count::new(),
            skipped: Count::new(),
            unsent: Count::new(),
            xruns: Count::new(),
            cpu_ns: Count::new(),
        }
    }

    /// The thread woke so long after a slot's time.
    pub(crate) fn note_delay(&self, delay_ns: u64) {
        self.worst_delay_ns.raise_to(delay_ns);
        self.delays.note(delay_ns);
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self::new()
    }
}
