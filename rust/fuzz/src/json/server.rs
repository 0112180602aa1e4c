//! What a client receives: the quick look, the strict look and `serde_json` say the same, and so does what was learned.
//!
//! Input: the payload of a message.

use voxwire_core::base64;
use voxwire_core::message::encode;
use voxwire_core::message::json::ErrorKind;
use voxwire_core::message::{MessageError, ServerMessage, Timed, decode_server, decode_server_strict};

use super::{Tree, learned, member, members};
use crate::room::Room;

/// Decodes the payload in every way that there is.
pub fn target(payload: &[u8]) {
    let strict = decode_server_strict(payload);
    if let Ok(ServerMessage::Chunk { proven, .. }) = &strict {
        assert!(proven, "the strict look proved nothing");
    }
    match &strict {
        Err(MessageError::Utf8 { index } | MessageError::Syntax { index, .. }) => {
            assert!(*index <= payload.len(), "an error beyond the message");
        }
        Ok(_) | Err(MessageError::Invalid { .. }) => {}
    }
    compare_quick(payload, false, &strict);
    if std::str::from_utf8(payload).is_ok() {
        compare_quick(payload, true, &strict);
    }
    compare_theirs(payload, &strict);
    if let Ok(message) = &strict {
        learned::compare(payload, message);
        write_back(message);
    }
}

type Decoded<'a> = Result<ServerMessage<'a>, MessageError>;

/// The rule of a message whose end was guessed: it holds if `data` decodes, else it must not be relied on.
fn compare_quick(payload: &[u8], utf8_checked: bool, strict: &Decoded<'_>) {
    let quick = match decode_server(payload, utf8_checked) {
        Ok(ServerMessage::Chunk {
            context_id,
            data,
            flush_id,
            proven: false,
        }) => {
            if decode_base64(data.as_deref().unwrap_or_default()).is_none() {
                return;
            }
            Ok(ServerMessage::Chunk {
                context_id,
                data,
                flush_id,
                proven: true,
            })
        }
        decoded => decoded,
    };
    assert_eq!(&quick, strict, "the quick look differs, utf8_checked {utf8_checked}");
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut room = Room::new(base64::decoded_len(text)?);
    base64::decode(text, room.slots()).ok()?;
    Some(room.bytes())
}

fn compare_theirs(payload: &[u8], ours: &Decoded<'_>) {
    let is_utf8 = std::str::from_utf8(payload).is_ok();
    assert_eq!(
        !is_utf8,
        matches!(ours, Err(MessageError::Utf8 { .. })),
        "of text that is no UTF-8"
    );
    let Some(parsed) = Tree::parse(payload) else { return };
    let Ok(tree) = parsed else {
        assert!(
            matches!(ours, Err(MessageError::Utf8 { .. } | MessageError::Syntax { .. })),
            "read {ours:?}, serde_json refuses it"
        );
        return;
    };
    let expected = members(&tree).map_or(Expected::Refused, expect);
    let found = match ours {
        Err(MessageError::Utf8 { .. } | MessageError::Syntax { .. }) => Expected::Refused,
        Err(MessageError::Invalid { context_id, field }) => Expected::Invalid(context_id.clone(), field),
        Ok(message) => Expected::Message(describe(message)),
    };
    assert_eq!(found, expected);
    if let Err(MessageError::Syntax { kind, .. }) = ours {
        assert!(
            matches!(
                kind,
                ErrorKind::DuplicateKey | ErrorKind::TooDeep | ErrorKind::NotAnObject
            ),
            "refused as {kind:?}, serde_json reads it"
        );
    }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Refused,
    Invalid(Option<String>, &'static str),
    Message(Described),
}

/// A message with its members in one shape.
#[derive(Debug, Default, PartialEq)]
struct Described {
    kind: &'static str,
    context_id: Option<String>,
    data: Option<String>,
    flush_id: Option<u64>,
    items: Option<Vec<Timed>>,
    status: Option<u16>,
    texts: [Option<String>; 5],
}

fn describe(message: &ServerMessage<'_>) -> Described {
    let context_id = message.context_id().map(str::to_owned);
    let described = Described {
        context_id,
        ..Described::default()
    };
    match message {
        ServerMessage::Chunk { data, flush_id, .. } => Described {
            kind: "chunk",
            data: data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned()),
            flush_id: *flush_id,
            ..described
        },
        ServerMessage::Timestamps {
            kind, items, flush_id, ..
        } => Described {
            kind: kind.name(),
            items: items.clone(),
            flush_id: *flush_id,
            ..described
        },
        ServerMessage::FlushDone { flush_id, .. } => Described {
            kind: "flush_done",
            flush_id: *flush_id,
            ..described
        },
        ServerMessage::Done { .. } => Described {
            kind: "done",
            ..described
        },
        ServerMessage::Error(error) => Described {
            kind: "error",
            status: error.status,
            texts: [
                &error.code,
                &error.title,
                &error.message,
                &error.error,
                &error.request_id,
            ]
            .map(|text| text.as_deref().map(str::to_owned)),
            ..described
        },
        ServerMessage::Unknown { .. } => Described {
            kind: "unknown",
            ..described
        },
    }
}

