//! How late the machine itself wakes a thread that waits for nobody: what a sender's lateness has to be read beside.
//!
//! A witness runs on one core, above every sender, and only sleeps to the next millisecond. Where it wakes late, whoever
//! sends there was late too: the host of a virtual machine took the core away, or the kernel was busy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, clock_nanosleep_absolute, sched_setaffinity};
use rustix::time::{ClockId, Timespec};
use serde_json::{Value, json};
use voxwire_benches::process::unix_ns;

/// From one wake to the next. A pause may begin anywhere between, so it is seen as up to so much shorter than it was;
/// shorter periods would cost the core more than the hundredth or two that a virtual machine takes for these.
const PERIOD_NS: u64 = 1_000_000;
/// A wake that is later counts as late.
const LATE_NS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// By the clock of the packets' arrivals.
pub(crate) struct Wake {
    pub(crate) due_ns: u64,
    pub(crate) late_ns: u64,
}

/// The witness of one core.
pub(crate) struct Witness {
    core: usize,
    thread: JoinHandle<io::Result<Vec<Wake>>>,
}

impl Witness {
    /// Watches a core under `SCHED_FIFO` with that priority until `is_over`.
    pub(crate) fn start(core: usize, priority: u8, is_over: Arc<AtomicBool>) -> Self {
        let thread = thread::spawn(move || watch(core, priority, &is_over));
        Self { core, thread }
    }

    /// What it saw from the first arrival to the last, once it is over; None where the system does not let it watch.
    pub(crate) fn report(self, arrivals_ns: (u64, u64)) -> io::Result<Option<Value>> {
        match self.thread.join() {
            Ok(Ok(wakes)) => Ok(Some(report(self.core, &wakes, arrivals_ns))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the witness panicked")),
        }
    }
}

/// Of the wakes that were due or came between two times, which counted as late, and how late the worst was.
pub(crate) fn report(core: usize, wakes: &[Wake], (first_ns, last_ns): (u64, u64)) -> Value {
    let late_ns = || {
        let meant = |wake: &&Wake| wake.due_ns <= last_ns && wake.due_ns + wake.late_ns >= first_ns;
        wakes.iter().filter(meant).map(|wake| wake.late_ns)
    };
    json!({
        "core": core,
        "worst_us": late_ns().max().unwrap_or(0) as f64 / 1000.0,
        "late": late_ns().filter(|late_ns| *late_ns > LATE_NS).count(),
    })
}

fn watch(core: usize, priority: u8, is_over: &AtomicBool) -> io::Result<Vec<Wake>> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)?;
    make_realtime(priority)?;
    let mut wakes = Vec::new();
    let mut due_ns = unix_ns();
    while !is_over.load(Ordering::Relaxed) {
        // Of the times that a pause has covered only the first is late.
        due_ns += PERIOD_NS * (unix_ns().saturating_sub(due_ns) / PERIOD_NS + 1);
        let due = Timespec {
            tv_sec: (due_ns / NS_PER_S).cast_signed(),
            tv_nsec: (due_ns % NS_PER_S).cast_signed(),
        };
        clock_nanosleep_absolute(ClockId::Realtime, &due)?;
        let late_ns = unix_ns().saturating_sub(due_ns);
        wakes.push(Wake { due_ns, late_ns });
    }
    Ok(wakes)
}

/// Runs the calling thread before all ordinary ones, and before real-time ones of a lower priority.
fn make_realtime(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: priority.into(),
    };
    // SAFETY: the calling thread is there, and the parameter is only read.
    match unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_FIFO, &raw const parameter) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
