//! One stream: from a queue of audio to packets, slot by slot. No socket, no clock, no thread: time is an argument.
//!
//! A slot is the time of one packet. The clock of the stream, its timestamp, moves on by a packet's frames in every slot
//! from the first packet on, whether or not something leaves in it: nothing drifts, and no pause is lost.

use std::sync::Arc;

use voxwire_sink::{Consumed, Queue};

use crate::NS_PER_S;
use crate::composer::{Composer, Content};
use crate::digits::{Digit, Digits, Due};
use crate::packet::{COMFORT_NOISE, HEADER_BYTES};
use crate::random::Random;
use crate::reports::Reports;
use crate::rtcp::{Cname, Ntp, ROOM_BYTES, Report, SenderInfo};
use crate::settings::{Idle, Settings};
use crate::slot::{Packet, Slot, Turn};
use crate::srtp::Sealer;
use crate::statistics::{Counters, Jitter};

/// So many late packets leave at once beside the one that is due. A stall that cost more is a gap: nothing more leaves
/// late, since a burst would only overrun the receiver's buffer.
const LATE_SLOTS: u64 = 2;

/// Where the audio stood that was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// A finish stood behind it, or it ran dry.
    Over,
    /// It filled its packet, and more is to follow.
    GoesOn,
    /// It left room in its packet, though more is to follow: a hole, unless a finish comes yet.
    Short,
}

/// The state of one stream.
pub struct Sender {
    settings: Settings,
    counters: Arc<Counters>,
    composer: Composer,
    /// Of the next slot.
    timestamp: u32,
    /// There was a packet; from then on the clock runs.
    begun: bool,
    /// Nothing was in the last slot, or only comfort noise: the next packet begins a talk spurt.
    quiet: bool,
    /// Slots fall out until one is in time.
    skipping: bool,
    speech: Speech,
    digits: Digits,
    /// Of the packet that began the event (RFC 4733 2.5.1.2): all packets of an event say when it began.
    event_timestamp: u32,
    /// When the last slot was due, and its timestamp.
    reference: (u64, u32),
    last_sent_ns: u64,
    jitter: Jitter,
    reports: Reports,
    /// Packets and bytes of payload sent under this SSRC, modulo 2^32.
    sent: (u32, u32),
}

impl Sender {
    /// Nothing was sent yet.
    pub fn new(settings: Settings, sealer: Option<Sealer>, random: Random, counters: Arc<Counters>) -> Self {
        counters.ssrc.set(u64::from(settings.ssrc));
        counters.base_sequence.set(u64::from(settings.sequence));
        Self {
            settings,
            counters,
            composer: Composer {
                ssrc: settings.ssrc,
                sequence: settings.sequence,
                sealer: sealer.map(Box::new),
            },
            timestamp: settings.timestamp,
            begun: false,
            quiet: true,
            skipping: false,
            speech: Speech::Over,
            digits: Digits::default(),
            event_timestamp: 0,
            reference: (0, settings.timestamp),
            last_sent_ns: 0,
            jitter: Jitter::default(),
            reports: Reports::new(random),
            sent: (0, 0),
        }
    }

    /// What it was opened for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When a packet last left; None before the first.
    pub fn last_sent_ns(&self) -> Option<u64> {
        (self.last_sent_ns > 0).then_some(self.last_sent_ns)
    }

    /// A packet was sent under this SSRC.
    pub fn is_heard_of(&self) -> bool {
        self.sent.0 > 0
    }

    /// Sends a digit behind those that wait.
    pub fn push_digit(&mut self, digit: Digit) {
        self.digits.push(digit);
    }

    /// No digit begins any more, and the one that has begun ends with the next slot: without its end, which is sent three
    /// times as that of any other (RFC 4733 2.5.1.4), the receiver would hear it on.
    pub fn release_digits(&mut self) {
        self.digits.release();
    }

    /// A digit that has begun is not over. Once they are released its slots carry the end and nothing else.
    pub fn is_sending_digit(&self) -> bool {
        self.digits.is_sending()
    }

    // --- slots ---

