//! What a client makes of good and bad messages (faults.md B13, C, D, E).

use voxwire_core::connection::{Event, State, failure_code};
use voxwire_core::error::close_code;
use voxwire_core::frame::{Opcode, Role};
use voxwire_core::message::TimestampKind;

use crate::support::{
    HOST, Memory, audio, cancel, chunk, client, closed, done, failed, feed, frame_to, open, push, sent, tell,
    tell_bytes, waiting_client,
};

#[test]
fn every_message_of_a_context_becomes_its_event() {
    let mut end = waiting_client(&["a"]);
    let wire: Vec<u8> = [
        r#"{"type":"chunk","context_id":"a","data":"AAECAw==","done":false,"status_code":206,"step_time":12.5,"flush_id":1}"#,
        r#"{"type":"timestamps","context_id":"a","done":false,"word_timestamps":{"words":["Hi."],"start":[0],"end":[0.4]}}"#,
        r#"{"type":"phoneme_timestamps","context_id":"a","flush_id":2,"phoneme_timestamps":{"phonemes":["h"],"start":[0.1],"end":[0.2]}}"#,
        r#"{"type":"flush_done","context_id":"a","done":false,"flush_id":1,"flush_done":true,"data":""}"#,
        r#"{"step_time":3,"data":"BAU=","context_id":"a","type":"chunk"}"#,
        r#"{"type":"done","context_id":"a","done":true}"#,
    ]
    .iter()
    .flat_map(|json| frame_to(Role::Client, Opcode::Text, json.as_bytes()))
    .collect();
    assert_eq!(
        feed(&mut end, &wire),
        [
            Event::Audio {
                owner: "a",
                data: vec![0, 1, 2, 3],
                start_s: 0.0,
                flush_id: Some(1)
            },
            Event::Timestamps {
                owner: "a",
                kind: TimestampKind::Words,
                items: vec![("Hi.".to_owned(), 0.0, 0.4)],
                flush_id: None
            },
            Event::Timestamps {
                owner: "a",
                kind: TimestampKind::Phonemes,
                items: vec![("h".to_owned(), 0.1, 0.2)],
                flush_id: Some(2)
            },
            Event::FlushDone {
                owner: "a",
                flush_id: Some(1)
            },
            audio("a", &[4, 5], 2.0 / 24000.0),
            Event::Finished {
                owner: "a",
                expired: false
            },
        ]
    );
    let counters = end.counters();
    assert_eq!((counters.messages, counters.bytes), (6, wire.len() as u64));
    assert!(sent(&mut end).is_empty());
}

#[test]
fn done_before_the_own_close_is_an_expiry() {
    let mut end = client();
    open(&mut end, "a");
    push(&mut end, "a", "Hi.", true);
    assert_eq!(
        tell(&mut end, &done("a")),
        [Event::Finished {
            owner: "a",
            expired: true
        }]
    );
}

#[test]
fn interleaved_contexts_keep_their_order_and_clocks() {
    let mut end = waiting_client(&["a", "b"]);
    let mut seen = Vec::new();
    for (id, text) in [("a", "AAA="), ("b", "AQE="), ("a", "AgI="), ("b", "AwM=")] {
        seen.extend(tell(&mut end, &chunk(id, text)));
    }
    let step = 1.0 / 24000.0;
    assert_eq!(
        seen,
        [
            audio("a", &[0, 0], 0.0),
            audio("b", &[1, 1], 0.0),
            audio("a", &[2, 2], step),
            audio("b", &[3, 3], step)
        ]
    );
}

#[test]
fn cut_samples_are_carried_to_the_next_chunk() {
    let mut end = waiting_client(&["a"]);
    // Three bytes, one byte, one byte, three bytes: samples of two.
    assert_eq!(tell(&mut end, &chunk("a", "AAEC")), [audio("a", &[0, 1], 0.0)]);
    assert_eq!(
        tell(&mut end, &chunk("a", "Aw==")),
        [audio("a", &[2, 3], 1.0 / 24000.0)]
    );
    assert_eq!(tell(&mut end, &chunk("a", "BA==")), []);
    assert_eq!(
        tell(&mut end, &chunk("a", "BQYH")),
        [audio("a", &[4, 5, 6, 7], 2.0 / 24000.0)]
    );
    assert_eq!(
        tell(&mut end, &done("a")),
        [Event::Finished {
            owner: "a",
            expired: false
        }]
    );
}

