//! Records that no library would send: sealed with the keys of a server whose handshake was whole.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first wrong step")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several test programs, none of which uses all of it"
)]

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion, ServerConnection};

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;

/// Seals records as the server would, from where it stopped.
pub struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    is_tls13: bool,
}

impl Forger {
    /// Takes the keys; the settings of the server allow that.
    pub fn new(server: ServerConnection) -> Self {
        let is_tls13 = server.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let (sequence, secrets) = server.dangerous_extract_secrets().unwrap().tx;
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => unreachable!("the suites in use are of AES-GCM"),
        };
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap()),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
            is_tls13,
        }
    }

    /// One record of this type.
    pub fn seal(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        self.sequence += 1;
        if self.is_tls13 {
            self.seal_13(kind, plain, sequence)
        } else {
            self.seal_12(kind, plain, sequence)
        }
    }

    /// RFC 8446 section 5.2.
    fn seal_13(&self, kind: u8, plain: &[u8], sequence: [u8; 8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(sequence) {
            *byte ^= of_sequence;
        }
        let mut sealed = [plain, &[kind]].concat();
        let header = header(APPLICATION_DATA, sealed.len() + 16);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed)
            .unwrap();
        [&header[..], &sealed].concat()
    }

    /// RFC 5288 section 3; the explicit part of the nonce is the sequence number.
    fn seal_12(&self, kind: u8, plain: &[u8], sequence: [u8; 8]) -> Vec<u8> {
        let nonce: [u8; 12] = [&self.iv[..4], &sequence].concat().try_into().unwrap();
        let aad = [&sequence[..], &header(kind, plain.len())].concat();
        let mut sealed = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .unwrap();
        [&header(kind, sealed.len() + 8)[..], &sequence, &sealed].concat()
    }
}

fn header(kind: u8, length: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    [kind, 3, 3, high, low]
}
