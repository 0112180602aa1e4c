//! Ports and sockets. They are never connected: a peer that is not there yet refuses nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::process::PerProcess;
use crate::random::Random;
use crate::system::{describe, let_nothing_through, let_only_rtcp_through};

/// How often the system is asked for a port before there is none.
const ATTEMPTS: usize = 200;

/// What sockets a stream needs.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Where RTP goes.
    pub peer: SocketAddr,
    /// The address to send from; None for any.
    pub bind: Option<IpAddr>,
    /// The ports to choose from, both ends included: the even ones, each with the one above it for RTCP. None for any.
    pub ports: Option<(u16, u16)>,
    /// What arrives.
    pub inbound: Inbound,
    /// Code point of the differentiated services, 0 to 63.
    pub dscp: u8,
}

/// What is to arrive, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Inbound {
    /// RTCP, at a port of its own.
    pub rtcp: bool,
    /// RTCP, at the port of RTP.
    pub mux: bool,
    /// RTP, until it has told where the peer is.
    pub latch: bool,
    /// None of the RTCP can be believed, so that nobody reads it.
    pub deaf: bool,
}

impl Inbound {
    /// RTCP is read from a port of its own.
    pub fn reads_rtcp(self) -> bool {
        self.rtcp && !self.deaf
    }

    /// RTCP is read from the port of RTP.
    pub fn reads_mux(self) -> bool {
        self.mux && !self.deaf
    }
}

/// The sockets of a stream.
#[derive(Debug)]
pub struct Sockets {
    /// Of RTP, and of RTCP where that has none of its own.
    pub rtp: Arc<UdpSocket>,
    /// Of RTCP.
    pub rtcp: Option<Arc<UdpSocket>>,
    /// The address that the peer sees, with the port of RTP.
    pub local: SocketAddr,
    shared: Option<Shared>,
}

impl Sockets {
    /// Keeps an SSRC for the stream, instead of the one before, as long as it has the sockets. Fails with
    /// `AlreadyExists` where another stream that shares them has that.
    pub fn claim(&mut self, ssrc: u32) -> io::Result<()> {
        match &mut self.shared {
            Some(shared) => shared.claim(ssrc),
            None => Ok(()),
        }
    }
}

/// Why a stream cannot have an SSRC.
pub(crate) fn ssrc_in_use(ssrc: u32) -> io::Error {
    let message = format!("SSRC {ssrc:#010x} is in use at that port, expected another");
    io::Error::new(ErrorKind::AlreadyExists, message)
}

/// Why there are no sockets; the text is half a line.
#[derive(Debug)]
pub enum Failure {
    /// The ports are in use.
    Busy(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(text) | Self::Other(text) => formatter.write_str(text),
        }
    }
}

#[derive(Debug)]
struct Pair {
    rtp: Arc<UdpSocket>,
    rtcp: Option<Arc<UdpSocket>>,
    /// Those that its streams have claimed.
    ssrcs: Mutex<BTreeSet<u32>>,
}

/// A stream's part of a pair.
#[derive(Debug)]
struct Shared {
    pair: Arc<Pair>,
    ssrc: Option<u32>,
}

impl Shared {
    fn claim(&mut self, ssrc: u32) -> io::Result<()> {
        let mut ssrcs = self.pair.ssrcs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ssrc != Some(ssrc) && !ssrcs.insert(ssrc) {
            return Err(ssrc_in_use(ssrc));
        }
        if let Some(former) = self.ssrc.replace(ssrc).filter(|&former| former != ssrc) {
            ssrcs.remove(&former);
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(ssrc) = self.ssrc {
            let mut ssrcs = self.pair.ssrcs.lock().unwrap_or_else(PoisonError::into_inner);
            ssrcs.remove(&ssrc);
        }
    }
}

/// Where a pair that streams share is bound, and what it was made for.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: SocketAddr,
    inbound: Inbound,
    dscp: u8,
}

impl Place {
    /// The options in which another place differs so that both cannot be one.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (inbound, others) = (self.inbound, other.inbound);
        let differences = [
            ("bind", self.address != other.address),
            ("dscp", self.dscp != other.dscp),
            ("rtcp", (inbound.rtcp, inbound.mux) != (others.rtcp, others.mux)),
            ("latch", inbound.latch != others.latch),
        ];
        let differing = differences.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(option, _)| option).collect()
    }

    /// Streams at both can share one pair.
    fn is_shared_with(&self, other: &Self) -> bool {
        // Whose packet a latch waits for could not be told.
        !self.inbound.latch && self.differences(other).is_empty()
    }
}

type Known = Vec<(Place, Weak<Pair>)>;

/// The pairs at a port that was asked for by its number: streams that ask for the same share it.
static SHARED: PerProcess<Mutex<Known>> = PerProcess::new(Mutex::new(Vec::new()));

/// Finds ports and binds sockets to them; `random` spreads the choice in a range of ports.
pub fn open(request: &Request, random: &mut Random) -> Result<Sockets, Failure> {
    let any: IpAddr = match request.peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let host = request.bind.unwrap_or(any);
    let seen = route(host, request.peer)?;
    let (pair, shared) = match request.ports {
        Some((first, last)) if first == last => {
            let pair = share(SocketAddr::new(host, first), request)?;
            let shared = Shared {
                pair: Arc::clone(&pair),
                ssrc: None,
            };
            (pair, Some(shared))
        }
        Some(range) => (Arc::new(search(host, range, request, random)?), None),
        None => (Arc::new(take_any(host, request)?), None),
    };
    let port = pair.rtp.local_addr().map_err(|error| other(&error))?.port();
    Ok(Sockets {
        rtp: Arc::clone(&pair.rtp),
        rtcp: pair.rtcp.clone(),
        local: SocketAddr::new(seen, port),
        shared,
    })
}