#[test]
fn a_cut_sample_at_done_is_invalid_audio() {
    let mut end = waiting_client(&["a"]);
    tell(&mut end, &chunk("a", "AAEC"));
    let events = tell(&mut end, &done("a"));
    assert_eq!(failed(&events), ("a", false, Some(failure_code::INVALID_AUDIO)));
    assert_eq!(sent(&mut end), [cancel("a")]);
}

#[test]
fn d1_damaged_base64_fails_its_context_alone() {
    for text in [
        "AAE",
        "AAE==",
        "A===",
        "AB==",
        "AA=A",
        "A",
        "AA-_",
        "AA E",
        "AAE\\n",
        "AAE\u{e9}",
        "====",
        "AA==AAAA",
    ] {
        let mut end = waiting_client(&["a", "b"]);
        let events = tell(&mut end, &chunk("a", text));
        assert_eq!(
            failed(&events),
            ("a", false, Some(failure_code::INVALID_AUDIO)),
            "{text}"
        );
        assert_eq!(sent(&mut end), [cancel("a")], "{text}");
        assert_eq!(
            tell(&mut end, &chunk("b", "AAA=")),
            [audio("b", &[0, 0], 0.0)],
            "{text}"
        );
    }
}

#[test]
fn d2_an_empty_chunk_is_no_error_and_no_event() {
    let mut end = waiting_client(&["a"]);
    assert_eq!(tell(&mut end, &chunk("a", "")), []);
    assert_eq!(tell(&mut end, r#"{"type":"chunk","data":null,"context_id":"a"}"#), []);
    assert_eq!(tell(&mut end, r#"{"type":"chunk","context_id":"a"}"#), []);
    assert_eq!(
        tell(&mut end, &done("a")),
        [Event::Finished {
            owner: "a",
            expired: false
        }]
    );
}

#[test]
fn d3_a_message_over_the_limit_closes_with_1009_before_its_payload() {
    let mut end = waiting_client(&["a"]);
    let mut head = vec![0x81, 127];
    head.extend((16 * 1024 * 1024_u64 + 1).to_be_bytes());
    let closed = closed(&feed(&mut end, &head));
    assert_eq!(
        (closed.code, closed.clean, closed.timed_out),
        (close_code::TOO_BIG, false, None)
    );
}

#[test]
fn d3_many_chunks_of_one_byte_work() {
    let mut end = waiting_client(&["a"]);
    let wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AA==").as_bytes()).repeat(1000);
    let mut frames = 0;
    for _ in 0..100 {
        for event in feed(&mut end, &wire) {
            let Event::Audio { data, start_s, .. } = event else {
                panic!("only audio was sent")
            };
            assert!((start_s * 24000.0 - f64::from(frames)).abs() < 1e-3);
            frames += u32::try_from(data.len() / 2).expect("few");
        }
    }
    assert_eq!(frames, 50_000);
}

#[test]
fn c_unusable_json_fails_the_connection_with_1007_after_what_came_before() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(33), "}".repeat(33));
    let cases: Vec<Vec<u8>> = [
        "",
        " \n",
        r#"{"type":"chunk""#,
        r#"{"type":"done",}"#,
        r#"{"type":"done"}//x"#,
        "{}{}",
        "\u{feff}{}",
        "[]",
        "1",
        "\"x\"",
        "null",
        r#"{"type":"done","type":"done"}"#,
        r#"{"type":"chunk","\u0064ata":"","data":""}"#,
        r#"{"type":"\ud800"}"#,
        "{\"type\":\"\u{1}\"}",
        r#"{"a":NaN}"#,
        r#"{"a":01}"#,
        deep.as_str(),
    ]
    .iter()
    .map(|json| json.as_bytes().to_vec())
    .chain([b"{\"a\":".repeat(100_000)])
    .collect();
    for json in cases {
        let shown = String::from_utf8_lossy(&json[..json.len().min(40)]).into_owned();
        let mut end = waiting_client(&["a"]);
        let mut wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes());
        wire.extend(frame_to(Role::Client, Opcode::Text, &json));
        wire.extend(frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()));
        let mut events = feed(&mut end, &wire);
        assert_eq!(events.remove(0), audio("a", &[0, 0], 0.0), "{shown}");
        let closed = closed(&events);
        assert_eq!(
            (closed.code, closed.clean),
            (close_code::INVALID_DATA, false),
            "{shown}"
        );
        let error = closed.error.expect("the peer did something wrong");
        assert!(error.contains("byte "), "{error}");
        assert_eq!(sent(&mut end), [format!("close Some(1007) {error}")], "{shown}");
        assert_eq!(end.state(), State::Closed);
    }
}

