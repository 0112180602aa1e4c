//! When a stream is to report, and whether it then counts as a sender.

use crate::random::Random;

/// The least time between two reports, before it is varied (RFC 3550 6.2).
const INTERVAL_NS: u64 = 5_000_000_000;

/// The times of a stream's reports.
#[derive(Debug)]
pub(crate) struct Reports {
    due_ns: Option<u64>,
    random: Random,
    /// Packets sent at the last report and at the one before.
    packets: [u32; 2],
}

impl Reports {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            due_ns: None,
            random,
            packets: [0; 2],
        }
    }

    /// The stream begins: the first report comes after half of the usual time (RFC 3550 6.2).
    pub(crate) fn begin(&mut self, now_ns: u64) {
        if self.due_ns.is_none() {
            self.due_ns = Some(now_ns + self.interval_ns() / 2);
        }
    }

    pub(crate) fn due(&self, now_ns: u64) -> bool {
        self.due_ns.is_some_and(|due| now_ns >= due)
    }

    /// A report leaves now, with so many packets sent so far. False where none was sent since the report before the
    /// last one, so that this is no longer a sender's (RFC 3550 6.3.8).
    pub(crate) fn note(&mut self, now_ns: u64, packets: u32) -> bool {
        self.due_ns = Some(now_ns + self.interval_ns());
        let sends = packets != self.packets[1];
        self.packets = [packets, self.packets[0]];
        sends
    }

    /// Counting begins anew, with a new SSRC.
    pub(crate) fn restart(&mut self) {
        self.packets = [0; 2];
    }

    /// From half to one and a half of the interval.
    fn interval_ns(&mut self) -> u64 {
        INTERVAL_NS / 2 + self.random.draw() % INTERVAL_NS
    }
}
