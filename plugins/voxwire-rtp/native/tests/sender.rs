//! From audio to packets: what leaves in which slot, with which numbers.

mod room;

use proptest::prelude::*;
use room::{Line, START_NS, Seen, markers, settings};
use voxwire_rtp::digits::Digit;
use voxwire_rtp::packet::Coding;
use voxwire_rtp::rtcp::{Cname, Compound, Ntp, Packet, ROOM_BYTES};
use voxwire_rtp::settings::{Idle, Settings};

#[test]
fn nothing_leaves_before_the_first_audio() {
    let mut line = Line::new(settings());
    assert_eq!(line.take(5), [const { None }; 5]);
    line.write(0, 160);
    let first = line.next().expect("a packet");
    assert_eq!(
        (first.sequence, first.timestamp, first.ssrc),
        (1000, 50_000, 0x1234_5678)
    );
    assert_eq!((first.marker, first.payload_type), (true, 0));
}

#[test]
fn packets_are_full_and_in_order() {
    let mut line = Line::new(settings());
    let data = line.write(3, 480);
    line.queue.finish().expect("an open queue");
    let packets: Vec<Seen> = line.take(3).into_iter().flatten().collect();
    assert_eq!(
        packets.iter().map(|packet| packet.sequence).collect::<Vec<_>>(),
        [1000, 1001, 1002]
    );
    assert_eq!(
        packets.iter().map(|packet| packet.timestamp).collect::<Vec<_>>(),
        [50_000, 50_160, 50_320]
    );
    assert_eq!(packets.concat_payloads(), data);
    let position = line.queue.position();
    assert_eq!((position.played, position.xruns), (480, 0));
}

#[test]
fn a_short_rest_is_padded_with_silence_that_nobody_counts() {
    let silences = [(Coding::Mulaw, 0xFF), (Coding::Alaw, 0xD5), (Coding::Linear16, 0)];
    for (coding, silence) in silences {
        let mut line = Line::new(Settings { coding, ..settings() });
        line.write(1, 10);
        line.queue.finish().expect("an open queue");
        let packet = line.next().expect("a packet");
        assert_eq!(packet.payload.len(), line.settings.payload_bytes());
        assert_eq!(packet.payload[10..], vec![silence; line.settings.payload_bytes() - 10]);
        assert_eq!(line.queue.position().played, 10 / coding.frame_bytes() as u64);
    }
}

#[test]
fn l16_leaves_in_the_order_of_the_network() {
    let mut line = Line::new(Settings {
        coding: Coding::Linear16,
        payload_type: 96,
        ..settings()
    });
    let data: Vec<u8> = (0..160_i16).flat_map(|sample| (sample * 200).to_le_bytes()).collect();
    line.queue.write(&data).expect("an open queue");
    let packet = line.next().expect("a packet");
    let expected: Vec<u8> = (0..160_i16).flat_map(|sample| (sample * 200).to_be_bytes()).collect();
    assert_eq!(packet.payload, expected);
}

#[test]
fn silence_fills_every_slot_and_begins_no_talk_spurt() {
    let mut line = Line::new(settings());
    line.write(0, 160);
    line.queue.finish().expect("an open queue");
    let packets = line.take(4);
    line.write(0, 160);
    assert_eq!(markers(&packets), [Some(true), Some(false), Some(false), Some(false)]);
    assert!(packets[2].as_ref().is_some_and(|packet| packet.payload == [0xFF; 160]));
    let after = line.next().expect("a packet");
    assert_eq!((after.marker, after.sequence, after.timestamp), (false, 1004, 50_640));
}

#[test]
fn a_gap_moves_the_clock_and_nothing_else() {
    let mut line = Line::new(Settings {
        idle: Idle::Gap,
        ..settings()
    });
    line.write(0, 160);
    line.queue.finish().expect("an open queue");
    assert_eq!(markers(&line.take(4)), [Some(true), None, None, None]);
    line.write(0, 320);
    let after = line.take(2);
    assert_eq!(markers(&after), [Some(true), Some(false)]);
    let first = after[0].as_ref().expect("a packet");
    assert_eq!((first.sequence, first.timestamp), (1001, 50_640));
}

#[test]
fn comfort_noise_is_sent_once_at_the_start_of_silence() {
    let mut line = Line::new(Settings {
        idle: Idle::ComfortNoise,
        ..settings()
    });
    line.write(0, 160);
    line.queue.finish().expect("an open queue");
    let packets = line.take(3);
    let noise = packets[1].as_ref().expect("comfort noise");
    assert_eq!(
        (noise.payload_type, noise.marker, noise.payload.as_slice()),
        (13, false, &[60][..])
    );
    assert_eq!((noise.sequence, noise.timestamp), (1001, 50_160));
    assert_eq!(packets[2], None);
    line.write(0, 160);
    let after = line.next().expect("a packet");
    assert_eq!((after.marker, after.sequence, after.timestamp), (true, 1002, 50_480));
    assert_eq!(markers(&line.take(2)), [Some(false), None], "and once more");
}

