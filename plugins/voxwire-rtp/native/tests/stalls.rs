//! What becomes of slots whose time has passed, and of digits.

mod room;

use room::{Line, Seen, markers, settings};
use voxwire_rtp::digits::Digit;
use voxwire_rtp::packet::event_code;
use voxwire_rtp::settings::{Idle, Settings};
use voxwire_rtp::slot::Slot;

const PTIME_NS: u64 = 20_000_000;

/// Passes slots as after a stall: the first is so many slots late, each further one by one less.
fn stall(line: &mut Line, slots: u64) -> Vec<Option<Seen>> {
    let passed = (0..=slots)
        .rev()
        .map(|behind| line.pass(behind * PTIME_NS + 1_000_000).1);
    passed
        .map(|bytes| (!bytes.is_empty()).then(|| Seen::read(&bytes)))
        .collect()
}

#[test]
fn two_late_packets_leave_beside_the_one_that_is_due() {
    let mut line = Line::new(settings());
    line.write(0, 800);
    line.take(1);
    let packets = stall(&mut line, 2);
    let numbers: Vec<(u16, u32, bool)> = packets
        .iter()
        .flatten()
        .map(|packet| (packet.sequence, packet.timestamp, packet.marker))
        .collect();
    assert_eq!(
        numbers,
        [(1001, 50_160, false), (1002, 50_320, false), (1003, 50_480, false)]
    );
    assert_eq!((line.counters.late.get(), line.counters.skipped.get()), (2, 0));
}

#[test]
fn a_longer_stall_is_a_gap_and_keeps_audio() {
    let mut line = Line::new(settings());
    let data = line.write(0, 800);
    let mut payload = line.take(1)[0].as_ref().expect("a packet").payload.clone();
    let packets = stall(&mut line, 10);
    assert!(packets[..10].iter().all(Option::is_none), "nothing late leaves");
    let first = packets[10].as_ref().expect("the one that is due");
    assert_eq!(
        (first.sequence, first.timestamp, first.marker),
        (1001, 50_000 + 11 * 160, true)
    );
    assert_eq!((line.counters.late.get(), line.counters.skipped.get()), (0, 10));
    payload.extend_from_slice(&first.payload);
    for packet in line.take(3).into_iter().flatten() {
        assert!(!packet.marker);
        payload.extend_from_slice(&packet.payload);
    }
    assert_eq!(payload, data);
    assert_eq!(line.queue.position().xruns, 0);
}

#[test]
fn the_first_packet_leaves_in_time() {
    let mut line = Line::new(settings());
    line.write(0, 800);
    let packets = stall(&mut line, 5);
    assert!(packets[..5].iter().all(Option::is_none));
    let first = packets[5].as_ref().expect("the one that is due");
    assert_eq!((first.sequence, first.timestamp, first.marker), (1000, 50_000, true));
    assert_eq!(line.counters.skipped.get(), 0);
}

#[test]
fn rounds_of_the_wheel_fall_out_at_once() {
    let mut line = Line::new(settings());
    line.sender.skip(30);
    line.write(0, 320);
    assert_eq!(
        line.next().expect("a packet").timestamp,
        50_000,
        "the clock does not run yet"
    );
    line.sender.skip(30);
    let after = line.next().expect("a packet");
    assert_eq!(
        (after.sequence, after.timestamp, after.marker),
        (1001, 50_160 + 30 * 160, true)
    );
}

#[test]
fn slots_that_fall_out_say_so() {
    let mut line = Line::new(settings());
    line.write(0, 320);
    line.take(1);
    assert_eq!(line.pass(3 * PTIME_NS).0, Slot::Skipped);
}

fn digit(key: char, slots: u64, pause_slots: u64) -> Digit {
    Digit {
        code: event_code(key).expect("a key"),
        slots,
        pause_slots,
    }
}

/// Code, end, duration, marker, timestamp of every event.
fn events(packets: &[Option<Seen>]) -> Vec<(u8, bool, u16, bool, u32)> {
    let events = packets.iter().flatten().filter(|packet| packet.payload_type == 101);
    events
        .map(|packet| {
            let [code, flags, high, low] = packet.payload[..] else {
                panic!("an event of {} bytes", packet.payload.len());
            };
            assert_eq!(flags & 0x7F, 10, "-10 dBm0");
            let duration = u16::from_be_bytes([high, low]);
            (code, flags & 0x80 != 0, duration, packet.marker, packet.timestamp)
        })
        .collect()
}

