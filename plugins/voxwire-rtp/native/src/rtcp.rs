//! RTCP (RFC 3550, section 6): what we say of a stream, and what its receiver says of it. Pure: time is an argument.

use std::fmt;

use crate::NS_PER_S;

/// Room for every compound packet of ours, with what SRTCP adds to it.
pub const ROOM_BYTES: usize = 320;

/// Bytes of a report block on the wire.
pub const BLOCK_BYTES: usize = 24;
/// Bytes of a source on the wire.
pub const SOURCE_BYTES: usize = 4;

const HEADER_BYTES: usize = 4;
const INFO_BYTES: usize = 20;
const VERSION: u8 = 2;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

const CNAME: u8 = 1;

/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// How much longer than the whole a peer's part of it may seem to be, since its clock is another one.
const ROUNDING_NS: i64 = 10_000_000;
/// A round trip that takes longer is none: the report answers another sender, or is forged.
const ROUND_TRIP_LIMIT_NS: i64 = 60_000_000_000;

/// A time as RTCP writes it: seconds since 1900 in units of 2^-32, modulo 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ntp(pub u64);

impl Ntp {
    /// From nanoseconds since 1970.
    pub fn from_unix_ns(unix_ns: u64) -> Self {
        let (seconds, rest) = (unix_ns / NS_PER_S, unix_ns % NS_PER_S);
        Self(((seconds + NTP_TO_UNIX_S) << 32) | ((rest << 32) / NS_PER_S))
    }

    /// The middle 32 bits: seconds in units of 2^-16, which reports carry back.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Who sends, the same for all streams of one endpoint: 1 to 255 bytes of UTF-8 without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cname(Box<str>);

/// A name that RTCP cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCname {
    /// Its length.
    pub bytes: usize,
}

impl fmt::Display for InvalidCname {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cname of {} bytes, expected 1 to 255 without NUL",
            self.bytes
        )
    }
}

impl std::error::Error for InvalidCname {}

