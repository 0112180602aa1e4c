//! Ports, and what comes in at them.

mod room;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use room::calls::{Far, call, plan, try_call};
use rustix::net::sockopt;
use voxwire_rtp::opening::read_address;
use voxwire_rtp::random::Random;
use voxwire_rtp::sockets::{Failure, Inbound, Request, Sockets, open};
use voxwire_rtp::system::{BATCH, Destination, Mailer};

const REPORTS: Inbound = Inbound {
    rtcp: true,
    mux: false,
    latch: false,
    deaf: false,
};

fn request(inbound: Inbound) -> Request {
    Request {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 5004)),
        bind: None,
        ports: None,
        inbound,
        dscp: 46,
    }
}

fn opened(request: &Request) -> Sockets {
    match open(request, &mut Random::new(1)) {
        Ok(sockets) => sockets,
        Err(failure) => panic!("{failure}"),
    }
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("an address").port()
}

/// A free even port with a free one above it.
fn free_port() -> u16 {
    port(&opened(&request(REPORTS)).rtp)
}

#[test]
fn rtp_has_an_even_port_and_rtcp_the_one_above() {
    for _ in 0..50 {
        let sockets = opened(&request(REPORTS));
        let even = port(&sockets.rtp);
        assert_eq!(even % 2, 0);
        assert_eq!(port(sockets.rtcp.as_ref().expect("a second socket")), even + 1);
        assert_eq!(sockets.local, SocketAddr::from((Ipv4Addr::LOCALHOST, even)));
    }
    let alone = opened(&request(Inbound { rtcp: false, ..REPORTS }));
    assert_eq!(port(&alone.rtp) % 2, 0);
    assert!(alone.rtcp.is_none());
}

#[test]
fn a_range_gives_each_its_pair_until_it_is_used_up() {
    let first = free_port();
    let wanted = Request {
        ports: Some((first, first.saturating_add(5))),
        ..request(REPORTS)
    };
    let mut pairs = Vec::new();
    let failure = loop {
        match open(&wanted, &mut Random::new(3)) {
            Ok(sockets) => pairs.push(sockets),
            Err(failure) => break failure,
        }
    };
    assert!((1..=3).contains(&pairs.len()), "{} pairs", pairs.len());
    assert!(matches!(&failure, Failure::Busy(_)));
    assert_eq!(
        failure.to_string(),
        format!("no free pair of ports from {first} to {}", first + 5)
    );
}

#[test]
fn one_port_is_shared_by_those_that_want_the_same_of_it() {
    let first = free_port();
    let wanted = Request {
        ports: Some((first, first)),
        ..request(REPORTS)
    };
    let one = opened(&wanted);
    let other = opened(&wanted);
    assert!(std::sync::Arc::ptr_eq(&one.rtp, &other.rtp));
    let others = [
        (Request { dscp: 0, ..wanted }, "dscp"),
        (
            Request {
                inbound: Inbound { rtcp: false, ..REPORTS },
                ..wanted
            },
            "rtcp",
        ),
        (
            Request {
                inbound: Inbound { latch: true, ..REPORTS },
                dscp: 0,
                ..wanted
            },
            "dscp and latch",
        ),
        (
            Request {
                bind: Some(Ipv4Addr::LOCALHOST.into()),
                ..wanted
            },
            "bind",
        ),
    ];
    for (differs, options) in others {
        let failure = open(&differs, &mut Random::new(1)).expect_err("a port in use");
        assert!(matches!(&failure, Failure::Busy(_)));
        assert_eq!(
            failure.to_string(),
            format!("port {first} is in use by a stream with another {options}, expected the same")
        );
    }
    drop((one, other));
    let latching = others[2].0;
    let one = opened(&latching);
    assert_eq!(port(&one.rtp), first, "it is free again");
    let failure = open(&latching, &mut Random::new(1)).expect_err("a port in use");
    assert_eq!(
        failure.to_string(),
        format!("port {first} is in use by a stream, expected another port with latch")
    );
    drop(one);
    let _stranger = UdpSocket::bind(("0.0.0.0", first)).expect("a socket");
    let failure = open(&wanted, &mut Random::new(1)).expect_err("a port in use");
    assert_eq!(failure.to_string(), format!("port {first} is in use"));
}

#[test]
fn packets_have_their_class() {
    let sockets = opened(&request(REPORTS));
    assert_eq!(sockopt::ip_tos(&sockets.rtp).expect("an option"), 0xB8);
    let peer = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 5004));
    let sockets = opened(&Request {
        peer,
        ..request(REPORTS)
    });
    assert_eq!(sockopt::ipv6_tclass(&sockets.rtp).expect("an option"), 0xB8);
    assert!(sockets.local.is_ipv6());
}

#[test]
fn only_what_is_wanted_comes_in() {
    let (speech, report) = ([0x80_u8, 0, 0, 1], [0x80_u8, 200, 0, 1]);
    let arrives = |inbound: Inbound| {
        let sockets = opened(&request(inbound));
        let far = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for datagram in [&speech[..], &report, &[0x80], &speech] {
            far.send_to(datagram, sockets.local).expect("a datagram");
        }
        let mut room = [0; 16];
        let mut seen = Vec::new();
        while let Ok(length) = sockets.rtp.recv(&mut room) {
            seen.push(room[..length].to_vec());
        }
        seen
    };
    assert_eq!(arrives(REPORTS), Vec::<Vec<u8>>::new());
    assert_eq!(
        arrives(Inbound {
            mux: true,
            rtcp: false,
            ..REPORTS
        }),
        [report]
    );
    assert_eq!(arrives(Inbound { latch: true, ..REPORTS }).len(), 4);
}

