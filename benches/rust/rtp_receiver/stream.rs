//! One stream as its receiver sees it: what came, when (RFC 3550 section 6.4.1), and whether it is the right audio.

use serde_json::{Value, json};

/// Bytes of a header without contributors and extension, which no sender here sends.
const HEADER_BYTES: usize = 12;
/// Version 2, no padding, no extension, no contributors.
const FIRST_BYTE: u8 = 0x80;
const MARKER: u8 = 0x80;
/// The number of a stream's first packet, so that some that were overtaken by it have one too.
const BEFORE: u64 = 1024;

/// What is known of all streams beforehand.
pub(crate) struct Expected {
    /// Stream `n` has this synchronisation source plus `n`.
    pub(crate) first_ssrc: u32,
    pub(crate) payload_type: u8,
    /// From one packet's timestamp to the next one's.
    pub(crate) step: u32,
    /// Timestamps in a second.
    pub(crate) clock_rate: u32,
    /// The byte of silence: a packet of these alone is no audio.
    pub(crate) silence: u8,
    /// Stream `n` repeats block `n`, these taking turns; empty where the audio is not looked at.
    pub(crate) blocks: Vec<Vec<u8>>,
}

impl Expected {
    /// How many bytes of a payload are the audio of a stream at this place.
    fn audio_bytes(&self, stream: usize, place: u64, payload: &[u8]) -> usize {
        if self.blocks.is_empty() {
            return payload.len();
        }
        let block = &self.blocks[stream % self.blocks.len()];
        let start = (place % block.len() as u64) as usize;
        if block.get(start..start + payload.len()) == Some(payload) {
            return payload.len();
        }
        let source = block.iter().cycle().skip(start);
        payload
            .iter()
            .zip(source)
            .take_while(|(byte, source)| byte == source)
            .count()
    }

    fn is_silence(&self, payload: &[u8]) -> bool {
        payload.iter().all(|byte| *byte == self.silence)
    }
}

/// A packet of RTP.
pub(crate) struct Packet<'a> {
    pub(crate) stream: usize,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram; None where it belongs to none of the streams.
    pub(crate) fn parse(data: &'a [u8], expected: &Expected, streams: usize) -> Option<Self> {
        let (header, payload) = data.split_first_chunk::<HEADER_BYTES>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, ssrc @ ..] = *header;
        let stream = u32::from_be_bytes(ssrc).checked_sub(expected.first_ssrc)? as usize;
        let fits = first == FIRST_BYTE && second & !MARKER == expected.payload_type && stream < streams;
        fits.then_some(Self {
            stream,
            marker: second & MARKER != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            payload,
        })
    }
}

/// The packet that came last, and the one that is furthest on.
struct Last {
    arrival_ns: u64,
    timestamp: u32,
    /// Of the packet that is furthest on: its sequence number as it was sent, and counted on over its wrap.
    sequence: u16,
    number: u64,
    highest_timestamp: u32,
}

/// What came of one stream.
#[derive(Default)]
pub(crate) struct Stream {
    last: Option<Last>,
    /// A bit for each number from [`BEFORE`] below that of the first packet.
    seen: Vec<u64>,
    lowest: u64,
    packets: u64,
    duplicates: u64,
    reordered: u64,
    markers: u64,
    starts_with_marker: bool,
    skipped: u64,
    wrong_steps: u64,
    /// Packets of nothing but silence, and those whose audio ends in silence.
    silent: u64,
    padded: u64,
    wrong_audio: u64,
    /// Bytes of audio before the packet that is next in order.
    place: u64,
    jitter_ns: f64,
    jitter_sum_ns: f64,
    jitter_max_ns: f64,
    delta_max_ns: u64,
    transit_ns: i64,
    /// For each packet, how much longer than the first it took from its timestamp to its arrival.
    transits_ns: Vec<i64>,
}

