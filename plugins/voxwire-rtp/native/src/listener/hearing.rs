//! What a datagram means to the streams that listen to its socket. No socket, no clock: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Channel, Ear, Subject};
use crate::rtcp::{BLOCK_BYTES, Compound, Packet, ReportBlock};
use crate::srtp::{Opener, RtpHeader};

/// Packets in a row from an address that nobody announced, before it is believed to be the peer's. A few that strayed,
/// of a call that had the port before, turn no audio away; against whoever sends on and on only a key helps.
const PROBATION: u16 = 4;
/// An address that collided with a stream is remembered for ten intervals of RTCP, so that a loop of our own packets
/// changes the SSRC only once (RFC 3550, section 8.2).
const CONFLICT_TIME: Duration = Duration::from_secs(50);
/// Addresses that are remembered at a time; beyond that an SSRC is not changed.
const CONFLICTS: usize = 4;

/// A stream that is listened for.
pub(super) struct Stream {
    ear: Arc<dyn Ear>,
    pub(super) ssrc: u32,
    /// The peer's address, without the port.
    peer: IpAddr,
    opener: Option<Opener>,
    mux: bool,
    learns_rtp: Option<Probation>,
    learns_rtcp: bool,
    /// Who has reported on the stream last.
    reporter: Option<u32>,
    conflicts: Vec<(SocketAddr, Instant)>,
    /// The sockets that it listens to.
    pub(super) places: [Option<RawFd>; 2],
}

/// The last of the packets in a row from one address.
#[derive(Debug, Clone, Copy)]
struct Probation {
    source: Option<SocketAddr>,
    ssrc: u32,
    sequence: u16,
    packets: u16,
}

/// What the listener has to do after a datagram.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// This stream has another SSRC.
    pub(super) renamed: Option<u64>,
    /// This stream reads nothing more from the socket.
    pub(super) leaves: Option<u64>,
}

impl Stream {
    pub(super) fn new(subject: Subject) -> Self {
        let place = |handle: &super::Handle| handle.as_fd().as_raw_fd();
        Self {
            ear: subject.ear,
            ssrc: subject.ssrc,
            peer: subject.peer.ip().to_canonical(),
            opener: subject.opener,
            mux: subject.mux,
            learns_rtp: subject.latch.then_some(Probation::NONE),
            learns_rtcp: subject.latch && !subject.mux,
            reporter: None,
            conflicts: Vec::new(),
            places: [subject.rtp.as_ref().map(place), subject.rtcp.as_ref().map(place)],
        }
    }

    /// Whether a datagram can be about this stream, whose number is `id`: the one whose key has opened it, or else one
    /// that has none.
    fn is_told_by(&self, id: u64, keyed: Option<u64>) -> bool {
        keyed.map_or(self.opener.is_none(), |keyed| keyed == id)
    }

    /// Another source has our SSRC: true where we give it up.
    fn collide(&mut self, source: SocketAddr, now: Instant) -> bool {
        self.conflicts.retain(|&(_, at)| now.duration_since(at) < CONFLICT_TIME);
        if let Some((_, at)) = self.conflicts.iter_mut().find(|(other, _)| *other == source) {
            *at = now;
            return false;
        }
        if self.conflicts.len() == CONFLICTS {
            return false;
        }
        self.conflicts.push((source, now));
        self.ssrc = self.ear.collide();
        true
    }

    /// Whether this RTP packet tells where the peer is.
    fn learn(&mut self, datagram: &[u8], header: &RtpHeader, source: SocketAddr) -> bool {
        let Some(probation) = &mut self.learns_rtp else {
            return false;
        };
        let believed = match &self.opener {
            Some(opener) => opener.verify_rtp(datagram),
            None => source.ip().to_canonical() == self.peer || probation.pass(header, source),
        };
        if believed {
            self.learns_rtp = None;
            self.peer = source.ip().to_canonical();
            self.ear.latch(Channel::Rtp, source);
        }
        believed
    }
}

impl Probation {
    const NONE: Self = Self {
        source: None,
        ssrc: 0,
        sequence: 0,
        packets: 0,
    };

    /// Counts a packet; true where it was the last that was wanting.
    fn pass(&mut self, header: &RtpHeader, source: SocketAddr) -> bool {
        let follows =
            self.source == Some(source) && self.ssrc == header.ssrc && self.sequence.wrapping_add(1) == header.sequence;
        *self = Self {
            source: Some(source),
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets: if follows { self.packets + 1 } else { 1 },
        };
        self.packets == PROBATION
    }
}

/// The streams that listen to one socket.
pub(super) struct Group {
    /// The socket's own address.
    local: SocketAddr,
    by_ssrc: BTreeMap<u32, u64>,
    /// Those that have a key, by where their RTCP goes.
    by_peer: BTreeMap<SocketAddr, u64>,
    /// Those that were reported on, by who did.
    by_reporter: BTreeSet<(u32, u64)>,
}

