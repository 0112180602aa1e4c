//! The streams of the process, and the one thread that sends for them: it begins with the first and ends with the last.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::entry::Entry;
use crate::pacer::{Command, Desk, serve};
use crate::sender::Sender;
use crate::sockets::Sockets;
use crate::statistics::Totals;
use crate::stream::Stream;
use crate::system::{describe, make_realtime};

/// How long a close waits for the thread: the time of a goodbye, and then some.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// All streams since the process began.
pub static TOTALS: Totals = Totals::new();

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
    scheduling: Scheduling,
}

/// How the thread is scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduling {
    /// As any other.
    Ordinary,
    /// As any other, since the system does not allow what was asked for.
    Refused(String),
    /// Before all ordinary ones.
    Realtime,
}

/// A stream that is sent. Dropping it ends the stream without waiting.
pub struct Registration {
    stream: Arc<Stream>,
    desk: Arc<Desk>,
    counted: bool,
}

/// Has a stream sent from now on; with `realtime` the thread runs before all ordinary ones from now on, if it may.
pub fn register(stream: &Arc<Stream>, sockets: Sockets, sender: Sender, realtime: bool) -> io::Result<Registration> {
    let entry = Box::new(Entry::new(Arc::clone(stream), sockets, sender));
    let mut running = lock();
    // One that nobody waited for may have ended, or be about to.
    let usable = running.as_ref().is_some_and(|running| enlist(&running.desk));
    if !usable {
        if let Some(old) = running.take() {
            let _ = old.thread.join();
        }
        *running = Some(start()?);
    }
    let Some(running) = running.as_mut() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    if realtime && running.scheduling != Scheduling::Realtime {
        running.scheduling = match make_realtime(&running.thread) {
            Ok(()) => Scheduling::Realtime,
            Err(error) => Scheduling::Refused(format!(
                "SCHED_FIFO: {}, expected CAP_SYS_NICE or a limit rtprio of 50",
                describe(&error)
            )),
        };
    }
    tell(&running.desk, Command::Add(entry));
    Ok(Registration {
        stream: Arc::clone(stream),
        desk: Arc::clone(&running.desk),
        counted: true,
    })
}

/// Streams now, and how their thread is scheduled.
pub fn overview() -> (usize, Scheduling) {
    match lock().as_ref() {
        Some(running) => (running.desk.lock().streams, running.scheduling.clone()),
        None => (0, Scheduling::Ordinary),
    }
}

impl Registration {
    /// Ends the stream: nothing more is sent but a goodbye where one is owed, for which this waits. The last one ends
    /// the thread.
    pub fn close(mut self) {
        tell(&self.desk, Command::Close(Arc::clone(&self.stream)));
        // A thread that has ended by a fault has ended all its streams.
        self.stream.wait_end(CLOSE_TIMEOUT);
        let mut running = lock();
        self.uncount();
        let last = running.take_if(|running| running.desk.lock().streams == 0);
        if let Some(last) = last {
            let _ = last.thread.join();
        }
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.desk.lock().streams -= 1;
            self.desk.alarm.ring();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.counted {
            tell(&self.desk, Command::Close(Arc::clone(&self.stream)));
            self.uncount();
        }
    }
}

/// Starts the thread, for a first stream.
fn start() -> io::Result<Running> {
    let desk = Arc::new(Desk::default());
    // Before it looks: without a stream it would end at once.
    enlist(&desk);
    let of_thread = Arc::clone(&desk);
    let thread = thread::Builder::new()
        .name("voxwire-rtp".to_owned())
        .spawn(move || serve(&of_thread, &TOTALS))?;
    Ok(Running {
        desk,
        thread,
        scheduling: Scheduling::Ordinary,
    })
}

/// Counts a stream in; false where the thread has ended.
fn enlist(desk: &Desk) -> bool {
    let mut state = desk.lock();
    state.streams += usize::from(!state.ended);
    !state.ended
}

fn tell(desk: &Desk, command: Command) {
    desk.lock().commands.push(command);
    desk.alarm.ring();
}

fn lock() -> MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