    /// Passes one slot and puts its packet, where there is one, behind what is in `bytes`. What became of the packet is
    /// then told by [`Self::note_sent`] or [`Self::note_unsent`].
    pub fn pass(&mut self, turn: &Turn, queue: &Queue, bytes: &mut Vec<u8>) -> Slot {
        let behind = turn.now_ns.saturating_sub(turn.due_ns) / self.settings.ptime_ns();
        self.skipping = behind > LATE_SLOTS || (self.skipping && behind > 0);
        if !self.begun && behind > 0 {
            // The first packet sets the clock: it leaves in time.
            return Slot::EMPTY;
        }
        if self.skipping {
            self.skip(1);
            return Slot::Skipped;
        }
        let start = bytes.len();
        let (mut owed, mut xrun) = (false, false);
        let content = match self.digits.next(u64::from(self.settings.frames())) {
            Due::Event { event, first } => {
                bytes.resize(start + HEADER_BYTES, 0);
                bytes.extend_from_slice(&event.to_bytes());
                if first {
                    self.event_timestamp = self.timestamp;
                }
                self.quiet = false;
                Some(Content {
                    payload_type: self.settings.event_payload_type.unwrap_or_default(),
                    marker: first,
                    timestamp: self.event_timestamp,
                    audio: (0, 0),
                })
            }
            Due::Nothing if !turn.paused => {
                let Some(consumed) = self.consume(turn, queue, bytes) else {
                    return Slot::Busy;
                };
                owed = consumed.owed;
                xrun = self.runs_dry(&consumed);
                if xrun {
                    queue.count_xrun();
                }
                if consumed.frames > 0 {
                    Some(self.audio((consumed.segment, consumed.frames)))
                } else {
                    self.idle(bytes)
                }
            }
            Due::Nothing | Due::Pause => self.idle(bytes),
        };
        self.reference = (turn.due_ns, self.timestamp);
        self.begun |= content.is_some();
        if self.begun {
            self.timestamp = self.timestamp.wrapping_add(self.settings.frames());
        }
        let payload_bytes = bytes.len().saturating_sub(start + HEADER_BYTES) as u32;
        let end = content
            .as_ref()
            .and_then(|content| self.composer.complete(bytes, start, content));
        let packet = content.zip(end).map(|(content, end)| Packet {
            start,
            end,
            due_ns: turn.due_ns,
            payload_bytes,
            audio: content.audio,
            late: behind > 0,
        });
        Slot::Passed { packet, owed, xrun }
    }

    /// Slots fall out: their time has passed, audio and digits are kept. Returns how many those are: none before the
    /// first packet.
    pub fn skip(&mut self, slots: u64) -> u64 {
        if !self.begun {
            return 0;
        }
        let frames = (slots as u32).wrapping_mul(self.settings.frames());
        self.timestamp = self.timestamp.wrapping_add(frames);
        self.quiet = true;
        self.counters.skipped.add(slots);
        slots
    }

    /// Takes the audio of one packet; None where somebody else is using the queue.
    fn consume(&self, turn: &Turn, queue: &Queue, bytes: &mut Vec<u8>) -> Option<Consumed> {
        let coding = self.settings.coding;
        let start = bytes.len();
        bytes.resize(start + HEADER_BYTES + self.settings.payload_bytes(), coding.silence());
        let room = &mut bytes[start + HEADER_BYTES..];
        let consumed = queue.try_consume(room, turn.now_ns);
        let frames = consumed.map_or(0, |consumed| consumed.frames);
        if frames == 0 {
            bytes.truncate(start);
        } else {
            coding.to_wire(&mut room[..frames as usize * coding.frame_bytes()]);
        }
        consumed
    }

    /// Whether audio had run dry before these frames, without a finish.
    fn runs_dry(&mut self, consumed: &Consumed) -> bool {
        let dry = match self.speech {
            Speech::Over => false,
            Speech::GoesOn => consumed.frames == 0,
            Speech::Short => true,
        };
        self.speech = if consumed.frames == 0 || consumed.ends {
            Speech::Over
        } else if consumed.frames < u64::from(self.settings.frames()) {
            Speech::Short
        } else {
            Speech::GoesOn
        };
        dry && !consumed.begins
    }

    fn audio(&mut self, audio: (u64, u64)) -> Content {
        Content {
            payload_type: self.settings.payload_type,
            // RFC 3551 4.1: on the first packet after silence in which nothing was sent, and on no other.
            marker: std::mem::take(&mut self.quiet),
            timestamp: self.timestamp,
            audio,
        }
    }

