//! Who is trusted, what both sides agree on, and what a handshake does not stumble over.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first wrong step")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{Authority, Client, Folder, HOST, Pair, pattern, settings};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use voxwire_link::tls::{ConfigError, Tls, TlsConfig, TlsError, TlsFiles};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn untrusted(outcome: Result<(), TlsError>, reason: &str) {
    let Err(TlsError::Untrusted(text)) = outcome else {
        panic!("must be untrusted: {outcome:?}");
    };
    assert!(text.contains(reason), "{text}");
}

fn failed(outcome: Result<(), TlsError>, reason: &str) {
    let Err(TlsError::Failed(text)) = outcome else {
        panic!("must have failed: {outcome:?}");
    };
    assert!(text.contains(reason), "{text}");
}

#[test]
fn both_versions_carry_data_both_ways() {
    for version in VERSIONS {
        let (config, server) = settings(&[version], |_| {});
        let mut pair = Pair::established(&config, &server);
        assert_eq!(pair.server.protocol_version(), Some(version.version));
        let sound = pattern(100_000);
        pair.say(&sound);
        pair.hear().unwrap();
        assert_eq!(pair.client.plain, sound);
        assert!(pair.client.waiting.is_empty());
        pair.client
            .tls
            .send(&sound[..40_000], &mut pair.client.outgoing)
            .unwrap();
        assert_eq!(pair.heard(), &sound[..40_000]);
    }
}