impl Cname {
    /// Takes a name that fits.
    pub fn new(name: &str) -> Result<Self, InvalidCname> {
        if matches!(name.len(), 1..=255) && !name.contains('\0') {
            Ok(Self(name.into()))
        } else {
            Err(InvalidCname { bytes: name.len() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much a sender has sent, and when its clock stood where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was sent.
    pub at: Ntp,
    /// The RTP timestamp of that same instant.
    pub rtp_timestamp: u32,
    /// RTP packets sent under this SSRC, modulo 2^32.
    pub packets: u32,
    /// Their payload, in bytes, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that this is about.
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; duplicates make it negative. 24 bits with sign.
    pub lost: i32,
    /// The highest sequence number received, with the count of its cycles in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the RTP timestamp.
    pub jitter: u32,
    /// [`Ntp::middle`] of the last sender report that arrived, 0 before the first.
    pub last_report: u32,
    /// Time between its arrival and this report, in units of 2^-16 s.
    pub delay: u32,
}

impl ReportBlock {
    /// Reads a block.
    pub fn read(block: &[u8; BLOCK_BYTES]) -> Self {
        let word = |index: usize| read_u32(&block[4 * index..]);
        Self {
            ssrc: word(0),
            fraction_lost: block[4],
            // The sign of 24 bits.
            lost: (word(1) << 8).cast_signed() >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_report: word(4),
            delay: word(5),
        }
    }

    /// Time to the receiver and back, in nanoseconds; `arrival` is when this report arrived, by the clock of our sender
    /// reports. None where none of those had arrived there, and where the numbers contradict each other.
    pub fn round_trip_ns(&self, arrival: Ntp) -> Option<u64> {
        if self.last_report == 0 {
            return None;
        }
        // RFC 3550, section 6.4.1.
        let elapsed = arrival.middle().wrapping_sub(self.last_report);
        let time_ns = ((i64::from(elapsed) - i64::from(self.delay)) * 1_000_000_000) >> 16;
        (-ROUNDING_NS..=ROUND_TRIP_LIMIT_NS)
            .contains(&time_ns)
            .then(|| time_ns.max(0).cast_unsigned())
    }
}

// --- what we say ---

/// A compound packet of ours.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// Who that is, beyond this SSRC.
    pub cname: &'a Cname,
    /// For a source that has sent RTP since the report before the last one.
    pub sent: Option<SenderInfo>,
    /// The source leaves with this packet.
    pub goodbye: bool,
}

impl Report<'_> {
    /// Writes the packet and returns its length, 304 bytes at most.
    pub fn write(&self, room: &mut [u8; ROOM_BYTES]) -> usize {
        let mut writer = Writer { room, length: 0 };
        // RFC 3550, section 6.1: a report comes first, then SDES with the CNAME, a BYE last.
        if let Some(sent) = self.sent {
            writer.begin(0, SENDER_REPORT, SOURCE_BYTES + INFO_BYTES);
            writer.put(&self.ssrc.to_be_bytes());
            writer.put(&sent.at.0.to_be_bytes());
            writer.put(&sent.rtp_timestamp.to_be_bytes());
            writer.put(&sent.packets.to_be_bytes());
            writer.put(&sent.octets.to_be_bytes());
        } else {
            writer.begin(0, RECEIVER_REPORT, SOURCE_BYTES);
            writer.put(&self.ssrc.to_be_bytes());
        }
        let name = self.cname.as_str().as_bytes();
        // The list of items ends with a zero, and then at a word: one to four zeros.
        let items = 2 + name.len();
        let zeros = 4 - items % 4;
        writer.begin(1, SOURCE_DESCRIPTION, SOURCE_BYTES + items + zeros);
        writer.put(&self.ssrc.to_be_bytes());
        writer.put(&[CNAME, name.len() as u8]);
        writer.put(name);
        writer.put(&[0; 4][..zeros]);
        if self.goodbye {
            writer.begin(1, GOODBYE, SOURCE_BYTES);
            writer.put(&self.ssrc.to_be_bytes());
        }
        writer.length
    }
}

struct Writer<'a> {
    room: &'a mut [u8; ROOM_BYTES],
    length: usize,
}

impl Writer<'_> {
    fn begin(&mut self, count: u8, kind: u8, body_bytes: usize) {
        self.put(&[VERSION << 6 | count, kind]);
        // In words, without the one of the header.
        self.put(&((body_bytes / 4) as u16).to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

// --- what a peer says ---

/// A rule of RFC 3550 that a datagram breaks; it is dropped whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A packet in it is shorter than its header, or ends behind the datagram, or there is none.
    Cut,
    /// A packet of another version.
    Version,
    /// It does not begin with a report (section 6.1).
    NoReport,
    /// Padding elsewhere than in the last packet, or of a size that cannot be.
    Padding,
    /// More report blocks or sources are announced than there is room for.
    Count,
}

/// A datagram that keeps the rules (appendix A.2).
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a>(&'a [u8]);

/// One packet of a datagram.
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// SR: of a source that sends.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// What it has sent.
        info: SenderInfo,
        /// What it has received, for [`ReportBlock::read`].
        blocks: &'a [[u8; BLOCK_BYTES]],
    },
    /// RR: of a source that does not send.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it has received, for [`ReportBlock::read`].
        blocks: &'a [[u8; BLOCK_BYTES]],
    },
    /// SDES.
    SourceDescription(Chunks<'a>),
    /// BYE: these sources leave, each for [`u32::from_be_bytes`].
    Goodbye(&'a [[u8; SOURCE_BYTES]]),
    /// Of a kind that is not read here.
    Other(u8),
}

impl<'a> Compound<'a> {
    /// Checks a datagram; nothing in it is believed before.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = datagram;
        let mut first = true;
        while first || !rest.is_empty() {
            let (packet, behind) = Raw::split(rest)?;
            if first && !matches!(packet.kind, SENDER_REPORT | RECEIVER_REPORT) {
                return Err(Malformed::NoReport);
            }
            packet.read()?;
            first = false;
            rest = behind;
        }
        Ok(Self(datagram))
    }

    /// Its packets, in their order.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            // Neither fails: `parse` has been through here.
            let (packet, behind) = Raw::split(rest).ok()?;
            rest = behind;
            packet.read().ok()
        })
    }
}

