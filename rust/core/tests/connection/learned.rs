//! A connection that has learned how its server writes chunks says of every message what one says that has not.

use proptest::prelude::*;
use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{Counters, Event};
use voxwire_core::frame::{Opcode, Role};
use voxwire_core::message::{MessageError, ServerMessage, decode_server_strict};

use crate::support::{End, HOST, Memory, Seen, client, feed, frame_to, push};

/// Every byte is a frame, so that no chunk cuts one.
const MULAW: Format = Format {
    encoding: Encoding::PcmMulaw,
    sample_rate: 8000,
    channels: 1,
};
const IDS: [&str; 4] = ["a", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "grüß", "a\"b"];
/// The id of a long name, in which the walk over short strings ends before its end.
const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";

fn listener() -> End {
    let mut end = client();
    for id in IDS.into_iter().chain([LONG]) {
        end.open_context(id, id, MULAW, None, None).expect("the id is new");
        push(&mut end, id, "Hi.", false);
    }
    end.poll_transmit();
    end
}

/// Ways to write a chunk: `$d` is the audio, `$i` the id, `$s` the step time, `$f` the label.
const SHAPES: [&str; 8] = [
    r#"{"type":"chunk","data":"$d","done":false,"status_code":206,"step_time":$s,"context_id":"$i"}"#,
    r#"{"type":"chunk","context_id":"$i","data":"$d","done":false,"status_code":206,"step_time":$s,"flush_id":$f}"#,
    r#"{"flush_id":$f,"step_time":$s,"context_id":"$i","type":"chunk","data":"$d"}"#,
    r#"{"data":"$d","flush_id":$f,"context_id":"$i","step_time":$s,"type":"chunk"}"#,
    r#" { "type" : "chunk" , "flush_id" : null , "data" : "$d" , "more" : ["$", {"x": 1}] , "context_id" : "$i" } "#,
    r#"{"data":"$d","context_id":"$i","type":"chunk"}"#,
    r#"{"context_id":"$i","type":"chunk","step_time":"$s","data":"$d"}"#,
    r#"{"context_id":"$i","type":"chunk","flush_id":$f,"done":true,"data":"$d","step_time":$s,"é":"é"}"#,
];

fn message(shape: &str, data: &str, id: &str, step_time: &str, flush_id: &str) -> Vec<u8> {
    let id = id.replace('"', "\\\"");
    let text = shape.replace("$s", step_time).replace("$f", flush_id);
    text.replace("$d", data).replace("$i", &id).into_bytes()
}

fn a_message() -> impl Strategy<Value = Vec<u8>> {
    let shape = prop::sample::select(SHAPES.to_vec());
    let data = prop::sample::select(vec![
        "AAAA".to_owned(),
        "AQ==".to_owned(),
        "AQI=".to_owned(),
        String::new(),
        "+/+/".repeat(100),
        "AQID".repeat(3000),
        "AQID".repeat(30) + "AQI=",
        "AQID".repeat(30) + "AQ==",
        "AQID".repeat(30) + "AQ==AAAA",
        "AQID".repeat(30) + "A",
        "AA-_".to_owned(),
        "AA=A".to_owned(),
        "AR==".to_owned(),
        "\\/AA".to_owned(),
        "AAA".to_owned(),
    ]);
    let id = prop::sample::select(IDS.into_iter().chain([LONG, "unknown", ""]).collect::<Vec<_>>());
    let numbers = [
        "0",
        "1",
        "12.5",
        "123456789012345678",
        "1234567890123456789",
        "00",
        "01",
        "1.",
        ".5",
        "1.5.5",
        "-1",
        "1e3",
    ];
    let more = [
        "1.0",
        "null",
        "true",
        "\"1\"",
        "\u{663}",
        "",
        "18446744073709551616",
        "[1]",
        "1 ",
    ];
    let number = || prop::sample::select(numbers.into_iter().chain(more).collect::<Vec<_>>());
    (shape, data, id, number(), number())
        .prop_map(|(shape, data, id, step_time, flush_id)| message(shape, &data, id, step_time, flush_id))
}

fn without_place(text: &str) -> String {
    text.trim_end_matches(|character: char| character.is_ascii_digit())
        .to_owned()
}