/// The address that the system would send from.
fn route(host: IpAddr, peer: SocketAddr) -> Result<IpAddr, Failure> {
    let fails = |what: String, error: &io::Error| Failure::Other(format!("{what}: {}", describe(error)));
    let probe = UdpSocket::bind(SocketAddr::new(host, 0)).map_err(|error| fails(format!("not from {host}"), &error))?;
    let seen = probe.connect(peer).and_then(|()| probe.local_addr());
    Ok(seen.map_err(|error| fails(format!("no way to {peer}"), &error))?.ip())
}

fn share(address: SocketAddr, request: &Request) -> Result<Arc<Pair>, Failure> {
    let place = Place {
        address,
        inbound: request.inbound,
        dscp: request.dscp,
    };
    let mut shared = SHARED.get().lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(_, pair)| pair.strong_count() > 0);
    let known = shared.iter().find(|(known, _)| known.is_shared_with(&place));
    if let Some(pair) = known.and_then(|(_, pair)| pair.upgrade()) {
        // Those before it may have been deaf; one that is must not make them so.
        if !request.inbound.deaf {
            filter(&pair.rtp, pair.rtcp.as_deref(), request.inbound).map_err(|error| other(&error))?;
        }
        return Ok(pair);
    }
    let pair = Arc::new(pair_at(address, request).map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            Failure::Busy(occupied(&place, &shared))
        } else {
            other(&error)
        }
    })?);
    shared.push((place, Arc::downgrade(&pair)));
    Ok(pair)
}

/// Says who has a port, as far as that is known.
fn occupied(place: &Place, shared: &[(Place, Weak<Pair>)]) -> String {
    let port = place.address.port();
    match shared.iter().find(|(known, _)| known.address.port() == port) {
        None => format!("port {port} is in use"),
        Some((known, _)) => match &known.differences(place)[..] {
            [] => format!("port {port} is in use by a stream, expected another port with latch"),
            differences => {
                let differences = differences.join(" and ");
                format!("port {port} is in use by a stream with another {differences}, expected the same")
            }
        },
    }
}

fn search(host: IpAddr, (first, last): (u16, u16), request: &Request, random: &mut Random) -> Result<Pair, Failure> {
    let even: Vec<u16> = (first..=last).filter(|port| port % 2 == 0).collect();
    let start = random.draw() as usize % even.len().max(1);
    for port in even[start..].iter().chain(&even[..start]) {
        match pair_at(SocketAddr::new(host, *port), request) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => (),
            outcome => return outcome.map_err(|error| other(&error)),
        }
    }
    Err(Failure::Busy(format!("no free pair of ports from {first} to {last}")))
}

/// Lets the system choose a port, and completes it to a pair: even for RTP (RFC 3550 11), the one above for RTCP.
fn take_any(host: IpAddr, request: &Request) -> Result<Pair, Failure> {
    for _ in 0..ATTEMPTS {
        let outcome = any_pair(host, request);
        match outcome {
            Err(error) if error.kind() == ErrorKind::AddrInUse => (),
            outcome => return outcome.map_err(|error| other(&error)),
        }
    }
    Err(Failure::Busy("no free pair of ports".to_owned()))
}

fn any_pair(host: IpAddr, request: &Request) -> io::Result<Pair> {
    let first = open_socket(SocketAddr::new(host, 0), request)?;
    let port = first.local_addr()?.port();
    let beside = |port| open_socket(SocketAddr::new(host, port), request);
    match (port % 2 == 0, request.inbound.rtcp) {
        (true, true) => pair(first, Some(beside(port + 1)?), request.inbound),
        (true, false) => pair(first, None, request.inbound),
        (false, true) => pair(beside(port - 1)?, Some(first), request.inbound),
        (false, false) => pair(beside(port - 1)?, None, request.inbound),
    }
}

fn pair_at(address: SocketAddr, request: &Request) -> io::Result<Pair> {
    let even = open_socket(address, request)?;
    let odd = if request.inbound.rtcp {
        let above = address.port().checked_add(1).ok_or(ErrorKind::AddrInUse)?;
        Some(open_socket(SocketAddr::new(address.ip(), above), request)?)
    } else {
        None
    };
    pair(even, odd, request.inbound)
}

fn pair(even: UdpSocket, odd: Option<UdpSocket>, inbound: Inbound) -> io::Result<Pair> {
    filter(&even, odd.as_ref(), inbound)?;
    Ok(Pair {
        rtp: Arc::new(even),
        rtcp: odd.map(Arc::new),
        ssrcs: Mutex::default(),
    })
}

/// Lets in what is read, and nothing else: the voice of the other side is not ours, and without a reader all would only
/// fill the buffers.
fn filter(even: &UdpSocket, odd: Option<&UdpSocket>, inbound: Inbound) -> io::Result<()> {
    if let Some(odd) = odd {
        let_through(odd, inbound.reads_rtcp())?;
    }
    if inbound.latch {
        return Ok(());
    }
    let_through(even, inbound.reads_mux())
}

/// Lets RTCP in at a socket, or nothing.
pub(crate) fn let_through(socket: &UdpSocket, rtcp: bool) -> io::Result<()> {
    if rtcp {
        let_only_rtcp_through(socket)
    } else {
        let_nothing_through(socket)
    }
}

fn open_socket(address: SocketAddr, request: &Request) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    let class = request.dscp << 2;
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_tos(&socket, class)?,
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            sockopt::set_ipv6_tclass(&socket, u32::from(class))?;
        }
    }
    bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

fn other(error: &io::Error) -> Failure {
    Failure::Other(describe(error))
}
