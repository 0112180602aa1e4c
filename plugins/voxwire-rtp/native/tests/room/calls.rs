//! Streams over real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use voxwire_rtp::opening::{Opened, Plan, open};
use voxwire_rtp::rtcp::Cname;
use voxwire_rtp::sockets::Failure;
use voxwire_rtp::stream::Peer;
use voxwire_sink::Wake;

use super::{Seen, settings};

/// The peer of a stream: its two sockets.
pub(crate) struct Far {
    pub(crate) data: UdpSocket,
    pub(crate) control: UdpSocket,
}

impl Far {
    pub(crate) fn new() -> Self {
        let bound = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a time limit");
            socket
        };
        Self {
            data: bound(),
            control: bound(),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        let address = |socket: &UdpSocket| socket.local_addr().expect("an address");
        Peer {
            rtp: address(&self.data),
            rtcp: Some(address(&self.control)),
        }
    }

    /// Waits for the next packet.
    pub(crate) fn receive(&self) -> Seen {
        self.receive_from().0
    }

    pub(crate) fn receive_from(&self) -> (Seen, SocketAddr) {
        let mut room = [0; 1500];
        let (length, source) = self.data.recv_from(&mut room).expect("a packet in time");
        (Seen::read(&room[..length]), source)
    }

    /// The packets that have come.
    pub(crate) fn drain(&self) -> Vec<Seen> {
        self.data.set_nonblocking(true).expect("a socket that does not block");
        let mut room = [0; 1500];
        let mut packets = Vec::new();
        while let Ok(length) = self.data.recv(&mut room) {
            packets.push(Seen::read(&room[..length]));
        }
        self.data.set_nonblocking(false).expect("a socket that blocks");
        packets
    }
}

/// Everything drawn, PCMU in packets of 20 ms, RTCP beside.
pub(crate) fn plan(peer: Peer) -> Plan {
    Plan {
        settings: settings(),
        ssrc: None,
        sequence: None,
        timestamp: None,
        peer,
        bind: None,
        ports: None,
        mux: false,
        latch: false,
        dscp: 46,
        cname: Cname::new("somebody").expect("a name"),
        protection: None,
        peer_protection: None,
        realtime: false,
    }
}

/// Opens a stream; the other value is where its wakes arrive.
pub(crate) fn try_call(plan: Plan) -> Result<(Opened, UnixStream), Failure> {
    let (reader, writer) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket that does not block");
    reader
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time limit");
    let opened = open("sink 'rtp:x'".to_owned(), plan, Wake::new(OwnedFd::from(writer)))?;
    Ok((opened, reader))
}

pub(crate) fn call(plan: Plan) -> (Opened, UnixStream) {
    match try_call(plan) {
        Ok(call) => call,
        Err(failure) => panic!("{failure}"),
    }
}
