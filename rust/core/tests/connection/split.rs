//! The same events whatever the cut (faults.md B11), and whatever vectors the processor has.

use proptest::prelude::*;
use voxwire_core::connection::Event;
use voxwire_core::frame::{FrameWriter, Opcode, Role};
use voxwire_kernels::width::{self, Width};

use crate::support::{End, HOST, Seen, chunk, done, frame_to, plain, push, server, waiting_client};

/// A stream with everything in it: chunks (one fragmented, with a ping between), times, a flush, an error, a done, a
/// cut sample, late messages, and a close, then data that must not be looked at.
fn recorded() -> Vec<u8> {
    let text = |json: &str| frame_to(Role::Client, Opcode::Text, json.as_bytes());
    let mut wire = text(&chunk("a", "AAECAwQ="));
    wire.extend(frame_to(Role::Client, Opcode::Ping, b"between"));
    wire.extend(text(
        r#"{"type":"timestamps","context_id":"b","word_timestamps":{"words":["gr\u00fc\u00df","ä"],"start":[0,1],"end":[1,2]}}"#,
    ));
    let whole = chunk("b", &"AAEC".repeat(50));
    let (first, rest) = whole.as_bytes().split_at(60);
    let (middle, last) = rest.split_at(100);
    wire.extend([0x01, 60]);
    wire.extend(first);
    wire.extend(frame_to(Role::Client, Opcode::Ping, b"inside"));
    wire.extend([0x00, 100]);
    wire.extend(middle);
    wire.extend([0x00, 0]);
    wire.extend(frame_to(Role::Client, Opcode::Pong, b"unasked"));
    wire.extend([0x80, 126]);
    wire.extend(u16::try_from(last.len()).expect("short").to_be_bytes());
    wire.extend(last);
    wire.extend(text(
        r#"{"type":"flush_done","context_id":"a","flush_id":1,"flush_done":true,"done":false}"#,
    ));
    wire.extend(text(&chunk("a", "BQ==")));
    wire.extend(text(&chunk("c", "AA-_")));
    wire.extend(text(&chunk("c", "AAAA")));
    wire.extend(text(
        r#"{"type":"error","context_id":"b","title":"Gone","message":"é","status_code":500}"#,
    ));
    wire.extend(text(&done("a")));
    wire.extend(text(r#"{"type":"news"}"#));
    FrameWriter::new(Role::Server, [0; 32])
        .write_close(&mut wire, Some(1001), "so l\u{e4}nger")
        .expect("valid");
    wire.extend(text(&chunk("a", "AAAA")));
    wire
}

fn run(mut end: End, wire: &[u8], cuts: &[usize]) -> (Vec<Seen>, Vec<u8>, String) {
    let mut events = Vec::new();
    let mut sent = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&wire.len()]) {
        end.handle_data(&wire[from..to], None, &HOST);
        events.extend(end.poll_events());
        sent.extend(end.poll_transmit());
        from = to;
    }
    (events, sent, format!("{:?} {:?}", end.counters(), end.state()))
}

fn listener() -> End {
    waiting_client(&["a", "b", "c"])
}

#[test]
fn every_single_cut_of_a_recorded_stream_gives_the_same_events() {
    let wire = recorded();
    let whole = run(listener(), &wire, &[]);
    assert_eq!(whole.0.len(), 9, "{:?}", whole.0);
    assert!(matches!(whole.0[8], Event::Closed(_)));
    for width in Width::ALL {
        width::at_most(width, || {
            for cut in 0..=wire.len() {
                assert_eq!(run(listener(), &wire, &[cut]), whole, "cut at {cut}, {width:?}");
            }
            let all: Vec<usize> = (0..wire.len()).collect();
            assert_eq!(run(listener(), &wire, &all), whole, "{width:?}");
        });
    }
}

/// Frames of a client whose masks do not repeat.
fn requests() -> Vec<u8> {
    let mut writer = FrameWriter::new(Role::Client, [5; 32]);
    let mut wire = Vec::new();
    let mut write = |opcode, payload: &[u8]| writer.write(&mut wire, opcode, payload).expect("the payload fits");
    write(
        Opcode::Text,
        r#"{"transcript":"grüß dich","context_id":"a","continue":true}"#.as_bytes(),
    );
    write(Opcode::Binary, br#"{"cancel":true,"context_id":"a"}"#);
    write(Opcode::Ping, b"p");
    write(Opcode::Text, b"[]");
    write(Opcode::Binary, b"\xff");
    write(Opcode::Text, b"{\"context_id\":\"b\",\"continue\":true}");
    write(Opcode::Text, b"{\"transcript\":\"\xe2\x82\x28\"}");
    wire
}

#[test]
fn every_single_cut_of_requests_gives_the_same_events() {
    let wire = requests();
    let whole = run(server(), &wire, &[]);
    assert_eq!(whole.0.len(), 6, "{:?}", whole.0);
    for cut in 0..=wire.len() {
        assert_eq!(run(server(), &wire, &[cut]), whole, "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn random_cuts_give_the_same_events(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        width in prop::sample::select(&Width::ALL),
    ) {
        for (wire, make) in [(recorded(), listener as fn() -> End), (requests(), server)] {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            places.sort_unstable();
            let cut = width::at_most(width, || run(make(), &wire, &places));
            prop_assert_eq!(cut, run(make(), &wire, &[]));
        }
    }

    #[test]
    fn no_bytes_whatsoever_can_do_more_than_close(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let mut damaged = recorded();
        let at = flip.index(damaged.len());
        damaged[at] ^= mask;
        for wire in [bytes, damaged] {
            for end in [listener(), server(), plain(Role::Client), plain(Role::Server)] {
                let role = end.role();
                let is_server = role == Role::Server;
                let (events, ..) = run(end, &wire, &[cut.index(wire.len() + 1)]);
                let ends = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
                prop_assert!(ends <= 1);
                if ends == 1 {
                    prop_assert!(matches!(events.last(), Some(Event::Closed(_))));
                }
                let heard = events.iter().any(|event| matches!(event, Event::Audio { .. }));
                prop_assert!(!(is_server && heard));
            }
        }
    }

    #[test]
    fn audio_arrives_exactly_however_it_was_chunked(
        sizes in prop::collection::vec(1..200_usize, 1..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut server = server();
        let total: usize = sizes.iter().sum::<usize>() & !1;
        let data: Vec<u8> = (0..total).map(|byte| u8::try_from(byte % 251).unwrap_or_default()).collect();
        let mut rest = data.as_slice();
        for size in sizes {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            if !piece.is_empty() {
                server.send_chunk("a", piece, 1.0, None).expect("open");
            }
            rest = later;
        }
        server.send_done("a").expect("open");
        let wire = server.poll_transmit();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        places.sort_unstable();
        let mut end = listener();
        prop_assert_eq!(push(&mut end, "a", "", false), voxwire_core::context::ClientVerdict::Ignored);
        let (events, ..) = run(end, &wire, &places);
        let mut heard = Vec::new();
        for event in &events[..events.len() - 1] {
            let Event::Audio { data, start_s, .. } = event else { panic!("{event:?}") };
            prop_assert!((start_s * 24000.0 - (heard.len() / 2) as f64).abs() < 1e-6);
            prop_assert_eq!(data.len() % 2, 0);
            heard.extend_from_slice(data);
        }
        prop_assert_eq!(heard, data);
        prop_assert_eq!(&events[events.len() - 1], &Event::Finished { owner: "a", expired: false });
    }
}