#[test]
fn c5_text_that_is_no_utf8_is_1007_with_its_place_in_the_stream() {
    let mut end = waiting_client(&["a"]);
    let payload = b"{\"type\":\"done\",\"x\":\"\xff\"}";
    let mut wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes());
    let bad_at = wire.len() + 2 + 20;
    wire.extend(frame_to(Role::Client, Opcode::Text, payload));
    let events = feed(&mut end, &wire);
    let closed = closed(&events[1..]);
    assert_eq!(closed.code, close_code::INVALID_DATA);
    let error = closed.error.expect("the peer did something wrong");
    assert!(error.ends_with(&format!("byte {bad_at}")), "{error}");
    // Inside the guessed text of a chunk it is found as well.
    let mut end = waiting_client(&["a"]);
    let events = tell_bytes(
        &mut end,
        b"{\"type\":\"chunk\",\"data\":\"AA\xffA\",\"context_id\":\"a\"}",
    );
    assert_eq!(crate::support::closed(&events).code, close_code::INVALID_DATA);
}

#[test]
fn b13_a_binary_message_fails_a_client() {
    let mut end = waiting_client(&["a"]);
    let closed = closed(&feed(&mut end, &frame_to(Role::Client, Opcode::Binary, b"{}")));
    assert_eq!(closed.code, close_code::INVALID_DATA);
    assert!(closed.error.is_some());
}

