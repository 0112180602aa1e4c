//! The listener over real sockets: who is heard, who is not, and who cannot keep it busy.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use voxwire_rtp::listener::{Channel, Ear, Handle, LISTENER, Listener, Subject, Ticket};
use voxwire_rtp::rtcp::{Cname, ROOM_BYTES, Report, ReportBlock};
use voxwire_rtp::srtp::{EXPANSION_BYTES, MasterKey, Opener, Sealer, Suite};

const SSRC: u32 = 0x1122_3344;
const PEER: u32 = 0xaabb_ccdd;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Held for writing by the test that counts threads, so that no other test has one then.
static THREADS: RwLock<()> = RwLock::new(());

/// What an ear has heard.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// The jitter of the report, which tells reports apart.
    Report(u32),
    Latch(Channel, SocketAddr),
    Goodbye,
    /// The SSRC that was taken.
    Collision(u32),
}

struct Recorder {
    news: Mutex<Sender<News>>,
    /// The next one to take.
    next_ssrc: Mutex<u32>,
}

impl Recorder {
    fn tell(&self, news: News) {
        let _ = self.news.lock().expect("a lock").send(news);
    }
}

impl Ear for Recorder {
    fn report(&self, block: &ReportBlock) {
        self.tell(News::Report(block.jitter));
    }

    fn latch(&self, channel: Channel, peer: SocketAddr) {
        self.tell(News::Latch(channel, peer));
    }

    fn goodbye(&self) {
        self.tell(News::Goodbye);
    }

    fn collide(&self) -> u32 {
        let mut next = self.next_ssrc.lock().expect("a lock");
        *next += 1;
        self.tell(News::Collision(*next));
        *next
    }
}

/// A stream with its sockets, its peer's, and what it hears.
struct Call {
    rtp: Arc<UdpSocket>,
    rtcp: Arc<UdpSocket>,
    peer_rtp: UdpSocket,
    peer_rtcp: UdpSocket,
    news: Receiver<News>,
    ticket: Option<Ticket>,
    _thread: RwLockReadGuard<'static, ()>,
}

/// How a call differs from the usual.
#[derive(Default)]
struct Manner {
    ssrc: Option<u32>,
    latch: bool,
    mux: bool,
    key: Option<MasterKey>,
    /// Of the peer, if it announces another one than it has.
    announced: Option<SocketAddr>,
    /// The socket of the peer's RTCP, if another stream has the same peer.
    peer_control: Option<UdpSocket>,
    shared: Option<Arc<UdpSocket>>,
}

fn bound(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).expect("a socket")
}

impl Call {
    fn new(manner: Manner) -> Self {
        Self::over("127.0.0.1", manner)
    }

    fn over(address: &str, manner: Manner) -> Self {
        let thread = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let data = manner.shared.unwrap_or_else(|| Arc::new(bound(address)));
        let control = Arc::new(bound(address));
        let peer_data = bound(address);
        let peer_control = manner.peer_control.unwrap_or_else(|| bound(address));
        let (sender, news) = channel();
        let ssrc = manner.ssrc.unwrap_or(SSRC);
        let ear = Recorder {
            news: Mutex::new(sender),
            next_ssrc: Mutex::new(ssrc),
        };
        let handle = |socket: &Arc<UdpSocket>| Arc::clone(socket) as Handle;
        let ticket = LISTENER
            .listen(Subject {
                ear: Arc::new(ear),
                ssrc,
                peer: manner.announced.unwrap_or_else(|| local(&peer_data)),
                peer_rtcp: local(&peer_control),
                rtp: (manner.latch || manner.mux).then(|| handle(&data)),
                rtcp: (!manner.mux).then(|| handle(&control)),
                latch: manner.latch,
                mux: manner.mux,
                opener: manner.key.map(|key| Opener::new(Suite::AesCm128HmacSha1_80, &key)),
            })
            .expect("a listener");
        Self {
            rtp: data,
            rtcp: control,
            peer_rtp: peer_data,
            peer_rtcp: peer_control,
            news,
            ticket: Some(ticket),
            _thread: thread,
        }
    }

    fn next(&self) -> News {
        self.news.recv_timeout(TIMEOUT).expect("news")
    }

