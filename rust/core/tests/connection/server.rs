//! What a server makes of good and bad messages (protocol.md 3.6, faults.md B13, C), and what it sends.

use voxwire_core::connection::{CommandError, Event, State};
use voxwire_core::context::{ServerAction, ServerEvent, ServerInput, ServerState};
use voxwire_core::error::close_code;
use voxwire_core::frame::{Opcode, Role};
use voxwire_core::message::{TimestampKind, encode, json::Value};

use crate::support::{Seen, closed, feed, frame_to, sent, server, tell, tell_bytes, waiting_client};

const CANCEL: &str = r#"{"cancel":true,"context_id":"a"}"#;
const REQUEST: &str = r#"{"transcript":"Hi.","context_id":"a","continue":true}"#;

/// The id, reason and `continue` of the only event, which must be `Unusable`.
fn unusable(events: &[Seen]) -> (Option<&str>, &str, bool) {
    match events {
        [
            Event::Unusable {
                context_id,
                reason,
                continues,
                ..
            },
        ] => (context_id.as_deref(), reason, *continues),
        other => panic!("expected one Unusable, got {other:?}"),
    }
}

#[test]
fn requests_and_cancels_become_events() {
    let mut end = server();
    let [Event::Request { context_id, fields }] = &tell(&mut end, REQUEST)[..] else {
        panic!("no request")
    };
    assert_eq!(context_id.as_deref(), Some("a"));
    assert_eq!(
        fields[..],
        [
            ("transcript", Value::String("Hi.".to_owned())),
            ("context_id", Value::String("a".to_owned())),
            ("continue", Value::Bool(true)),
        ]
    );
    let pretty = "{\n  \"cancel\": true,\n  \"context_id\": \"a\"\n}";
    assert_eq!(
        tell(&mut end, pretty),
        [Event::Cancel {
            context_id: "a".to_owned()
        }]
    );
    assert_eq!(end.counters().messages, 2);
}

#[test]
fn b13_a_binary_message_is_read_as_json() {
    let mut end = server();
    let binary = |payload: &[u8]| frame_to(Role::Server, Opcode::Binary, payload);
    assert!(matches!(
        feed(&mut end, &binary(REQUEST.as_bytes()))[..],
        [Event::Request { .. }]
    ));
    // Bytes that are no UTF-8 break no rule of the RFC here.
    assert_eq!(unusable(&feed(&mut end, &binary(b"\xff\xfe"))).0, None);
    assert_eq!(
        unusable(&feed(&mut end, &binary(b"{\"transcript\":\"\xed\xa0\x80\"}"))).0,
        None
    );
    assert_eq!(end.state(), State::Open);
}

#[test]
fn c5_text_that_is_no_utf8_is_1007() {
    let mut end = server();
    let closed = closed(&tell_bytes(&mut end, b"{\"transcript\":\"\xff\"}"));
    assert_eq!(closed.code, close_code::INVALID_DATA);
    assert!(closed.error.is_some_and(|error| error.contains("byte ")));
}

