//! What holds for any input.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};
use voxwire_core::message::{
    ClientMessage, ErrorEvent, MessageError, ServerMessage, TimestampKind, decode_client, decode_server,
    decode_server_strict, encode, is_usable_context_id, json,
};
use voxwire_kernels::base64;

use crate::{receive, request, sent, sent_request, vectors};

/// Texts with much of what needs care.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x22\\\\/a\u{e9}\u{1f600}]{0,20}"]
}

/// JSON texts of which about half are valid.
fn json_like() -> impl Strategy<Value = String> {
    let tokens = vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"",
        "0",
        "-1",
        "2.5",
        "1e-5",
        "01",
        "1.",
        "-",
        "true",
        "false",
        "null",
        "tru",
        " ",
        "\n",
        "é",
        "\"é\"",
        "\"\t\"",
        "NaN",
        "{\"a\":",
        "{\"b\":[",
        "]}",
        "1}",
        "{}",
        "[]",
        "{\"a\":1}",
    ];
    prop::collection::vec(prop::sample::select(tokens), 0..12).prop_map(|tokens| tokens.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("JSON has finite numbers only", |float| {
            serde_json::Number::from_f64(float).map(Value::Number)
        }),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        text().prop_map(Value::String)
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(text(), inner, 0..12).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn as_serde(value: json::Value) -> Value {
    match value {
        json::Value::Null | json::Value::OutOfRange => Value::Null,
        json::Value::Bool(bool) => bool.into(),
        json::Value::Int(integer) => integer.into(),
        json::Value::Float(float) => float.into(),
        json::Value::String(string) => string.into(),
        json::Value::Array(items) => items.into_iter().map(as_serde).collect(),
        json::Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, as_serde(value)))
            .collect(),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(payload in prop::collection::vec(any::<u8>(), 0..300), checked in any::<bool>()) {
        let _ = decode_client(&payload);
        let _ = decode_server_strict(&payload);
        let _ = decode_server(&payload, checked);
        prop_assert_eq!(receive(&payload, false), decode_server_strict(&payload));
    }

    #[test]
    fn broken_vectors_are_read_alike_both_ways(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let vectors = vectors();
        let mut wire = which.get(&vectors).1.clone();
        wire.truncate(5000);
        for (place, byte, edit) in edits {
            let at = place.index(wire.len() + 1);
            match edit {
                0 => wire.insert(at, byte),
                1 if at < wire.len() => drop(wire.remove(at)),
                _ if at < wire.len() => wire[at] = byte,
                _ => {}
            }
        }
        let strict = decode_server_strict(&wire);
        prop_assert_eq!(&receive(&wire, false), &strict);
        if std::str::from_utf8(&wire).is_ok() {
            prop_assert_eq!(&receive(&wire, true), &strict);
        } else {
            let is_utf8_error = matches!(strict, Err(MessageError::Utf8 { .. }));
            prop_assert!(is_utf8_error);
        }
        let _ = decode_client(&wire);
    }

    #[test]
    fn serde_json_accepts_the_same(value in json_like()) {
        let message = format!("{{\"type\":\"done\",\"x\":{value}}}");
        for text in [&message, &value] {
            let reference = serde_json::from_str::<Value>(text);
            match decode_server_strict(text.as_bytes()) {
                Ok(_) | Err(MessageError::Invalid { .. }) => prop_assert!(reference.is_ok(), "{}", text),
                Err(MessageError::Syntax { kind: json::ErrorKind::NotAnObject | json::ErrorKind::DuplicateKey, .. }) => {}
                Err(_) => prop_assert!(reference.is_err(), "{}", text),
            }
        }
    }

    #[test]
    fn values_are_read_as_serde_json_wrote_them(value in json_value(), pretty in any::<bool>()) {
        let message = json!({"transcript": "x", "voice": value});
        let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
        let (_, fields) = request(&text.expect("a value can be written"));
        let voice = fields.into_iter().find_map(|(name, value)| (name == "voice").then_some(value));
        prop_assert_eq!(voice.map(as_serde), Some(message["voice"].clone()));
    }

    #[test]
    fn chunk_comes_back(
        id in text(), data in prop::collection::vec(any::<u8>(), 1..3000), step_time in any::<f64>(),
        flush_id in any::<Option<u64>>(),
    ) {
        let chunk = encode::Chunk::new(&id, &data, step_time, flush_id);
        let mut wire = Vec::new();
        chunk.append_to(&mut wire);
        prop_assert_eq!(wire.len(), chunk.encoded_len());
        serde_json::from_slice::<Value>(&wire).expect("a chunk is JSON");
        let mut text = Vec::new();
        base64::encode(&data, &mut text);
        let expected = ServerMessage::Chunk {
            context_id: Some(Cow::Borrowed(&id)), data: Some(Cow::Borrowed(&text)), flush_id, proven: true,
        };
        prop_assert_eq!(receive(&wire, false), Ok(expected.clone()));
        prop_assert_eq!(decode_server_strict(&wire), Ok(expected));
    }

    #[test]
    fn other_server_messages_come_back(
        id in text(), items in prop::collection::vec((text(), -1e6..1e6, -1e6..1e6), 0..5), flush_id in any::<Option<u64>>(),
        title in text(), message in text(), code in prop::option::of(text()), status in any::<u16>(), words in any::<bool>(),
    ) {
        let context_id = Some(Cow::Borrowed(id.as_str()));
        let kind = if words { TimestampKind::Words } else { TimestampKind::Phonemes };
        let wire = sent(|out| encode::timestamps(out, &id, kind, &items, flush_id));
        let expected = ServerMessage::Timestamps { kind, context_id: context_id.clone(), items: Some(items), flush_id };
        prop_assert_eq!(decode_server(wire.as_bytes(), false), Ok(expected));
        let number = flush_id.unwrap_or(1);
        let wire = sent(|out| encode::flush_done(out, &id, number));
        let expected = ServerMessage::FlushDone { context_id: context_id.clone(), flush_id: Some(number) };
        prop_assert_eq!(decode_server(wire.as_bytes(), false), Ok(expected));
        let wire = sent(|out| encode::done(out, &id));
        let expected = ServerMessage::Done { context_id: context_id.clone() };
        prop_assert_eq!(decode_server(wire.as_bytes(), false), Ok(expected));
        let error = encode::Error {
            context_id: Some(&id), status, code: code.as_deref(), title: &title, message: &message, request_id: "r",
        };
        let wire = sent(|out| encode::error(out, &error));
        let legacy = format!("{title}: {message}");
        let expected = ServerMessage::Error(ErrorEvent {
            context_id, status: Some(status), code: code.as_deref().map(Cow::Borrowed), title: Some(Cow::Borrowed(&title)),
            message: Some(Cow::Borrowed(&message)), error: Some(Cow::Borrowed(&legacy)), request_id: Some("r".into()),
        });
        prop_assert_eq!(decode_server(wire.as_bytes(), false), Ok(expected));
    }

    #[test]
    fn client_messages_come_back(id in text(), transcript in text(), continues in any::<bool>(), flush in any::<bool>()) {
        let settings = br#"{"model_id":"m","voice":{"mode":"id","id":"v"}}"#;
        let wire = sent_request(&encode::Request { context_id: &id, transcript: &transcript, continues, flush, settings });
        let (context_id, fields) = request(&wire);
        prop_assert_eq!(context_id.as_ref(), Some(&id));
        let mut expected = vec![
            ("context_id", json!(id)), ("transcript", json!(transcript)), ("continue", json!(continues)),
        ];
        if flush {
            expected.push(("flush", json!(true)));
        }
        expected.extend([("model_id", json!("m")), ("voice", json!({"mode": "id", "id": "v"}))]);
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, as_serde(value))).collect();
        prop_assert_eq!(fields, expected);
        let wire = sent(|out| encode::cancel(out, &id));
        let cancelled = decode_client(wire.as_bytes());
        if is_usable_context_id(&id) {
            prop_assert_eq!(cancelled, Ok(ClientMessage::Cancel { context_id: id }));
        } else {
            prop_assert!(cancelled.is_err());
        }
    }
}
