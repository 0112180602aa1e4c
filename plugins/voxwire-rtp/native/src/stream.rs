//! What the threads share about one stream: the host's, the one that sends, and the one that listens.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use voxwire_sink::Queue;

use crate::clock::{monotonic_ns, unix_ns_at};
use crate::digits::Digit;
use crate::listener::{Channel, Ear};
use crate::process::Process;
use crate::random::random_u64;
use crate::rtcp::{Cname, Ntp, ReportBlock};
use crate::sockets::{Inbound, Sockets, let_through};
use crate::statistics::Counters;
use crate::wheel::Place;

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Of RTP.
    pub rtp: SocketAddr,
    /// Of RTCP; None where none is sent.
    pub rtcp: Option<SocketAddr>,
}

/// What is asked of the thread that sends, at the stream's next turn.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) digits: Vec<Digit>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) peer: Option<Peer>,
}

/// What a receiver reported last.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// As it came.
    pub block: ReportBlock,
    /// To the receiver and back, in nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// When it arrived, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
}

/// One open stream.
pub struct Stream {
    /// Whose it is, for messages: `sink 'rtp:192.0.2.7:4000'`.
    pub name: String,
    /// The audio.
    pub queue: Queue,
    /// The numbers.
    pub counters: Arc<Counters>,
    /// The address that the peer sees, with the port of RTP.
    pub local: SocketAddr,
    /// Of the audio, and of the timestamps, in Hz.
    pub sample_rate: u32,
    /// What arrives at the sockets.
    pub inbound: Inbound,
    /// Who sends, for RTCP.
    pub cname: Cname,
    /// The one that sends it.
    pub(crate) process: Process,
    /// Where RTP comes in until the peer is known; the sockets themselves are closed with the stream.
    rtp: Weak<UdpSocket>,
    paused: AtomicBool,
    /// There are orders: the thread that sends takes the lock for nothing less.
    ordered: AtomicBool,
    orders: Mutex<Orders>,
    peer: Mutex<Peer>,
    heard: Mutex<Option<Heard>>,
    peer_left: AtomicBool,
    /// Where it stands in the wheel, once it does.
    place: OnceLock<Place>,
    ended: Mutex<bool>,
    ending: Condvar,
}

impl Stream {
    /// Nothing was ordered and nothing heard yet.
    pub fn new(
        name: String,
        queue: Queue,
        sample_rate: u32,
        sockets: &Sockets,
        inbound: Inbound,
        cname: Cname,
        peer: Peer,
    ) -> Self {
        Self {
            name,
            queue,
            counters: Arc::default(),
            local: sockets.local,
            sample_rate,
            inbound,
            cname,
            process: Process::current(),
            rtp: Arc::downgrade(&sockets.rtp),
            paused: AtomicBool::new(false),
            ordered: AtomicBool::new(false),
            orders: Mutex::default(),
            peer: Mutex::new(peer),
            heard: Mutex::new(None),
            peer_left: AtomicBool::new(false),
            place: OnceLock::new(),
            ended: Mutex::new(false),
            ending: Condvar::new(),
        }
    }

    // --- the host's side ---

    /// Holds audio back, or lets it go on.
    pub fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Relaxed);
    }

    /// Sends digits behind those that wait.
    pub fn send_digits(&self, digits: impl IntoIterator<Item = Digit>) {
        self.order(|orders| orders.digits.extend(digits));
    }

    /// Where packets go now.
    pub fn peer(&self) -> Peer {
        *lock(&self.peer)
    }

    /// What a receiver reported last.
    pub fn heard(&self) -> Option<Heard> {
        *lock(&self.heard)
    }

    /// The peer said goodbye, and nobody has reported since.
    pub fn peer_left(&self) -> bool {
        self.peer_left.load(Ordering::Relaxed)
    }

    /// Waits until the thread that sends has let go of the stream; false if it took longer.
    pub(crate) fn wait_end(&self, timeout: Duration) -> bool {
        let waited = self
            .ending
            .wait_timeout_while(lock(&self.ended), timeout, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    // --- the side of the thread that sends ---

    pub(crate) fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// What was ordered since the last time.
    pub(crate) fn take_orders(&self) -> Option<Orders> {
        // Looked at in every turn, and hardly ever set: a plain load first.
        if !self.ordered.load(Ordering::Relaxed) || !self.ordered.swap(false, Ordering::Acquire) {
            return None;
        }
        Some(std::mem::take(&mut *lock(&self.orders)))
    }

    /// Where it stands in the wheel; None before it was put there.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.get().copied()
    }

    pub(crate) fn set_place(&self, place: Place) {
        // Put there once.
        let _ = self.place.set(place);
    }

    pub(crate) fn end(&self) {
        *lock(&self.ended) = true;
        self.ending.notify_all();
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut lock(&self.orders));
        self.ordered.store(true, Ordering::Release);
    }
}

impl Ear for Stream {
    fn report(&self, block: &ReportBlock) {
        let at_ns = monotonic_ns();
        let heard = Heard {
            block: *block,
            round_trip_ns: block.round_trip_ns(Ntp::from_unix_ns(unix_ns_at(at_ns))),
            at_ns,
        };
        *lock(&self.heard) = Some(heard);
        // Whoever left before has only changed its SSRC, or another one listens.
        self.peer_left.store(false, Ordering::Relaxed);
    }

    fn latch(&self, channel: Channel, source: SocketAddr) {
        let peer = {
            let mut peer = lock(&self.peer);
            match channel {
                Channel::Rtp => {
                    peer.rtp = source;
                    if self.inbound.mux {
                        peer.rtcp = peer.rtcp.and(Some(source));
                    }
                }
                Channel::Rtcp => peer.rtcp = peer.rtcp.and(Some(source)),
            }
            *peer
        };
        self.order(|orders| orders.peer = Some(peer));
        if channel == Channel::Rtp
            && let Some(socket) = self.rtp.upgrade()
        {
            // The rest of what comes is not ours. Without the filter it would only cost more.
            let _ = let_through(&socket, self.inbound.reads_mux());
        }
    }

    fn goodbye(&self) {
        self.peer_left.store(true, Ordering::Relaxed);
    }

    fn collide(&self) -> u32 {
        // What was said of the other SSRC says nothing of this one.
        *lock(&self.heard) = None;
        let ssrc = random_u64() as u32;
        self.order(|orders| orders.ssrc = Some(ssrc));
        ssrc
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