#[test]
fn untrusted_certificates_are_refused_and_the_server_is_told() {
    let authority = Authority::new();
    let (past, future) = (date_time_ymd(2020, 1, 1), date_time_ymd(2990, 1, 1));
    let own_key = KeyPair::generate().unwrap();
    let self_signed = CertificateParams::new([HOST.to_owned()])
        .unwrap()
        .self_signed(&own_key)
        .unwrap();
    let mut own = authority.issue(HOST, |_| {});
    own.chain = vec![self_signed.der().clone()];
    own.key = own_key;
    for (leaf, reason) in [
        (authority.issue(HOST, |params| params.not_after = past), "has expired"),
        (
            authority.issue(HOST, |params| params.not_before = future),
            "not valid yet",
        ),
        (
            authority.issue("elsewhere.example", |_| {}),
            "not for 127.0.0.1, only for",
        ),
        (Authority::new().issue(HOST, |_| {}), "unknown authority"),
        (own, "unknown authority"),
        (
            authority.issue(HOST, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            "not issued for servers",
        ),
        (
            authority.issue(HOST, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "ca used as end entity",
        ),
    ] {
        for version in VERSIONS {
            let mut pair = Pair::new(&authority.client(), &leaf.server(&[version], |_| {}));
            untrusted(pair.shake_hands(), reason);
            assert!(!pair.client.tls.is_established());
            let told = pair.serve();
            assert!(matches!(told, Err(rustls::Error::AlertReceived(_))), "{told:?}");
            // Final, and silent from now on.
            untrusted(pair.client.receive(b"\x16\x03\x03"), reason);
            pair.client.tls.close(&mut pair.client.outgoing);
            assert!(pair.client.tls.send(b"a", &mut pair.client.outgoing).is_err());
            assert!(pair.client.outgoing.is_empty());
        }
    }
}

#[test]
fn names_and_addresses_are_checked() {
    let authority = Authority::new();
    let config = authority.client();
    for (name, certified, trusted) in [
        ("speech.example", "speech.example", true),
        ("speech.example.", "speech.example", true),
        ("a.speech.example", "*.speech.example", true),
        ("a.b.speech.example", "*.speech.example", false),
        ("speech.example", "other.example", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.2", "127.0.0.1", false),
        ("::1", "::1", true),
    ] {
        let mut pair = Pair::new(&config, &authority.issue(certified, |_| {}).server(&[&TLS13], |_| {}));
        pair.client.tls = Tls::new(&config, name).unwrap();
        assert_eq!(pair.shake_hands().is_ok(), trusted, "{name} with {certified}");
    }
    for name in ["", "[::1]", "a b", "-", "a..b", "host:443"] {
        let error = Tls::new(&config, name).unwrap_err();
        assert!(
            error.to_string().contains("neither a DNS name nor an IP address"),
            "{error}"
        );
    }
}

#[test]
fn a_system_without_roots_trusts_nobody() {
    let folder = Folder::new();
    // This test program's own process: no other test of it reads the platform's roots.
    let program = std::env::current_exe().unwrap();
    let child = std::process::Command::new(program)
        .args(["--ignored", "--exact", "rootless", "--nocapture"])
        .env("SSL_CERT_FILE", folder.path().join("none.pem"))
        .env("SSL_CERT_DIR", folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
#[ignore = "run by a_system_without_roots_trusts_nobody with an environment of its own"]
fn rootless() {
    let server = Authority::new().issue(HOST, |_| {}).server(&[&TLS13], |_| {});
    let config = TlsConfig::new(&TlsFiles::default()).unwrap();
    untrusted(Pair::new(&config, &server).shake_hands(), "no root certificates");
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let server = authority.issue(HOST, |_| {}).demanding_server(&authority);
    let client = authority.issue("client.example", |_| {});
    let ca = Some(folder.write("ca.pem", &authority.pem()));
    let certificate = folder.write("certificate.pem", &client.chain_pem);
    let key = folder.write("key.pem", &client.key.serialize_pem());
    let both = folder.write("both.pem", &(client.key.serialize_pem() + &client.chain_pem));
    for (certificate, key) in [(certificate, Some(key)), (both, None)] {
        let files = TlsFiles {
            ca: ca.clone(),
            certificate: Some(certificate),
            key,
        };
        let mut pair = Pair::established(&TlsConfig::new(&files).unwrap(), &server);
        assert!(pair.server.peer_certificates().is_some());
        pair.say(b"sound");
        pair.hear().unwrap();
        assert_eq!(pair.client.plain, b"sound");
    }
    let mut pair = Pair::new(&authority.client(), &server);
    pair.client.receive(&[]).unwrap();
    pair.serve().unwrap();
    pair.hear().unwrap();
    // TLS 1.3: the client is done before the server says what it misses.
    assert!(pair.client.tls.is_established());
    pair.serve().unwrap_err();
    failed(pair.hear(), "the alert certificate required");
}

#[test]
fn files_that_are_no_use_are_named() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let leaf = authority.issue(HOST, |_| {});
    let missing = folder.path().join("missing.pem");
    let empty = folder.write("empty.pem", "");
    let text = folder.write("text.pem", "no PEM at all");
    let broken = folder.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let hollow = folder.write(
        "hollow.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let certificate = folder.write("certificate.pem", &leaf.chain_pem);
    let key = folder.write("key.pem", &leaf.key.serialize_pem());
    let other_key = folder.write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    let files = |ca: Option<&PathBuf>, certificate: Option<&PathBuf>, key: Option<&PathBuf>| TlsFiles {
        ca: ca.cloned(),
        certificate: certificate.cloned(),
        key: key.cloned(),
    };
    let error = |files| TlsConfig::new(&files).unwrap_err();
    for path in [&empty, &text, &broken, &hollow, &key] {
        let error = error(files(Some(path), None, None));
        assert!(
            matches!(&error, ConfigError::Invalid { path: named, .. } if named == path),
            "{error}"
        );
        assert!(error.to_string().contains("must hold certificates"), "{error}");
    }
    let unreadable = error(files(Some(&missing), None, None));
    assert!(
        matches!(&unreadable, ConfigError::Unreadable { path, .. } if *path == missing),
        "{unreadable}"
    );
    let error_of_key = error(files(None, Some(&certificate), Some(&certificate))).to_string();
    assert!(
        error_of_key.ends_with("certificate.pem must hold an unencrypted private key in PEM"),
        "{error_of_key}"
    );
    let error_of_key = error(files(None, Some(&certificate), Some(&other_key))).to_string();
    assert!(
        error_of_key.ends_with("other.pem must hold the key of the certificate"),
        "{error_of_key}"
    );
    assert!(matches!(
        error(files(None, None, Some(&key))),
        ConfigError::KeyWithoutCertificate
    ));
}

#[test]
fn a_handshake_survives_every_cut() {
    for version in VERSIONS {
        // Small records cut the handshake messages as well, so that one message lies in many records.
        for max_fragment_size in [None, Some(32)] {
            let (config, server) = settings(&[version], |server| server.max_fragment_size = max_fragment_size);
            let mut pair = Pair::new(&config, &server);
            pair.client.receive(&[]).unwrap();
            let (mut sent, mut heard, mut said) = (0_usize, Vec::new(), false);
            loop {
                heard.extend(pair.heard());
                if !pair.server.is_handshaking() && !said {
                    said = true;
                    pair.say(b"sound");
                }
                let wire = std::mem::take(&mut pair.wire);
                if wire.is_empty() {
                    break;
                }
                for byte in wire {
                    pair.client.receive(&[byte]).unwrap();
                    // Sending works between any two bytes, also amid a ticket that comes in many records.
                    if pair.client.tls.is_established() {
                        let client = &mut pair.client;
                        client.tls.send(&[sent as u8], &mut client.outgoing).unwrap();
                        sent += 1;
                    }
                }
            }
            assert_eq!(pair.client.plain, b"sound");
            assert!(pair.client.waiting.is_empty());
            assert!(sent > 0);
            assert!(heard.iter().enumerate().all(|(index, byte)| *byte == index as u8));
            assert_eq!(heard.len(), sent);
        }
    }
}

#[test]
fn tickets_make_the_next_handshake_short() {
    for version in VERSIONS {
        let (config, server) = settings(&[version], |server| {
            server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        });
        let mut pair = Pair::established(&config, &server);
        pair.hear().unwrap();
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Full));
        let pair = Pair::established(&config.clone(), &server);
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Resumed));
        // Another configuration has tickets of its own.
        let (stranger, _) = settings(&[version], |_| {});
        assert!(Pair::new(&stranger, &server).shake_hands().is_err());
    }
}

#[test]
fn what_is_no_tls_is_named_at_its_first_bytes() {
    let (config, _) = settings(&[&TLS13], |_| {});
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"H",
        b"\x16\x48",
        b"\0",
        b"\x17\x03\x03\0\x01\0",
    ] {
        let mut client = Client::new(&config);
        client.receive(&[]).unwrap();
        failed(client.receive(answer), "something else than TLS");
    }
}