#[test]
fn a_digit_grows_and_ends_three_times() {
    let mut line = Line::new(settings());
    line.write(0, 160);
    line.take(1);
    line.sender.push_digit(digit('7', 5, 3));
    let packets = line.take(9);
    let at = 50_160;
    assert_eq!(
        events(&packets),
        [
            (7, false, 160, true, at),
            (7, false, 320, false, at),
            (7, false, 480, false, at),
            (7, false, 640, false, at),
            (7, true, 800, false, at),
            (7, true, 800, false, at),
            (7, true, 800, false, at),
        ]
    );
    let sequences: Vec<u16> = packets.iter().flatten().map(|packet| packet.sequence).collect();
    assert_eq!(sequences, (1001..1010).collect::<Vec<_>>());
    // The rest of the pause, and what comes behind it, are silence at their own time.
    let rest: Vec<(u32, bool)> = packets[7..]
        .iter()
        .flatten()
        .map(|packet| (packet.timestamp, packet.marker))
        .collect();
    assert_eq!(rest, [(at + 7 * 160, false), (at + 8 * 160, false)]);
}

#[test]
fn digits_follow_one_another_and_audio_waits() {
    let mut line = Line::new(settings());
    let data = line.write(0, 320);
    let mut payload = line.take(1)[0].as_ref().expect("a packet").payload.clone();
    for key in ['*', '#', 'D'] {
        line.sender.push_digit(digit(key, 1, 0));
    }
    let packets = line.take(9);
    let seen = events(&packets);
    assert_eq!(seen.len(), 9);
    assert_eq!(
        seen.iter().map(|event| event.0).collect::<Vec<_>>(),
        [10, 10, 10, 11, 11, 11, 15, 15, 15]
    );
    assert!(seen.iter().all(|event| event.1 && event.2 == 160));
    assert_eq!(
        seen.iter().map(|event| event.3).collect::<Vec<_>>(),
        [true, false, false].repeat(3)
    );
    let after = line.next().expect("audio");
    assert_eq!((after.marker, after.timestamp), (false, 50_160 + 9 * 160));
    payload.extend(after.payload);
    assert_eq!(payload, data);
    assert_eq!(line.queue.position().xruns, 0);
}

#[test]
fn a_digit_may_come_first() {
    let mut line = Line::new(Settings {
        idle: Idle::Gap,
        ..settings()
    });
    line.sender.push_digit(digit('0', 2, 2));
    let packets = line.take(5);
    assert_eq!(events(&packets).len(), 4);
    assert_eq!(packets[4], None);
    line.write(0, 160);
    let audio = line.next().expect("audio");
    assert_eq!(
        (audio.marker, audio.sequence, audio.timestamp),
        (true, 1004, 50_000 + 5 * 160)
    );
}

#[test]
fn a_stall_in_a_digit_loses_none_of_its_packets() {
    let mut line = Line::new(settings());
    line.sender.push_digit(digit('5', 3, 2));
    let mut packets = line.take(1);
    packets.extend(stall(&mut line, 8));
    packets.extend(line.take(6));
    let seen = events(&packets);
    assert_eq!(
        seen.iter().map(|event| event.1).collect::<Vec<_>>(),
        [false, false, true, true, true]
    );
    assert!(
        seen.iter().all(|event| event.4 == 50_000),
        "all of them say when it began"
    );
}

#[test]
fn keys_have_the_numbers_of_rfc_4733() {
    let codes: Vec<Option<u8>> = "09*#ADEa".chars().map(event_code).collect();
    assert_eq!(
        codes,
        [Some(0), Some(9), Some(10), Some(11), Some(12), Some(15), None, None]
    );
}

#[test]
fn a_digit_that_comes_first_begins_the_talk_spurt() {
    let mut line = Line::new(settings());
    line.sender.push_digit(digit('1', 1, 0));
    let packets = line.take(6);
    assert!(events(&packets)[0].3);
    assert_eq!(markers(&packets)[1..], [Some(false); 5], "then silence");
}