    /// Nothing that was sent before to the same socket has been news: this report is the next.
    fn has_heard_nothing(&self) {
        send(&self.peer_rtcp, &self.rtcp, &report(SSRC, 4711));
        assert_eq!(self.next(), News::Report(4711));
    }
}

fn local(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("an address")
}

fn send(from: &UdpSocket, to: &UdpSocket, datagram: &[u8]) {
    from.send_to(datagram, local(to)).expect("sent");
}

/// A receiver report on one source.
fn report(about: u32, jitter: u32) -> Vec<u8> {
    let words = [0x81c9_0007, PEER, about, 0, 0, jitter, 0, 0];
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// What a source says that has the given SSRC.
fn said_by(ssrc: u32) -> Vec<u8> {
    said(ssrc, false)
}

/// The goodbye of a source.
fn goodbye_of(ssrc: u32) -> Vec<u8> {
    said(ssrc, true)
}

fn said(ssrc: u32, goodbye: bool) -> Vec<u8> {
    let mut room = [0; ROOM_BYTES];
    let report = Report {
        ssrc,
        cname: &Cname::new("somebody").expect("a name"),
        sent: None,
        goodbye,
    };
    let length = report.write(&mut room);
    room[..length].to_vec()
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xff; 160]);
    packet
}

fn key(byte: u8) -> MasterKey {
    MasterKey::new(&[byte; 30]).expect("30 bytes")
}

fn sealed(sealer: &mut Sealer, datagram: &[u8]) -> Vec<u8> {
    let mut room = [datagram, &[0; EXPANSION_BYTES]].concat();
    let rtcp = matches!(datagram[1], 192..=223);
    let length = if rtcp {
        sealer.seal_rtcp(&mut room, datagram.len())
    } else {
        sealer.seal_rtp(&mut room, datagram.len())
    };
    room.truncate(length.expect("a good packet"));
    room
}

/// How many threads of this process read RTCP.
fn threads() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("threads")
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "voxwire-rtcp")
        .count()
}

/// A thread that was waited for is listed a moment longer.
fn no_thread_is_left() {
    let begin = Instant::now();
    while threads() > 0 {
        assert!(begin.elapsed() < TIMEOUT, "a thread is left");
        thread::yield_now();
    }
}

#[test]
fn reports_on_the_stream_are_heard_from_any_port() {
    let call = Call::new(Manner::default());
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC, 1));
    send(&call.peer_rtp, &call.rtcp, &report(SSRC, 2));
    assert_eq!(call.next(), News::Report(1));
    assert_eq!(call.next(), News::Report(2));
}

#[test]
fn what_is_no_report_on_the_stream_is_not_heard() {
    let call = Call::new(Manner::default());
    let whole = report(SSRC, 1);
    let mut counts_too_many = whole.clone();
    counts_too_many[0] = 0x9f;
    let mut too_long = whole.clone();
    too_long.extend(whole.repeat(100));
    for datagram in [
        &[][..],
        &[0x80],
        &whole[..31],
        &counts_too_many,
        &too_long,
        &report(!SSRC, 1),
        &said_by(PEER),
        &rtp(SSRC, 1),
        // STUN, and bytes of nothing.
        &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0],
        &[0xff; 1500],
    ] {
        send(&call.peer_rtcp, &call.rtcp, datagram);
    }
    call.has_heard_nothing();
}

#[test]
fn a_report_on_many_streams_reaches_each_of_them() {
    let shared = Arc::new(bound("127.0.0.1"));
    let calls = [SSRC, SSRC + 1, SSRC + 2].map(|ssrc| {
        Call::new(Manner {
            ssrc: Some(ssrc),
            mux: true,
            shared: Some(Arc::clone(&shared)),
            ..Manner::default()
        })
    });
    let blocks: Vec<u8> = (0..31)
        .flat_map(|about| report(SSRC + about, about)[8..].to_vec())
        .collect();
    let datagram = [&[0x9f, 0xc9, 0, 187, 1, 2, 3, 4][..], &blocks].concat();
    send(&calls[0].peer_rtp, &shared, &datagram);
    for (about, call) in (0..).zip(&calls) {
        assert_eq!(call.next(), News::Report(about));
    }
}

