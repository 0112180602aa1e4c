//! The thread that reads what peers send back: RTCP of all streams, and RTP where a stream is to learn its peer's
//! address. It lives while there are streams.
//!
//! Whatever arrives may come from anybody. A datagram counts only where it names the SSRC of a stream, which is random
//! and told to its peer alone, and comes from a host of the peer; where the stream has the peer's key, only if it was
//! made with that, wherever it comes from. A socket that is flooded is left alone for the rest of the second, since what
//! cannot wait is sent by the same processors.

mod hearing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, getsockname, recvfrom};

use self::hearing::{Group, Outcome, Stream};
use crate::process::{PerProcess, Process};
use crate::rtcp::ReportBlock;
use crate::sockets::ssrc_in_use;
use crate::srtp::Opener;

/// Longer datagrams are dropped: no network carries them whole.
const DATAGRAM_BYTES: usize = 2048;
/// Datagrams of one socket that are read before it is another's turn.
const TURN: u32 = 16;
/// Sockets that are told of at once.
const EVENTS: usize = 64;
/// Datagrams that are read of a socket in a second: some, and some for each of its streams. A peer sends one RTCP in
/// 2.5 s at most.
const ALLOWANCE: u32 = 32;
const ALLOWANCE_OF_STREAM: u32 = 4;
const ALLOWANCE_TIME: Duration = Duration::from_secs(1);
/// The thread never waits for less: that is not worth a waking.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// What epoll tells where the thread is roused; no socket has that number.
const ROUSER: u64 = u64::MAX;

/// The listener of the process.
pub static LISTENER: Listener = Listener::new();

/// What a stream is told, on the listener's thread while that holds its lock: never waits, never opens or closes a
/// stream.
pub trait Ear: Send + Sync {
    /// A receiver reports on the stream; that has just arrived.
    fn report(&self, block: &ReportBlock);

    /// This is where the peer sends from; at most once for each channel.
    fn latch(&self, channel: Channel, peer: SocketAddr);

    /// Whoever has reported on the stream leaves. A report that comes later is of somebody else, or by another SSRC.
    fn goodbye(&self);

    /// Somebody else uses the SSRC of the stream: it takes another one, and returns that.
    fn collide(&self) -> u32;
}

/// One of the two ways of a stream; with rtcp-mux everything goes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Data.
    Rtp,
    /// Reports.
    Rtcp,
}

/// A socket, which streams may share; known by its descriptor.
pub type Handle = Arc<dyn AsFd + Send + Sync>;

/// A stream as the listener has to know it.
pub struct Subject {
    /// Who is told.
    pub ear: Arc<dyn Ear>,
    /// What the stream begins with; no other stream of the same socket has it.
    pub ssrc: u32,
    /// Where its RTP goes.
    pub peer: SocketAddr,
    /// Where its RTCP goes.
    pub peer_rtcp: SocketAddr,
    /// The socket of its RTP, where something is to be read from that: RTCP, or where the peer is.
    pub rtp: Option<Handle>,
    /// The socket of its RTCP, where that is another one.
    pub rtcp: Option<Handle>,
    /// The addresses of the peer are to be learned; of RTP only while no other stream shares the socket, since nobody
    /// could tell whose peer it was.
    pub latch: bool,
    /// RTCP is read from the socket of RTP, also once the peer is known.
    pub mux: bool,
    /// With the peer's key, where it sends SRTP. Among streams that share a socket its datagrams are told by
    /// `peer_rtcp`.
    pub opener: Option<Opener>,
}

/// Reads for all streams, on one thread.
pub struct Listener {
    state: PerProcess<Mutex<State>>,
}

/// A stream that is listened for. Once this is dropped its ear is not called any more. The last one ends the thread and
/// waits for that, so no thread drops one that must not wait. In a child of its process dropping it changes nothing.
pub struct Ticket {
    listener: &'static Listener,
    process: Process,
    id: u64,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    last_id: u64,
    streams: BTreeMap<u64, Stream>,
    sockets: BTreeMap<RawFd, Socket>,
    /// Sockets that epoll does not watch until their time is over.
    muted: Vec<RawFd>,
}

struct Running {
    poll: Arc<Poll>,
    thread: JoinHandle<()>,
}

struct Poll {
    epoll: OwnedFd,
    rouser: OwnedFd,
}