/// What one more message does: events without the time that the audio before it took, what is sent, what is counted.
fn told(end: &mut End, payload: &[u8]) -> (Vec<Seen>, usize, [u64; 5]) {
    told_in_pieces(end, payload, &[])
}

/// As [`told`], with the frame cut at these places of it.
fn told_in_pieces(end: &mut End, payload: &[u8], cuts: &[usize]) -> (Vec<Seen>, usize, [u64; 5]) {
    let before = end.counters();
    let wire = frame_to(Role::Client, Opcode::Text, payload);
    let mut from = 0;
    for &to in cuts.iter().chain([&wire.len()]) {
        end.handle_data(&wire[from..to], None, &HOST);
        from = to;
    }
    let mut events = end.poll_events();
    for event in &mut events {
        if let Event::Audio { start_s, .. } = event {
            *start_s = 0.0;
        }
        // The place in the stream, with which the texts end, depends on what came before.
        if let Event::Closed(closed) = event {
            closed.reason = without_place(&closed.reason);
            closed.error = closed.error.as_deref().map(without_place);
        }
    }
    let count = |counters: Counters| {
        [
            counters.messages,
            counters.late,
            counters.unknown_contexts,
            counters.unknown_types,
            counters.dropped_timestamps,
        ]
    };
    let (before, after) = (count(before), count(end.counters()));
    let sent = end.poll_transmit();
    // A Close names the place, too; and no two masks are alike.
    let sent = if events.iter().any(|event| matches!(event, Event::Closed(_))) {
        sent.len().min(1)
    } else {
        sent.len()
    };
    (events, sent, std::array::from_fn(|index| after[index] - before[index]))
}

