//! How a stream comes to be: ports, numbers, keys, and the threads that know of it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use voxwire_sink::{Quality, Queue, Wake};

use crate::clock::monotonic_ns;
use crate::listener::{Ear, Handle, LISTENER, Subject, Ticket};
use crate::random::{Random, random_u64};
use crate::registry::{Registration, register};
use crate::rtcp::Cname;
use crate::sender::Sender;
use crate::settings::Settings;
use crate::sockets::{self, Failure, Inbound, Sockets};
use crate::srtp::{MasterKey, Opener, Sealer, Suite};
use crate::stream::{Peer, Stream};
use crate::system::describe;

/// Audio that waits at most, in seconds.
const CAPACITY_S: u64 = 2;
/// How often an SSRC that is taken is drawn again.
const DRAWS: usize = 8;

/// All that a stream is opened with. Numbers that are None are drawn.
pub struct Plan {
    /// Format and types; its SSRC, sequence and timestamp are those below.
    pub settings: Settings,
    /// The first SSRC.
    pub ssrc: Option<u32>,
    /// Of the first packet.
    pub sequence: Option<u16>,
    /// Of the first packet.
    pub timestamp: Option<u32>,
    /// Where packets go.
    pub peer: Peer,
    /// See [`sockets::Request`].
    pub bind: Option<IpAddr>,
    /// See [`sockets::Request`].
    pub ports: Option<(u16, u16)>,
    /// RTCP shares the port of RTP.
    pub mux: bool,
    /// The peer's first packet tells where it is.
    pub latch: bool,
    /// See [`sockets::Request`].
    pub dscp: u8,
    /// For RTCP.
    pub cname: Cname,
    /// How packets are protected, and with which key.
    pub protection: Option<(Suite, MasterKey)>,
    /// How those of the peer are.
    pub peer_protection: Option<(Suite, MasterKey)>,
    /// The thread that sends is to run before all ordinary ones.
    pub realtime: bool,
}

/// A stream that was opened. What is dropped ends without a goodbye that anybody waits for.
pub struct Opened {
    /// The stream.
    pub stream: Arc<Stream>,
    registration: Registration,
    ticket: Option<Ticket>,
}

impl Opened {
    /// Ends the stream; see [`Registration::close`].
    pub fn close(self) -> bool {
        let ended = self.registration.close();
        drop(self.ticket);
        ended
    }
}

/// Opens a stream: binds its sockets, and makes it known to the threads.
pub fn open(name: String, plan: Plan, wake: Wake) -> Result<Opened, Failure> {
    let inbound = Inbound {
        rtcp: plan.peer.rtcp.is_some() && !plan.mux,
        mux: plan.peer.rtcp.is_some() && plan.mux,
        latch: plan.latch,
        // Without the key of the peer nothing that comes can be believed.
        deaf: plan.protection.is_some() && plan.peer_protection.is_none(),
    };
    let mut random = Random::new(random_u64());
    let request = sockets::Request {
        peer: plan.peer.rtp,
        bind: plan.bind,
        ports: plan.ports,
        inbound,
        dscp: plan.dscp,
    };
    let mut sockets = sockets::open(&request, &mut random)?;
    let settings = plan.settings;
    let capacity = u64::from(settings.sample_rate) * CAPACITY_S;
    let queue = Queue::new(
        settings.coding.frame_bytes(),
        capacity,
        Quality::Sent,
        monotonic_ns(),
        wake,
    );
    let stream = Arc::new(Stream::new(
        name,
        queue,
        settings.sample_rate,
        &sockets,
        inbound,
        plan.cname,
        plan.peer,
    ));
    let (ssrc, ticket) = listen(&stream, &mut sockets, plan.ssrc, plan.peer_protection.as_ref())?;
    // RFC 3711 3.3.1: a receiver takes the first packet that it gets for one of the first round. Were it of the second,
    // since those before were lost, it would be a forgery to it, and so would all that follow.
    let highest = if plan.protection.is_some() {
        u16::MAX >> 1
    } else {
        u16::MAX
    };
    let settings = Settings {
        ssrc,
        sequence: plan.sequence.unwrap_or_else(|| random_u64() as u16 & highest),
        timestamp: plan.timestamp.unwrap_or_else(|| random_u64() as u32),
        ..settings
    };
    let sealer = plan.protection.map(|(suite, key)| Sealer::new(suite, &key));
    let sender = Sender::new(settings, sealer, random, Arc::clone(&stream.counters));
    let registration =
        register(&stream, sockets, sender, plan.realtime).map_err(|error| Failure::Other(describe(&error)))?;
    Ok(Opened {
        stream,
        registration,
        ticket,
    })
}

/// Listens to what the peer sends back, where anything is to come, and settles the SSRC: no other stream of the same
/// sockets has it.
fn listen(
    stream: &Arc<Stream>,
    sockets: &mut Sockets,
    wanted: Option<u32>,
    protection: Option<&(Suite, MasterKey)>,
) -> Result<(u32, Option<Ticket>), Failure> {
    let mut left = DRAWS;
    loop {
        let ssrc = wanted.unwrap_or_else(|| random_u64() as u32);
        let outcome = sockets
            .claim(ssrc)
            .and_then(|()| listen_as(ssrc, stream, sockets, protection));
        left -= 1;
        match outcome {
            Ok(ticket) => return Ok((ssrc, ticket)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && wanted.is_none() && left > 0 => (),
            Err(error) => return Err(Failure::Other(describe(&error))),
        }
    }
}

fn listen_as(
    ssrc: u32,
    stream: &Arc<Stream>,
    sockets: &Sockets,
    protection: Option<&(Suite, MasterKey)>,
) -> io::Result<Option<Ticket>> {
    let inbound = stream.inbound;
    let (latch, mux) = (inbound.latch, inbound.reads_mux());
    let data = (mux || latch).then(|| Arc::clone(&sockets.rtp) as Handle);
    let control = sockets.rtcp.as_ref().filter(|_| inbound.reads_rtcp());
    let control = control.map(|socket| Arc::clone(socket) as Handle);
    if data.is_none() && control.is_none() {
        return Ok(None);
    }
    let peer = stream.peer();
    let ticket = LISTENER.listen(Subject {
        ear: Arc::clone(stream) as Arc<dyn Ear>,
        ssrc,
        peer: peer.rtp,
        peer_rtcp: peer.rtcp.unwrap_or(peer.rtp),
        rtp: data,
        rtcp: control,
        latch,
        mux,
        opener: protection.map(|(suite, key)| Opener::new(*suite, key)),
    })?;
    Ok(Some(ticket))
}

/// An address whose host is numeric; one of IPv6 may name its scope by a number, behind `%`.
pub fn read_address(host: &str, port: u16) -> Option<SocketAddr> {
    if host.contains(':') {
        format!("[{host}]:{port}").parse().ok()
    } else {
        Some(SocketAddr::new(host.parse().ok()?, port))
    }
}
