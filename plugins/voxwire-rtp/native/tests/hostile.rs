//! Whole streams over real sockets, and peers that one would rather not have.

mod room;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use room::calls::plan;
use voxwire_rtp::opening::{Opened, Plan, open};
use voxwire_rtp::rtcp::{BLOCK_BYTES, Cname, Compound, Packet, ROOM_BYTES, Report, ReportBlock, SOURCE_BYTES};
use voxwire_rtp::srtp::{EXPANSION_BYTES, MasterKey, Opener, Sealer, Suite};
use voxwire_rtp::stream::{Heard, Peer, Stream};
use voxwire_sink::Wake;

const TIMEOUT: Duration = Duration::from_secs(20);
const SUITE: Suite = Suite::AesCm128HmacSha1_80;
/// Frames of a packet.
const FRAMES: u32 = 160;

/// An open stream and the sockets of its peer.
struct Call {
    opened: Option<Opened>,
    data: UdpSocket,
    control: UdpSocket,
    /// Where the stream sends from.
    to_data: SocketAddr,
    to_control: SocketAddr,
}

/// What of an RTP packet is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a time limit");
    socket
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("an address")
}

impl Call {
    /// Opens a stream of PCMU that says one packet and then sends silence without end.
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let call = Self::silent(change);
        call.speak();
        call
    }

    /// Opens a stream that has nothing to say yet.
    fn silent(change: impl FnOnce(&mut Plan)) -> Self {
        let (data, control) = (bound(), bound());
        let mut plan = plan(Peer {
            rtp: address(&data),
            rtcp: Some(address(&control)),
        });
        change(&mut plan);
        let (_, writer) = UnixStream::pair().expect("a pair of sockets");
        writer.set_nonblocking(true).expect("a socket that does not block");
        let opened = open("sink 'rtp:'".to_owned(), plan, Wake::new(OwnedFd::from(writer))).expect("a stream");
        let local = opened.stream.local;
        Self {
            opened: Some(opened),
            data,
            control,
            to_data: local,
            to_control: SocketAddr::new(local.ip(), local.port() + 1),
        }
    }

    fn stream(&self) -> &Stream {
        &self.opened.as_ref().expect("it is open").stream
    }

    fn speak(&self) {
        let speech = [0x55; FRAMES as usize];
        self.stream().queue.write(&speech).expect("an open queue");
    }

    fn heard(&self) -> Option<Heard> {
        self.stream().heard()
    }

    /// The next packet of audio.
    fn receive(&self) -> (Seen, Vec<u8>) {
        receive(&self.data)
    }

    /// What the peer's control socket gets next.
    fn receive_control(&self) -> Vec<u8> {
        let mut room = [0; 2048];
        let length = self.control.recv(&mut room).expect("a report");
        room[..length].to_vec()
    }

    /// Tells the stream what a receiver says, again and again, until that was heard.
    fn tell(&self, jitter: u32, mut datagram: impl FnMut() -> Vec<u8>) -> Heard {
        let begin = Instant::now();
        loop {
            self.control.send_to(&datagram(), self.to_control).expect("sent");
            thread::sleep(Duration::from_millis(5));
            match self.heard() {
                Some(heard) if heard.block.jitter == jitter => return heard,
                _ => assert!(begin.elapsed() < TIMEOUT, "no report was heard"),
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.close();
        }
    }
}