#[test]
fn with_rtcp_mux_reports_come_where_audio_does() {
    let call = Call::new(Manner {
        mux: true,
        ..Manner::default()
    });
    for sequence in 0..10 {
        send(&call.peer_rtp, &call.rtp, &rtp(PEER, sequence));
    }
    send(&call.peer_rtp, &call.rtp, &report(SSRC, 1));
    assert_eq!(call.next(), News::Report(1));
}

#[test]
fn with_rtcp_mux_the_socket_is_read_on_once_the_peer_is_known() {
    let call = Call::new(Manner {
        mux: true,
        latch: true,
        ..Manner::default()
    });
    send(&call.peer_rtp, &call.rtp, &report(SSRC, 1));
    assert_eq!(call.next(), News::Report(1));
    send(&call.peer_rtp, &call.rtp, &rtp(SSRC, 1));
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&call.peer_rtp)));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
    send(&call.peer_rtp, &call.rtp, &rtp(SSRC + 1, 2));
    send(&call.peer_rtp, &call.rtp, &report(SSRC + 1, 2));
    assert_eq!(call.next(), News::Report(2));
}

#[test]
fn the_first_packet_from_the_announced_host_tells_its_port() {
    let call = Call::new(Manner {
        latch: true,
        announced: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
        ..Manner::default()
    });
    // What is no RTP tells nothing.
    for datagram in [&[][..], &[0; 200], &rtp(PEER, 1)[..11], &report(PEER, 1)] {
        send(&call.peer_rtcp, &call.rtp, datagram);
    }
    send(&call.peer_rtp, &call.rtp, &rtp(PEER, 1));
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&call.peer_rtp)));
    send(&call.peer_rtcp, &call.rtp, &rtp(PEER, 2));
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC, 1));
    assert_eq!(call.next(), News::Latch(Channel::Rtcp, local(&call.peer_rtcp)));
    assert_eq!(call.next(), News::Report(1));
    send(&call.peer_rtp, &call.rtcp, &report(SSRC, 2));
    assert_eq!(call.next(), News::Report(2));
}

#[test]
fn another_host_is_believed_after_four_packets_in_a_row() {
    let call = Call::new(Manner {
        latch: true,
        announced: Some(SocketAddr::from(([192, 0, 2, 1], 9))),
        ..Manner::default()
    });
    let stranger = bound("127.0.0.1");
    // Out of order, of another source, from another port: each begins anew.
    for sequence in [65_530, 65_531, 65_532, 65_534] {
        send(&stranger, &call.rtp, &rtp(PEER, sequence));
    }
    send(&stranger, &call.rtp, &rtp(!PEER, 65_535));
    for sequence in [65_535, 0, 1] {
        send(&stranger, &call.rtp, &rtp(PEER, sequence));
    }
    for sequence in 0..4 {
        send(&call.peer_rtp, &call.rtp, &rtp(PEER, sequence));
    }
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&call.peer_rtp)));
}

#[test]
fn without_the_key_nobody_is_the_peer() {
    let call = Call::new(Manner {
        latch: true,
        key: Some(key(1)),
        announced: Some(SocketAddr::from(([192, 0, 2, 1], 9))),
        ..Manner::default()
    });
    let stranger = bound("127.0.0.1");
    let mut wrong = Sealer::new(Suite::AesCm128HmacSha1_80, &key(2));
    let mut right = Sealer::new(Suite::AesCm128HmacSha1_80, &key(1));
    for sequence in 0..8 {
        send(&stranger, &call.rtp, &rtp(PEER, sequence));
        send(&stranger, &call.rtp, &sealed(&mut wrong, &rtp(PEER, sequence)));
    }
    send(&call.peer_rtp, &call.rtp, &sealed(&mut right, &rtp(PEER, 9)));
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&call.peer_rtp)));

    let once = sealed(&mut right, &report(SSRC, 1));
    send(&stranger, &call.rtcp, &report(SSRC, 2));
    send(&stranger, &call.rtcp, &sealed(&mut wrong, &report(SSRC, 3)));
    send(&call.peer_rtcp, &call.rtcp, &once);
    // Recorded and sent once more.
    send(&stranger, &call.rtcp, &once);
    send(&call.peer_rtcp, &call.rtcp, &sealed(&mut right, &report(SSRC, 4)));
    assert_eq!(call.next(), News::Latch(Channel::Rtcp, local(&call.peer_rtcp)));
    assert_eq!(call.next(), News::Report(1));
    assert_eq!(call.next(), News::Report(4));
}

