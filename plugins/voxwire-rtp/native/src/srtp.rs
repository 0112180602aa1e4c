//! SRTP and SRTCP (RFC 3711): AES in counter mode, HMAC-SHA1, keys as SDES names them (RFC 4568). Pure.
//!
//! One [`Sealer`] per stream that we send, one [`Opener`] per peer. A master key serves one sender, once: two streams
//! that begin anew under the same key and SSRC would share a keystream, and whoever records both could read them.

use std::fmt;

use aes::Aes128;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher};
use ctr::{Ctr128BE, CtrCore};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::packet::HEADER_BYTES;

/// Bytes of a master key and its salt, as an SDES key holds them.
pub const MASTER_BYTES: usize = KEY_BYTES + SALT_BYTES;
/// How many bytes longer than it was a packet becomes at most.
pub const EXPANSION_BYTES: usize = INDEX_BYTES + RTCP_TAG_BYTES;

const KEY_BYTES: usize = 16;
const SALT_BYTES: usize = 14;
const AUTHENTICATION_KEY_BYTES: usize = 20;

/// What stays readable of a compound packet: the first header and the SSRC.
const RTCP_CLEAR_BYTES: usize = 8;
const INDEX_BYTES: usize = 4;
/// RFC 3711, section 5.2: never less than 80 bits, whatever the suite says for RTP.
const RTCP_TAG_BYTES: usize = 10;

/// The bit of the index that says that a compound packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// Indices of the past that are told apart; older ones count as seen. Section 3.3.2 asks for 64.
const WINDOW: u32 = u64::BITS;
/// Sources whose indices are kept for one peer. It has one, and a new one after a collision.
const SOURCES: usize = 64;

/// A crypto suite of RFC 4568 that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: shorter tags of RTP packets.
    AesCm128HmacSha1_32,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 2] = [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// The suite of that name in SDP.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes that an RTP packet grows by.
    pub fn tag_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
        }
    }
}

/// A master key with its salt. Shows itself to nobody.
#[derive(Clone)]
pub struct MasterKey {
    key: [u8; KEY_BYTES],
    salt: [u8; SALT_BYTES],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey")
    }
}

impl MasterKey {
    /// Takes 16 bytes of key and 14 of salt; None for another length.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let (&key, salt) = bytes.split_first_chunk()?;
        let salt = salt.try_into().ok()?;
        Some(Self { key, salt })
    }

    /// Derives a session key or salt (section 4.3), at a derivation rate of 0.
    pub fn derive(&self, label: u8, session: &mut [u8]) {
        let mut salt = self.salt;
        // The label stands before an index of 48 bits.
        salt[SALT_BYTES - 7] ^= label;
        session.fill(0);
        apply_keystream(&Aes128::new(&self.key.into()), start(salt, 0, 0), session);
    }
}

/// What a packet is encrypted and signed with.
struct Keys {
    cipher: Aes128,
    salt: [u8; SALT_BYTES],
    /// With the key taken in.
    authenticator: Hmac<Sha1>,
}

impl Keys {
    fn rtp(master: &MasterKey) -> Self {
        Self::derive(master, [0, 1, 2])
    }

    fn rtcp(master: &MasterKey) -> Self {
        Self::derive(master, [3, 4, 5])
    }

    /// The labels are those of the encryption key, the authentication key and the salt.
    fn derive(master: &MasterKey, labels: [u8; 3]) -> Self {
        let mut key = [0; KEY_BYTES];
        let mut authentication_key = [0; AUTHENTICATION_KEY_BYTES];
        let mut salt = [0; SALT_BYTES];
        master.derive(labels[0], &mut key);
        master.derive(labels[1], &mut authentication_key);
        master.derive(labels[2], &mut salt);
        // Of the size of a block of the hash: such a key is never refused.
        let mut block = [0; 64];
        block[..AUTHENTICATION_KEY_BYTES].copy_from_slice(&authentication_key);
        Self {
            cipher: Aes128::new(&key.into()),
            salt,
            authenticator: Hmac::new(&block.into()),
        }
    }

    /// Encrypts or decrypts.
    fn apply(&self, ssrc: u32, index: u64, bytes: &mut [u8]) {
        apply_keystream(&self.cipher, start(self.salt, ssrc, index), bytes);
    }