fn receive(socket: &UdpSocket) -> (Seen, Vec<u8>) {
    let mut room = [0; 2048];
    let length = socket.recv(&mut room).expect("a packet");
    let seen = Seen {
        marker: room[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([room[2], room[3]]),
        timestamp: u32::from_be_bytes([room[4], room[5], room[6], room[7]]),
        ssrc: u32::from_be_bytes([room[8], room[9], room[10], room[11]]),
    };
    (seen, room[..length].to_vec())
}

/// A receiver report on one source.
fn report_on(ssrc: u32, jitter: u32, last_report: u32) -> Vec<u8> {
    let words = [0x81c9_0007, 0xaabb_ccdd, ssrc, 0, 0, jitter, last_report, 0];
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// What a source says that has the given SSRC.
fn said_by(ssrc: u32) -> Vec<u8> {
    let mut room = [0; ROOM_BYTES];
    let report = Report {
        ssrc,
        cname: &Cname::new("another").expect("a name"),
        sent: None,
        goodbye: false,
    };
    let length = report.write(&mut room);
    room[..length].to_vec()
}

/// The SSRCs that report and that leave, in a datagram of ours.
fn speakers(datagram: &[u8]) -> (u32, Vec<u32>) {
    let compound = Compound::parse(datagram).expect("a good datagram");
    let mut speaker = 0;
    let mut leaving = Vec::new();
    for packet in compound.packets() {
        match packet {
            Packet::SenderReport { ssrc, .. } | Packet::ReceiverReport { ssrc, .. } => speaker = ssrc,
            Packet::Goodbye(sources) => leaving.extend(sources.iter().copied().map(u32::from_be_bytes)),
            Packet::SourceDescription(_) | Packet::Other(_) => (),
        }
    }
    (speaker, leaving)
}

#[test]
fn a_flood_of_anything_changes_no_packet() {
    let call = Call::new(|_| ());
    let (mut last, _) = call.receive();
    let ssrc = last.ssrc;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let stranger = bound();
                let junk = [
                    vec![],
                    vec![0x80],
                    vec![0xff; 1400],
                    said_by(1),
                    report_on(!ssrc, 9, 0),
                    [&[0x9f, 0xc9, 0, 187][..], &[0x55; SOURCE_BYTES + 31 * BLOCK_BYTES]].concat(),
                    [&[0x80, 0, 0, 1][..], &[0; 168]].concat(),
                ];
                while !over.load(Ordering::Relaxed) {
                    for datagram in &junk {
                        let _ = stranger.send_to(datagram, call.to_control);
                        let _ = stranger.send_to(datagram, call.to_data);
                    }
                }
            });
        }
        for _ in 0..50 {
            let (seen, packet) = call.receive();
            assert_eq!((seen.ssrc, packet.len()), (ssrc, 172));
            assert_eq!(seen.sequence, last.sequence.wrapping_add(1));
            // A machine that is busy with the flood may lose slots, but never its place in time.
            let step = seen.timestamp.wrapping_sub(last.timestamp);
            assert_eq!(step % FRAMES, 0);
            assert_eq!(seen.marker, step != FRAMES);
            last = seen;
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(call.heard().is_none());
    let heard = call.tell(7, || report_on(ssrc, 7, 0));
    assert_eq!(heard.round_trip_ns, None);
}

#[test]
fn a_collision_ends_one_source_and_begins_another() {
    let call = Call::new(|plan| plan.sequence = Some(65_530));
    let (first, _) = call.receive();
    call.tell(1, || report_on(first.ssrc, 1, 0));
    call.control
        .send_to(&said_by(first.ssrc), call.to_control)
        .expect("sent");
    let mut last = first;
    let changed = loop {
        let (seen, _) = call.receive();
        if seen.ssrc != first.ssrc {
            break seen;
        }
        last = seen;
    };
    assert!(changed.marker);
    // Another source has a sequence of its own, far from where it begins anew (RFC 3711 3.3.1).
    assert!(changed.sequence < 1 << 15);
    assert_eq!(changed.timestamp.wrapping_sub(last.timestamp) % FRAMES, 0);
    // On a busy machine behind an ordinary report.
    let (speaker, leaving) = loop {
        let (speaker, leaving) = speakers(&call.receive_control());
        if !leaving.is_empty() {
            break (speaker, leaving);
        }
    };
    assert_eq!((speaker, leaving), (first.ssrc, vec![first.ssrc]));
    let (next, _) = call.receive();
    assert_eq!(next.marker, next.timestamp.wrapping_sub(changed.timestamp) != FRAMES);
    // What was said of the old one is not said of the new one.
    assert!(call.heard().is_none());
    call.control
        .send_to(&report_on(first.ssrc, 2, 0), call.to_control)
        .expect("sent");
    call.tell(3, || report_on(next.ssrc, 3, 0));
}