/// A packet whose header was read.
struct Raw<'a> {
    count: usize,
    kind: u8,
    /// What follows the header, without padding.
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Takes the first packet off.
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, behind) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Cut)?;
        if header[0] >> 6 != VERSION {
            return Err(Malformed::Version);
        }
        let words = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (mut body, behind) = behind.split_at_checked(4 * words).ok_or(Malformed::Cut)?;
        if header[0] & 0x20 != 0 {
            // Section 6.4.1: a multiple of four, counted with itself, at the end of the last packet only.
            let padding = body.last().map_or(0, |&last| usize::from(last));
            if !behind.is_empty() || padding == 0 || !padding.is_multiple_of(4) || padding > body.len() {
                return Err(Malformed::Padding);
            }
            body = &body[..body.len() - padding];
        }
        let count = usize::from(header[0] & 0x1f);
        let kind = header[1];
        Ok((Self { count, kind, body }, behind))
    }

    fn read(&self) -> Result<Packet<'a>, Malformed> {
        match self.kind {
            SENDER_REPORT => {
                let (ssrc, behind) = self.body.split_first_chunk::<SOURCE_BYTES>().ok_or(Malformed::Count)?;
                let (info, behind) = behind.split_first_chunk::<INFO_BYTES>().ok_or(Malformed::Count)?;
                let [seconds, fraction, rtp_timestamp, packets, octets] =
                    [0, 1, 2, 3, 4].map(|index| read_u32(&info[4 * index..]));
                Ok(Packet::SenderReport {
                    ssrc: u32::from_be_bytes(*ssrc),
                    info: SenderInfo {
                        at: Ntp(u64::from(seconds) << 32 | u64::from(fraction)),
                        rtp_timestamp,
                        packets,
                        octets,
                    },
                    blocks: self.counted(behind)?,
                })
            }
            RECEIVER_REPORT => {
                let (ssrc, behind) = self.body.split_first_chunk::<SOURCE_BYTES>().ok_or(Malformed::Count)?;
                Ok(Packet::ReceiverReport {
                    ssrc: u32::from_be_bytes(*ssrc),
                    blocks: self.counted(behind)?,
                })
            }
            SOURCE_DESCRIPTION => Ok(Packet::SourceDescription(Chunks {
                left: self.count,
                rest: self.body,
            })),
            GOODBYE => Ok(Packet::Goodbye(self.counted(self.body)?)),
            kind => Ok(Packet::Other(kind)),
        }
    }

    /// As many pieces as the header announces. What follows them is a profile's extension, or a reason to leave.
    fn counted<const BYTES: usize>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; BYTES]], Malformed> {
        let (pieces, _) = bytes.as_chunks();
        pieces.get(..self.count).ok_or(Malformed::Count)
    }
}

/// Sources described by an SDES packet; ends early where the packet breaks a rule. Some senders forget the zero behind
/// the last item, and their reports count nevertheless.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    left: usize,
    rest: &'a [u8],
}

/// What is said of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The source.
    pub ssrc: u32,
    /// Its CNAME, which need not be UTF-8.
    pub cname: Option<&'a [u8]>,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (ssrc, items) = self.rest.split_first_chunk::<SOURCE_BYTES>()?;
        let mut cname = None;
        let mut at = 0;
        loop {
            match items[at..] {
                [] => break,
                [0, ..] => {
                    // Zeros up to the next word.
                    at = (at / 4 + 1) * 4;
                    break;
                }
                [kind, length, ..] => {
                    let end = at + 2 + usize::from(length);
                    let text = items.get(at + 2..end)?;
                    if kind == CNAME {
                        cname = cname.or(Some(text));
                    }
                    at = end;
                }
                [_] => return None,
            }
        }
        self.rest = items.get(at..).unwrap_or_default();
        Some(Chunk {
            ssrc: u32::from_be_bytes(*ssrc),
            cname,
        })
    }
}

/// The first four bytes; there are as many wherever this is called.
fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}
