//! What a server reads.

use voxwire_core::message::{ClientMessage, Unusable, UnusableReason, decode_client, is_usable_context_id, json};

use crate::request;

#[test]
fn request_keeps_what_the_protocol_names_in_its_order() {
    use json::Value::{Bool, Float, Int, Null, Object, String};
    let (context_id, fields) = request(
        r#"{"transcript":"Hi.","continue":true,"context_id":"c1","model_id":"sonic-3.6","unknown":[{"x":1e400}],
        "voice":{"mode":"id","id":"v","more":{"a":[1,2.5,"x"]}},"duration":1e400,"stream":true,"text_cfg":{},
        "output_format":{"container":"raw","encoding":"pcm_s16le","sample_rate":24000.0},"language":null,
        "use_original_timestamps":false,"max_buffer_delay_ms":-0,"cancel":false}"#,
    );
    assert_eq!(context_id.as_deref(), Some("c1"));
    let string = |text: &str| String(text.to_owned());
    let member = |name: &str, value| (name.to_owned(), value);
    let nested = json::Value::Array(vec![Int(1), Float(2.5), string("x")]);
    let expected = vec![
        ("transcript", string("Hi.")),
        ("continue", Bool(true)),
        ("context_id", string("c1")),
        ("model_id", string("sonic-3.6")),
        (
            "voice",
            Object(vec![
                member("mode", string("id")),
                member("id", string("v")),
                member("more", Object(vec![member("a", nested)])),
            ]),
        ),
        (
            "output_format",
            Object(vec![
                member("container", string("raw")),
                member("encoding", string("pcm_s16le")),
                member("sample_rate", Float(24000.0)),
            ]),
        ),
        ("language", Null),
        ("max_buffer_delay_ms", Int(0)),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn every_member_of_the_protocol_is_kept() {
    let names = [
        "model_id",
        "transcript",
        "voice",
        "output_format",
        "context_id",
        "continue",
        "max_buffer_delay_ms",
        "flush",
        "language",
        "locale",
        "normalization",
        "add_timestamps",
        "add_phoneme_timestamps",
        "use_normalized_timestamps",
        "pronunciation_dict_id",
        "generation_config",
        "speed",
    ];
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":7")).collect();
    let (_, fields) = request(&format!("{{{}}}", members.join(",")));
    assert_eq!(fields, names.map(|name| (name, json::Value::Int(7))));
}