#[test]
fn streams_of_one_socket_are_told_apart() {
    let shared = Arc::new(bound("127.0.0.1"));
    let manner = |ssrc, key| Manner {
        ssrc: Some(ssrc),
        mux: true,
        key,
        latch: true,
        shared: Some(Arc::clone(&shared)),
        ..Manner::default()
    };
    let plain = Call::new(manner(SSRC, None));
    let keyed = Call::new(manner(SSRC + 1, Some(key(1))));
    // Whose peer sends here? Nobody knows, so nobody's audio goes there.
    send(&plain.peer_rtp, &shared, &rtp(PEER, 1));
    send(&plain.peer_rtp, &shared, &report(SSRC, 1));
    assert_eq!(plain.next(), News::Report(1));
    // Of the one that has a key only its peer tells something, and about no other.
    send(&plain.peer_rtp, &shared, &report(SSRC + 1, 2));
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &key(1));
    send(&keyed.peer_rtcp, &shared, &sealed(&mut sealer, &report(SSRC, 3)));
    send(&keyed.peer_rtcp, &shared, &sealed(&mut sealer, &report(SSRC + 1, 4)));
    assert_eq!(keyed.next(), News::Report(4));
    send(&plain.peer_rtp, &shared, &report(SSRC, 5));
    assert_eq!(plain.next(), News::Report(5));
    // The one that stays is heard on.
    drop(keyed);
    send(&plain.peer_rtp, &shared, &report(SSRC, 6));
    assert_eq!(plain.next(), News::Report(6));
}

#[test]
fn two_streams_of_one_socket_have_two_ssrcs() {
    let shared = Arc::new(bound("127.0.0.1"));
    let first = Call::new(Manner {
        mux: true,
        shared: Some(Arc::clone(&shared)),
        ..Manner::default()
    });
    let (sender, _news) = channel();
    let refusal = LISTENER.listen(Subject {
        ear: Arc::new(Recorder {
            news: Mutex::new(sender),
            next_ssrc: Mutex::new(0),
        }),
        ssrc: SSRC,
        peer: local(&first.peer_rtp),
        peer_rtcp: local(&first.peer_rtcp),
        rtp: Some(shared),
        rtcp: None,
        latch: false,
        mux: true,
        opener: None,
    });
    let error = refusal.err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        error.to_string(),
        "SSRC 0x11223344 is in use at that port, expected another"
    );
    send(&first.peer_rtp, &first.rtp, &report(SSRC, 1));
    assert_eq!(first.next(), News::Report(1));
}

#[test]
fn who_has_our_ssrc_makes_us_take_another() {
    let call = Call::new(Manner::default());
    send(&call.peer_rtcp, &call.rtcp, &said_by(SSRC));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC, 1));
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC + 1, 2));
    assert_eq!(call.next(), News::Report(2));
    // A loop of what we send changes nothing more.
    send(&call.peer_rtcp, &call.rtcp, &said_by(SSRC + 1));
    // Neither do our own packets where they come back to us.
    send(&call.rtcp, &call.rtcp, &said_by(SSRC + 1));
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC + 1, 3));
    assert_eq!(call.next(), News::Report(3));
    // Others may collide as well, but not for ever.
    let others: Vec<_> = (0..5).map(|_| bound("127.0.0.1")).collect();
    for (ssrc, other) in (SSRC + 1..).zip(&others) {
        send(other, &call.rtcp, &said_by(ssrc));
    }
    for ssrc in SSRC + 2..=SSRC + 4 {
        assert_eq!(call.next(), News::Collision(ssrc));
    }
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC + 4, 4));
    assert_eq!(call.next(), News::Report(4));
}

