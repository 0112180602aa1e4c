//! Opening TLS 1.3 records, from the bytes of one large read to plain bytes, as a saturated client does.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]

use std::io::Write;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS13;
use rustls::{CipherSuite, ServerConfig, ServerConnection};
use voxwire_benches::pcm;
use voxwire_link::tls::{Tls, TlsConfig, TlsFiles};

const HOST: &str = "127.0.0.1";
/// Plain bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// A session of this suite, done with its handshake.
fn established(suite: CipherSuite) -> (Tls, ServerConnection) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let path = std::env::temp_dir().join(format!("voxwire-bench-{}.pem", std::process::id()));
    std::fs::write(&path, cert.pem()).unwrap();
    let config = TlsConfig::new(&TlsFiles {
        ca: Some(path.clone()),
        ..TlsFiles::default()
    });
    std::fs::remove_file(path).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|offered| offered.suite() == suite);
    let settings = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let mut server = ServerConnection::new(Arc::new(settings)).unwrap();
    server.set_buffer_limit(None);
    let mut client = Tls::new(&config.unwrap(), HOST).unwrap();
    let mut wire = Vec::new();
    while server.is_handshaking() || !client.is_established() {
        let mut outgoing = Vec::new();
        let taken = client.receive(&mut wire, &mut outgoing, &mut |_| ()).unwrap();
        wire.drain(..taken.consumed);
        server.read_tls(&mut &outgoing[..]).unwrap();
        server.process_new_packets().unwrap();
        wire.extend(written(&mut server));
    }
    client.receive(&mut wire, &mut Vec::new(), &mut |_| ()).unwrap();
    (client, server)
}

fn written(server: &mut ServerConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    wire
}

/// One read's worth of records that carry so many bytes each.
fn sealed(server: &mut ServerConnection, sound: &[u8], record_bytes: usize) -> Vec<u8> {
    for record in sound.chunks(record_bytes) {
        server.writer().write_all(record).unwrap();
    }
    written(server)
}

/// Opens one read, all of it.
fn open(client: &mut Tls, wire: &mut [u8], deliver: &mut dyn FnMut(&[u8])) {
    let mut outgoing = Vec::new();
    let taken = client.receive(wire, &mut outgoing, deliver).unwrap();
    assert_eq!(taken.consumed, wire.len());
}

fn bench(criterion: &mut Criterion) {
    let sound = pcm(READ_BYTES, 1);
    let mut group = criterion.benchmark_group("tls open");
    for (name, suite) in [
        ("AES-128-GCM", CipherSuite::TLS13_AES_128_GCM_SHA256),
        ("AES-256-GCM", CipherSuite::TLS13_AES_256_GCM_SHA384),
        ("ChaCha20-Poly1305", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        for record_bytes in [1024, 16_384] {
            let (mut client, mut server) = established(suite);
            let mut opened = Vec::new();
            open(
                &mut client,
                &mut sealed(&mut server, &sound, record_bytes),
                &mut |run| {
                    opened.extend_from_slice(run);
                },
            );
            assert_eq!(opened, sound);
            group.throughput(Throughput::Bytes(READ_BYTES as u64));
            group.bench_function(BenchmarkId::new(name, record_bytes), |bencher| {
                bencher.iter_batched(
                    || sealed(&mut server, &sound, record_bytes),
                    |mut wire| {
                        let mut count = 0;
                        open(&mut client, &mut wire, &mut |run| count += run.len());
                        assert_eq!(count, READ_BYTES);
                        wire
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
