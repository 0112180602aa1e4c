//! What a client reads.

use serde_json::{Value, json};
use voxwire_core::message::{
    ErrorEvent, MessageError, ServerMessage, decode_client, decode_server, decode_server_strict, json,
};
use voxwire_kernels::base64;

use crate::{bytes, is_base64, receive, vectors};

/// A decoded message in the form of the vectors.
fn normalised(message: &ServerMessage<'_>) -> Value {
    match message {
        ServerMessage::Chunk {
            context_id,
            data,
            flush_id,
            ..
        } => {
            let data = data.as_deref().map(String::from_utf8_lossy);
            json!({"type": "chunk", "context_id": context_id, "data": data, "flush_id": flush_id})
        }
        ServerMessage::Timestamps {
            kind,
            context_id,
            items,
            flush_id,
        } => {
            json!({"type": "timestamps", "kind": kind.name(), "context_id": context_id, "items": items,
                   "flush_id": flush_id})
        }
        ServerMessage::FlushDone { context_id, flush_id } => {
            json!({"type": "flush_done", "context_id": context_id, "flush_id": flush_id})
        }
        ServerMessage::Done { context_id } => json!({"type": "done", "context_id": context_id}),
        ServerMessage::Error(error) => {
            let ErrorEvent {
                context_id,
                status,
                code,
                title,
                message,
                error: legacy,
                request_id,
            } = error;
            json!({"type": "error", "context_id": context_id, "status": status, "code": code, "title": title,
                   "message": message, "error": legacy, "request_id": request_id, "text": error.text()})
        }
        ServerMessage::Unknown { context_id } => json!({"type": "unknown", "context_id": context_id}),
    }
}

#[test]
fn server_messages_follow_the_vectors() {
    for (vector, wire) in vectors() {
        let name = &vector["name"];
        let strict = decode_server_strict(&wire);
        assert_eq!(receive(&wire, false), strict, "{name}");
        if std::str::from_utf8(&wire).is_ok() {
            assert_eq!(receive(&wire, true), strict, "{name}");
        }
        match strict {
            Ok(message) => {
                assert_eq!(normalised(&message), vector["event"], "{name}");
                if let ServerMessage::Chunk { data: Some(data), .. } = &message {
                    let audio = vector["audio_hex"].as_str();
                    assert_eq!(is_base64(data), audio.is_some(), "{name}");
                    assert_eq!(vector["audio_error"] == true, audio.is_none(), "{name}");
                    if let Some(audio) = audio {
                        let mut text = Vec::new();
                        base64::encode(&bytes(audio), &mut text);
                        assert_eq!(text, data.as_ref(), "{name}");
                    }
                }
            }
            Err(MessageError::Utf8 { index }) => {
                assert_eq!(
                    (json!("utf8"), json!(index)),
                    (vector["error"].clone(), vector["index"].clone()),
                    "{name}"
                );
            }
            Err(MessageError::Syntax { kind, index }) => {
                let expected = (vector["error"].clone(), vector["index"].clone());
                assert_eq!((json!(kind.name()), json!(index)), expected, "{name}");
            }
            Err(MessageError::Invalid { context_id, field }) => {
                assert_eq!(vector["error"], "invalid", "{name}");
                assert_eq!(
                    (json!(context_id), json!(field)),
                    (vector["context_id"].clone(), vector["field"].clone())
                );
            }
        }
    }
}

#[test]
fn every_prefix_of_a_message_is_refused() {
    for (vector, wire) in vectors() {
        if vector["event"].is_null() || wire.len() > 2000 {
            continue;
        }
        let whole = wire
            .iter()
            .rposition(|&byte| byte == b'}')
            .expect("a message is an object");
        for end in 0..whole {
            let result = receive(&wire[..end], false);
            assert!(
                matches!(result, Err(MessageError::Syntax { .. } | MessageError::Utf8 { .. })),
                "{}",
                vector["name"]
            );
        }
    }
}

#[test]
fn hostile_depth_and_names_take_linear_time() {
    let brackets = format!("{{\"x\":{}", "[".repeat(100_000));
    let result = decode_server(brackets.as_bytes(), false);
    assert_eq!(
        result,
        Err(MessageError::Syntax {
            kind: json::ErrorKind::TooDeep,
            index: 36
        })
    );
    let names: Vec<String> = (0..100_000)
        .map(|number| format!("\"{}{number}\":0", "k".repeat(60)))
        .collect();
    let message = format!("{{\"type\":\"done\",\"context_id\":\"c1\",{}}}", names.join(","));
    assert_eq!(
        decode_server(message.as_bytes(), false),
        Ok(ServerMessage::Done {
            context_id: Some("c1".into())
        })
    );
    let escapes = format!("{{\"type\":\"done\",\"x\":\"{}\"}}", "\\u00e9ü".repeat(100_000));
    assert_eq!(
        decode_server(escapes.as_bytes(), false),
        Ok(ServerMessage::Done { context_id: None })
    );
}

#[test]
fn error_text_is_at_most_1000_characters() {
    let title = "é".repeat(600);
    let error = ErrorEvent {
        title: Some(title.as_str().into()),
        message: Some(title.as_str().into()),
        ..ErrorEvent::default()
    };
    assert_eq!(error.text().chars().count(), 1000);
}

#[test]
fn errors_are_one_line_that_quotes_nothing() {
    let refused = [
        decode_server(br#"{"secret":tru"#, false)
            .expect_err("cut off")
            .to_string(),
        decode_server(b"{\"secret\":\"\xff\"}", false)
            .expect_err("no UTF-8")
            .to_string(),
        decode_server(br#"{"type":"secret","type":1}"#, false)
            .expect_err("duplicate")
            .to_string(),
        decode_server(br#"{"type":5,"context_id":"secret"}"#, false)
            .expect_err("wrong type")
            .to_string(),
        decode_client(br#"{"secret":1}"#).expect_err("no request").to_string(),
        decode_client(br#"{"cancel":true,"x":"secret"}"#)
            .expect_err("no context")
            .to_string(),
    ];
    let expected = [
        "json that ends inside a value at byte 13",
        "text that is not utf-8 at byte 11",
        "duplicate key in an object at byte 17",
        "message with a missing or wrongly typed member type",
        "message with neither a transcript nor cancel true",
        "cancel without a context_id of 1 to 256 characters",
    ];
    assert_eq!(refused, expected);
}