impl Group {
    pub(super) fn new(local: SocketAddr) -> Self {
        Self {
            local: canonical(local),
            by_ssrc: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_reporter: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ssrc.len()
    }

    pub(super) fn has(&self, ssrc: u32) -> bool {
        self.by_ssrc.contains_key(&ssrc)
    }

    pub(super) fn join(&mut self, id: u64, subject: &Subject) {
        self.by_ssrc.insert(subject.ssrc, id);
        if subject.opener.is_some() {
            self.by_peer.insert(canonical(subject.peer_rtcp), id);
        }
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.by_ssrc.retain(|_, other| *other != id);
        self.by_peer.retain(|_, other| *other != id);
        self.by_reporter.retain(|&(_, other)| other != id);
    }

    /// A stream has another SSRC. Where another one of this socket has that too, it is not heard here any more.
    pub(super) fn rename(&mut self, id: u64, ssrc: u32) {
        self.by_ssrc.retain(|_, other| *other != id);
        self.by_ssrc.entry(ssrc).or_insert(id);
    }

    /// A datagram has come.
    pub(super) fn hear(
        &mut self,
        streams: &mut BTreeMap<u64, Stream>,
        datagram: &mut [u8],
        source: SocketAddr,
        now: Instant,
    ) -> Outcome {
        // RFC 5761, section 4: the payload types 64 to 95 are left to RTCP where both share a port.
        if matches!(datagram, [_, 192..=223, ..]) {
            self.hear_rtcp(streams, datagram, source, now)
        } else {
            self.hear_rtp(streams, datagram, source, now)
        }
    }

    fn hear_rtcp(
        &mut self,
        streams: &mut BTreeMap<u64, Stream>,
        datagram: &mut [u8],
        source: SocketAddr,
        now: Instant,
    ) -> Outcome {
        // On a socket that is shared the key to try is told by where the datagram came from.
        let addressed = self.only().or_else(|| self.by_peer.get(&canonical(source)).copied());
        let opener = addressed.and_then(|id| streams.get_mut(&id)?.opener.as_mut());
        let (plain, keyed): (&[u8], _) = match opener.map(|opener| opener.open_rtcp(datagram)) {
            Some(Ok(plain)) => (plain, addressed),
            Some(Err(_)) => return Outcome::default(),
            None => (datagram, None),
        };
        let Ok(compound) = Compound::parse(plain) else {
            return Outcome::default();
        };
        let mut outcome = Outcome::default();
        for packet in compound.packets() {
            let renamed = match packet {
                Packet::SenderReport { ssrc, blocks, .. } | Packet::ReceiverReport { ssrc, blocks } => {
                    for block in blocks {
                        self.report(streams, keyed, ssrc, block, source);
                    }
                    self.collide(streams, keyed, ssrc, source, now)
                }
                Packet::SourceDescription(mut chunks) => {
                    chunks.find_map(|chunk| self.collide(streams, keyed, chunk.ssrc, source, now))
                }
                Packet::Goodbye(sources) => {
                    for source in sources {
                        self.part(streams, keyed, u32::from_be_bytes(*source));
                    }
                    None
                }
                Packet::Other(_) => None,
            };
            outcome.renamed = outcome.renamed.or(renamed);
        }
        outcome
    }

    fn report(
        &mut self,
        streams: &mut BTreeMap<u64, Stream>,
        keyed: Option<u64>,
        reporter: u32,
        block: &[u8; BLOCK_BYTES],
        source: SocketAddr,
    ) {
        let block = ReportBlock::read(block);
        let Some((id, stream)) = self.find(streams, keyed, block.ssrc) else {
            return;
        };
        if stream.learns_rtcp && (keyed.is_some() || source.ip().to_canonical() == stream.peer) {
            stream.learns_rtcp = false;
            stream.ear.latch(Channel::Rtcp, source);
        }
        stream.ear.report(&block);
        let former = stream.reporter.replace(reporter);
        if former != Some(reporter) {
            if let Some(former) = former {
                self.by_reporter.remove(&(former, id));
            }
            self.by_reporter.insert((reporter, id));
        }
    }

    /// A source leaves. Nobody has announced the SSRC of the peer: it is whoever has reported on the stream, and told it
    /// to nobody else.
    fn part(&self, streams: &BTreeMap<u64, Stream>, keyed: Option<u64>, source: u32) {
        for &(_, id) in self.by_reporter.range((source, 0)..=(source, u64::MAX)) {
            if let Some(stream) = streams.get(&id).filter(|stream| stream.is_told_by(id, keyed)) {
                stream.ear.goodbye();
            }
        }
    }

    /// Returns the stream that has given up this SSRC.
    fn collide(
        &self,
        streams: &mut BTreeMap<u64, Stream>,
        keyed: Option<u64>,
        ssrc: u32,
        source: SocketAddr,
        now: Instant,
    ) -> Option<u64> {
        let (id, stream) = self.find(streams, keyed, ssrc)?;
        (canonical(source) != self.local && stream.collide(source, now)).then_some(id)
    }

    /// The stream of an SSRC, among those that the datagram can be about.
    fn find<'a>(
        &self,
        streams: &'a mut BTreeMap<u64, Stream>,
        keyed: Option<u64>,
        ssrc: u32,
    ) -> Option<(u64, &'a mut Stream)> {
        let &id = self.by_ssrc.get(&ssrc)?;
        let stream = streams.get_mut(&id)?;
        // By the time of a second packet of the datagram it may have another one.
        (stream.is_told_by(id, keyed) && stream.ssrc == ssrc).then_some((id, stream))
    }

    fn hear_rtp(
        &self,
        streams: &mut BTreeMap<u64, Stream>,
        datagram: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Outcome {
        let (Some(id), Some(header)) = (self.only(), RtpHeader::read(datagram)) else {
            return Outcome::default();
        };
        let Some(stream) = streams.get_mut(&id) else {
            return Outcome::default();
        };
        if !stream.learn(datagram, &header, source) {
            return Outcome::default();
        }
        let collides = header.ssrc == stream.ssrc && canonical(source) != self.local;
        Outcome {
            renamed: (collides && stream.collide(source, now)).then_some(id),
            leaves: (!stream.mux).then_some(id),
        }
    }

    /// The only stream of this socket, where it is not shared.
    fn only(&self) -> Option<u64> {
        match self.by_ssrc.len() {
            1 => self.by_ssrc.values().next().copied(),
            _ => None,
        }
    }
}

/// An IPv4 address as itself, also where it came through a socket of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
