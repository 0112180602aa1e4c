//! Commands of a client: what goes out, what is refused, what is remembered, when silence is too long.

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{CommandError, Config, Input, State, failure_code};
use voxwire_core::context::{ClientVerdict, REMEMBERED_CONTEXTS, TOMBSTONE_S};
use voxwire_core::error::close_code;
use voxwire_core::frame::{Opcode, Role};

use crate::support::{
    End, HOST, S16, audio, cancel, chunk, client, closed, config, done, failed, feed, frame_to, open, push, sent,
    server, tell, waiting_client,
};

#[test]
fn an_input_is_the_settings_and_its_own_fields() {
    let mut end = client();
    open(&mut end, "a");
    let input = Input {
        transcript: "Say \"ä\".",
        continues: true,
        flush: true,
        settings: br#"{"model_id":"m","voice":{"mode":"id","id":"v"}}"#,
        buffer_delay_ms: 3000,
    };
    assert_eq!(end.send_input("a", &input, None), Ok(ClientVerdict::Sent));
    let lines = sent(&mut end);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let value: serde_json::Value = serde_json::from_str(line).expect("valid JSON");
    assert_eq!(
        value,
        serde_json::json!({
            "model_id": "m", "voice": {"mode": "id", "id": "v"}, "context_id": "a",
            "transcript": "Say \"ä\".", "continue": true, "flush": true
        })
    );
}