    /// What a slot without audio carries, once there was a packet.
    fn idle(&mut self, bytes: &mut Vec<u8>) -> Option<Content> {
        let quiet = std::mem::replace(&mut self.quiet, true);
        let room = bytes.len() + HEADER_BYTES;
        match self.settings.idle {
            Idle::Silence if self.begun => {
                self.quiet = quiet;
                bytes.resize(room + self.settings.payload_bytes(), self.settings.coding.silence());
                Some(self.audio((0, 0)))
            }
            Idle::ComfortNoise if self.begun && !quiet => {
                bytes.resize(room, 0);
                bytes.extend_from_slice(&COMFORT_NOISE);
                Some(Content {
                    payload_type: self.settings.comfort_payload_type,
                    marker: false,
                    timestamp: self.timestamp,
                    audio: (0, 0),
                })
            }
            _ => None,
        }
    }

    // --- what became of packets ---

    /// The system took the packet. Returns by how many nanoseconds its distance from the one before was not what it
    /// should be; None for the first.
    pub fn note_sent(&mut self, packet: &Packet, now_ns: u64) -> Option<u64> {
        let counters = &self.counters;
        counters.packets.add(1);
        counters.octets.add(u64::from(packet.payload_bytes));
        counters.late.add(u64::from(packet.late));
        let variation_ns = self.jitter.note(now_ns.cast_signed() - packet.due_ns.cast_signed());
        counters.jitter_ns.set(self.jitter.estimate_ns());
        counters.worst_jitter_ns.raise_to(self.jitter.estimate_ns());
        if let Some(variation_ns) = variation_ns {
            counters.variations.note(variation_ns);
        }
        self.sent.0 = self.sent.0.wrapping_add(1);
        self.sent.1 = self.sent.1.wrapping_add(packet.payload_bytes);
        self.last_sent_ns = now_ns;
        self.reports.begin(now_ns);
        variation_ns
    }

    /// The system refused the packet: audio in it counts as played and was not.
    pub fn note_unsent(&mut self, packet: &Packet, queue: &Queue) {
        self.counters.unsent.add(1);
        let (segment, frames) = packet.audio;
        if frames > 0 {
            queue.doubt(segment, frames);
        }
    }

    // --- RTCP ---

    /// True where a report is due.
    pub fn owes_report(&self, now_ns: u64) -> bool {
        self.reports.due(now_ns)
    }

    /// Writes a report, or with `goodbye` the last one of this SSRC; both times are of one instant. Returns its length,
    /// 0 where the key may protect nothing more.
    pub fn report(&mut self, now_ns: u64, at: Ntp, cname: &Cname, goodbye: bool, room: &mut [u8; ROOM_BYTES]) -> usize {
        let (due_ns, timestamp) = self.reference;
        let rate = u128::from(self.settings.sample_rate);
        let passed = u128::from(now_ns.saturating_sub(due_ns)) * rate / u128::from(NS_PER_S);
        let sends = self.reports.note(now_ns, self.sent.0);
        let report = Report {
            ssrc: self.composer.ssrc,
            cname,
            sent: sends.then_some(SenderInfo {
                at,
                rtp_timestamp: timestamp.wrapping_add(passed as u32),
                packets: self.sent.0,
                octets: self.sent.1,
            }),
            goodbye,
        };
        let length = report.write(room);
        match &mut self.composer.sealer {
            Some(sealer) => sealer.seal_rtcp(room, length).unwrap_or(0),
            None => length,
        }
    }

    /// Goes on under another SSRC, whose sequence is one of its own: below 2^15, where there is a key, as in the
    /// first packets (RFC 3711 3.3.1). A goodbye of the old one is the caller's.
    pub fn change_ssrc(&mut self, ssrc: u32, sequence: u16) {
        self.composer.ssrc = ssrc;
        self.composer.sequence = sequence;
        self.quiet = true;
        self.sent = (0, 0);
        self.reports.restart();
        self.counters.ssrc.set(u64::from(ssrc));
        self.counters.base_sequence.set(u64::from(self.composer.sequence));
        self.counters.collisions.add(1);
    }
}