struct Socket {
    handle: Handle,
    /// The streams that listen to it.
    group: Group,
    /// Datagrams that may still be read until the time is over.
    allowance: u32,
    allowance_ends: Instant,
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener {
    /// Without a thread yet.
    pub const fn new() -> Self {
        Self {
            state: PerProcess::new(Mutex::new(State {
                running: None,
                last_id: 0,
                streams: BTreeMap::new(),
                sockets: BTreeMap::new(),
                muted: Vec::new(),
            })),
        }
    }

    /// Listens for a stream; the first one starts the thread. Fails with `AlreadyExists` where another stream of the
    /// same socket has that SSRC, and where the system gives no thread or descriptor.
    pub fn listen(&'static self, subject: Subject) -> io::Result<Ticket> {
        let mut state = self.lock();
        let handles = || [&subject.rtp, &subject.rtcp].into_iter().flatten();
        if handles().any(|handle| state.has_ssrc(handle, subject.ssrc)) {
            return Err(ssrc_in_use(subject.ssrc));
        }
        let poll = self.run(&mut state)?;
        state.last_id += 1;
        let id = state.last_id;
        let outcome = handles().try_for_each(|handle| state.join(&poll, handle, id, &subject));
        state.streams.insert(id, Stream::new(subject));
        // Before the ticket, which takes the lock again where something failed and it is dropped here.
        drop(state);
        let ticket = Ticket {
            listener: self,
            process: Process::current(),
            id,
        };
        outcome.map(|()| ticket)
    }

    /// Starts the thread where there is none.
    fn run(&'static self, state: &mut State) -> io::Result<Arc<Poll>> {
        if let Some(running) = &state.running {
            return Ok(Arc::clone(&running.poll));
        }
        let poll = Arc::new(Poll::new()?);
        let of_thread = Arc::clone(&poll);
        let thread = thread::Builder::new()
            .name("voxwire-rtcp".to_owned())
            .spawn(move || self.read(&of_thread))?;
        state.running = Some(Running {
            poll: Arc::clone(&poll),
            thread,
        });
        Ok(poll)
    }

    /// The whole life of a thread.
    fn read(&self, poll: &Arc<Poll>) {
        // One byte more tells that a datagram was cut.
        let mut datagram = [0; DATAGRAM_BYTES + 1];
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.unmute(poll);
            events.clear();
            match epoll::wait(
                &poll.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => (),
                // Of a descriptor of ours that is open: never.
                Err(_) => return,
            }
            for event in &events {
                let place = event.data.u64();
                let mut state = self.lock();
                if !state.is_run_by(poll) {
                    return;
                }
                if place == ROUSER {
                    poll.calm();
                } else {
                    state.receive(poll, place as RawFd, &mut datagram);
                }
            }
        }
    }

    /// Watches the sockets again whose time is over, and says how long the next of them has to wait.
    fn unmute(&self, poll: &Arc<Poll>) -> Option<Timespec> {
        let mut state = self.lock();
        if !state.is_run_by(poll) {
            // The rouser says so too.
            return None;
        }
        let now = Instant::now();
        let mut wait: Option<Duration> = None;
        let State { sockets, muted, .. } = &mut *state;
        muted.retain(|&place| {
            let Some(socket) = sockets.get(&place) else {
                return false;
            };
            let left = socket.allowance_ends.saturating_duration_since(now);
            // Where it cannot be watched again it stays muted, until the next occasion.
            if left.is_zero() && poll.add(&socket.handle, place).is_ok() {
                return false;
            }
            let left = left.max(LEAST_WAIT);
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
            true
        });
        wait.and_then(|wait| Timespec::try_from(wait).ok())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of an ear leaves nothing half done here.
        self.state.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A child has the same epoll and the same rouser as its parent, whose thread would be told.
        if !self.process.is_current() {
            return;
        }
        let mut state = self.listener.lock();
        let stream = state.leave(self.id);
        let ended = state.end_where_idle();
        drop(state);
        // Outside the lock, as it may be the last that holds whatever the ear holds.
        drop(stream);
        if let Some(thread) = ended {
            // It has ended by itself where an ear has panicked.
            let _ = thread.join();
        }
    }
}

impl Poll {
    fn new() -> io::Result<Self> {
        let poll = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            rouser: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        let data = epoll::EventData::new_u64(ROUSER);
        epoll::add(&poll.epoll, &poll.rouser, data, epoll::EventFlags::IN)?;
        Ok(poll)
    }

    /// Whoever was roused is, and not once more for the same reason.
    fn calm(&self) {
        // Fails only where nobody was.
        let _ = rustix::io::read(&self.rouser, &mut [0; 8]);
    }

