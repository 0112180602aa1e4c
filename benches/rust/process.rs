//! How the programs of the suite are told what to do, and how they read the clocks.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::Value;

/// The one argument of a program: an object in JSON.
pub struct Plan(Value);

impl Plan {
    /// Reads the first argument.
    ///
    /// Errors: there is none, or it is no JSON.
    pub fn from_argument() -> io::Result<Self> {
        let text = std::env::args().nth(1).unwrap_or_default();
        serde_json::from_str(&text).map(Self).map_err(io::Error::other)
    }

    /// The non-negative number of that name; 0 where it is missing.
    pub fn number(&self, name: &str) -> usize {
        self.0[name].as_u64().unwrap_or(0) as usize
    }

    /// The non-negative numbers of the list of that name; none where it is missing.
    pub fn numbers(&self, name: &str) -> Vec<usize> {
        let list = self.0[name].as_array().into_iter().flatten();
        list.filter_map(|number| Some(number.as_u64()? as usize)).collect()
    }

    /// The string of that name; empty where it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or("")
    }

    /// The truth value of that name; false where it is missing.
    pub fn is_set(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    /// Ends the process with status 1 after `limit_s` seconds, whatever it is waiting for.
    pub fn end_in_time(&self) {
        let limit = Duration::from_secs(self.number("limit_s").max(1) as u64);
        thread::spawn(move || {
            thread::sleep(limit);
            let _ = writeln!(io::stderr(), "not done within {} s", limit.as_secs());
            std::process::exit(1);
        });
    }
}

/// Prints one line of JSON and flushes it.
pub fn tell(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// `CLOCK_MONOTONIC`, in nanoseconds: the same clock in every process of a machine.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds since 1970: the clock by which the kernel notes the arrival of a packet.
pub fn unix_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// CPU time of this process with all of its threads, user and system, in seconds.
pub fn cpu_s() -> f64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime)) as f64 * 1e-9
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
