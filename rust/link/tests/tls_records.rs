//! What an open session takes: every cut, every size, new keys, tickets, alerts, and the end.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first wrong step")]

mod common;

use common::forger::{ALERT, APPLICATION_DATA, Forger, HANDSHAKE};
use common::{Client, Pair, pattern, settings};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedProtocolVersion};
use voxwire_link::tls::TlsError;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// RFC 8446 section 4.6.3, and whether an answer is wanted.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// A client whose handshake is done and whose tickets have come, and the records of its server.
fn forged(version: &'static SupportedProtocolVersion) -> (Client, Forger) {
    let (config, server) = settings(&[version], |server| server.enable_secret_extraction = true);
    let mut pair = Pair::established(&config, &server);
    pair.hear().unwrap();
    assert!(pair.client.waiting.is_empty());
    (pair.client, Forger::new(pair.server))
}

fn failed(outcome: Result<(), TlsError>, reason: &str) {
    let Err(TlsError::Failed(text)) = outcome else {
        panic!("must have failed: {outcome:?}");
    };
    assert!(text.contains(reason), "{text}");
}

#[test]
fn a_stream_is_the_same_at_every_cut() {
    for version in VERSIONS {
        let (config, server) = settings(&[version], |_| {});
        let size = {
            let mut pair = Pair::established(&config, &server);
            pair.wire.clear();
            pair.say(&pattern(100));
            pair.say(b"b");
            pair.wire.len()
        };
        for cut in 0..=size {
            let mut pair = Pair::established(&config, &server);
            pair.hear().unwrap();
            pair.say(&pattern(100));
            pair.say(b"b");
            let wire = std::mem::take(&mut pair.wire);
            pair.client.receive(&wire[..cut]).unwrap();
            // The same once more, with nothing new.
            pair.client.receive(&[]).unwrap();
            pair.client.receive(&wire[cut..]).unwrap();
            assert_eq!(pair.client.plain, [&pattern(100)[..], b"b"].concat(), "cut at {cut}");
            assert!(pair.client.waiting.is_empty());
        }
    }
}

#[test]
fn an_incomplete_record_is_not_consumed() {
    let (mut client, mut forger) = forged(&TLS13);
    let wire = [
        forger.seal(APPLICATION_DATA, &pattern(16_384)),
        forger.seal(APPLICATION_DATA, b"tail"),
    ];
    client.receive(&[&wire[0][..], &wire[1][..9]].concat()).unwrap();
    assert_eq!(client.plain, pattern(16_384));
    assert_eq!(client.waiting, &wire[1][..9]);
    client.receive(&wire[1][9..]).unwrap();
    assert_eq!(&client.plain[16_384..], b"tail");
}

#[test]
fn every_suite_carries_many_records_in_one_read() {
    for (version, suite) in [
        (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (&TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|offered| offered.suite() == suite);
        let authority = common::Authority::new();
        let leaf = authority.issue(common::HOST, |_| {});
        let server = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain.clone(), leaf.private_key())
            .unwrap();
        let mut pair = Pair::established(&authority.client(), &server.into());
        assert_eq!(pair.server.negotiated_cipher_suite().unwrap().suite(), suite);
        let sound = pattern(300_000);
        pair.say(&sound);
        pair.hear().unwrap();
        assert_eq!(pair.client.plain, sound);
    }
}

#[test]
fn records_may_be_full_or_empty_but_not_longer() {
    for version in VERSIONS {
        let (mut client, mut forger) = forged(version);
        let wire = [
            forger.seal(APPLICATION_DATA, b""),
            forger.seal(APPLICATION_DATA, &pattern(16_384)),
            forger.seal(APPLICATION_DATA, b""),
            forger.seal(APPLICATION_DATA, b"a"),
        ];
        client.receive(&wire.concat()).unwrap();
        assert_eq!(client.plain, [&pattern(16_384)[..], b"a"].concat());
        failed(
            client.receive(&forger.seal(APPLICATION_DATA, &pattern(16_385))),
            "longer than TLS allows",
        );
        assert!(!client.outgoing.is_empty());
    }
}

#[test]
fn endless_empty_records_end() {
    let (mut client, mut forger) = forged(&TLS13);
    let wire: Vec<u8> = (0..100).flat_map(|_| forger.seal(APPLICATION_DATA, b"")).collect();
    failed(client.receive(&wire), "too many empty fragments");
}