#[test]
fn who_has_reported_may_leave() {
    let shared = Arc::new(bound("127.0.0.1"));
    let manner = |ssrc, key| Manner {
        ssrc: Some(ssrc),
        mux: true,
        key,
        shared: Some(Arc::clone(&shared)),
        ..Manner::default()
    };
    let call = Call::new(manner(SSRC, None));
    let keyed = Call::new(manner(SSRC + 1, Some(key(1))));
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &key(1));
    send(&call.peer_rtp, &shared, &goodbye_of(PEER));
    send(&call.peer_rtp, &shared, &report(SSRC, 1));
    send(&keyed.peer_rtcp, &shared, &sealed(&mut sealer, &report(SSRC + 1, 1)));
    for jitter in [2, 3] {
        send(&call.peer_rtp, &shared, &goodbye_of(!PEER));
        send(&call.peer_rtp, &shared, &goodbye_of(PEER));
        // Both in one datagram.
        let words = [0x80cb_0000_u32, 0x81cb_0001, PEER];
        let goodbye: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        send(&call.peer_rtp, &shared, &[report(SSRC, jitter), goodbye].concat());
    }
    // From now on it has another SSRC.
    let mut changed = report(SSRC, 4);
    changed[4..8].copy_from_slice(&(PEER + 1).to_be_bytes());
    send(&call.peer_rtp, &shared, &changed);
    send(&call.peer_rtp, &shared, &goodbye_of(PEER));
    send(&call.peer_rtp, &shared, &goodbye_of(PEER + 1));
    let heard: Vec<_> = (0..8).map(|_| call.next()).collect();
    let expected = [
        News::Report(1),
        News::Goodbye,
        News::Report(2),
        News::Goodbye,
        News::Goodbye,
        News::Report(3),
        News::Goodbye,
        News::Report(4),
    ];
    assert_eq!(heard, expected);
    assert_eq!(call.next(), News::Goodbye);
    // Of all that the other one has heard what it could believe.
    send(&keyed.peer_rtcp, &shared, &sealed(&mut sealer, &goodbye_of(PEER)));
    assert_eq!(keyed.next(), News::Report(1));
    assert_eq!(keyed.next(), News::Goodbye);
    assert!(keyed.news.try_recv().is_err());
}

#[test]
fn without_a_key_only_hosts_of_the_peer_are_heard() {
    let call = Call::new(Manner::default());
    let stranger = bound("127.0.0.2");
    let parting = [0x81cb_0001_u32, PEER].map(u32::to_be_bytes).concat();
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC, 1));
    assert_eq!(call.next(), News::Report(1));
    for datagram in [
        said_by(SSRC),
        goodbye_of(PEER),
        report(SSRC, 2),
        [report(SSRC, 3), parting].concat(),
    ] {
        send(&stranger, &call.rtcp, &datagram);
    }
    call.has_heard_nothing();

    // RTCP may come from where it was said to be sent to.
    let call = Call::new(Manner {
        announced: Some(SocketAddr::from(([127, 0, 0, 3], 9))),
        ..Manner::default()
    });
    call.has_heard_nothing();
    send(&call.peer_rtcp, &call.rtcp, &said_by(SSRC));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
    let (other, stranger) = (bound("127.0.0.3"), bound("127.0.0.4"));
    send(&stranger, &call.rtcp, &said_by(SSRC + 1));
    send(&other, &call.rtcp, &said_by(SSRC + 1));
    assert_eq!(call.next(), News::Collision(SSRC + 2));

    // With a key it is the peer wherever it is.
    let call = Call::new(Manner {
        key: Some(key(1)),
        ..Manner::default()
    });
    let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &key(1));
    send(&stranger, &call.rtcp, &sealed(&mut sealer, &report(SSRC, 5)));
    assert_eq!(call.next(), News::Report(5));
    send(&stranger, &call.rtcp, &sealed(&mut sealer, &said_by(SSRC)));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
}

