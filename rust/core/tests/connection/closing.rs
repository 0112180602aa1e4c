//! Pings, closing handshakes, ends without one, plain messages (faults.md B3, B12, B14, B15, F2).

use voxwire_core::connection::{CommandError, Config, Event, State, TimedOut};
use voxwire_core::error::close_code;
use voxwire_core::frame::{FrameWriter, Opcode, Role};

use crate::support::{
    End, HOST, audio, chunk, client, closed, config, feed, frame_to, plain, sent, server, waiting_client,
};

fn close_to(role: Role, code: Option<u16>, reason: &str) -> Vec<u8> {
    let peer = if role == Role::Client {
        Role::Server
    } else {
        Role::Client
    };
    let mut wire = Vec::new();
    FrameWriter::new(peer, [3; 32])
        .write_close(&mut wire, code, reason)
        .expect("valid");
    wire
}

#[test]
fn a_close_of_the_peer_is_echoed_with_its_code() {
    for role in [Role::Client, Role::Server] {
        for (code, echo, seen) in [
            (Some(1001), "close Some(1001) ", 1001),
            (Some(4999), "close Some(4999) ", 4999),
            (None, "close None ", 1005),
        ] {
            let mut end = End::new(&config(role));
            let closed = closed(&feed(&mut end, &close_to(role, code, "")));
            assert_eq!((closed.code, closed.clean, &closed.error), (seen, true, &None));
            assert_eq!(sent(&mut end), [echo]);
            assert_eq!((end.state(), end.poll_timeout()), (State::Closed, None));
            assert_eq!(end.send_text(b"x"), Err(CommandError::Closing));
            end.close(None, "", None).expect("later calls do nothing");
            end.handle_eof(None);
            end.handle_timeout(1e6);
            assert_eq!((end.poll_events(), end.transmit_size()), (vec![], 0));
        }
    }
}

#[test]
fn b14_nothing_after_a_close_is_looked_at() {
    let mut end = waiting_client(&["a"]);
    let mut wire = frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes());
    wire.extend(close_to(Role::Client, Some(1000), "bye"));
    wire.extend(close_to(Role::Client, Some(1001), "again"));
    wire.extend(frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()));
    wire.extend([0xff; 20]);
    let events = feed(&mut end, &wire);
    assert_eq!(events[0], audio("a", &[0, 0], 0.0));
    let closed = closed(&events[1..]);
    assert_eq!((closed.code, closed.reason.as_str(), closed.clean), (1000, "bye", true));
    assert_eq!(sent(&mut end), ["close Some(1000) "]);
    assert_eq!(feed(&mut end, &frame_to(Role::Client, Opcode::Ping, b"x")), []);
    assert_eq!(end.transmit_size(), 0);
}

#[test]
fn the_own_close_waits_for_the_peers() {
    let mut end = client();
    end.close(Some(1000), "done", Some(1.0)).expect("valid");
    end.close(Some(1001), "again", None).expect("does nothing");
    assert_eq!(sent(&mut end), ["close Some(1000) done"]);
    assert_eq!((end.state(), end.poll_timeout()), (State::Closing, Some(3.0)));
    assert_eq!(end.send_ping(b""), Err(CommandError::Closing));
    // No pong may follow our Close.
    assert_eq!(feed(&mut end, &frame_to(Role::Client, Opcode::Ping, b"x")), []);
    assert_eq!(end.transmit_size(), 0);
    let closed = closed(&feed(&mut end, &close_to(Role::Client, Some(1000), "")));
    assert_eq!(
        (closed.code, closed.reason.as_str(), closed.clean),
        (1000, "done", true)
    );
    assert_eq!(end.transmit_size(), 0);
}