#[test]
fn new_keys_are_followed_and_answered() {
    let (config, server) = settings(&[&TLS13], |_| {});
    let mut pair = Pair::established(&config, &server);
    for round in 0..100_u8 {
        // It asks for new keys of ours as well, which come before our next data (RFC 8446 section 4.6.3).
        pair.server.refresh_traffic_keys().unwrap();
        pair.say(&[round]);
        pair.hear().unwrap();
        assert_eq!(pair.client.plain, [round]);
        pair.client.plain.clear();
        pair.client.tls.send(&[round], &mut pair.client.outgoing).unwrap();
        assert_eq!(pair.heard(), [round]);
    }
}

#[test]
fn a_key_update_needs_no_answer_of_ours_at_once() {
    for update in [KEY_UPDATE, KEY_UPDATE_REQUESTED] {
        let (mut client, mut forger) = forged(&TLS13);
        let sealed = forger.seal(HANDSHAKE, &update);
        for byte in sealed {
            client.receive(&[byte]).unwrap();
        }
        assert!(client.waiting.is_empty());
        // What is sealed with the old keys is no longer understood.
        failed(
            client.receive(&forger.seal(APPLICATION_DATA, b"a")),
            "cannot be decrypted",
        );
    }
}

#[test]
fn endless_key_updates_end() {
    let (config, server) = settings(&[&TLS13], |_| {});
    let mut pair = Pair::established(&config, &server);
    pair.hear().unwrap();
    for _ in 0..100 {
        pair.server.refresh_traffic_keys().unwrap();
        pair.flush();
        let Err(error) = pair.hear() else { continue };
        failed(Err(error), "too many key update requests");
        assert!(pair.client.outgoing.len() < 200);
        return;
    }
    panic!("no end");
}

#[test]
fn tickets_may_come_at_any_time_in_any_pieces() {
    let (mut client, mut forger) = forged(&TLS13);
    let ticket = pattern(500);
    let body = [&[0, 0, 1, 0, 1, 2, 3, 4, 1, 9, 1, 0xf4][..], &ticket, &[0, 0]].concat();
    let message = [&[4, 0, 2, 2][..], &body].concat();
    assert_eq!(body.len(), 0x202);
    let pieces = [&message[..1], &message[1..4], &message[4..300], &message[300..]];
    for (index, piece) in pieces.into_iter().enumerate() {
        let wire = forger.seal(HANDSHAKE, piece);
        let (head, tail) = wire.split_at(wire.len() / 2);
        client.receive(head).unwrap();
        client.tls.send(b"in between", &mut client.outgoing).unwrap();
        client.receive(tail).unwrap();
        client.tls.send(b"in between", &mut client.outgoing).unwrap();
        assert_eq!(client.waiting.is_empty(), index == 3);
    }
    client.receive(&forger.seal(APPLICATION_DATA, b"sound")).unwrap();
    assert_eq!(client.plain, b"sound");
}

#[test]
fn a_message_of_the_handshake_is_not_interrupted() {
    let (mut client, mut forger) = forged(&TLS13);
    client.receive(&forger.seal(HANDSHAKE, &[4, 0, 2])).unwrap();
    failed(
        client.receive(&forger.seal(APPLICATION_DATA, b"a")),
        "message interleaved with handshake message",
    );
}

#[test]
fn an_endless_ticket_ends() {
    let (mut client, mut forger) = forged(&TLS13);
    client.receive(&forger.seal(HANDSHAKE, &[4, 0, 0xff, 0xff])).unwrap();
    for _ in 0..1000 {
        if let Err(error) = client.receive(&forger.seal(HANDSHAKE, &pattern(50))) {
            return failed(Err(error), "a handshake message of more than");
        }
        assert!(client.waiting.len() <= voxwire_link::tls::MAX_UNCONSUMED_BYTES);
    }
    panic!("no end");
}

#[test]
fn renegotiation_is_refused_and_repeated_it_ends_the_session() {
    const HELLO_REQUEST: [u8; 4] = [0; 4];
    let (mut client, mut forger) = forged(&TLS12);
    client.outgoing.clear();
    client.receive(&forger.seal(HANDSHAKE, &HELLO_REQUEST)).unwrap();
    // A warning, encrypted: two bytes, explicit nonce and tag.
    assert_eq!(client.outgoing.len(), 5 + 8 + 2 + 16);
    assert_eq!(client.outgoing[0], ALERT);
    client.receive(&forger.seal(APPLICATION_DATA, b"sound")).unwrap();
    assert_eq!(client.plain, b"sound");
    failed(
        client.receive(&forger.seal(HANDSHAKE, &HELLO_REQUEST)),
        "too many renegotiation requests",
    );
    let (mut client, mut forger) = forged(&TLS13);
    failed(client.receive(&forger.seal(HANDSHAKE, &HELLO_REQUEST)), "");
}