#[test]
fn the_table_answers_what_is_not_sent() {
    let mut end = waiting_client(&["closing"]);
    assert_eq!(push(&mut end, "closing", "more", true), ClientVerdict::Usage);
    assert_eq!(push(&mut end, "closing", "", false), ClientVerdict::Ignored);
    tell(&mut end, &done("closing"));
    assert_eq!(push(&mut end, "closing", "more", true), ClientVerdict::Usage);
    assert_eq!(push(&mut end, "closing", "", false), ClientVerdict::Ignored);

    open(&mut end, "expired");
    push(&mut end, "expired", "Hi.", true);
    tell(&mut end, &done("expired"));
    assert_eq!(sent(&mut end).len(), 1);
    assert_eq!(push(&mut end, "expired", "more", true), ClientVerdict::Expired);

    open(&mut end, "cancelled");
    push(&mut end, "cancelled", "Hi.", true);
    assert_eq!(end.send_cancel("cancelled", None), Ok(true));
    assert_eq!(end.send_cancel("cancelled", None), Ok(false));
    assert_eq!(push(&mut end, "cancelled", "more", true), ClientVerdict::Ended);
    assert_eq!(sent(&mut end)[1..], [cancel("cancelled")]);

    open(&mut end, "failed");
    push(&mut end, "failed", "Hi.", true);
    tell(&mut end, r#"{"type":"error","error":"x","context_id":"failed"}"#);
    assert_eq!(sent(&mut end).len(), 1);
    assert_eq!(push(&mut end, "failed", "more", true), ClientVerdict::Failed);
    assert!(sent(&mut end).is_empty());
}

#[test]
fn mistakes_of_the_caller_are_refused_and_send_nothing() {
    let mut end = client();
    open(&mut end, "a");
    assert_eq!(
        end.open_context("a", "a", S16, None, None),
        Err(CommandError::ContextInUse)
    );
    let long = "x".repeat(257);
    for id in ["", "a\0", long.as_str()] {
        assert_eq!(
            end.open_context(id, "", S16, None, None),
            Err(CommandError::InvalidContextId)
        );
    }
    end.open_context(&"ä".repeat(256), "", S16, None, None)
        .expect("256 characters are allowed");
    let soundless = Format {
        encoding: Encoding::PcmAlaw,
        sample_rate: 8000,
        channels: 0,
    };
    assert_eq!(
        end.open_context("b", "b", soundless, None, None),
        Err(CommandError::InvalidFormat)
    );
    let input = Input {
        transcript: "Hi.",
        continues: true,
        flush: false,
        settings: b"{}",
        buffer_delay_ms: 0,
    };
    assert_eq!(
        end.send_input("unknown", &input, None),
        Err(CommandError::UnknownContext)
    );
    for settings in ["", "[]", "{", "{}{}", r#"{"transcript":"x"}"#, "{\"a\":\"\u{1}\"}"] {
        let refused = end.send_input(
            "a",
            &Input {
                settings: settings.as_bytes(),
                ..input
            },
            None,
        );
        assert!(
            matches!(refused, Err(CommandError::Settings(_))),
            "{settings}: {refused:?}"
        );
        assert!(!refused.expect_err("refused").is_misuse());
    }
    assert_eq!(server().send_input("a", &input, None), Err(CommandError::NoClient));
    assert_eq!(end.send_done("a"), Err(CommandError::NoServer));
    assert_eq!(end.transmit_size(), 0);
    assert_eq!(push(&mut end, "a", "Hi.", false), ClientVerdict::Sent);
}

#[test]
fn a_context_that_was_never_used_is_left_without_a_word() {
    let mut end = client();
    open(&mut end, "a");
    assert_eq!(end.send_cancel("a", None), Ok(true));
    assert_eq!(end.transmit_size(), 0);
    open(&mut end, "b");
    end.forget_context("b", None).expect("a client");
    assert_eq!(end.transmit_size(), 0);
    assert_eq!(end.owners().count(), 0);
    open(&mut end, "c");
    assert_eq!(failed(&tell(&mut end, &chunk("c", "A"))).0, "c");
    assert_eq!(end.transmit_size(), 0);
}

#[test]
fn a_context_given_up_is_cancelled_and_stays_silent() {
    let mut end = waiting_client(&["a"]);
    end.forget_context("a", None).expect("a client");
    assert_eq!(sent(&mut end), [cancel("a")]);
    assert_eq!(tell(&mut end, &chunk("a", "AAA=")), []);
    assert_eq!(end.counters().late, 1);
    end.forget_context("a", None).expect("a client");
    assert!(sent(&mut end).is_empty());
}

#[test]
fn late_messages_after_a_cancel_are_dropped_until_done() {
    let mut end = waiting_client(&["a"]);
    assert_eq!(end.send_cancel("a", None), Ok(true));
    assert_eq!(tell(&mut end, &chunk("a", "AAA=")), []);
    assert_eq!(tell(&mut end, &done("a")), []);
    assert_eq!((end.counters().late, end.counters().unknown_contexts), (2, 0));
    // Now the id is forgotten.
    assert_eq!(tell(&mut end, &chunk("a", "AAA=")), []);
    assert_eq!((end.counters().late, end.counters().unknown_contexts), (2, 1));
}

#[test]
fn ended_ids_are_forgotten_by_age_and_by_number() {
    let mut end = waiting_client(&["old"]);
    end.handle_data(
        &frame_to(Role::Client, Opcode::Text, done("old").as_bytes()),
        Some(0.0),
        &HOST,
    );
    open(&mut end, "next");
    end.send_cancel("next", Some(TOMBSTONE_S - 1.0)).expect("a client");
    assert_eq!(
        end.open_context("old", "old", S16, None, None),
        Err(CommandError::ContextInUse)
    );
    open(&mut end, "later");
    end.send_cancel("later", Some(TOMBSTONE_S + 1.0)).expect("a client");
    assert_eq!(end.open_context("old", "old", S16, None, None), Ok(()));

    let mut end = client();
    for number in 0..=REMEMBERED_CONTEXTS {
        let id = number.to_string();
        end.open_context(&id, "many", S16, None, None).expect("the id is new");
        end.send_cancel(&id, None).expect("a client");
    }
    assert_eq!(
        end.open_context("1", "many", S16, None, None),
        Err(CommandError::ContextInUse)
    );
    assert_eq!(end.open_context("0", "many", S16, None, None), Ok(()));
}

/// A client without pings, so that only contexts have timers.
fn quiet_client() -> End {
    End::new(&Config {
        ping_interval_s: None,
        ..config(Role::Client)
    })
}

fn push_at(end: &mut End, id: &str, transcript: &str, continues: bool, delay_ms: u32, now: f64) {
    let input = Input {
        transcript,
        continues,
        flush: false,
        settings: b"{}",
        buffer_delay_ms: delay_ms,
    };
    assert_eq!(end.send_input(id, &input, Some(now)), Ok(ClientVerdict::Sent));
}

#[test]
fn e4_a_silent_server_fails_the_context_that_it_owes() {
    let mut end = quiet_client();
    open(&mut end, "a");
    open(&mut end, "b");
    assert_eq!(end.poll_timeout(), None);
    push_at(&mut end, "a", "Hi.", true, 3000, 1.0);
    assert_eq!(end.poll_timeout(), Some(14.0));
    push_at(&mut end, "b", "Hi.", false, 3000, 2.0);
    assert_eq!(end.poll_timeout(), Some(12.0));
    sent(&mut end);
    end.handle_timeout(11.9);
    assert_eq!(end.poll_events(), []);
    end.handle_timeout(12.0);
    let events = end.poll_events();
    assert_eq!(failed(&events), ("b", false, Some(failure_code::INACTIVITY)));
    assert_eq!(sent(&mut end), [cancel("b")]);
    assert_eq!(end.poll_timeout(), Some(14.0));
    // Audio has begun, nothing more is owed to an open context.
    end.handle_data(
        &frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()),
        Some(13.0),
        &HOST,
    );
    assert_eq!(end.poll_events(), [audio("a", &[0, 0], 0.0)]);
    end.handle_timeout(14.0);
    assert_eq!((end.poll_events(), end.poll_timeout()), (vec![], None));
    // A close is owed an answer, and every message is a sign of life.
    push_at(&mut end, "a", "", false, 3000, 20.0);
    end.handle_data(
        &frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()),
        Some(25.0),
        &HOST,
    );
    end.poll_events();
    end.handle_timeout(30.0);
    assert_eq!((end.poll_events(), end.poll_timeout()), (vec![], Some(35.0)));
    end.handle_timeout(35.0);
    assert_eq!(failed(&end.poll_events()), ("a", false, Some(failure_code::INACTIVITY)));
    assert_eq!(end.state(), State::Open);
}

