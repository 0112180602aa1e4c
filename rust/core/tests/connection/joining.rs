//! Small neighbouring chunks as one piece of audio.

use voxwire_core::connection::{Event, JOINED_CHUNK_BYTES};
use voxwire_core::frame::{Opcode, Role};

use crate::support::{End, Memory, Seen, closed, done, feed, frame_to, sent, server, waiting_client};

fn joining(ids: &[&'static str]) -> End {
    let mut end = waiting_client(ids);
    for id in ids {
        end.join_audio(id).expect("a client");
    }
    end
}

fn chunks(id: &str, datas: &[&[u8]], flush_id: Option<u64>) -> Vec<u8> {
    let mut server = server();
    for data in datas {
        server.send_chunk(id, data, 1.0, flush_id).expect("open");
    }
    server.poll_transmit()
}

/// Owner, frames and their time, label of each piece; other events by their names.
fn shown(events: &[Seen]) -> Vec<String> {
    let frame_s = 1.0 / 24000.0;
    events
        .iter()
        .map(|event| match event {
            Event::Audio {
                owner,
                data,
                start_s,
                flush_id,
            } => format!("{owner} {data:?} at {:.0} of {flush_id:?}", start_s / frame_s),
            Event::Timestamps { .. } => "times".to_owned(),
            Event::FlushDone { .. } => "flush done".to_owned(),
            Event::Finished { .. } => "finished".to_owned(),
            Event::Failed { failure, .. } => format!("failed {:?}", failure.code),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_chunk_that_came_in_pieces_is_joined_with_those_behind_it() {
    let mut end = joining(&["a"]);
    let long: Vec<u8> = (0..60).collect();
    let wire = chunks("a", &[&long, &[1, 0], &[2, 0]], Some(1));
    // The shape is learned from the first ones.
    let first = feed(&mut end, &wire);
    for cut in [100, 140] {
        assert_eq!(feed(&mut end, &wire[..cut]), []);
        let again = feed(&mut end, &wire[cut..]);
        let ([Event::Audio { data, .. }], [Event::Audio { data: expected, .. }]) = (again.as_slice(), first.as_slice())
        else {
            panic!("{again:?}")
        };
        assert_eq!(data, expected);
    }
}

#[test]
fn a_chunk_in_pieces_needs_no_more_room_than_one_that_came_whole() {
    let message = |base64: &str| format!(r#"{{"type":"chunk","data":"{base64}","context_id":"a"}}"#);
    let frame = |text: &str| frame_to(Role::Client, Opcode::Text, text.as_bytes());
    let taught = |text: &str| {
        let mut end = joining(&["a"]);
        assert_eq!(feed(&mut end, &frame(text)).len(), 1);
        end
    };
    // Two bytes longer than the padding of the last one lets expect.
    let mut wire = frame(&message(&"AAAA".repeat(22)));
    let cut = wire.len() - 20;
    wire.extend(frame(&done("a")));
    let host = Memory { limit_bytes: 64 };
    let told = |cuts: &[usize]| {
        let mut end = taught(&message(&("AAAA".repeat(21) + "AA==")));
        let mut from = 0;
        for &to in cuts.iter().chain([&wire.len()]) {
            end.handle_data(&wire[from..to], None, &host);
            from = to;
        }
        (end.poll_events(), end.counters())
    };
    assert_eq!(told(&[cut]), told(&[]));
}

#[test]
fn neighbours_of_one_context_and_segment_in_one_read_are_one_piece() {
    let mut end = joining(&["a", "b"]);
    let mut wire = chunks("a", &[&[1, 0], &[2, 0, 3, 0]], Some(1));
    wire.extend(chunks("a", &[&[4, 0]], Some(2)));
    wire.extend(chunks("b", &[&[5, 0], &[6, 0]], Some(2)));
    wire.extend(chunks("a", &[&[7, 0]], Some(2)));
    assert_eq!(
        shown(&feed(&mut end, &wire)),
        [
            "a [1, 0, 2, 0, 3, 0] at 0 of Some(1)",
            "a [4, 0] at 3 of Some(2)",
            "b [5, 0, 6, 0] at 0 of Some(2)",
            "a [7, 0] at 4 of Some(2)",
        ]
    );
    // What another read brings is another piece.
    assert_eq!(
        shown(&feed(&mut end, &chunks("a", &[&[8, 0]], Some(2)))),
        ["a [8, 0] at 5 of Some(2)"]
    );
}

#[test]
fn nothing_is_joined_across_another_event() {
    let mut end = joining(&["a"]);
    let mut wire = chunks("a", &[&[1, 0]], Some(1));
    wire.extend(frame_to(
        Role::Client,
        Opcode::Text,
        br#"{"type":"flush_done","flush_done":true,"flush_id":1,"context_id":"a"}"#,
    ));
    wire.extend(chunks("a", &[&[2, 0], &[3, 0]], Some(1)));
    wire.extend(frame_to(Role::Client, Opcode::Text, done("a").as_bytes()));
    assert_eq!(
        shown(&feed(&mut end, &wire)),
        [
            "a [1, 0] at 0 of Some(1)",
            "flush done",
            "a [2, 0, 3, 0] at 1 of Some(1)",
            "finished",
        ]
    );
}

#[test]
fn large_chunks_and_cut_samples_stay_apart_and_in_order() {
    let large = vec![9; JOINED_CHUNK_BYTES];
    let mut end = joining(&["a"]);
    let wire = chunks(
        "a",
        &[&[1, 0], &large, &[2, 0], &[3], &[0, 4, 0], &[5, 0], &[6, 0]],
        None,
    );
    let events = feed(&mut end, &wire);
    let sizes: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Audio { data, .. } => data.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [2, JOINED_CHUNK_BYTES, 2, 4, 4]);
}

#[test]
fn pieces_end_at_64_kib() {
    let mut end = joining(&["a"]);
    let small = [7; 1000];
    let wire = chunks("a", &[small.as_slice(); 100], None);
    let sizes: Vec<_> = feed(&mut end, &wire)
        .iter()
        .map(|event| match event {
            Event::Audio { data, .. } => data.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [65_000, 35_000]);
}

#[test]
fn the_audio_is_that_of_the_pieces_however_the_stream_is_cut() {
    let datas: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 2 * (1 + usize::from(n) * 7)]).collect();
    let pieces: Vec<&[u8]> = datas.iter().map(Vec::as_slice).collect();
    let wire = chunks("a", &pieces, Some(1));
    for cut in 0..wire.len() {
        let mut end = joining(&["a"]);
        let mut events = feed(&mut end, &wire[..cut]);
        events.extend(feed(&mut end, &wire[cut..]));
        let mut heard = Vec::new();
        for event in events {
            let Event::Audio { data, start_s, .. } = event else {
                panic!("{event:?}")
            };
            assert!((start_s * 24000.0 - heard.len() as f64 / 2.0).abs() < 1e-6);
            heard.extend(data);
        }
        assert_eq!(heard, datas.concat(), "cut at {cut}");
    }
}

#[test]
fn bad_base64_among_neighbours_fails_the_context_behind_what_was_good() {
    let mut end = joining(&["a"]);
    let mut wire = chunks("a", &[&[1, 0], &[2, 0]], None);
    wire.extend(frame_to(
        Role::Client,
        Opcode::Text,
        crate::support::chunk("a", "AA=A").as_bytes(),
    ));
    wire.extend(chunks("a", &[&[3, 0]], None));
    assert_eq!(
        shown(&feed(&mut end, &wire)),
        ["a [1, 0, 2, 0] at 0 of None", r#"failed Some("invalid_audio")"#]
    );
}

#[test]
fn a_piece_without_room_ends_the_connection_and_leaves_no_empty_audio() {
    let mut end = joining(&["a"]);
    end.handle_data(
        &chunks("a", &[&[1, 0], &[2, 0]], None),
        None,
        &Memory { limit_bytes: 2 },
    );
    assert_eq!(closed(&end.poll_events()).code, 1011);
    assert_eq!(sent(&mut end).len(), 1);
}