#[test]
fn until_its_address_is_known_a_peer_may_report_from_anywhere() {
    let call = Call::new(Manner {
        latch: true,
        ..Manner::default()
    });
    let (real, stranger) = (bound("127.0.0.2"), bound("127.0.0.3"));
    // Whose SSRC that is nobody knows.
    send(&real, &call.rtcp, &said_by(SSRC));
    send(&real, &call.rtcp, &report(SSRC, 1));
    assert_eq!(call.next(), News::Report(1));
    for sequence in 0..4 {
        send(&real, &call.rtp, &rtp(PEER, sequence));
    }
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&real)));
    send(&stranger, &call.rtcp, &report(SSRC, 2));
    send(&stranger, &call.rtcp, &goodbye_of(PEER));
    send(&real, &call.rtcp, &report(SSRC, 3));
    assert_eq!(call.next(), News::Latch(Channel::Rtcp, local(&real)));
    assert_eq!(call.next(), News::Report(3));
    send(&real, &call.rtcp, &said_by(SSRC));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
}

#[test]
fn a_datagram_that_guesses_is_not_read_on() {
    let call = Call::new(Manner::default());
    let about = |ssrcs: &[u32]| {
        let blocks: Vec<u8> = ssrcs
            .iter()
            .flat_map(|&ssrc| report(ssrc, ssrc)[8..].to_vec())
            .collect();
        let head = [0x80 | ssrcs.len() as u8, 201, 0, 1 + 6 * ssrcs.len() as u8];
        [&head[..], &PEER.to_be_bytes(), &blocks].concat()
    };
    send(&call.peer_rtcp, &call.rtcp, &about(&[1, 2, 3, 4, 5, 6, 7, SSRC]));
    assert_eq!(call.next(), News::Report(SSRC));
    send(&call.peer_rtcp, &call.rtcp, &about(&[1, 2, 3, 4, 5, 6, 7, 8, SSRC]));
    call.has_heard_nothing();
    // Neither are goodbyes behind it.
    let sources: Vec<u8> = (0..30).chain([PEER]).flat_map(u32::to_be_bytes).collect();
    let goodbyes = [
        &[0x80, 201, 0, 1][..],
        &PEER.to_be_bytes(),
        &[0x9f, 203, 0, 31],
        &sources,
    ]
    .concat();
    send(&call.peer_rtcp, &call.rtcp, &goodbyes);
    call.has_heard_nothing();
}

#[test]
fn a_datagram_may_collide_with_several_streams_of_a_socket() {
    let shared = Arc::new(bound("127.0.0.1"));
    let calls = [SSRC, SSRC + 100, SSRC + 200].map(|ssrc| {
        Call::new(Manner {
            ssrc: Some(ssrc),
            mux: true,
            shared: Some(Arc::clone(&shared)),
            ..Manner::default()
        })
    });
    // A report of one, and descriptions of the others.
    let mut datagram = [0x80c9_0001, SSRC].map(u32::to_be_bytes).concat();
    datagram.extend(
        [0x82ca_0004, SSRC + 100, 0, SSRC + 200, 0]
            .map(u32::to_be_bytes)
            .concat(),
    );
    send(&calls[0].peer_rtp, &shared, &datagram);
    for (ssrc, call) in [SSRC, SSRC + 100, SSRC + 200].into_iter().zip(&calls) {
        assert_eq!(call.next(), News::Collision(ssrc + 1));
        send(&call.peer_rtp, &shared, &report(ssrc + 1, 1));
        assert_eq!(call.next(), News::Report(1));
    }
}

#[test]
fn streams_of_one_socket_may_have_the_same_peer_with_a_key_each() {
    let shared = Arc::new(bound("127.0.0.1"));
    let manner = |ssrc, byte| Manner {
        ssrc: Some(ssrc),
        mux: true,
        key: Some(key(byte)),
        shared: Some(Arc::clone(&shared)),
        ..Manner::default()
    };
    let first = Call::new(manner(SSRC, 1));
    let second = Call::new(Manner {
        peer_control: Some(first.peer_rtcp.try_clone().expect("a socket")),
        ..manner(SSRC + 1, 2)
    });
    for (ssrc, byte, call) in [(SSRC, 1, &first), (SSRC + 1, 2, &second)] {
        let mut sealer = Sealer::new(Suite::AesCm128HmacSha1_80, &key(byte));
        send(&call.peer_rtcp, &shared, &sealed(&mut sealer, &report(ssrc, 1)));
        assert_eq!(call.next(), News::Report(1));
    }
}