#[test]
fn silence_inside_a_frame_ends_the_connection() {
    for cut in [1, 2, 30] {
        let mut end = quiet_client();
        open(&mut end, "a");
        push_at(&mut end, "a", "Hi.", false, 0, 0.0);
        sent(&mut end);
        let wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes());
        end.handle_data(&wire[..cut], Some(1.0), &HOST);
        end.handle_timeout(10.0);
        let events = end.poll_events();
        assert_eq!(failed(&events[..1]), ("a", false, Some(failure_code::INACTIVITY)));
        let closed = closed(&events[1..]);
        assert_eq!((closed.code, closed.clean), (close_code::ABNORMAL, false));
        assert_eq!(closed.error, Some(format!("message left unfinished at byte {cut}")));
        assert_eq!(end.transmit_size(), 0);
    }
}

#[test]
fn a_chunk_that_came_in_pieces_is_a_sign_of_life_when_it_is_whole() {
    let long = chunk("a", &"AAAA".repeat(100));
    let wire = frame_to(Role::Client, Opcode::Text, long.as_bytes());
    let mut end = quiet_client();
    open(&mut end, "a");
    push_at(&mut end, "a", "Hi.", false, 0, 0.0);
    sent(&mut end);
    end.handle_data(&wire, Some(1.0), &HOST);
    // Now its shape is known.
    end.handle_data(&wire[..300], Some(8.0), &HOST);
    assert_eq!(end.poll_timeout(), Some(10.0));
    end.handle_timeout(10.0);
    assert_eq!(end.poll_timeout(), Some(11.0));
    end.handle_data(&wire[300..], Some(10.5), &HOST);
    assert_eq!(end.poll_events().len(), 2);
    end.handle_timeout(11.0);
    assert_eq!(end.poll_timeout(), Some(20.5));
    end.handle_timeout(20.5);
    // No message was left unfinished: the connection stays.
    assert_eq!(failed(&end.poll_events()), ("a", false, Some(failure_code::INACTIVITY)));
}

#[test]
fn contexts_end_with_the_connection_and_their_owners_are_let_go() {
    let mut end = waiting_client(&["a"]);
    end.handle_eof(None);
    assert_eq!(end.owners().count(), 1);
    assert_eq!(closed(&end.poll_events()).code, close_code::ABNORMAL);
    assert_eq!(end.owners().count(), 0);
    assert_eq!(push(&mut end, "a", "more", true), ClientVerdict::Failed);
    assert_eq!(end.send_cancel("a", None), Ok(false));
    assert_eq!(end.open_context("b", "b", S16, None, None), Err(CommandError::Closing));
    assert_eq!(end.transmit_size(), 0);
}

#[test]
fn waiting_events_hold_their_owner_too() {
    let mut end = waiting_client(&["a"]);
    end.handle_data(
        &frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()),
        None,
        &HOST,
    );
    end.handle_data(&frame_to(Role::Client, Opcode::Text, done("a").as_bytes()), None, &HOST);
    assert_eq!(end.owners().copied().collect::<Vec<_>>(), ["a", "a"]);
    end.poll_events();
    assert_eq!(end.owners().count(), 0);
    let mut end = waiting_client(&["a"]);
    end.handle_data(
        &frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()),
        None,
        &HOST,
    );
    end.abandon();
    assert_eq!(
        (end.owners().count(), end.state(), end.poll_events()),
        (0, State::Closed, vec![])
    );
}

#[test]
fn a_chunk_after_the_own_close_is_not_looked_at() {
    let mut end = waiting_client(&["a"]);
    end.close(Some(close_code::NORMAL), "", None).expect("valid");
    assert_eq!(
        feed(
            &mut end,
            &frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes())
        ),
        []
    );
    assert_eq!(feed(&mut end, &frame_to(Role::Client, Opcode::Text, b"no json")), []);
    assert_eq!(end.state(), State::Closing);
}