#[test]
fn audio_that_runs_dry_is_one_underrun_unless_a_finish_ends_it() {
    let runs = |frames: usize, finish: bool, slots: usize| {
        let mut line = Line::new(settings());
        line.write(0, frames);
        if finish {
            line.queue.finish().expect("an open queue");
        }
        line.take(slots);
        line.queue.position().xruns
    };
    assert_eq!(runs(320, false, 2), 0);
    assert_eq!(runs(320, false, 5), 1);
    assert_eq!(runs(200, false, 5), 1, "a hole and a rest are one");
    assert_eq!(runs(320, true, 5), 0);
    assert_eq!(runs(200, true, 5), 0);
}

#[test]
fn a_finish_that_follows_its_audio_closely_is_in_time() {
    let mut line = Line::new(settings());
    line.write(0, 200);
    line.take(2);
    line.queue.finish().expect("an open queue");
    line.take(3);
    assert_eq!(line.queue.position().xruns, 0);
}

#[test]
fn a_hole_in_speech_is_an_underrun_and_loses_nothing() {
    let mut line = Line::new(settings());
    let mut data = line.write(0, 200);
    let mut payload = line.take(2).concat_payloads();
    assert_eq!(payload.split_off(200), [0xFF; 120]);
    data.extend(line.write(7, 160));
    line.queue.finish().expect("an open queue");
    payload.extend(line.take(1).concat_payloads());
    assert_eq!(payload, data);
    assert_eq!(line.queue.position().xruns, 1);
}

#[test]
fn a_pause_keeps_audio_and_counts_no_underrun() {
    let mut line = Line::new(Settings {
        idle: Idle::Gap,
        ..settings()
    });
    let data = line.write(0, 480);
    line.queue.finish().expect("an open queue");
    let mut packets = line.take(1);
    line.paused = true;
    packets.extend(line.take(3));
    line.paused = false;
    packets.extend(line.take(2));
    assert_eq!(
        markers(&packets),
        [Some(true), None, None, None, Some(true), Some(false)]
    );
    assert_eq!(packets.concat_payloads(), data);
    assert_eq!(line.queue.position().xruns, 0);
}

#[test]
fn a_clear_takes_effect_in_the_next_slot() {
    let mut line = Line::new(settings());
    line.write(0, 800);
    line.take(2);
    let last = line.queue.clear(None, 0, 0);
    assert_eq!((last.played, last.discarded), (320, 480));
    assert_eq!(line.next().expect("silence").payload, [0xFF; 160]);
    line.write(9, 160);
    assert_eq!(line.next().expect("audio").payload[0], 9);
    assert_eq!(line.queue.position().xruns, 0, "a clear is no underrun");
}

#[test]
fn a_digit_that_is_released_ends_three_times_wherever_it_was() {
    let digit = |code| Digit {
        code,
        slots: 5,
        pause_slots: 4,
    };
    for passed in 0..=9 {
        let mut line = Line::new(settings());
        line.sender.push_digit(digit(7));
        line.sender.push_digit(digit(8));
        let mut packets: Vec<Seen> = line.take(passed).into_iter().flatten().collect();
        line.sender.release_digits();
        // Of three ends those that are missing, and nothing else.
        let left = if passed == 0 {
            0
        } else {
            7_usize.saturating_sub(passed).min(3)
        };
        for _ in 0..left {
            assert!(line.sender.is_sending_digit());
            packets.extend(line.next());
        }
        assert!(!line.sender.is_sending_digit(), "{passed} slots had passed");
        assert!(
            (1000..)
                .zip(&packets)
                .all(|(sequence, packet)| packet.sequence == sequence)
        );
        let events: Vec<&Seen> = packets.iter().filter(|packet| packet.payload_type == 101).collect();
        assert!(
            events
                .iter()
                .all(|packet| (packet.timestamp, packet.payload[0]) == (50_000, 7))
        );
        let ends: Vec<u16> = events
            .iter()
            .filter(|packet| packet.payload[1] & 0x80 != 0)
            .map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]))
            .collect();
        let frames = 160 * (passed as u16 + 1).min(5);
        assert_eq!(ends, if passed == 0 { vec![] } else { vec![frames; 3] });
    }
}

#[test]
fn numbers_wrap() {
    let mut line = Line::new(Settings {
        sequence: u16::MAX,
        timestamp: u32::MAX - 100,
        ..settings()
    });
    line.write(0, 320);
    let packets: Vec<Seen> = line.take(2).into_iter().flatten().collect();
    assert_eq!((packets[0].sequence, packets[1].sequence), (u16::MAX, 0));
    assert_eq!(packets[1].timestamp, 59);
}

#[test]
fn a_refused_packet_makes_the_position_uncertain() {
    let mut line = Line::new(settings());
    line.write(0, 400);
    line.take(1);
    line.fail();
    let position = line.queue.position();
    assert_eq!((position.played, position.bound), (320, 160));
    assert_eq!((line.counters.packets.get(), line.counters.unsent.get()), (1, 1));
    // Its number was used: to the receiver it is lost, which is the truth.
    assert_eq!(line.next().expect("a packet").sequence, 1002);
}