#[test]
fn nothing_comes_in_that_nobody_can_believe() {
    let first = free_port();
    let deaf = Request {
        ports: Some((first, first)),
        ..request(Inbound { deaf: true, ..REPORTS })
    };
    let hearing = Request {
        inbound: REPORTS,
        ..deaf
    };
    let far = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let arrives = |sockets: &Sockets| {
        let control = sockets.rtcp.as_ref().expect("a second socket");
        for datagram in [[0x80_u8, 200, 0, 1], [0x80, 0, 0, 1]] {
            for port in [first, first + 1] {
                far.send_to(&datagram, ("127.0.0.1", port)).expect("a datagram");
            }
        }
        let mut room = [0; 16];
        let mut count = |socket: &UdpSocket| (0..9).take_while(|_| socket.recv(&mut room).is_ok()).count();
        (count(&sockets.rtp), count(control))
    };
    let one = opened(&deaf);
    assert_eq!(arrives(&one), (0, 0));
    // Who shares it with one that hears hears nothing less, whoever comes then.
    let other = opened(&hearing);
    assert_eq!(arrives(&one), (0, 1));
    let third = opened(&deaf);
    assert_eq!(arrives(&third), (0, 1));
    drop((one, other, third));

    let muxed = opened(&request(Inbound {
        rtcp: false,
        mux: true,
        deaf: true,
        ..REPORTS
    }));
    far.send_to(&[0x80, 200, 0, 1], muxed.local).expect("a datagram");
    assert!(muxed.rtp.recv(&mut [0; 16]).is_err());
}

#[test]
fn an_address_without_a_way_is_refused() {
    let mut wanted = request(REPORTS);
    wanted.peer = SocketAddr::from(([255, 255, 255, 255], 5004));
    let failure = open(&wanted, &mut Random::new(1)).expect_err("no way");
    assert!(
        failure.to_string().starts_with("no way to 255.255.255.255:5004: "),
        "{failure}"
    );
    assert!(!failure.to_string().contains("os error"), "{failure}");
}

#[test]
fn datagrams_of_a_batch_go_to_their_own_destinations() {
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let ends = [Far::new(), Far::new()];
    let destinations: Vec<Destination> = ends.iter().map(|far| Destination::from(far.peer().rtp)).collect();
    let bytes: Vec<u8> = (0..100).collect();
    let datagrams = || (0..100).map(|index| (&bytes[..=index], &destinations[index % 2]));
    let mut mailer = Mailer::new();
    assert_eq!(mailer.send(&sender, datagrams()).expect("a batch"), BATCH);
    assert_eq!(
        mailer.send(&sender, datagrams().skip(BATCH)).expect("a batch"),
        100 - BATCH
    );
    let mut room = [0; 200];
    for index in 0..100 {
        let length = ends[index % 2].data.recv(&mut room).expect("a datagram in time");
        assert_eq!(room[..length], bytes[..=index]);
    }
}

#[test]
fn streams_that_share_a_port_send_from_it() {
    let first = free_port();
    let ends = [Far::new(), Far::new()];
    let calls: Vec<_> = ends
        .iter()
        .map(|far| {
            let mut plan = plan(far.peer());
            plan.ports = Some((first, first));
            let (opened, wakes) = call(plan);
            opened.stream.queue.write(&[1; 1600]).expect("an open queue");
            (opened, wakes)
        })
        .collect();
    for far in &ends {
        let mut sequences = Vec::new();
        for _ in 0..10 {
            let (packet, source) = far.receive_from();
            assert_eq!(source.port(), first);
            assert_eq!(packet.payload, [1; 160]);
            sequences.push(packet.sequence);
        }
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    }
    for (opened, _) in calls {
        opened.close();
    }
}

#[test]
fn an_ssrc_that_a_port_has_is_refused() {
    let first = free_port();
    let far = Far::new();
    let wanted = || {
        let mut plan = plan(far.peer());
        (plan.ports, plan.ssrc) = (Some((first, first)), Some(7));
        plan
    };
    let (opened, _wakes) = call(wanted());
    let failure = try_call(wanted()).err().expect("an SSRC in use");
    assert!(failure.to_string().contains("is in use at that port"), "{failure}");
    opened.close();
}

#[test]
fn an_ssrc_that_a_port_has_is_refused_where_nobody_listens_too() {
    let first = free_port();
    let far = Far::new();
    let silent = || {
        let mut plan = plan(far.peer());
        (plan.ports, plan.ssrc, plan.peer.rtcp) = (Some((first, first)), Some(7), None);
        plan
    };
    let (opened, _wakes) = call(silent());
    let failure = try_call(silent()).err().expect("an SSRC in use");
    assert_eq!(
        failure.to_string(),
        "ssrc 0x00000007 is in use at that port, expected another"
    );
    let mut other = silent();
    other.ssrc = Some(8);
    let (beside, _wakes) = call(other);
    // It is free again with the stream that had it.
    opened.close();
    let (opened, _wakes) = call(silent());
    opened.close();
    beside.close();
}

#[test]
fn addresses_are_numeric() {
    let spelled = |host| read_address(host, 5004).map(|address| address.to_string());
    assert_eq!(spelled("192.0.2.7").as_deref(), Some("192.0.2.7:5004"));
    assert_eq!(spelled("2001:db8::7").as_deref(), Some("[2001:db8::7]:5004"));
    assert_eq!(spelled("fe80::1%3").as_deref(), Some("[fe80::1%3]:5004"));
    assert_eq!((spelled("example"), spelled("")), (None, None));
}
