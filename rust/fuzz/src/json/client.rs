//! What a server receives, and the settings that a client adds to its requests: as `serde_json` reads them.
//!
//! Input: the payload of a message, which is taken for settings too.

use voxwire_core::message::json::{ErrorKind, Value};
use voxwire_core::message::{ClientMessage, Unusable, UnusableReason, decode_client, encode, is_usable_context_id};

use super::{Tree, members, names_twice};

/// What protocol.md 3.1 names, less the legacy members.
const READ: [&str; 17] = [
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
/// What settings must not hold.
const RESERVED: [&str; 5] = ["context_id", "transcript", "continue", "flush", "cancel"];

/// Decodes the payload, and sends it along as settings.
pub fn target(payload: &[u8]) {
    let ours = decode_client(payload);
    if let Err(unusable) = &ours {
        assert!(unusable.index <= payload.len(), "an error beyond the message");
    }
    let is_utf8 = std::str::from_utf8(payload).is_ok();
    assert_eq!(
        !is_utf8,
        ours.as_ref().is_err_and(Unusable::utf8),
        "of text that is no UTF-8"
    );
    match Tree::parse(payload) {
        Some(Ok(tree)) => compare(&tree, &ours),
        Some(Err(_)) => assert!(
            matches!(
                &ours,
                Err(Unusable {
                    reason: UnusableReason::Json(_),
                    context_id: None,
                    continues: false,
                    ..
                })
            ),
            "read {ours:?}, serde_json refuses it"
        ),
        None => {}
    }
    if let Ok(ClientMessage::Cancel { context_id }) = &ours {
        let mut wire = Vec::new();
        encode::cancel(&mut wire, context_id);
        assert_eq!(decode_client(&wire), ours, "written and read");
    }
    send_settings(payload);
}

fn compare(tree: &Tree, ours: &Result<ClientMessage, Unusable>) {
    let Tree::Object(object) = tree else {
        return refused(ours, ErrorKind::NotAnObject, None, false);
    };
    if members(tree).is_none() && !names_twice(object) {
        return refused(ours, ErrorKind::TooDeep, None, false);
    }
    if tree.depth() > voxwire_core::message::JSON_DEPTH {
        return refused(ours, ErrorKind::TooDeep, None, false);
    }
    let only = |name: &str| {
        let mut values = object
            .iter()
            .filter(|(member, _)| member == name)
            .map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    };
    let context_id = only("context_id").and_then(Tree::string);
    let continues = only("continue") == Some(&Tree::Bool(true));
    let is_read = |name: &str| READ.contains(&name) || name == "cancel";
    if names_twice(object)
        || object
            .iter()
            .any(|(name, value)| is_read(name) && value.has_duplicates())
    {
        return refused(ours, ErrorKind::DuplicateKey, context_id, continues);
    }
    let unusable = |expected: UnusableReason| match ours {
        Err(unusable) => {
            assert_eq!(unusable.reason, expected);
            assert_eq!(unusable.context_id.as_deref(), context_id);
            assert_eq!(unusable.continues, continues);
        }
        Ok(message) => panic!("read {message:?}, expected {expected:?}"),
    };
    let cancel = only("cancel");
    if cancel == Some(&Tree::Bool(true)) {
        match context_id.filter(|context_id| is_usable_context_id(context_id)) {
            Some(context_id) => {
                let context_id = context_id.to_owned();
                assert_eq!(ours, &Ok(ClientMessage::Cancel { context_id }));
            }
            None => unusable(UnusableReason::CancelWithoutContext),
        }
        return;
    }
    if only("transcript").is_none() {
        return unusable(UnusableReason::NeitherRequestNorCancel);
    }
    let Ok(ClientMessage::Request {
        context_id: our_context_id,
        fields,
    }) = ours
    else {
        panic!("{ours:?} instead of a request");
    };
    assert_eq!(our_context_id.as_deref(), context_id);
    let mut expected: Vec<_> = object
        .iter()
        .filter(|(name, _)| READ.contains(&name.as_str()))
        .collect();
    let odd_cancel = |(name, value): &&(String, Tree)| name == "cancel" && !matches!(value, Tree::Bool(_) | Tree::Null);
    expected.extend(object.iter().filter(odd_cancel));
    assert_eq!(fields.len(), expected.len(), "{fields:?}");
    for ((name, ours), (expected_name, theirs)) in fields.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert!(theirs.equals(ours), "{ours:?} instead of {theirs:?}");
    }
}

fn refused(ours: &Result<ClientMessage, Unusable>, kind: ErrorKind, context_id: Option<&str>, continues: bool) {
    match ours {
        Err(unusable) => {
            assert_eq!(unusable.reason, UnusableReason::Json(kind));
            assert_eq!(
                (unusable.context_id.as_deref(), unusable.continues),
                (context_id, continues)
            );
        }
        Ok(message) => panic!("read {message:?}, expected {kind:?}"),
    }
}

/// A request is written if and only if its settings are members that may stand in one; then a server reads them.
fn send_settings(settings: &[u8]) {
    let mut wire = b"before".to_vec();
    let request = encode::Request {
        context_id: "c\"\u{1}\u{e9}",
        transcript: "a\\b\n\u{1f600}",
        continues: true,
        flush: false,
        settings,
    };
    let result = encode::request(&mut wire, &request);
    assert_eq!(wire[..6], *b"before", "what was there is gone");
    if result.is_err() {
        assert_eq!(wire.len(), 6, "refused and written nevertheless");
    }
    let Some(parsed) = Tree::parse(settings) else { return };
    let expected = parsed.ok().and_then(|tree| {
        let object = members(&tree)?;
        let is_free = object.iter().all(|(name, _)| !RESERVED.contains(&name.as_str()));
        is_free.then(|| object.to_vec())
    });
    assert_eq!(result.is_ok(), expected.is_some(), "{result:?}");
    let Some(expected) = expected else { return };
    let fields = match decode_client(&wire[6..]) {
        Ok(ClientMessage::Request { context_id, fields }) => {
            assert_eq!(context_id.as_deref(), Some(request.context_id));
            fields
        }
        // Only what a server reads is looked into; names used twice further in are not our business before.
        Err(Unusable {
            reason: UnusableReason::Json(ErrorKind::DuplicateKey),
            ..
        }) if expected.iter().any(|(_, value)| value.has_duplicates()) => {
            return;
        }
        other => panic!("{other:?} instead of our request"),
    };
    let own = [
        ("context_id", Value::String(request.context_id.to_owned())),
        ("transcript", Value::String(request.transcript.to_owned())),
        ("continue", Value::Bool(true)),
    ];
    assert_eq!(fields[..3], own);
    let read = expected.iter().filter(|(name, _)| READ.contains(&name.as_str()));
    assert!(read.clone().count() == fields.len() - 3, "{fields:?}");
    for ((name, ours), (expected_name, theirs)) in fields[3..].iter().zip(read) {
        assert_eq!(name, expected_name);
        assert!(theirs.equals(ours), "{ours:?} instead of {theirs:?}");
    }
}
