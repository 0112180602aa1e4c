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
/// SSRCs of a datagram that nobody here has or may be told of, before the rest of it is not heeded. A peer names itself
/// in each packet, and us; more than that is guessing, which a port with many streams would make easy.
const STRANGERS: u32 = 8;

/// A stream that is listened for.
pub(super) struct Stream {
    ear: Arc<dyn Ear>,
    pub(super) ssrc: u32,
    /// Where the peer's RTP and its RTCP come from: what was announced, until it was learned.
    hosts: [IpAddr; 2],
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
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// These streams have other SSRCs.
    pub(super) renamed: Vec<u64>,
    /// This stream reads nothing more from the socket.
    pub(super) leaves: Option<u64>,
}

impl Stream {
    pub(super) fn new(subject: Subject) -> Self {
        let place = |handle: &super::Handle| handle.as_fd().as_raw_fd();
        Self {
            ear: subject.ear,
            ssrc: subject.ssrc,
            hosts: [subject.peer, subject.peer_rtcp].map(|address| address.ip().to_canonical()),
            opener: subject.opener,
            mux: subject.mux,
            learns_rtp: subject.latch.then_some(Probation::NONE),
            learns_rtcp: subject.latch && !subject.mux,
            reporter: None,
            conflicts: Vec::new(),
            places: [subject.rtp.as_ref().map(place), subject.rtcp.as_ref().map(place)],
        }
    }

    /// Whether the peer of this stream, whose number is `id`, has sent the datagram: it was made with the peer's key, or
    /// where there is none comes from a host of the peer. Anybody else who learned or guessed the SSRC could otherwise
    /// change it, or say goodbye.
    fn is_told_by_peer(&self, id: u64, heard: &Heard<'_>) -> bool {
        match heard.keyed {
            Some(keyed) => keyed == id,
            None => self.opener.is_none() && self.hosts.contains(&heard.source.ip().to_canonical()),
        }
    }

    /// Whether the peer may have sent it: while its address is still to be learned also from another host. What is
    /// believed then does not touch what is sent.
    fn may_be_told_by(&self, id: u64, heard: &Heard<'_>) -> bool {
        let learns = heard.keyed.is_none() && self.opener.is_none() && self.learns_rtp.is_some();
        learns || self.is_told_by_peer(id, heard)
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
            None => source.ip().to_canonical() == self.hosts[0] || probation.pass(header, source),
        };
        if believed {
            self.learns_rtp = None;
            self.hosts[0] = source.ip().to_canonical();
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

/// A datagram of RTCP, and what it has done so far.
struct Heard<'a> {
    streams: &'a mut BTreeMap<u64, Stream>,
    /// The stream whose key has opened it.
    keyed: Option<u64>,
    source: SocketAddr,
    now: Instant,
    /// SSRCs that meant nothing.
    strangers: u32,
    renamed: Vec<u64>,
}

/// The streams that listen to one socket.
pub(super) struct Group {
    /// The socket's own address.
    local: SocketAddr,
    by_ssrc: BTreeMap<u32, u64>,
    /// Those that have a key, by where their RTCP goes.
    by_peer: BTreeSet<(SocketAddr, u64)>,
    /// Those that were reported on, by who did.
    by_reporter: BTreeSet<(u32, u64)>,
}

impl Group {
    pub(super) fn new(local: SocketAddr) -> Self {
        Self {
            local: canonical(local),
            by_ssrc: BTreeMap::new(),
            by_peer: BTreeSet::new(),
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
            self.by_peer.insert((canonical(subject.peer_rtcp), id));
        }
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.by_ssrc.retain(|_, other| *other != id);
        self.by_peer.retain(|&(_, other)| other != id);
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
        let Some((plain, keyed)) = self.open(streams, datagram, source) else {
            return Outcome::default();
        };
        let Ok(compound) = Compound::parse(plain) else {
            return Outcome::default();
        };
        let mut heard = Heard {
            streams,
            keyed,
            source,
            now,
            strangers: 0,
            renamed: Vec::new(),
        };
        for packet in compound.packets() {
            match packet {
                Packet::SenderReport { ssrc, blocks, .. } | Packet::ReceiverReport { ssrc, blocks } => {
                    for block in blocks {
                        self.report(&mut heard, ssrc, block);
                    }
                    self.collide(&mut heard, ssrc);
                }
                Packet::SourceDescription(chunks) => chunks.for_each(|chunk| self.collide(&mut heard, chunk.ssrc)),
                Packet::Goodbye(sources) => {
                    for source in sources {
                        self.part(&mut heard, u32::from_be_bytes(*source));
                    }
                }
                Packet::Other(_) => (),
            }
        }
        Outcome {
            renamed: heard.renamed,
            leaves: None,
        }
    }