#[test]
fn jitter_is_that_of_the_times_of_sending() {
    let mut line = Line::new(settings());
    line.write(0, 480);
    line.pass(0);
    assert_eq!(line.counters.jitter_ns.get(), 0);
    line.pass(1_600_000);
    assert_eq!(line.counters.jitter_ns.get(), 100_000);
    line.pass(1_600_000);
    assert_eq!(line.counters.jitter_ns.get(), 93_750);
    assert_eq!(line.counters.worst_jitter_ns.get(), 100_000);
    let seen: Vec<_> = line
        .counters
        .variations
        .counts()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(seen, [(Some(20), 1), (Some(2000), 1)]);
    assert_eq!((line.counters.packets.get(), line.counters.octets.get()), (3, 480));
}

#[test]
fn a_report_says_what_was_sent_and_where_the_clock_stands() {
    let mut line = Line::new(settings());
    line.write(0, 160);
    let cname = Cname::new("somebody").expect("a name");
    assert!(
        !line.sender.owes_report(START_NS + 60_000_000_000),
        "nobody knows of it yet"
    );
    line.take(3);
    assert!(!line.sender.owes_report(START_NS + 1_200_000_000));
    assert!(line.sender.owes_report(START_NS + 3_800_000_000));
    let mut room = [0; ROOM_BYTES];
    // 5 ms after the third slot was due.
    let now_ns = START_NS + 45_000_000;
    let length = line
        .sender
        .report(now_ns, Ntp(0xAABB_CCDD_1122_3344), &cname, false, &mut room);
    let compound = Compound::parse(&room[..length]).expect("a compound packet");
    let Some(Packet::SenderReport { ssrc, info, .. }) = compound.packets().next() else {
        panic!("no sender report");
    };
    assert_eq!(
        (ssrc, info.at.0, info.packets, info.octets),
        (0x1234_5678, 0xAABB_CCDD_1122_3344, 3, 480)
    );
    assert_eq!(info.rtp_timestamp, 50_000 + 2 * 160 + 40);
    assert!(!line.sender.owes_report(now_ns + 2_400_000_000));
    assert!(line.sender.owes_report(now_ns + 7_600_000_000));
}

#[test]
fn another_ssrc_begins_a_talk_spurt_and_counts_from_zero() {
    let mut line = Line::new(settings());
    line.write(0, 480);
    line.take(2);
    line.sender.change_ssrc(77, 300);
    let packet = line.next().expect("a packet");
    assert_eq!(
        (packet.ssrc, packet.marker, packet.sequence, packet.timestamp),
        (77, true, 300, 50_320)
    );
    assert_eq!((line.counters.ssrc.get(), line.counters.base_sequence.get()), (77, 300));
    assert_eq!(line.counters.collisions.get(), 1);
}

proptest! {
    /// Whatever is written when: all of it arrives in order, and the numbers never jump.
    #[test]
    fn audio_arrives_whole(
        ptime in 1_u32..=6,
        writes in prop::collection::vec((0_usize..500, 0_usize..4), 1..30),
    ) {
        let mut line = Line::new(Settings { ptime_ms: ptime * 10, ..settings() });
        let (mut written, mut packets): (Vec<u8>, Vec<Option<Seen>>) = (Vec::new(), Vec::new());
        for (index, (frames, slots)) in writes.into_iter().enumerate() {
            // No byte of it is that of silence.
            let data: Vec<u8> = (0..frames).map(|frame| ((frame + index) % 200) as u8).collect();
            let taken = line.queue.write(&data).expect("an open queue").frames;
            written.extend(&data[..taken as usize]);
            packets.extend(line.take(slots));
        }
        packets.extend(line.take(101));
        let frames = line.settings.frames();
        let first = packets.iter().position(Option::is_some);
        for (index, packet) in packets.iter().skip(first.unwrap_or(0)).enumerate() {
            if let Some(packet) = packet {
                prop_assert_eq!(packet.sequence, 1000 + index as u16);
                prop_assert_eq!(packet.timestamp, 50_000 + index as u32 * frames);
                prop_assert_eq!(packet.marker, index == 0);
                prop_assert_eq!(packet.payload.len(), frames as usize);
            }
        }
        let arrived: Vec<u8> = packets.concat_payloads().into_iter().filter(|&byte| byte != 0xFF).collect();
        prop_assert_eq!(arrived, written);
    }
}

trait Payloads {
    fn concat_payloads(&self) -> Vec<u8>;
}

impl Payloads for Vec<Seen> {
    fn concat_payloads(&self) -> Vec<u8> {
        self.iter().flat_map(|packet| packet.payload.clone()).collect()
    }
}

impl Payloads for Vec<Option<Seen>> {
    fn concat_payloads(&self) -> Vec<u8> {
        self.iter()
            .flatten()
            .flat_map(|packet| packet.payload.clone())
            .collect()
    }
}