    fn sign(&self, signed: &[u8], rollover: &[u8], tag: &mut [u8]) {
        let full = self.authenticator(signed, rollover).finalize().into_bytes();
        tag.copy_from_slice(&full[..tag.len()]);
    }

    /// Takes the same time for every wrong tag.
    fn verify(&self, signed: &[u8], rollover: &[u8], tag: &[u8]) -> bool {
        self.authenticator(signed, rollover).verify_truncated_left(tag).is_ok()
    }

    fn authenticator(&self, signed: &[u8], rollover: &[u8]) -> Hmac<Sha1> {
        let mut authenticator = self.authenticator.clone();
        authenticator.update(signed);
        authenticator.update(rollover);
        authenticator
    }
}

/// Where the keystream of a packet starts (section 4.1.1): the salt, the SSRC and the index of 48 bits, laid over one
/// another, before a count of blocks of 16 bits.
fn start(salt: [u8; SALT_BYTES], ssrc: u32, index: u64) -> [u8; 16] {
    let mut wide_salt = [0; 16];
    wide_salt[..SALT_BYTES].copy_from_slice(&salt);
    let start = u128::from_be_bytes(wide_salt) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
    start.to_be_bytes()
}

fn apply_keystream(cipher: &Aes128, start: [u8; 16], bytes: &mut [u8]) {
    Ctr128BE::from_core(CtrCore::inner_iv_init(cipher, &start.into())).apply_keystream(bytes);
}

/// Why a packet of ours cannot be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// It is no whole packet of version 2.
    Cut,
    /// It does not fit once protected.
    NoRoom,
    /// The key has protected as much as it may (section 9.2).
    KeyUsedUp,
}

/// Protects what we send. Packets are given in the order of their sequence numbers.
pub struct Sealer {
    suite: Suite,
    rtp: Keys,
    rtcp: Keys,
    /// Of the last RTP packet: SSRC, sequence number, how often that has begun anew.
    last: Option<(u32, u16, u32)>,
    rtcp_index: u32,
}

impl Sealer {
    /// Begins with the index at 0.
    pub fn new(suite: Suite, master: &MasterKey) -> Self {
        Self {
            suite,
            rtp: Keys::rtp(master),
            rtcp: Keys::rtcp(master),
            last: None,
            rtcp_index: 0,
        }
    }

    /// Protects the RTP packet that the first `length` bytes hold, in place, and returns its new length.
    pub fn seal_rtp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, SealError> {
        let sealed = length + self.suite.tag_bytes();
        let packet = packet.get_mut(..sealed).ok_or(SealError::NoRoom)?;
        let (body, tag) = packet.split_at_mut(length);
        let header = RtpHeader::read(body).ok_or(SealError::Cut)?;
        let rollover = match self.last {
            // Section 3.3.1: counts up wherever the sequence begins anew; another SSRC is another stream.
            Some((ssrc, sequence, rollover)) if ssrc == header.ssrc => rollover
                .checked_add(u32::from(header.sequence < sequence))
                .ok_or(SealError::KeyUsedUp)?,
            _ => 0,
        };
        self.last = Some((header.ssrc, header.sequence, rollover));
        let index = u64::from(rollover) << 16 | u64::from(header.sequence);
        self.rtp.apply(header.ssrc, index, &mut body[header.bytes..]);
        self.rtp.sign(body, &rollover.to_be_bytes(), tag);
        Ok(sealed)
    }

    /// Protects the compound packet that the first `length` bytes hold, in place, and returns its new length.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, SealError> {
        let sealed = length + EXPANSION_BYTES;
        let packet = packet.get_mut(..sealed).ok_or(SealError::NoRoom)?;
        let (body, tag) = packet.split_at_mut(length + INDEX_BYTES);
        let (compound, trailer) = body.split_at_mut(length);
        let ssrc = rtcp_ssrc(compound).ok_or(SealError::Cut)?;
        let index = self.rtcp_index;
        if index & ENCRYPTED != 0 {
            return Err(SealError::KeyUsedUp);
        }
        self.rtcp_index += 1;
        self.rtcp
            .apply(ssrc, u64::from(index), &mut compound[RTCP_CLEAR_BYTES..]);
        trailer.copy_from_slice(&(index | ENCRYPTED).to_be_bytes());
        self.rtcp.sign(body, &[], tag);
        Ok(sealed)
    }
}