    /// The plain text of a datagram, with the stream whose key has opened it; None for a forgery. On a socket that is
    /// shared the keys to try are told by where it came from.
    fn open<'a>(
        &self,
        streams: &mut BTreeMap<u64, Stream>,
        datagram: &'a mut [u8],
        source: SocketAddr,
    ) -> Option<(&'a [u8], Option<u64>)> {
        let source = canonical(source);
        let addressed = self.by_peer.range((source, 0)..=(source, u64::MAX));
        let mut plain = true;
        for id in self.only().into_iter().chain(addressed.map(|&(_, id)| id)) {
            if let Some(opener) = streams.get_mut(&id).and_then(|stream| stream.opener.as_mut()) {
                plain = false;
                if let Ok(length) = opener.open_rtcp(datagram).map(<[u8]>::len) {
                    return Some((&datagram[..length], Some(id)));
                }
            }
        }
        plain.then_some((datagram, None))
    }

    fn report(&mut self, heard: &mut Heard<'_>, reporter: u32, block: &[u8; BLOCK_BYTES]) {
        let block = ReportBlock::read(block);
        let Some(id) = self.find(heard, block.ssrc, Stream::may_be_told_by) else {
            return;
        };
        let Some(stream) = heard.streams.get_mut(&id) else {
            return;
        };
        if stream.learns_rtcp && (heard.keyed.is_some() || stream.hosts.contains(&heard.source.ip().to_canonical())) {
            stream.learns_rtcp = false;
            stream.hosts[1] = heard.source.ip().to_canonical();
            stream.ear.latch(Channel::Rtcp, heard.source);
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
    fn part(&self, heard: &mut Heard<'_>, source: u32) {
        if heard.strangers == STRANGERS {
            return;
        }
        let mut known = false;
        for &(_, id) in self.by_reporter.range((source, 0)..=(source, u64::MAX)) {
            if let Some(stream) = heard.streams.get(&id).filter(|stream| stream.may_be_told_by(id, heard)) {
                stream.ear.goodbye();
                known = true;
            }
        }
        heard.strangers += u32::from(!known);
    }

    /// Whoever has sent the datagram has that SSRC: the stream that has it too gives it up.
    fn collide(&self, heard: &mut Heard<'_>, ssrc: u32) {
        let Some(id) = self.find(heard, ssrc, Stream::is_told_by_peer) else {
            return;
        };
        let (source, now) = (heard.source, heard.now);
        let stream = heard.streams.get_mut(&id).filter(|_| canonical(source) != self.local);
        if stream.is_some_and(|stream| stream.collide(source, now)) {
            heard.renamed.push(id);
        }
    }

    /// The stream of an SSRC, if the datagram can be about it.
    fn find(&self, heard: &mut Heard<'_>, ssrc: u32, believes: fn(&Stream, u64, &Heard<'_>) -> bool) -> Option<u64> {
        if heard.strangers == STRANGERS {
            return None;
        }
        let id = self.by_ssrc.get(&ssrc).copied().filter(|id| {
            // By the time of a second packet of the datagram it may have another one.
            let stream = heard.streams.get(id).filter(|stream| stream.ssrc == ssrc);
            stream.is_some_and(|stream| believes(stream, *id, heard))
        });
        heard.strangers += u32::from(id.is_none());
        id
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
            renamed: Vec::from_iter((collides && stream.collide(source, now)).then_some(id)),
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