impl Stream {
    /// Takes a packet; packets come in the order of arrival.
    pub(crate) fn take(&mut self, packet: &Packet<'_>, arrival_ns: u64, expected: &Expected) {
        let Some(last) = &mut self.last else {
            self.last = Some(Last {
                arrival_ns,
                timestamp: packet.timestamp,
                sequence: packet.sequence,
                number: BEFORE,
                highest_timestamp: packet.timestamp,
            });
            self.lowest = BEFORE;
            self.starts_with_marker = packet.marker;
            self.transits_ns.push(0);
            self.count(packet, BEFORE, 0, expected);
            return;
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(last.sequence).cast_signed());
        let number = last.number.saturating_add_signed(ahead);
        if is_set(&self.seen, number) {
            self.duplicates += 1;
            return;
        }
        let elapsed_ns = arrival_ns.saturating_sub(last.arrival_ns);
        let media = i64::from(packet.timestamp.wrapping_sub(last.timestamp).cast_signed());
        let media_ns = media * 1_000_000_000 / i64::from(expected.clock_rate);
        let difference_ns = elapsed_ns.cast_signed() - media_ns;
        (last.arrival_ns, last.timestamp) = (arrival_ns, packet.timestamp);
        if ahead > 0 {
            let step = packet.timestamp.wrapping_sub(last.highest_timestamp);
            if step != expected.step.wrapping_mul(ahead.unsigned_abs() as u32) {
                let is_gap = step.cast_signed() > 0 && step.is_multiple_of(expected.step);
                *(if is_gap {
                    &mut self.skipped
                } else {
                    &mut self.wrong_steps
                }) += 1;
            }
            (last.sequence, last.number, last.highest_timestamp) = (packet.sequence, number, packet.timestamp);
        } else {
            self.reordered += 1;
            self.lowest = self.lowest.min(number);
        }
        self.transit_ns += difference_ns;
        self.transits_ns.push(self.transit_ns);
        self.delta_max_ns = self.delta_max_ns.max(elapsed_ns);
        self.jitter_ns += (difference_ns.unsigned_abs() as f64 - self.jitter_ns) / 16.0;
        self.jitter_sum_ns += self.jitter_ns;
        self.jitter_max_ns = self.jitter_max_ns.max(self.jitter_ns);
        self.count(packet, number, ahead - 1, expected);
    }

    /// Counts a packet and compares its audio, which begins so many packets behind those that are complete.
    fn count(&mut self, packet: &Packet<'_>, number: u64, gap: i64, expected: &Expected) {
        self.packets += 1;
        self.markers += u64::from(packet.marker);
        set(&mut self.seen, number);
        if expected.is_silence(packet.payload) {
            self.silent += 1;
            return;
        }
        let mut length = packet.payload.len();
        // Those that are missing are taken for audio of the same length.
        let start = self.place.saturating_add_signed(gap * (length as u64).cast_signed());
        let audio = expected.audio_bytes(packet.stream, start, packet.payload);
        if audio < length && audio > 0 && expected.is_silence(&packet.payload[audio..]) {
            self.padded += 1;
            length = audio;
        } else if audio < length {
            self.wrong_audio += 1;
        }
        if gap >= 0 {
            self.place = start + length as u64;
        }
    }

    /// Nanoseconds that each packet came after the earliest of them, in which the clock of its timestamps is the measure.
    pub(crate) fn late_ns(&self) -> impl Iterator<Item = u64> {
        let earliest = self.transits_ns.iter().copied().min().unwrap_or(0);
        self.transits_ns.iter().map(move |transit| transit.abs_diff(earliest))
    }

    /// Everything, times in microseconds.
    pub(crate) fn report(&self) -> Value {
        let numbers = self.last.as_ref().map_or(0, |last| last.number - self.lowest + 1);
        let jitters = (self.packets.max(2) - 1) as f64;
        json!({
            "packets": self.packets,
            "lost": numbers - self.packets,
            "duplicates": self.duplicates,
            "reordered": self.reordered,
            "markers": self.markers,
            "starts_with_marker": self.starts_with_marker,
            "skipped": self.skipped,
            "wrong_steps": self.wrong_steps,
            "silent": self.silent,
            "padded": self.padded,
            "wrong_audio": self.wrong_audio,
            "audio_bytes": self.place,
            "jitter_mean_us": self.jitter_sum_ns / jitters / 1000.0,
            "jitter_max_us": self.jitter_max_ns / 1000.0,
            "delta_max_us": self.delta_max_ns as f64 / 1000.0,
            "late_max_us": self.late_ns().max().unwrap_or(0) as f64 / 1000.0,
        })
    }
}

fn is_set(bits: &[u64], number: u64) -> bool {
    let word = bits.get((number / 64) as usize).copied().unwrap_or(0);
    word >> (number % 64) & 1 != 0
}

fn set(bits: &mut Vec<u64>, number: u64) {
    let word = (number / 64) as usize;
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    bits[word] |= 1 << (number % 64);
}