#[test]
fn an_alert_in_the_handshake_is_named() {
    let (config, _) = settings(&[&TLS13], |_| {});
    for (alert, name) in [
        (40, "handshake failure"),
        (70, "protocol version"),
        (112, "unrecognised name"),
    ] {
        let mut client = Client::new(&config);
        client.receive(&[]).unwrap();
        failed(client.receive(&[21, 3, 3, 0, 2, 2, alert]), name);
    }
}

#[test]
fn a_message_without_end_is_not_awaited() {
    let (config, _) = settings(&[&TLS13], |_| {});
    // A hello that says it is 65 000 bytes long, in records of one byte.
    let mut client = Client::new(&config);
    client.receive(&[]).unwrap();
    let message = [&[2, 0, 0xfd, 0xe8][..], &pattern(20_000)].concat();
    let wire: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 3, 0, 1, *byte]).collect();
    failed(client.receive(&wire), "a handshake message of more than");
    // A record that says it is longer than any.
    let mut client = Client::new(&config);
    client.receive(&[]).unwrap();
    failed(client.receive(&[22, 3, 3, 0xff, 0xff]), "malformed");
}

#[test]
fn a_server_that_changes_its_mind_about_groups_is_followed() {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1];
    let authority = Authority::new();
    let leaf = authority.issue(HOST, |_| {});
    let demanding = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), leaf.private_key())
        .unwrap();
    let mut pair = Pair::new(&authority.client(), &Arc::new(demanding));
    pair.shake_hands().unwrap();
    assert_eq!(
        pair.server.handshake_kind(),
        Some(HandshakeKind::FullWithHelloRetryRequest)
    );
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done() {
    let (config, server) = settings(&[&TLS13], |_| {});
    let mut pair = Pair::new(&config, &server);
    for _ in 0..2 {
        assert!(pair.client.tls.send(b"secret", &mut pair.client.outgoing).is_err());
        pair.client.tls.close(&mut pair.client.outgoing);
        assert!(pair.client.outgoing.is_empty());
        pair.client.receive(&[]).unwrap();
        pair.serve().unwrap();
    }
    // The refusal cost nothing.
    pair.hear().unwrap();
    assert!(pair.client.tls.is_established());
}

#[test]
fn debug_shows_no_secret() {
    let (config, _) = settings(&[&TLS13], |_| {});
    assert_eq!(format!("{config:?}"), "TlsConfig { .. }");
    let client = Client::new(&config);
    assert_eq!(
        format!("{:?}", client.tls),
        "Tls { is_established: false, is_closed: false, failure: None, .. }"
    );
}