#[test]
fn c7_a_wrong_type_fails_that_context_alone() {
    for json in [
        r#"{"type":"chunk","data":5,"context_id":"a"}"#,
        r#"{"type":"flush_done","flush_id":"1","context_id":"a"}"#,
        r#"{"type":5,"context_id":"a"}"#,
        r#"{"context_id":"a"}"#,
    ] {
        let mut end = waiting_client(&["a", "b"]);
        let events = tell(&mut end, json);
        assert_eq!(
            failed(&events),
            ("a", false, Some(failure_code::INVALID_MESSAGE)),
            "{json}"
        );
        assert_eq!(sent(&mut end), [cancel("a")], "{json}");
        assert_eq!(end.state(), State::Open);
        assert_eq!(tell(&mut end, &chunk("b", "AAA=")).len(), 1);
    }
    let mut end = waiting_client(&["a"]);
    assert_eq!(tell(&mut end, r#"{"type":"chunk","data":"AAA=","context_id":5}"#), []);
    assert_eq!(end.counters().unknown_contexts, 1);
}

#[test]
fn c6_timestamps_out_of_range_are_dropped_and_counted() {
    let mut end = waiting_client(&["a"]);
    for times in [
        r#""start":[1e400],"end":[1]"#,
        r#""start":[0,1],"end":[1]"#,
        r#""start":[0]"#,
        r#""start":["0"],"end":[1]"#,
    ] {
        let json = format!(r#"{{"type":"timestamps","context_id":"a","word_timestamps":{{"words":["x"],{times}}}}}"#);
        assert_eq!(tell(&mut end, &json), [], "{times}");
    }
    assert_eq!(end.counters().dropped_timestamps, 4);
    assert_eq!(
        tell(&mut end, &done("a")),
        [Event::Finished {
            owner: "a",
            expired: false
        }]
    );
}

#[test]
fn c8_unknown_members_and_types_are_ignored_and_counted() {
    let mut end = waiting_client(&["a"]);
    assert_eq!(
        tell(&mut end, r#"{"type":"weather","context_id":"a","deep":[[{"x":1}]]}"#),
        []
    );
    assert_eq!(end.counters().unknown_types, 1);
    let json = r#"{"type":"chunk","new":{"data":"x"},"data":"AAA=","context_id":"a","more":[1,2]}"#;
    assert_eq!(tell(&mut end, json), [audio("a", &[0, 0], 0.0)]);
}

#[test]
fn e1_unknown_ids_and_missing_ids_are_dropped_and_counted() {
    let mut end = waiting_client(&["a"]);
    assert_eq!(tell(&mut end, &chunk("other", "AAA=")), []);
    assert_eq!(tell(&mut end, &chunk("other", "not base64")), []);
    assert_eq!(tell(&mut end, r#"{"type":"done","done":true}"#), []);
    assert_eq!(
        tell(
            &mut end,
            r#"{"type":"error","done":true,"error":"x","context_id":"other"}"#
        ),
        []
    );
    assert_eq!(end.counters().unknown_contexts, 4);
    assert_eq!(tell(&mut end, &chunk("a", "AAA=")).len(), 1);
}

#[test]
fn e1_an_error_without_id_fails_every_waiting_context_and_no_other() {
    let mut end = waiting_client(&["b", "a", "c"]);
    open(&mut end, "unused");
    tell(&mut end, &done("c"));
    let events = tell(
        &mut end,
        r#"{"type":"error","done":true,"status_code":503,"title":"Busy","message":"later"}"#,
    );
    let owners: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Failed { owner, failure } => (*owner, failure.status, failure.message.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        owners,
        [("b", Some(503), "Busy: later"), ("a", Some(503), "Busy: later")]
    );
    assert_eq!(end.state(), State::Open);
    assert!(sent(&mut end).is_empty());
    push(&mut end, "unused", "Hi.", false);
    assert_eq!(tell(&mut end, &chunk("unused", "AAA=")).len(), 1);
}

#[test]
fn errors_of_the_server_come_in_every_shape() {
    for (json, code, message, request_id) in [
        (
            r#"{"type":"error","done":true,"context_id":"a","status_code":400,"error_code":"model_not_found","title":"Invalid model","message":"no such","error":"x","request_id":"r"}"#,
            Some("model_not_found"),
            "Invalid model: no such",
            Some("r"),
        ),
        (
            r#"{"type":"error","done":false,"context_id":"a","status_code":400,"error_code":null,"title":"t","message":"m"}"#,
            None,
            "t: m",
            None,
        ),
        (
            r#"{"type":"error","context_id":"a","error":"legacy: text","status_code":400}"#,
            None,
            "legacy: text",
            None,
        ),
    ] {
        let mut end = waiting_client(&["a"]);
        let events = tell(&mut end, json);
        let [Event::Failed { owner: "a", failure }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert!(failure.remote);
        assert_eq!(failure.status, Some(400));
        assert_eq!((failure.code.as_deref(), failure.message.as_str()), (code, message));
        assert_eq!(failure.request_id.as_deref(), request_id);
        assert!(sent(&mut end).is_empty());
    }
}

#[test]
fn e2_an_ended_context_never_comes_back() {
    for last in [
        done("a"),
        r#"{"type":"error","error":"x","context_id":"a"}"#.to_owned(),
        chunk("a", "A"),
    ] {
        let mut end = waiting_client(&["a"]);
        assert_eq!(tell(&mut end, &last).len(), 1);
        for late in [chunk("a", "AAA="), chunk("a", "A"), done("a"), last.clone()] {
            assert_eq!(tell(&mut end, &late), [], "{late} after {last}");
        }
        assert_eq!(end.counters().late, 4);
        assert_eq!(end.counters().unknown_contexts, 0);
    }
}

#[test]
fn i8_without_memory_the_connection_fails_and_the_process_lives() {
    let mut end = waiting_client(&["a"]);
    let scarce = Memory { limit_bytes: 3 };
    let wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AAAAAA==").as_bytes());
    end.handle_data(&wire, None, &scarce);
    let closed = closed(&end.poll_events());
    assert_eq!(
        (closed.code, closed.clean, closed.error),
        (close_code::INTERNAL, false, None)
    );
    assert_eq!(sent(&mut end).len(), 1);
    end.handle_data(&wire, None, &HOST);
    assert_eq!(end.poll_events(), []);
}

#[test]
fn plenty_of_keys_in_any_order_and_escapes_give_the_same_audio() {
    for json in [
        r#"{"context_id":"a","data":"AAECAw==","type":"chunk"}"#,
        r#"{ "type" : "chunk" , "data" : "AAECAw==" , "context_id" : "a" }"#,
        r#"{"type":"chunk","data":"AAEC\u0041w==","context_id":"\u0061"}"#,
        r#"{"\u0074ype":"chunk","flush_id":null,"data":"AAECAw==","context_id":"a"}"#,
    ] {
        let mut end = waiting_client(&["a"]);
        assert_eq!(tell(&mut end, json), [audio("a", &[0, 1, 2, 3], 0.0)], "{json}");
    }
    let mut end = waiting_client(&["a"]);
    let json = chunk("a", "\\/\\/8=");
    assert_eq!(tell(&mut end, &json), [audio("a", &[255, 255], 0.0)]);
}