#[test]
fn warnings_are_passed_over_but_not_without_end() {
    // user_canceled is the one that TLS 1.3 keeps (RFC 8446 section 6.1).
    for version in VERSIONS {
        let (mut client, mut forger) = forged(version);
        client.receive(&forger.seal(ALERT, &[1, 90])).unwrap();
        client.receive(&forger.seal(APPLICATION_DATA, b"sound")).unwrap();
        assert_eq!(client.plain, b"sound");
        let wire: Vec<u8> = (0..10).flat_map(|_| forger.seal(ALERT, &[1, 90])).collect();
        failed(client.receive(&wire), "too many warning alerts");
    }
}

#[test]
fn a_fatal_alert_is_named_after_what_came_before_it() {
    for version in VERSIONS {
        let (mut client, mut forger) = forged(version);
        let wire = [forger.seal(APPLICATION_DATA, b"sound"), forger.seal(ALERT, &[2, 80])];
        failed(client.receive(&wire.concat()), "the alert internal error");
        assert_eq!(client.plain, b"sound");
    }
}

#[test]
fn a_changed_bit_is_noticed_and_the_peer_is_told() {
    for version in VERSIONS {
        let (config, server) = settings(&[version], |_| {});
        let mut pair = Pair::established(&config, &server);
        pair.hear().unwrap();
        pair.say(b"sound");
        let last = pair.wire.len() - 1;
        pair.wire[last] ^= 1;
        failed(pair.hear(), "cannot be decrypted");
        assert!(pair.client.plain.is_empty());
        let told = pair.serve().unwrap_err();
        assert_eq!(
            told,
            rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)
        );
    }
}

#[test]
fn garbage_amid_a_session_ends_it() {
    let (mut client, _) = forged(&TLS13);
    failed(
        client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "something else than TLS",
    );
}

#[test]
fn the_end_is_told_apart_and_nothing_after_it_counts() {
    for version in VERSIONS {
        let (mut client, mut forger) = forged(version);
        let wire = [
            forger.seal(APPLICATION_DATA, b"sound"),
            forger.seal(ALERT, &[1, 0]),
            forger.seal(APPLICATION_DATA, b"more"),
        ];
        client.receive(&wire.concat()).unwrap();
        assert!(client.closed);
        assert_eq!(client.plain, b"sound");
        assert!(client.waiting.is_empty());
        client.receive(b"no TLS at all").unwrap();
        assert!(client.closed && client.waiting.is_empty());
        assert_eq!(client.plain, b"sound");
    }
}

#[test]
fn either_side_may_close_first() {
    for version in VERSIONS {
        for peer_first in [false, true] {
            let (config, server) = settings(&[version], |_| {});
            let mut pair = Pair::established(&config, &server);
            pair.hear().unwrap();
            if peer_first {
                pair.server.send_close_notify();
                pair.flush();
                pair.hear().unwrap();
                assert!(pair.client.closed);
                // TLS 1.3 lets us speak on (RFC 8446 section 6.1).
                pair.client.tls.send(b"last", &mut pair.client.outgoing).unwrap();
            }
            pair.client.tls.close(&mut pair.client.outgoing);
            let said = pair.client.outgoing.len();
            pair.client.tls.close(&mut pair.client.outgoing);
            assert_eq!(pair.client.outgoing.len(), said);
            assert!(pair.client.tls.send(b"too late", &mut pair.client.outgoing).is_err());
            assert_eq!(pair.client.outgoing.len(), said);
            let heard = pair.heard();
            assert_eq!(heard, if peer_first { &b"last"[..] } else { b"" });
            assert!(pair.server.process_new_packets().unwrap().peer_has_closed());
            if !peer_first {
                // What the peer still says after our close counts.
                pair.say(b"sound");
                pair.server.send_close_notify();
                pair.flush();
                pair.hear().unwrap();
                assert_eq!(pair.client.plain, b"sound");
                assert!(pair.client.closed);
            }
        }
    }
}

#[test]
fn what_is_sent_is_cut_into_records() {
    for version in VERSIONS {
        let (config, server) = settings(&[version], |_| {});
        let mut pair = Pair::established(&config, &server);
        for size in [0, 1, 16_383, 16_384, 16_385, 200_000] {
            let sound = pattern(size);
            pair.client.tls.send(&sound, &mut pair.client.outgoing).unwrap();
            assert_eq!(pair.heard(), sound);
        }
    }
}
