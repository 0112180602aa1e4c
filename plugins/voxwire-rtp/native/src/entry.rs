//! A stream in the hands of the thread that sends.

use std::io;
use std::sync::Arc;

use voxwire_sink::Loss;

use crate::NS_PER_S;
use crate::clock::unix_ns_at;
use crate::random::random_u64;
use crate::rtcp::{Ntp, ROOM_BYTES};
use crate::sender::Sender;
use crate::slot::Packet;
use crate::sockets::Sockets;
use crate::stream::{Peer, Stream};
use crate::system::{Destination, describe};

/// A goodbye follows the last packet after so long: one that overtakes it would end it for the receiver (RFC 3550 6.3.7
/// leaves the time to us).
const GOODBYE_AFTER_NS: u64 = 300_000_000;
/// A stream of which nothing could be sent for so long is lost.
const LOST_AFTER_NS: u64 = NS_PER_S;

pub(crate) struct Entry {
    pub(crate) stream: Arc<Stream>,
    pub(crate) sockets: Sockets,
    pub(crate) sender: Sender,
    pub(crate) destination: Destination,
    peer: Peer,
    /// Nothing more is sent but the end of a digit that has begun, and a goodbye.
    pub(crate) closing: bool,
    /// Turns that it missed because its queue was in use.
    pub(crate) missed: u32,
    /// When the first and the last of the packets were refused, since one was not.
    refused_ns: Option<(u64, u64)>,
    pub(crate) lost: bool,
}

impl Entry {
    pub(crate) fn new(stream: Arc<Stream>, sockets: Sockets, sender: Sender) -> Self {
        let peer = stream.peer();
        Self {
            stream,
            sockets,
            sender,
            destination: Destination::from(peer.rtp),
            peer,
            closing: false,
            missed: 0,
            refused_ns: None,
            lost: false,
        }
    }

    /// Whether it sends from the same socket.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sockets.rtp, &other.sockets.rtp)
    }

    /// Does what was ordered since the last turn.
    pub(crate) fn obey(&mut self, now_ns: u64) {
        let Some(orders) = self.stream.take_orders() else {
            return;
        };
        for digit in orders.digits {
            self.sender.push_digit(digit);
        }
        if let Some(peer) = orders.peer {
            self.peer = peer;
            self.destination = Destination::from(peer.rtp);
        }
        if let Some(ssrc) = orders.ssrc {
            // RFC 3550 8.2, and 6.3.7: no goodbye of a source that nobody has heard of.
            if self.sender.is_heard_of() {
                self.report(now_ns, true);
            }
            // Far from where it begins anew, as in the opening.
            self.sender.change_ssrc(ssrc, random_u64() as u16 >> 1);
        }
    }

    /// The stream is to end; true where that is at once.
    pub(crate) fn close(&mut self, now_ns: u64) -> bool {
        self.closing = true;
        self.sender.release_digits();
        self.leave(now_ns)
    }

    /// There is nothing more to send in its turns.
    pub(crate) fn is_silent(&self) -> bool {
        self.lost || (self.closing && !self.sender.is_sending_digit())
    }

    /// A report is due.
    pub(crate) fn owes_report(&self, now_ns: u64) -> bool {
        !self.closing && !self.lost && self.sender.owes_report(now_ns)
    }

    /// Says goodbye where that is due; true once there is nothing left to do.
    pub(crate) fn leave(&mut self, now_ns: u64) -> bool {
        let last_sent_ns = self.sender.last_sent_ns().filter(|_| self.peer.rtcp.is_some());
        let due = self.closing
            && self.is_silent()
            && last_sent_ns.is_none_or(|last_sent_ns| now_ns >= last_sent_ns + GOODBYE_AFTER_NS);
        if due && self.sender.is_heard_of() {
            self.report(now_ns, true);
        }
        due
    }

    /// See [`Sender::note_sent`].
    pub(crate) fn note_sent(&mut self, packet: &Packet, now_ns: u64) -> Option<u64> {
        self.refused_ns = None;
        self.sender.note_sent(packet, now_ns)
    }

    pub(crate) fn note_unsent(&mut self, packet: &Packet, error: &io::Error, now_ns: u64) {
        self.sender.note_unsent(packet, &self.stream.queue);
        // Where nothing was to be sent meanwhile, nothing was refused either.
        let pause_ns = 3 * self.sender.settings().ptime_ns();
        let since_ns = match self.refused_ns {
            Some((since_ns, last_ns)) if now_ns - last_ns < pause_ns => since_ns,
            _ => now_ns,
        };
        self.refused_ns = Some((since_ns, now_ns));
        if now_ns - since_ns >= LOST_AFTER_NS {
            self.lost = true;
            let (name, reason) = (&self.stream.name, describe(error));
            self.stream.queue.lose(Loss {
                errno: error.raw_os_error(),
                message: format!("{name} was lost: nothing could be sent for a second, {reason}"),
            });
        }
    }

    /// Closes its sockets, and lets go of it whoever waits for that.
    pub(crate) fn end(self) {
        let stream = Arc::clone(&self.stream);
        drop(self);
        stream.end();
    }

    /// Sends a report, or the last one of this SSRC.
    pub(crate) fn report(&mut self, now_ns: u64, goodbye: bool) {
        let mut room = [0; ROOM_BYTES];
        let at = Ntp::from_unix_ns(unix_ns_at(now_ns));
        let length = self.sender.report(now_ns, at, &self.stream.cname, goodbye, &mut room);
        if let Some(peer) = self.peer.rtcp
            && length > 0
        {
            // One that is lost on the way does no harm, nor does one that does not leave.
            let socket = self.sockets.rtcp.as_ref().unwrap_or(&self.sockets.rtp);
            let _ = socket.send_to(&room[..length], peer);
        }
    }
}