#[test]
fn a_wrong_close_of_the_caller_is_refused() {
    let mut end = client();
    for (code, reason) in [
        (Some(1006), ""),
        (Some(999), ""),
        (None, "why"),
        (Some(1000), &*"x".repeat(124)),
    ] {
        let refused = end.close(code, reason, None);
        assert!(matches!(refused, Err(CommandError::Frame(_))), "{code:?}");
        assert_eq!((end.state(), end.transmit_size()), (State::Open, 0));
    }
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_left() {
    let mut end = server();
    end.close(Some(1001), "", Some(10.0)).expect("valid");
    end.handle_timeout(11.9);
    assert_eq!(end.poll_events(), []);
    end.handle_timeout(12.0);
    let closed = closed(&end.poll_events());
    assert_eq!(
        (closed.code, closed.clean, closed.timed_out),
        (1006, false, Some(TimedOut::Close))
    );
    assert_eq!(end.poll_timeout(), None);
}

#[test]
fn b15_the_end_of_the_stream_without_a_close_is_1006() {
    for role in [Role::Client, Role::Server] {
        for is_closing in [false, true] {
            let mut end = End::new(&config(role));
            if is_closing {
                end.close(Some(1000), "", None).expect("valid");
            }
            end.handle_eof(Some(1.0));
            end.handle_eof(None);
            let closed = closed(&end.poll_events());
            assert_eq!(
                (closed.code, closed.clean, closed.error),
                (close_code::ABNORMAL, false, None)
            );
            assert_eq!(closed.timed_out, None);
        }
    }
}

#[test]
fn b3_messages_before_a_violation_are_delivered_and_answered_first() {
    let mut end = waiting_client(&["a"]);
    let mut wire = frame_to(Role::Client, Opcode::Ping, b"p");
    wire.extend(frame_to(Role::Client, Opcode::Text, chunk("a", "AAA=").as_bytes()));
    let bad_at = wire.len();
    wire.extend([0xc1, 0x00]);
    let events = feed(&mut end, &wire);
    assert_eq!(events[0], audio("a", &[0, 0], 0.0));
    let closed = closed(&events[1..]);
    assert_eq!((closed.code, closed.clean), (close_code::PROTOCOL_ERROR, false));
    let error = closed.error.expect("the peer did something wrong");
    assert!(error.ends_with(&format!("byte {bad_at}")), "{error}");
    assert_eq!(
        sent(&mut end),
        [format!("pong {:?}", b"p"), format!("close Some(1002) {error}")]
    );
}

#[test]
fn b3_what_came_before_the_end_can_be_answered() {
    for role in [Role::Client, Role::Server] {
        let violation = [if role == Role::Client { 0x00 } else { 0x80 }, 0, 0, 0, 0];
        let end_of_frame = if role == Role::Client { 1 } else { 5 };
        let violation = [&[0xc1], &violation[..end_of_frame]].concat();
        for (last, code, is_clean) in [
            (close_to(role, Some(1000), "bye"), 1000, true),
            (violation, 1002, false),
        ] {
            let mut end = plain(role);
            let wire = [
                frame_to(role, Opcode::Text, b"one"),
                frame_to(role, Opcode::Binary, b"two"),
                last,
            ]
            .concat();
            end.handle_data(&wire, None, &HOST);
            assert_eq!(end.poll_transmit(), b"", "nothing goes out before the events were seen");
            let events = end.poll_events();
            assert_eq!(
                events[..2],
                [Event::Text("one".to_owned()), Event::Binary(b"two".to_vec())]
            );
            let closed = closed(&events[2..]);
            assert_eq!((closed.code, closed.clean), (code, is_clean));
            assert_eq!((end.state(), end.poll_timeout()), (State::Open, None));
            end.send_text(b"one").expect("the answer may still go out");
            end.close(Some(1001), "", None).expect("does nothing");
            let lines = sent(&mut end);
            assert_eq!(lines[0], "one");
            assert!(lines[1].starts_with(&format!("close Some({code})")), "{lines:?}");
            assert_eq!((lines.len(), end.state()), (2, State::Closed));
            assert_eq!(end.send_text(b"late"), Err(CommandError::Closing));
            assert_eq!(feed(&mut end, &frame_to(role, Opcode::Text, b"late")), []);
        }
        // The stream may end before the answer.
        let mut end = plain(role);
        let wire = [frame_to(role, Opcode::Text, b"one"), close_to(role, None, "")].concat();
        end.handle_data(&wire, None, &HOST);
        end.handle_eof(None);
        assert_eq!(closed(&end.poll_events()[1..]).code, close_code::NO_STATUS);
        assert_eq!(
            (end.state(), end.transmit_size(), end.poll_events()),
            (State::Closed, 0, vec![])
        );
    }
}

#[test]
fn a_violation_while_closing_sends_no_second_close() {
    let mut end = client();
    end.close(Some(1000), "", None).expect("valid");
    end.poll_transmit();
    let closed = closed(&feed(&mut end, &[0xc1, 0x00]));
    assert_eq!((closed.code, closed.clean), (close_code::ABNORMAL, false));
    assert!(closed.error.is_some());
    assert_eq!(end.transmit_size(), 0);
}

#[test]
fn pings_are_answered_in_order_and_pongs_of_strangers_ignored() {
    for role in [Role::Client, Role::Server] {
        let mut end = End::new(&config(role));
        let mut wire = frame_to(role, Opcode::Pong, b"unasked");
        wire.extend(frame_to(role, Opcode::Ping, b"1"));
        wire.extend(frame_to(role, Opcode::Ping, b""));
        assert_eq!(feed(&mut end, &wire), []);
        assert_eq!(sent(&mut end), [format!("pong {:?}", b"1"), "pong []".to_owned()]);
    }
}

#[test]
fn f2_a_peer_without_pong_is_dead_and_gets_no_closing_handshake() {
    let mut end = End::new(&Config {
        ping_timeout_s: 5.0,
        now: 100.0,
        ..config(Role::Server)
    });
    assert_eq!(end.poll_timeout(), Some(120.0));
    end.handle_timeout(120.0);
    let lines = sent(&mut end);
    assert!(lines[0].starts_with("ping ["), "{lines:?}");
    assert_eq!(end.poll_timeout(), Some(125.0));
    // A stranger's pong answers nothing, but like all that comes it is a sign of life.
    end.handle_data(&frame_to(Role::Server, Opcode::Pong, b"wrong"), Some(121.0), &HOST);
    assert_eq!(end.poll_timeout(), Some(126.0));
    end.handle_data(
        &frame_to(Role::Server, Opcode::Pong, &1_u64.to_be_bytes()),
        Some(122.0),
        &HOST,
    );
    assert_eq!(end.poll_timeout(), Some(140.0));
    end.handle_timeout(140.0);
    end.send_ping(b"mine").expect("open");
    end.handle_timeout(145.0);
    let closed = closed(&end.poll_events());
    assert_eq!(
        (closed.code, closed.clean, closed.timed_out),
        (1006, false, Some(TimedOut::Ping))
    );
    assert_eq!((end.transmit_size(), end.poll_timeout()), (0, None));
}

#[test]
fn a_pong_may_wait_behind_what_is_still_on_its_way() {
    for role in [Role::Client, Role::Server] {
        let mut end = End::new(&config(role));
        end.handle_progress(10.0);
        assert_eq!(end.poll_timeout(), Some(20.0), "no ping is under way");
        end.handle_timeout(20.0);
        assert_eq!(end.poll_timeout(), Some(40.0));
        // The peer takes what we sent before the ping.
        end.handle_progress(35.0);
        assert_eq!(end.poll_timeout(), Some(55.0));
        // The peer sends what it had queued before the pong: also a part of a frame counts, nothing at all does not.
        end.handle_data(&frame_to(role, Opcode::Pong, b"x")[..1], Some(50.0), &HOST);
        end.handle_data(b"", Some(51.0), &HOST);
        end.handle_progress(30.0);
        assert_eq!(end.poll_timeout(), Some(71.0));
        end.handle_timeout(71.0);
        assert_eq!(closed(&end.poll_events()).timed_out, Some(TimedOut::Ping));
    }
}

#[test]
fn a_server_can_tell_its_contexts_of_a_broken_rule() {
    let mut end = server();
    end.handle_data(&[0xc1, 0x80, 0, 0, 0, 0], None, &HOST);
    assert_eq!((end.state(), end.transmit_size()), (State::Open, 0));
    assert_eq!(closed(&end.poll_events()).code, 1002);
    end.send_done("a").expect("before the Close");
    let lines = sent(&mut end);
    assert!(
        lines[0].contains("done") && lines[1].starts_with("close Some(1002)"),
        "{lines:?}"
    );
    assert_eq!((lines.len(), end.state()), (2, State::Closed));
}

#[test]
fn time_never_runs_backwards() {
    let mut end = client();
    end.handle_data(b"", Some(50.0), &HOST);
    end.close(Some(1000), "", Some(10.0)).expect("valid");
    assert_eq!(end.poll_timeout(), Some(52.0));
}

#[test]
fn plain_messages_pass_both_ways() {
    let mut ends = [plain(Role::Client), plain(Role::Server)];
    for (from, to) in [(0, 1), (1, 0)] {
        ends[from].send_text("grüß".as_bytes()).expect("open");
        ends[from].send_binary(&[0, 255]).expect("open");
        ends[from].send_text(b"").expect("open");
        let wire = ends[from].poll_transmit();
        assert_eq!(
            feed(&mut ends[to], &wire),
            [
                Event::Text("grüß".to_owned()),
                Event::Binary(vec![0, 255]),
                Event::Text(String::new())
            ]
        );
    }
    let [client, _] = &mut ends;
    let refused = client.send_text(b"a\xff").expect_err("no UTF-8");
    assert!(!refused.is_misuse());
    assert!(refused.to_string().contains("byte 1"), "{refused}");
    assert!(client.send_ping(&[0; 126]).is_err());
    assert_eq!(client.transmit_size(), 0);
}

#[test]
fn plain_text_that_is_no_utf8_is_1007() {
    for role in [Role::Client, Role::Server] {
        let mut end = plain(role);
        let closed = closed(&feed(&mut end, &frame_to(role, Opcode::Text, b"\xc0\xaf")));
        assert_eq!(closed.code, close_code::INVALID_DATA);
    }
}