#[test]
fn a_source_that_never_spoke_leaves_without_a_word() {
    let call = Call::silent(|plan| plan.ssrc = Some(77));
    call.control.send_to(&said_by(77), call.to_control).expect("sent");
    let begin = Instant::now();
    while call.stream().counters.collisions.get() == 0 {
        assert!(begin.elapsed() < TIMEOUT, "no collision");
        thread::yield_now();
    }
    call.speak();
    let (Seen { ssrc, .. }, _) = call.receive();
    assert_ne!(ssrc, 77);
    assert_eq!(speakers(&call.receive_control()), (ssrc, vec![]));
}

#[test]
fn a_round_trip_is_measured_by_the_stream_itself() {
    let call = Call::new(|_| ());
    let (first, _) = call.receive();
    let datagram = call.receive_control();
    let compound = Compound::parse(&datagram).expect("a good datagram");
    let Some(Packet::SenderReport { ssrc, info, .. }) = compound.packets().next() else {
        panic!("no sender report");
    };
    assert_eq!(ssrc, first.ssrc);
    assert_eq!(info.octets, info.packets * FRAMES);
    // The packet of the slot has left before: the clock stands within it, or later on a busy machine.
    let ahead = info.rtp_timestamp.wrapping_sub(first.timestamp);
    assert!(
        (info.packets - 1) * FRAMES <= ahead && ahead < info.packets * FRAMES + 80_000,
        "{ahead}"
    );
    let heard = call.tell(5, || report_on(ssrc, 5, info.at.middle()));
    let round_trip = heard.round_trip_ns.map(Duration::from_nanos);
    assert!(round_trip.is_some_and(|time| time < TIMEOUT), "{round_trip:?}");
    // Of a report that was never sent.
    let heard = call.tell(6, || report_on(ssrc, 6, info.at.middle().wrapping_add(1 << 30)));
    assert_eq!(heard.round_trip_ns, None);
}

#[test]
fn with_keys_only_the_peer_is_believed() {
    let [ours, theirs] = [1, 2].map(|byte| MasterKey::new(&[byte; 30]).expect("30 bytes"));
    let call = Call::new(|plan| {
        plan.protection = Some((SUITE, ours.clone()));
        plan.peer_protection = Some((SUITE, theirs.clone()));
    });
    let mut opener = Opener::new(SUITE, &ours);
    let (first, packet) = call.receive();
    assert_eq!(packet.len(), 182);
    assert!(opener.verify_rtp(&packet));
    assert_ne!(packet[12..172], [0x55; 160]);
    // Whose first packets are lost must not lose count of the rounds.
    assert!(first.sequence < 1 << 15);

    let plain = report_on(first.ssrc, 1, 0);
    for _ in 0..10 {
        call.control.send_to(&plain, call.to_control).expect("sent");
    }
    let mut sealer = Sealer::new(SUITE, &theirs);
    let mut protected = |jitter| {
        let plain = report_on(first.ssrc, jitter, 0);
        let mut room = [plain.as_slice(), &[0; EXPANSION_BYTES]].concat();
        let length = sealer.seal_rtcp(&mut room, plain.len()).expect("a good packet");
        room.truncate(length);
        room
    };
    call.tell(2, || protected(2));
    assert_eq!(call.heard().map(|heard| heard.block.jitter), Some(2));

    let mut datagram = call.receive_control();
    assert_eq!(datagram.len(), 28 + 4 + 4 + 2 + 8 + 2 + 14);
    let plain = opener.open_rtcp(&mut datagram).expect("our own report");
    assert_eq!(speakers(plain), (first.ssrc, vec![]));
}