/// The strict look at a message whose context is open.
fn is_as_strict(payload: &[u8], events: &[Seen]) -> bool {
    match (decode_server_strict(payload), events) {
        (
            Ok(ServerMessage::Chunk {
                context_id: Some(id),
                flush_id,
                ..
            }),
            [
                Event::Audio {
                    owner, flush_id: told, ..
                },
            ],
        ) => id == *owner && flush_id == *told,
        (_, [Event::Audio { .. }]) => false,
        (Err(MessageError::Utf8 { .. } | MessageError::Syntax { .. }), events) => {
            matches!(events, [Event::Closed(_)])
        }
        (Ok(_) | Err(_), _) => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_was_learned_changes_no_answer(
        lessons in prop::collection::vec(0..SHAPES.len(), 1..8),
        probe in a_message(),
        edit in any::<Option<(prop::sample::Index, prop::sample::Index)>>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        spread in any::<bool>(),
    ) {
        let mut probe = probe;
        if let Some((place, byte)) = edit {
            let bytes = *b"\"\\{},:.019-eE+/=A \x00\x1f\x7f\x80\xc3\xff";
            let place = place.index(probe.len());
            probe[place] = bytes[byte.index(bytes.len())];
        }
        let mut learned = listener();
        for shape in lessons {
            let lesson = message(SHAPES[shape], "AAAA", IDS[1], "7", "3");
            let (events, ..) = told(&mut learned, &lesson);
            let is_heard = matches!(events.as_slice(), [Event::Audio { .. }]);
            prop_assert!(is_heard);
        }
        let answer = told(&mut listener(), &probe);
        prop_assert!(is_as_strict(&probe, &answer.0), "{:?}", answer.0);
        // All over the message, or where pieces are shorter than a group of base64.
        let span = if spread { probe.len() } else { probe.len().min(12) };
        let start = if spread { 0 } else { (probe.len() - span) / 2 };
        let mut places: Vec<usize> = cuts.iter().map(|cut| start + cut.index(span + 1)).collect();
        places.sort_unstable();
        prop_assert_eq!(told_in_pieces(&mut learned, &probe, &places), answer);
    }
}

#[test]
fn an_id_that_is_not_written_as_it_is_does_not_stand_in_a_learned_message() {
    // As they stand in the text these mean something else, or nothing.
    let ids = ["a\"b", "a\\b", "a\u{8}b", "gr\u{fc}\u{df}"];
    for shape in SHAPES {
        let end = |learns: bool| {
            let mut end = listener();
            for id in ids {
                if !IDS.contains(&id) {
                    end.open_context(id, id, MULAW, None, None).expect("the id is new");
                    push(&mut end, id, "Hi.", false);
                }
            }
            end.poll_transmit();
            if learns {
                told(&mut end, &message(shape, "AAAA", IDS[0], "7", "3"));
            }
            end
        };
        for id in ids {
            let text = shape
                .replace("$s", "7")
                .replace("$f", "3")
                .replace("$d", &"AAAA".repeat(12));
            let probe = text.replace("$i", id).into_bytes();
            let answer = told(&mut end(false), &probe);
            assert_eq!(told(&mut end(true), &probe), answer, "{id:?}");
            for cut in 0..probe.len() {
                assert_eq!(
                    told_in_pieces(&mut end(true), &probe, &[cut]),
                    answer,
                    "{id:?} cut at {cut}"
                );
            }
        }
    }
}

/// An end that has learned a shape, from messages of which the last came in pieces.
fn learned(shape: &str) -> End {
    let mut end = listener();
    told(&mut end, &message(shape, "AAAA", IDS[1], "7", "9"));
    let lesson = message(shape, &"AAAA".repeat(20), IDS[1], "7.5", "10");
    let middle = lesson.len() / 2;
    told_in_pieces(&mut end, &lesson, &[middle]);
    end
}

#[test]
fn every_byte_of_a_message_that_comes_in_pieces_counts() {
    for shape in SHAPES {
        let original = message(shape, &"AQID".repeat(12), IDS[1], "12.5", "34");
        let width = original.len();
        for place in 0..width {
            for byte in *b"\"\\0.,:} A=\x80\xc3" {
                let mut probe = original.clone();
                probe[place] = byte;
                let answer = told(&mut listener(), &probe);
                for cuts in [[width / 3, width / 2], [place.max(4) - 4, place], [place, place + 1]] {
                    let end = told_in_pieces(&mut learned(shape), &probe, &cuts);
                    assert_eq!(end, answer, "{byte} at {place}, cut at {cuts:?}");
                }
            }
        }
    }
}

#[test]
fn every_two_cuts_of_a_chunk_give_the_same_audio() {
    for audio in ["AQID".repeat(10), "AQID".repeat(9) + "AQI=", "AQID".repeat(9) + "AQ=="] {
        for id in [IDS[1], "a", LONG, "unknown"] {
            let probe = message(SHAPES[0], &audio, id, "12.5", "34");
            let answer = told(&mut listener(), &probe);
            for first in 0..probe.len() {
                for second in first..(first + 9).min(probe.len()) {
                    let end = told_in_pieces(&mut learned(SHAPES[0]), &probe, &[first, second]);
                    assert_eq!(end, answer, "cut at {first} and {second}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_utf8_fails_with_the_piece_that_shows_it() {
    for shape in SHAPES {
        let original = message(shape, &"AQID".repeat(40), IDS[1], "12.5", "34");
        let head = frame_to(Role::Client, Opcode::Text, &original).len() - original.len();
        for place in 0..original.len() {
            let mut probe = original.clone();
            probe[place] = 0xff;
            let wire = frame_to(Role::Client, Opcode::Text, &probe);
            let bad = head + place;
            for cut in [head + 60, bad - 1, bad].into_iter().filter(|&cut| cut <= bad) {
                let mut end = learned(shape);
                assert_eq!(feed(&mut end, &wire[..cut]), [], "cut at {cut}, bad byte at {bad}");
                let events = feed(&mut end, &wire[cut..=bad]);
                let [Event::Closed(closed)] = events.as_slice() else {
                    panic!("{events:?} of a bad byte at {place}, cut at {cut}: {shape}")
                };
                assert_eq!(closed.code, 1007);
                // Together with all of the audio before the rest comes.
                let mut end = learned(shape);
                let events = feed(&mut end, &wire[..(bad + 1).max(wire.len() - 1)]);
                assert!(
                    matches!(events.as_slice(), [Event::Closed(closed)] if closed.code == 1007),
                    "{place}"
                );
            }
        }
    }
}

#[test]
fn a_chunk_byte_by_byte_is_the_chunk() {
    for shape in SHAPES {
        let mut end = learned(shape);
        for audio in ["AQID".repeat(100), "AQID".repeat(99) + "AQI="] {
            let probe = message(shape, &audio, IDS[1], "1", "2");
            let all: Vec<usize> = (0..probe.len()).collect();
            let answer = told(&mut listener(), &probe);
            for _ in 0..2 {
                assert_eq!(told_in_pieces(&mut end, &probe, &all), answer);
            }
        }
    }
}

#[test]
fn audio_that_ends_in_the_middle_of_a_chunk_is_not_delivered() {
    let probe = message(SHAPES[0], &"AQID".repeat(100), IDS[1], "1", "2");
    let wire = frame_to(Role::Client, Opcode::Text, &probe);
    for cut in 1..wire.len() {
        let mut end = learned(SHAPES[0]);
        assert_eq!(feed(&mut end, &wire[..cut]), [], "cut at {cut}");
        end.handle_eof(None);
        let events = end.poll_events();
        assert!(matches!(events.as_slice(), [Event::Closed(_)]), "{events:?}");
    }
}

#[test]
fn a_chunk_that_is_arriving_when_its_context_or_the_connection_ends_is_late() {
    let probe = message(SHAPES[0], &"AQID".repeat(100), IDS[1], "1", "2");
    let wire = frame_to(Role::Client, Opcode::Text, &probe);
    let late = message(SHAPES[0], "AAAA", IDS[1], "1", "2");
    let (start, rest) = wire.split_at(200);
    let mut end = learned(SHAPES[0]);
    assert_eq!(feed(&mut end, start), []);
    end.send_cancel(IDS[1], None).expect("a client");
    assert_eq!(feed(&mut end, rest), []);
    assert_eq!((end.counters().messages, end.counters().late), (3, 1));
    assert_eq!(told(&mut end, &late).2, [1, 1, 0, 0, 0]);

    let mut end = learned(SHAPES[0]);
    assert_eq!(feed(&mut end, start), []);
    end.close(Some(1000), "", None).expect("valid");
    assert_eq!(feed(&mut end, rest), [], "messages are not looked at any more");
    assert_eq!(end.counters().messages, 3);
    // Not even base64, but UTF-8.
    let mut end = learned(SHAPES[0]);
    assert_eq!(feed(&mut end, start), []);
    end.close(Some(1000), "", None).expect("valid");
    let other = vec![b'"'; rest.len()];
    assert_eq!(feed(&mut end, &other), []);
    assert_eq!(end.counters().messages, 3);
}

#[test]
fn a_chunk_in_pieces_for_which_there_is_no_room_ends_the_connection() {
    let probe = message(SHAPES[0], &"AQID".repeat(100), IDS[1], "1", "2");
    let wire = frame_to(Role::Client, Opcode::Text, &probe);
    let host = Memory { limit_bytes: 299 };
    for cut in 1..wire.len() {
        let mut end = learned(SHAPES[0]);
        end.handle_data(&wire[..cut], None, &host);
        end.handle_data(&wire[cut..], None, &host);
        let events = end.poll_events();
        let [Event::Closed(closed)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(closed.code, 1011, "{closed:?}");
    }
}

#[test]
fn every_byte_of_a_learned_message_counts() {
    for shape in SHAPES {
        let original = message(shape, "AAAAAAAA", IDS[1], "12.5", "34");
        for place in 0..original.len() {
            for byte in *b"\"\\0.,:} A\x80" {
                let mut probe = original.clone();
                probe[place] = byte;
                let mut learned = listener();
                for flush_id in ["9", "10"] {
                    told(&mut learned, &message(shape, "AAAA", IDS[1], "7", flush_id));
                }
                assert_eq!(
                    told(&mut learned, &probe),
                    told(&mut listener(), &probe),
                    "{place} {byte}"
                );
            }
        }
    }
}

#[test]
fn a_message_cut_short_or_made_longer_is_not_taken_for_the_learned_one() {
    for shape in SHAPES {
        let original = message(shape, "AAAA", IDS[1], "7", "3");
        for end in 0..original.len() {
            for rest in ["", "\"}", "}"] {
                let probe = [&original[..end], rest.as_bytes()].concat();
                let mut learned = listener();
                told(&mut learned, &original);
                assert_eq!(
                    told(&mut learned, &probe),
                    told(&mut listener(), &probe),
                    "{end} {rest}"
                );
            }
        }
    }
}