#[test]
fn a_description_and_a_first_packet_can_collide_too() {
    let call = Call::new(Manner {
        latch: true,
        ..Manner::default()
    });
    send(&call.peer_rtp, &call.rtp, &rtp(SSRC, 1));
    assert_eq!(call.next(), News::Latch(Channel::Rtp, local(&call.peer_rtp)));
    assert_eq!(call.next(), News::Collision(SSRC + 1));
    let mut described = said_by(SSRC + 1);
    described[4..8].copy_from_slice(&PEER.to_be_bytes());
    send(&call.peer_rtcp, &call.rtcp, &described);
    assert_eq!(call.next(), News::Collision(SSRC + 2));
}

#[test]
fn peers_of_both_families_are_heard() {
    if UdpSocket::bind("[::1]:0").is_err() {
        // A system without IPv6.
        return;
    }
    let call = Call::over("::1", Manner::default());
    call.has_heard_nothing();

    // Through a socket of both families an address of IPv4 looks like one of IPv6.
    let call = Call::over(
        "::",
        Manner {
            latch: true,
            announced: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
            ..Manner::default()
        },
    );
    let peer = bound("127.0.0.1");
    peer.send_to(&rtp(PEER, 1), ("127.0.0.1", local(&call.rtp).port()))
        .expect("sent");
    let News::Latch(Channel::Rtp, found) = call.next() else {
        panic!("no address was learned");
    };
    // As our socket has to send to it.
    call.rtp.send_to(&[1], found).expect("sent");
    let (length, _) = peer.recv_from(&mut [0; 16]).expect("received");
    assert_eq!((length, found.port()), (1, local(&peer).port()));
}

#[test]
fn a_flood_at_one_socket_leaves_the_others_alone() {
    let flooded = Call::new(Manner::default());
    let other = Call::new(Manner::default());
    let begin = Instant::now();
    // As many as the system keeps, and then as many as it drops.
    for _ in 0..2000 {
        send(&flooded.peer_rtcp, &flooded.rtcp, &report(SSRC, 0));
    }
    other.has_heard_nothing();
    let heard = flooded.news.try_iter().count() as u64;
    // 36 in each second that has begun, however many they are on a slow machine.
    let seconds = begin.elapsed().as_secs() + 1;
    assert!(heard <= 36 * seconds, "{heard} of a flood in {seconds} s");
    // And it goes on when that second is over.
    for _ in 0..40 {
        assert_eq!(flooded.next(), News::Report(0));
    }
}

#[test]
fn who_has_left_is_not_told_anything() {
    let mut call = Call::new(Manner::default());
    call.has_heard_nothing();
    call.ticket = None;
    send(&call.peer_rtcp, &call.rtcp, &report(SSRC, 1));
    // The ear is gone with it.
    assert!(call.news.recv().is_err());
}

#[test]
fn the_thread_lives_while_there_are_streams() {
    static ALONE: Listener = Listener::new();
    let alone = THREADS.write().unwrap_or_else(PoisonError::into_inner);
    let listen = || {
        let socket = Arc::new(bound("127.0.0.1"));
        let (sender, news) = channel();
        let ticket = ALONE.listen(Subject {
            ear: Arc::new(Recorder {
                news: Mutex::new(sender),
                next_ssrc: Mutex::new(0),
            }),
            ssrc: SSRC,
            peer: local(&socket),
            peer_rtcp: local(&socket),
            rtp: None,
            rtcp: Some(Arc::clone(&socket) as Handle),
            latch: false,
            mux: false,
            opener: None,
        });
        (socket, news, ticket.expect("a listener"))
    };
    no_thread_is_left();
    for _ in 0..3 {
        let first = listen();
        let second = listen();
        drop(first);
        let peer = bound("127.0.0.1");
        send(&peer, &second.0, &report(SSRC, 1));
        assert_eq!(second.1.recv_timeout(TIMEOUT), Ok(News::Report(1)));
        assert_eq!(threads(), 1);
        drop(second);
        no_thread_is_left();
    }
    // Coming and going at the same time.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| drop(listen())));
        }
    });
    no_thread_is_left();
    drop(alone);
}