/// Bytes that wait at a port of this machine until somebody reads them.
fn waiting(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/udp").expect("the list of sockets");
    let ours = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, local) = fields.next()?.split_once(':')?;
        let (_, received) = fields.nth(2)?.split_once(':')?;
        (u16::from_str_radix(local, 16) == Ok(port)).then(|| usize::from_str_radix(received, 16).expect("a number"))
    });
    ours.sum()
}

#[test]
fn with_a_key_of_its_own_alone_it_believes_nobody() {
    for mux in [false, true] {
        let call = Call::new(|plan| {
            plan.protection = Some((SUITE, MasterKey::new(&[1; 30]).expect("30 bytes")));
            plan.mux = mux;
        });
        let targets = &[call.to_data, call.to_control][..if mux { 1 } else { 2 }];
        let (first, _) = call.receive();
        for _ in 0..10 {
            for datagram in [report_on(first.ssrc, 1, 0), said_by(first.ssrc)] {
                for target in targets {
                    call.control.send_to(&datagram, target).expect("sent");
                }
            }
            let (seen, _) = call.receive();
            assert_eq!(seen.ssrc, first.ssrc);
        }
        assert!(call.heard().is_none());
        // And nothing of it is kept for nobody.
        for target in targets {
            assert_eq!(waiting(target.port()), 0);
        }
    }
}

#[test]
fn a_peer_that_reports_again_has_not_left() {
    let call = Call::new(|_| ());
    let (first, _) = call.receive();
    let goodbye = [0x81cb_0001, 0xaabb_ccdd_u32].map(u32::to_be_bytes).concat();
    call.tell(1, || [report_on(first.ssrc, 1, 0), goodbye.clone()].concat());
    let begin = Instant::now();
    while !call.stream().peer_left() {
        assert!(begin.elapsed() < TIMEOUT, "no goodbye");
        thread::yield_now();
    }
    call.tell(2, || report_on(first.ssrc, 2, 0));
    // The report and what it means are told one behind the other.
    while call.stream().peer_left() {
        assert!(begin.elapsed() < TIMEOUT, "gone for ever");
        thread::yield_now();
    }
}

#[test]
fn audio_follows_the_peer_that_was_learned() {
    let real = bound();
    let call = Call::new(|plan| plan.latch = true);
    call.receive();
    let words = [0x8000_0001_u32, 0, 0xaabb_ccdd];
    let packet: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    real.send_to(&packet, call.to_data).expect("sent");
    let (first, _) = receive(&real);
    // Whoever comes later is not believed.
    call.data.send_to(&packet, call.to_data).expect("sent");
    for step in 1..10 {
        let (seen, _) = receive(&real);
        assert_eq!(seen.sequence, first.sequence.wrapping_add(step));
        assert!(!seen.marker || seen.timestamp.wrapping_sub(first.timestamp) > u32::from(step) * FRAMES);
    }
}

#[test]
fn numbers_of_a_liar_are_only_numbers() {
    let call = Call::new(|_| ());
    let (first, _) = call.receive();
    let lie = ReportBlock {
        ssrc: first.ssrc,
        fraction_lost: 255,
        lost: -(1 << 23),
        highest_sequence: u32::MAX,
        jitter: u32::MAX,
        last_report: u32::MAX,
        delay: u32::MAX,
    };
    let mut datagram = report_on(first.ssrc, u32::MAX, u32::MAX);
    datagram[12..20].copy_from_slice(&[255, 0x80, 0, 0, 255, 255, 255, 255]);
    datagram[28..].fill(255);
    let heard = call.tell(u32::MAX, || datagram.clone());
    assert_eq!(heard.block, lie);
    assert_eq!(heard.round_trip_ns, None);
}
