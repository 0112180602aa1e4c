//! The streams of the process, and the one thread that sends for them: it begins with the first and ends with the last.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::entry::Entry;
use crate::pacer::{Command, Desk, serve};
use crate::process::PerProcess;
use crate::sender::Sender;
use crate::sockets::Sockets;
use crate::statistics::Totals;
use crate::stream::Stream;
use crate::system::{describe, make_realtime};

/// How long a close waits for the thread: the time of a goodbye, and then some.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// All streams since the process began.
pub static TOTALS: Totals = Totals::new();

static REGISTRY: PerProcess<Registry> = PerProcess::new(Registry::new());

#[derive(Default)]
struct Registry {
    state: Mutex<State>,
    /// A thread has been waited for.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// A thread that does not run for anybody any more is being waited for. Only then does another one begin: what they
    /// count has one writer.
    ending: bool,
}

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
    let registry = REGISTRY.get();
    let mut state = registry.lock_settled();
    // One that nobody waited for may have ended, or be about to.
    let usable = state.running.as_ref().is_some_and(|running| enlist(&running.desk));
    if !usable {
        state = registry.retire(state);
        state.running = Some(start()?);
    }
    let Some(running) = state.running.as_mut() else {
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

/// Streams now, and how their thread is scheduled. Waits for no thread.
pub fn overview() -> (usize, Scheduling) {
    match REGISTRY.get().lock().running.as_ref() {
        Some(running) => (running.desk.lock().streams, running.scheduling.clone()),
        None => (0, Scheduling::Ordinary),
    }
}

impl Registry {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                running: None,
                ending: false,
            }),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state when no thread is about to end.
    fn lock_settled(&self) -> MutexGuard<'_, State> {
        let settled = self.ended.wait_while(self.lock(), |state| state.ending);
        settled.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a thread that has nothing left to do but goodbyes. Without the lock, so that who only looks
    /// need not wait.
    fn retire<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(running) = state.running.take() else {
            return state;
        };
        state.ending = true;
        drop(state);
        let _ = running.thread.join();
        let mut state = self.lock();
        state.ending = false;
        self.ended.notify_all();
        state
    }
}

impl Registration {
    /// Ends the stream: nothing more is sent but the end of a digit and a goodbye where they are owed, for which this
    /// waits. The last one ends the thread. False where the thread has not let go of the stream in time: it still has
    /// its sockets then, and is not waited for any longer. In a child of its process nothing happens.
    pub fn close(mut self) -> bool {
        if !self.stream.process.is_current() {
            return true;
        }
        tell(&self.desk, Command::Close(Arc::clone(&self.stream)));
        // A thread that has ended by a fault has ended all its streams.
        let ended = self.stream.wait_end(CLOSE_TIMEOUT);
        let registry = REGISTRY.get();
        let state = registry.lock();
        self.uncount();
        let idle = |running: &Running| running.desk.lock().streams == 0;
        if ended && state.running.as_ref().is_some_and(idle) {
            drop(registry.retire(state));
        }
        ended
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
        // In a child of its process there is nobody to tell, and the lock may never be free.
        if self.counted && self.stream.process.is_current() {
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