#[test]
fn c_unusable_messages_are_told_and_the_socket_stays() {
    let too_deep = format!("{}1{}", r#"{"a":"#.repeat(33), "}".repeat(33));
    for json in [
        "",
        " ",
        r#"{"transcript":"#,
        r#"{"transcript":"x",}"#,
        "{}{}",
        "[]",
        "1",
        "null",
        "\u{feff}{}",
        r#"{"transcript":"x"}//"#,
        r#"{"transcript":"x","transcript":"y"}"#,
        r#"{"transcript":"\ud800"}"#,
        r#"{"context_id":"a"}"#,
        r#"{"cancel":false}"#,
        r#"{"a":NaN}"#,
        r#"{"a":01}"#,
        too_deep.as_str(),
    ] {
        let mut end = server();
        let events = tell(&mut end, json);
        assert!(!unusable(&events).1.is_empty(), "{json}");
        assert_eq!(end.state(), State::Open);
        assert!(matches!(tell(&mut end, REQUEST)[..], [Event::Request { .. }]), "{json}");
    }
    let mut end = server();
    let unclosed = b"{\"a\":[".repeat(100_000);
    assert_eq!(unusable(&tell_bytes(&mut end, &unclosed)).0, None);
}

#[test]
fn an_unusable_object_names_its_context_and_continue() {
    let mut end = server();
    let events = tell(&mut end, r#"{"context_id":"a","continue":true,"voice":"v"}"#);
    let (context_id, reason, continues) = unusable(&events);
    assert_eq!((context_id, continues), (Some("a"), true));
    assert!(!reason.contains("voice"));
}

#[test]
fn c1_the_tenth_unusable_message_in_a_row_is_answered_and_then_closes() {
    let mut end = server();
    let bad = frame_to(Role::Server, Opcode::Text, b"[]");
    for _ in 0..9 {
        unusable(&feed(&mut end, &bad));
    }
    // A usable message starts the count anew.
    assert_eq!(tell(&mut end, CANCEL).len(), 1);
    let mut wire = bad.repeat(10);
    let request = frame_to(Role::Server, Opcode::Text, REQUEST.as_bytes());
    let (half, rest) = request.split_at(20);
    wire.extend(&request);
    wire.extend(half);
    end.handle_data(&wire, Some(5.0), &crate::support::HOST);
    // Nothing is said before the events were drained, and nothing after the tenth is looked at.
    assert_eq!(end.poll_transmit(), b"");
    let last = end.poll_events().into_iter().map(|event| match event {
        Event::Unusable { last, .. } => last,
        other => panic!("expected Unusable, got {other:?}"),
    });
    assert_eq!(last.collect::<Vec<_>>(), [[false; 9].as_slice(), &[true]].concat());
    let error = encode::Error {
        context_id: None,
        status: 400,
        code: None,
        title: "Invalid message",
        message: "m",
        request_id: "r",
    };
    end.send_error(&error).expect("the answer may still go out");
    let lines = sent(&mut end);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("Invalid message"));
    assert_eq!(lines[1], "close Some(1008) 10 unusable messages in a row");
    assert_eq!((end.state(), end.poll_timeout()), (State::Closing, Some(7.0)));
    assert_eq!(end.send_error(&error), Err(CommandError::Closing));
    let mut echo = rest.to_vec();
    voxwire_core::frame::FrameWriter::new(Role::Client, [1; 32])
        .write_close(&mut echo, Some(1008), "")
        .expect("valid");
    let closed = closed(&feed(&mut end, &echo));
    assert_eq!((closed.code, closed.clean), (close_code::POLICY, true));
    assert_eq!(closed.reason, "10 unusable messages in a row");
}

#[test]
fn the_table_is_reached_through_the_connection() {
    let mut end = server();
    let input = |transcript, continues| ServerInput {
        transcript,
        continues,
        flush: false,
        valid: true,
    };
    assert_eq!(end.context_state("a", None), Ok(ServerState::None));
    assert_eq!(
        end.handle_input("a", &input(Some("Hi."), true), Some(1.0)),
        Ok(ServerAction::Create)
    );
    assert_eq!(
        end.handle_input("a", &input(Some(" there."), false), None),
        Ok(ServerAction::AppendAndClose)
    );
    assert_eq!(end.context_state("a", None), Ok(ServerState::Draining));
    assert_eq!(
        end.handle_context("a", ServerEvent::Drained, Some(2.0)),
        Ok(ServerAction::Done)
    );
    assert_eq!(end.context_state("a", Some(3.0)), Ok(ServerState::Ended));
    assert_eq!(end.handle_cancel("a", None), Ok(ServerAction::Ignore));
    // The clock of the connection is the table's: 300 s later the id is unknown again.
    assert_eq!(end.context_state("a", Some(303.0)), Ok(ServerState::None));
    let mut client = waiting_client(&["a"]);
    assert_eq!(client.context_state("a", None), Err(CommandError::NoServer));
}

#[test]
fn what_a_server_sends_a_client_reads() {
    let mut end = server();
    let mut client = waiting_client(&["a", "b"]);
    let data: Vec<u8> = (0..=255).cycle().take(5000).collect();
    end.send_chunk("a", &data, 1.5, Some(1)).expect("open");
    end.send_timestamps("a", TimestampKind::Words, &[("Hi.", 0.0, 0.25)], Some(1))
        .expect("open");
    end.send_flush_done("a", 1).expect("open");
    end.send_done("a").expect("open");
    let error = encode::Error {
        context_id: Some("b"),
        status: 500,
        code: Some("engine_failed"),
        title: "Engine failed",
        message: "the engine \"x\" failed",
        request_id: "r",
    };
    end.send_error(&error).expect("open");
    assert_eq!(end.send_chunk("a", b"", 1.0, None), Err(CommandError::EmptyChunk));
    let size = end.transmit_size();
    let wire = end.poll_transmit();
    assert_eq!((wire.len(), end.transmit_size()), (size, 0));
    let events = feed(&mut client, &wire);
    assert_eq!(
        events[..4],
        [
            Event::Audio {
                owner: "a",
                data,
                start_s: 0.0,
                flush_id: Some(1)
            },
            Event::Timestamps {
                owner: "a",
                kind: TimestampKind::Words,
                items: vec![("Hi.".to_owned(), 0.0, 0.25)],
                flush_id: Some(1)
            },
            Event::FlushDone {
                owner: "a",
                flush_id: Some(1)
            },
            Event::Finished {
                owner: "a",
                expired: false
            },
        ]
    );
    let Event::Failed { owner: "b", failure } = &events[4] else {
        panic!("{events:?}")
    };
    assert_eq!(failure.code.as_deref(), Some("engine_failed"));
    assert_eq!(failure.message, "Engine failed: the engine \"x\" failed");
}

#[test]
fn a_message_over_one_mebibyte_closes_with_1009() {
    let mut end = server();
    let mut head = vec![0x81, 0xff];
    head.extend((1024 * 1024_u64 + 1).to_be_bytes());
    assert_eq!(closed(&feed(&mut end, &head)).code, close_code::TOO_BIG);
}