/// protocol.md 4 and 13, read off a tree.
fn expect(object: &[(String, Tree)]) -> Expected {
    let context_id = match member(object, "context_id") {
        None => None,
        Some(Tree::String(context_id)) => Some(context_id.clone()),
        Some(_) => return Expected::Invalid(None, "context_id"),
    };
    let Some(Tree::String(kind)) = member(object, "type") else {
        return Expected::Invalid(context_id, "type");
    };
    let text = |name| member(object, name).and_then(Tree::string).map(str::to_owned);
    if kind == "error" {
        return Expected::Message(Described {
            kind: "error",
            context_id,
            status: member(object, "status_code")
                .and_then(Tree::unsigned)
                .and_then(|status| status.try_into().ok()),
            texts: ["error_code", "title", "message", "error", "request_id"].map(text),
            ..Described::default()
        });
    }
    let kinds = ["chunk", "timestamps", "phoneme_timestamps", "flush_done", "done"];
    let Some(kind) = kinds.into_iter().find(|known| known == kind) else {
        return Expected::Message(Described {
            kind: "unknown",
            context_id,
            ..Described::default()
        });
    };
    if !matches!(member(object, "done"), None | Some(Tree::Bool(_))) {
        return Expected::Invalid(context_id, "done");
    }
    let mut described = Described {
        kind,
        context_id,
        ..Described::default()
    };
    if kind == "done" {
        return Expected::Message(described);
    }
    if let Some(flush_id) = member(object, "flush_id") {
        let Some(flush_id) = flush_id.unsigned() else {
            return Expected::Invalid(described.context_id, "flush_id");
        };
        described.flush_id = Some(flush_id);
    }
    match kind {
        "chunk" => match member(object, "data") {
            None => {}
            Some(Tree::String(data)) => described.data = Some(data.clone()),
            Some(_) => return Expected::Invalid(described.context_id, "data"),
        },
        "timestamps" | "phoneme_timestamps" => {
            let (name, texts) = match kind {
                "timestamps" => ("word_timestamps", "words"),
                _ => ("phoneme_timestamps", "phonemes"),
            };
            described.kind = texts;
            if let Some(times) = member(object, name) {
                if times.has_duplicates() {
                    return Expected::Refused;
                }
                described.items = timed(times, texts);
            }
        }
        _ => {}
    }
    Expected::Message(described)
}

fn timed(times: &Tree, texts: &str) -> Option<Vec<Timed>> {
    let Tree::Object(object) = times else { return None };
    let array = |name| match member(object, name) {
        Some(Tree::Array(items)) => Some(items),
        _ => None,
    };
    let (texts, starts, ends) = (array(texts)?, array("start")?, array("end")?);
    if texts.len() != starts.len() || texts.len() != ends.len() {
        return None;
    }
    let rows = texts.iter().zip(starts).zip(ends);
    rows.map(|((text, start), end)| Some((text.string()?.to_owned(), start.number()?, end.number()?)))
        .collect()
}

/// Writes what was read as a server does, and reads that.
fn write_back(message: &ServerMessage<'_>) {
    let mut wire = Vec::new();
    match message {
        ServerMessage::Chunk {
            context_id: Some(context_id),
            data: Some(data),
            flush_id,
            ..
        } => {
            let Some(audio) = decode_base64(data) else { return };
            let chunk = encode::Chunk::new(context_id, &audio, 0.1, *flush_id);
            chunk.append_to(&mut wire);
            assert_eq!(wire.len(), chunk.encoded_len(), "of a chunk of {} bytes", audio.len());
        }
        ServerMessage::Timestamps {
            kind,
            context_id: Some(context_id),
            items: Some(items),
            flush_id,
        } => encode::timestamps(&mut wire, context_id, *kind, items, *flush_id),
        ServerMessage::FlushDone {
            context_id: Some(context_id),
            flush_id: Some(flush_id),
        } => encode::flush_done(&mut wire, context_id, *flush_id),
        ServerMessage::Done {
            context_id: Some(context_id),
        } => encode::done(&mut wire, context_id),
        _ => return,
    }
    assert_eq!(decode_server_strict(&wire).as_ref(), Ok(message), "written and read");
    compare_quick(&wire, false, &decode_server_strict(&wire));
}