#[test]
fn numbers_that_no_type_holds_are_kept_as_such_where_they_are_read() {
    let digits = "1".repeat(20_000);
    for number in [
        "1e400",
        "-1e400",
        "18446744073709551616",
        "9223372036854775808",
        &digits,
    ] {
        let (_, fields) = request(&format!(
            r#"{{"transcript":"x","max_buffer_delay_ms":{number},"duration":{number}}}"#
        ));
        assert_eq!(fields[1], ("max_buffer_delay_ms", json::Value::OutOfRange));
        assert_eq!(fields.len(), 2);
    }
    let (_, fields) = request(r#"{"transcript":"x","speed":-9223372036854775808,"flush":1e-400}"#);
    assert_eq!(
        fields[1..],
        [
            ("speed", json::Value::Int(i64::MIN)),
            ("flush", json::Value::Float(0.0))
        ]
    );
}

#[test]
fn wrong_types_are_left_to_the_validation() {
    let (context_id, fields) = request(r#"{"transcript":null,"context_id":5,"cancel":"true","continue":"yes"}"#);
    assert_eq!(context_id, None);
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["transcript", "context_id", "continue", "cancel"]);
}

#[test]
fn cancel_is_read_in_any_form_and_order() {
    for payload in [
        r#"{"context_id":"c1","cancel":true}"#,
        "{\n  \"cancel\": true,\n  \"context_id\": \"c1\"\n}\n",
        r#"{"transcript":"Hi.","cancel":true,"context_id":"c1","voice":5,"unknown":{}}"#,
        r#"{"c\u0061ncel":true,"context_id":"c\u0031"}"#,
    ] {
        assert_eq!(
            decode_client(payload.as_bytes()),
            Ok(ClientMessage::Cancel {
                context_id: "c1".to_owned()
            })
        );
    }
}

fn refused(payload: &[u8], reason: UnusableReason, index: usize, context_id: Option<&str>, continues: bool) {
    let expected = Unusable {
        reason,
        index,
        context_id: context_id.map(str::to_owned),
        continues,
    };
    let unusable = decode_client(payload).expect_err("the message is unusable");
    assert_eq!(unusable, expected, "{}", payload.escape_ascii());
    assert_eq!(unusable.utf8(), reason == UnusableReason::Json(json::ErrorKind::Utf8));
}

#[test]
fn message_that_does_not_parse_names_no_context() {
    use UnusableReason::Json;
    use json::ErrorKind::{Empty, LoneSurrogate, NotAnObject, TooDeep, TrailingData, UnexpectedEnd, Utf8};
    let deep = format!(
        r#"{{"context_id":"c1","transcript":"x","voice":{}1{}}}"#,
        "[".repeat(32),
        "]".repeat(32)
    );
    refused(b"", Json(Empty), 0, None, false);
    refused(b"[]", Json(NotAnObject), 0, None, false);
    refused(
        br#"{"context_id":"c1","transcript":"x""#,
        Json(UnexpectedEnd),
        35,
        None,
        false,
    );
    refused(
        br#"{"context_id":"c1","transcript":"x"}{}"#,
        Json(TrailingData),
        36,
        None,
        false,
    );
    refused(
        b"{\"context_id\":\"c1\",\"transcript\":\"\xff\"}",
        Json(Utf8),
        33,
        None,
        false,
    );
    refused(
        br#"{"context_id":"c1","transcript":"\ud800"}"#,
        Json(LoneSurrogate),
        33,
        None,
        false,
    );
    refused(deep.as_bytes(), Json(TooDeep), 75, None, false);
}

#[test]
fn message_with_duplicate_keys_names_its_only_context() {
    let duplicate = UnusableReason::Json(json::ErrorKind::DuplicateKey);
    refused(
        br#"{"context_id":"c1","transcript":"a","transcript":"b"}"#,
        duplicate,
        36,
        Some("c1"),
        false,
    );
    refused(
        br#"{"continue":true,"x":1,"x":2,"context_id":"c1"}"#,
        duplicate,
        23,
        Some("c1"),
        true,
    );
    refused(
        br#"{"context_id":"c1","voice":{"id":1,"id":2}}"#,
        duplicate,
        35,
        Some("c1"),
        false,
    );
    refused(
        br#"{"context_id":"a","context_id":"b","transcript":"a"}"#,
        duplicate,
        18,
        None,
        false,
    );
    refused(
        br#"{"continue":true,"continue":true,"transcript":"a"}"#,
        duplicate,
        17,
        None,
        false,
    );
}

#[test]
fn message_that_is_neither_names_its_context() {
    use UnusableReason::{CancelWithoutContext, NeitherRequestNorCancel};
    refused(
        br#"{"context_id":"c1","continue":true}"#,
        NeitherRequestNorCancel,
        0,
        Some("c1"),
        true,
    );
    refused(
        br#"{"context_id":"c1","cancel":false}"#,
        NeitherRequestNorCancel,
        0,
        Some("c1"),
        false,
    );
    refused(
        br#"{"context_id":5,"cancel":1}"#,
        NeitherRequestNorCancel,
        0,
        None,
        false,
    );
    refused(b"{}", NeitherRequestNorCancel, 0, None, false);
    refused(br#"{"cancel":true}"#, CancelWithoutContext, 0, None, false);
    refused(
        br#"{"cancel":true,"context_id":null}"#,
        CancelWithoutContext,
        0,
        None,
        false,
    );
    refused(
        br#"{"cancel":true,"context_id":""}"#,
        CancelWithoutContext,
        0,
        Some(""),
        false,
    );
    refused(
        br#"{"cancel":true,"context_id":"a\u0000"}"#,
        CancelWithoutContext,
        0,
        Some("a\0"),
        false,
    );
    let long = "x".repeat(257);
    let payload = format!(r#"{{"cancel":true,"context_id":"{long}"}}"#);
    refused(payload.as_bytes(), CancelWithoutContext, 0, Some(&long), false);
}

#[test]
fn duplicates_are_not_looked_for_in_members_that_are_skipped() {
    let (_, fields) = request(r#"{"transcript":"x","unknown":{"a":1,"a":2},"text_cfg":{"b":1,"b":1}}"#);
    assert_eq!(fields.len(), 1);
}

#[test]
fn ids_are_1_to_256_code_points_without_zero() {
    assert!(is_usable_context_id("x"));
    assert!(is_usable_context_id(&"\u{1f600}".repeat(256)));
    for id in [String::new(), "x".repeat(257), "ü".repeat(257), "a\0b".to_owned()] {
        assert!(!is_usable_context_id(&id));
    }
}