/// Why a packet of the peer's is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too short for SRTCP.
    Cut,
    /// Not by whoever has the key, or changed on the way.
    Forged,
    /// It was here before, or may have been.
    Replayed,
    /// By more sources than one peer has.
    Sources,
}

/// Reads what the peer protected.
pub struct Opener {
    suite: Suite,
    rtp: Keys,
    rtcp: Keys,
    sources: Vec<Source>,
}

/// What was received of a source.
struct Source {
    ssrc: u32,
    highest: u32,
    /// The indices from `highest` down, one bit each.
    seen: u64,
}

impl Source {
    fn has_seen(&self, index: u32) -> bool {
        match self.highest.checked_sub(index) {
            Some(age) => age >= WINDOW || self.seen >> age & 1 != 0,
            None => false,
        }
    }

    fn note(&mut self, index: u32) {
        if let Some(ahead) = index.checked_sub(self.highest) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = index;
        } else {
            self.seen |= 1 << (self.highest - index);
        }
    }
}

impl Opener {
    /// Has received nothing yet.
    pub fn new(suite: Suite, master: &MasterKey) -> Self {
        Self {
            suite,
            rtp: Keys::rtp(master),
            rtcp: Keys::rtcp(master),
            sources: Vec::new(),
        }
    }

    /// Checks and decrypts a datagram of SRTCP in place, and returns the compound packet in it. What is refused stays as
    /// it was.
    pub fn open_rtcp<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        let signed = datagram.len().checked_sub(RTCP_TAG_BYTES).ok_or(Refused::Cut)?;
        let (body, tag) = datagram.split_at_mut(signed);
        let length = signed.checked_sub(INDEX_BYTES).ok_or(Refused::Cut)?;
        let ssrc = rtcp_ssrc(&body[..length]).ok_or(Refused::Cut)?;
        let trailer = body.last_chunk().map_or(0, |index| u32::from_be_bytes(*index));
        let index = trailer & !ENCRYPTED;
        // Section 3.3: replay first, since it costs least.
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        match known {
            Some(place) if self.sources[place].has_seen(index) => return Err(Refused::Replayed),
            None if self.sources.len() == SOURCES => return Err(Refused::Sources),
            _ => (),
        }
        if !self.rtcp.verify(body, &[], tag) {
            return Err(Refused::Forged);
        }
        match known {
            Some(place) => self.sources[place].note(index),
            None => self.sources.push(Source {
                ssrc,
                highest: index,
                seen: 1,
            }),
        }
        let compound = &mut body[..length];
        if trailer & ENCRYPTED != 0 {
            self.rtcp
                .apply(ssrc, u64::from(index), &mut compound[RTCP_CLEAR_BYTES..]);
        }
        Ok(compound)
    }

    /// Whether an RTP packet was sent by whoever has the key. Knows the first two rounds of sequence numbers, since
    /// nobody tells in which round a stream is.
    pub fn verify_rtp(&self, datagram: &[u8]) -> bool {
        let Some(signed) = datagram.len().checked_sub(self.suite.tag_bytes()) else {
            return false;
        };
        let (body, tag) = datagram.split_at(signed);
        let verify = |rollover: u32| self.rtp.verify(body, &rollover.to_be_bytes(), tag);
        RtpHeader::read(body).is_some() && (verify(0) || verify(1))
    }
}

/// The SSRC of the first header in a compound packet; None for one that has none.
fn rtcp_ssrc(compound: &[u8]) -> Option<u32> {
    let (_, ssrc) = compound.first_chunk::<RTCP_CLEAR_BYTES>()?.split_last_chunk()?;
    Some(u32::from_be_bytes(*ssrc))
}

/// What has to be known of an RTP packet that anybody sent.
pub(crate) struct RtpHeader {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    /// Up to the payload, with contributing sources and an extension.
    bytes: usize,
}

impl RtpHeader {
    /// None for what is no whole packet of version 2.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<HEADER_BYTES>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut bytes = HEADER_BYTES + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let extension = packet.get(bytes..)?.first_chunk::<4>()?;
            bytes += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
        }
        (packet.len() >= bytes).then_some(Self {
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            bytes,
        })
    }
}
