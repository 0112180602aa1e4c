//! What is sent, byte for byte.

use voxwire_core::message::{TimestampKind, encode};

use crate::{sent, sent_request};

#[test]
fn server_messages_have_the_fields_of_the_protocol_in_its_order() {
    let chunk = encode::Chunk::new("c1", &[0, 1, 2, 3], 12.5, Some(1));
    assert_eq!(
        sent(|out| chunk.append_to(out)),
        r#"{"type":"chunk","context_id":"c1","data":"AAECAw==","done":false,"status_code":206,"step_time":12.5,"flush_id":1}"#
    );
    let chunk = encode::Chunk::new("c1", &[0, 1, 2], 3.0, None);
    assert_eq!(
        sent(|out| chunk.append_to(out)),
        r#"{"type":"chunk","context_id":"c1","data":"AAEC","done":false,"status_code":206,"step_time":3.0}"#
    );
    assert_eq!(
        sent(|out| encode::flush_done(out, "c1", 1)),
        r#"{"type":"flush_done","context_id":"c1","done":false,"status_code":206,"flush_id":1,"flush_done":true}"#
    );
    assert_eq!(
        sent(|out| encode::timestamps(
            out,
            "c1",
            TimestampKind::Words,
            &[("Hello", 0.0, 0.4), ("world", 0.5, 0.9)],
            Some(1)
        )),
        r#"{"type":"timestamps","context_id":"c1","done":false,"status_code":206,"flush_id":1,"word_timestamps":{"words":["Hello","world"],"start":[0.0,0.5],"end":[0.4,0.9]}}"#
    );
    assert_eq!(
        sent(|out| encode::timestamps::<&str>(out, "c1", TimestampKind::Phonemes, &[], None)),
        r#"{"type":"phoneme_timestamps","context_id":"c1","done":false,"status_code":206,"phoneme_timestamps":{"phonemes":[],"start":[],"end":[]}}"#
    );
    assert_eq!(
        sent(|out| encode::done(out, "c1")),
        r#"{"type":"done","context_id":"c1","done":true,"status_code":206}"#
    );
    let mut error = encode::Error {
        context_id: Some("c1"),
        status: 400,
        code: Some("model_not_found"),
        title: "Invalid model",
        message: "Not \"valid\".",
        request_id: "r1",
    };
    assert_eq!(
        sent(|out| encode::error(out, &error)),
        r#"{"type":"error","done":true,"context_id":"c1","status_code":400,"error_code":"model_not_found","title":"Invalid model","message":"Not \"valid\".","error":"Invalid model: Not \"valid\".","request_id":"r1"}"#
    );
    error.context_id = None;
    error.code = None;
    assert_eq!(
        sent(|out| encode::error(out, &error)),
        r#"{"type":"error","done":true,"status_code":400,"error_code":null,"title":"Invalid model","message":"Not \"valid\".","error":"Invalid model: Not \"valid\".","request_id":"r1"}"#
    );
}

fn input(settings: &str) -> encode::Request<'_> {
    encode::Request {
        context_id: "c1",
        transcript: "Hi.",
        continues: true,
        flush: false,
        settings: settings.as_bytes(),
    }
}

#[test]
fn client_messages_join_their_settings() {
    let mut request = input(r#" { "model_id" : "m" , "voice":{"id":"v"} } "#);
    assert_eq!(
        sent_request(&request),
        r#"{"context_id":"c1","transcript":"Hi.","continue":true, "model_id" : "m" , "voice":{"id":"v"}}"#
    );
    (request.flush, request.continues, request.settings) = (true, false, b"{ }");
    assert_eq!(
        sent_request(&request),
        r#"{"context_id":"c1","transcript":"Hi.","continue":false,"flush":true}"#
    );
    assert_eq!(
        sent(|out| encode::cancel(out, "c\"1")),
        r#"{"context_id":"c\"1","cancel":true}"#
    );
}

#[test]
fn settings_that_would_break_the_message_are_refused_and_nothing_is_appended() {
    for settings in [
        "",
        "[]",
        "{",
        "{}{}",
        r#"{"a":1,}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"context_id":"x"}"#,
        r#"{"a":1,"transcript":"x"}"#,
        r#"{"continue":true}"#,
        r#"{"fl\u0075sh":true}"#,
        r#"{"cancel":true}"#,
    ] {
        let mut out = Vec::new();
        assert!(encode::request(&mut out, &input(settings)).is_err(), "{settings}");
        assert!(out.is_empty());
    }
    let reserved = encode::request(&mut Vec::new(), &input(r#"{"flush":true}"#)).expect_err("reserved");
    assert_eq!(
        reserved.to_string(),
        "settings with the member flush, which is set by itself"
    );
    let request = encode::Request {
        settings: b"{\"a\":\"\xff\"}",
        ..input("")
    };
    assert!(encode::request(&mut Vec::new(), &request).is_err());
}

#[test]
fn floats_are_short_and_never_invalid() {
    for (value, text) in [
        (0.1 + 0.2, "0.30000000000000004"),
        (-0.0, "-0.0"),
        (1e16, "1e16"),
        (1e-7, "1e-7"),
        (f64::MAX, "1.7976931348623157e308"),
        (-2.225_073_858_507_201_4e-308, "-2.2250738585072014e-308"),
        (f64::NAN, "0.0"),
        (f64::INFINITY, "0.0"),
    ] {
        let chunk = encode::Chunk::new("c", &[0], value, None);
        let message = sent(|out| chunk.append_to(out));
        assert!(message.ends_with(&format!("\"step_time\":{text}}}")), "{message}");
        assert_eq!(message.len(), chunk.encoded_len());
    }
}
