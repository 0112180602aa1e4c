//! A throw-away authority, servers in memory, and the wire between them and a `Tls`.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first wrong step")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several test programs, none of which uses all of it"
)]

pub mod forger;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use voxwire_link::tls::{Taken, Tls, TlsConfig, TlsError, TlsFiles};

/// The host that servers are for.
pub const HOST: &str = "127.0.0.1";

fn next_number() -> u32 {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A folder that goes with its value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let number = next_number();
        let path = std::env::temp_dir().join(format!("voxwire-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Signs certificates, of servers and clients.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, its chain and its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub chain_pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let number = next_number();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for a host, changed before it is signed.
    pub fn issue(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            chain_pem: certificate.pem(),
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    /// A client's settings that trust this authority alone.
    pub fn client(&self) -> TlsConfig {
        let folder = Folder::new();
        let files = TlsFiles {
            ca: Some(folder.write("ca.pem", &self.pem())),
            ..TlsFiles::default()
        };
        TlsConfig::new(&files).unwrap()
    }
}

impl Leaf {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// A server's settings, changed before they are used.
    pub fn server(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        change: impl FnOnce(&mut ServerConfig),
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_protocol_versions(versions).with_no_client_auth();
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.private_key())
            .unwrap();
        change(&mut config);
        Arc::new(config)
    }

    /// A server's settings that want a client's certificate of `authority`.
    pub fn demanding_server(&self, authority: &Authority) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
        Arc::new(
            builder
                .with_single_cert(self.chain.clone(), self.private_key())
                .unwrap(),
        )
    }
}

/// A server's settings with a good certificate, and a client's that trust it.
pub fn settings(
    versions: &[&'static SupportedProtocolVersion],
    change: impl FnOnce(&mut ServerConfig),
) -> (TlsConfig, Arc<ServerConfig>) {
    let authority = Authority::new();
    (
        authority.client(),
        authority.issue(HOST, |_| {}).server(versions, change),
    )
}

/// A client, what reached it and was not consumed, and what it delivered.
pub struct Client {
    pub tls: Tls,
    pub waiting: Vec<u8>,
    pub outgoing: Vec<u8>,
    pub plain: Vec<u8>,
    pub closed: bool,
}

impl Client {
    pub fn new(config: &TlsConfig) -> Self {
        Self {
            tls: Tls::new(config, HOST).unwrap(),
            waiting: Vec::new(),
            outgoing: Vec::new(),
            plain: Vec::new(),
            closed: false,
        }
    }

    /// Hands over what was read behind what waits, somewhere else in memory than before.
    pub fn receive(&mut self, wire: &[u8]) -> Result<(), TlsError> {
        let mut buffer = self.waiting.clone();
        buffer.extend_from_slice(wire);
        let plain = &mut self.plain;
        let taken = self.tls.receive(&mut buffer, &mut self.outgoing, &mut |run: &[u8]| {
            assert!(!run.is_empty());
            plain.extend_from_slice(run);
        });
        let Taken { consumed, closed } = taken?;
        self.waiting = buffer.split_off(consumed);
        self.closed = closed;
        Ok(())
    }
}

/// A client and a server, each of whose bytes reach the other.
pub struct Pair {
    pub client: Client,
    pub server: ServerConnection,
    /// Bytes of the server on their way.
    pub wire: Vec<u8>,
    heard: Vec<u8>,
}

impl Pair {
    pub fn new(config: &TlsConfig, server: &Arc<ServerConfig>) -> Self {
        Self {
            client: Client::new(config),
            server: ServerConnection::new(Arc::clone(server)).unwrap(),
            wire: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// A pair whose handshake is done; the tickets of the server are on their way.
    pub fn established(config: &TlsConfig, server: &Arc<ServerConfig>) -> Self {
        let mut pair = Self::new(config, server);
        pair.shake_hands().unwrap();
        pair
    }

    /// Runs the handshake, the server's bytes in one piece; returns what the client says.
    pub fn shake_hands(&mut self) -> Result<(), TlsError> {
        self.client.receive(&[])?;
        while !self.client.tls.is_established() || self.server.is_handshaking() {
            self.serve().unwrap();
            let wire = std::mem::take(&mut self.wire);
            assert!(!wire.is_empty(), "both wait for each other");
            self.client.receive(&wire)?;
            if self.client.tls.is_established() {
                self.serve().unwrap();
            }
        }
        Ok(())
    }

    /// Hands the client's bytes to the server, and puts the server's on the wire, its alert as well.
    pub fn serve(&mut self) -> Result<(), rustls::Error> {
        let outgoing = std::mem::take(&mut self.client.outgoing);
        let mut unread = &outgoing[..];
        let mut outcome = Ok(());
        while !unread.is_empty() && outcome.is_ok() {
            self.server.read_tls(&mut unread).unwrap();
            outcome = self.server.process_new_packets().map(drop);
            // Where nothing is left to read, the reader says so by an error.
            let _ = self.server.reader().read_to_end(&mut self.heard);
        }
        self.flush();
        outcome
    }

    /// Puts what the server has ready on the wire.
    pub fn flush(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.wire).unwrap();
        }
    }

    /// Encrypts at the server, onto the wire.
    pub fn say(&mut self, plain: &[u8]) {
        self.server.set_buffer_limit(None);
        self.server.writer().write_all(plain).unwrap();
        self.flush();
    }

    /// Hands the wire to the client.
    pub fn hear(&mut self) -> Result<(), TlsError> {
        let wire = std::mem::take(&mut self.wire);
        self.client.receive(&wire)
    }

    /// What the server has read since the last call.
    pub fn heard(&mut self) -> Vec<u8> {
        self.serve().unwrap();
        std::mem::take(&mut self.heard)
    }
}

/// Bytes that look like no others.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size as u64)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}