    fn add(&self, handle: &Handle, place: RawFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::from(place.cast_unsigned()));
        Ok(epoll::add(&self.epoll, handle.as_fd(), data, epoll::EventFlags::IN)?)
    }

    fn remove(&self, handle: &Handle) {
        // Fails only for a socket that is not there, which is what it is about.
        let _ = epoll::delete(&self.epoll, handle.as_fd());
    }
}

impl State {
    fn is_run_by(&self, poll: &Arc<Poll>) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| Arc::ptr_eq(&running.poll, poll))
    }

    fn has_ssrc(&self, handle: &Handle, ssrc: u32) -> bool {
        let socket = self.sockets.get(&handle.as_fd().as_raw_fd());
        socket.is_some_and(|socket| socket.group.has(ssrc))
    }

    /// A stream listens to a socket.
    fn join(&mut self, poll: &Poll, handle: &Handle, id: u64, subject: &Subject) -> io::Result<()> {
        let place = handle.as_fd().as_raw_fd();
        let socket = match self.sockets.entry(place) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let local = SocketAddr::try_from(getsockname(handle.as_fd())?)?;
                poll.add(handle, place)?;
                entry.insert(Socket {
                    handle: Arc::clone(handle),
                    group: Group::new(local),
                    allowance: 0,
                    allowance_ends: Instant::now(),
                })
            }
        };
        socket.group.join(id, subject);
        Ok(())
    }

    /// A stream is gone.
    fn leave(&mut self, id: u64) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        for place in stream.places.into_iter().flatten() {
            self.leave_socket(place, id);
        }
        Some(stream)
    }

    /// A stream does not listen to a socket any more; the last one takes it along.
    fn leave_socket(&mut self, place: RawFd, id: u64) {
        let Some(socket) = self.sockets.get_mut(&place) else {
            return;
        };
        socket.group.leave(id);
        if socket.group.len() == 0
            && let Some(socket) = self.sockets.remove(&place)
            && let Some(running) = &self.running
        {
            running.poll.remove(&socket.handle);
            self.muted.retain(|&muted| muted != place);
        }
    }

    /// Lets the thread end where there is no stream left, and returns it for whoever waits for that.
    fn end_where_idle(&mut self) -> Option<JoinHandle<()>> {
        if !self.streams.is_empty() {
            return None;
        }
        let Running { poll, thread } = self.running.take()?;
        // Fails only where it is roused already.
        let _ = rustix::io::write(&poll.rouser, &1_u64.to_ne_bytes());
        Some(thread)
    }

    /// Reads what there is on a socket, within its turn and its allowance.
    fn receive(&mut self, poll: &Poll, place: RawFd, room: &mut [u8]) {
        for _ in 0..TURN {
            // Gone since epoll told of it, or at the last datagram.
            let Some(socket) = self.sockets.get_mut(&place) else {
                return;
            };
            let now = Instant::now();
            if now >= socket.allowance_ends {
                socket.allowance = ALLOWANCE + ALLOWANCE_OF_STREAM * socket.group.len() as u32;
                socket.allowance_ends = now + ALLOWANCE_TIME;
            }
            let Some(allowance) = socket.allowance.checked_sub(1) else {
                poll.remove(&socket.handle);
                self.muted.push(place);
                return;
            };
            socket.allowance = allowance;
            let (length, source) = match recvfrom(socket.handle.as_fd(), &mut *room, RecvFlags::DONTWAIT) {
                Ok((length, _, source)) => (length, source),
                Err(Errno::AGAIN) => return,
                // Told of an earlier packet by an ICMP message: nothing that concerns a report.
                Err(_) => continue,
            };
            let source = source.and_then(|source| SocketAddr::try_from(source).ok());
            let Some(source) = source.filter(|_| length <= DATAGRAM_BYTES) else {
                continue;
            };
            let outcome = socket.group.hear(&mut self.streams, &mut room[..length], source, now);
            self.follow(place, &outcome);
        }
    }

    /// Draws the consequences of a datagram.
    fn follow(&mut self, place: RawFd, outcome: &Outcome) {
        for &id in &outcome.renamed {
            let Some(stream) = self.streams.get(&id) else {
                continue;
            };
            for place in stream.places.into_iter().flatten() {
                if let Some(socket) = self.sockets.get_mut(&place) {
                    socket.group.rename(id, stream.ssrc);
                }
            }
        }
        if let Some(id) = outcome.leaves {
            self.leave_socket(place, id);
        }
    }
}
