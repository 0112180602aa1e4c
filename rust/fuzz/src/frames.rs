//! Frames: any bytes are messages or a remote error; every cut gives the same; `tungstenite` sees the same messages.
//!
//! Input: a byte that tells the cuts, a byte that tells the limit of a message, the stream.

use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};
use voxwire_core::error::{Error, ErrorKind, Side, close_code};
use voxwire_core::frame::{FrameReader, FrameWriter, Incoming, MAX_EMPTY_FRAGMENTS, Opcode, Role, check_utf8};

use crate::cuts;
use crate::tape::Tape;

/// Limits of a message, in bytes; the last is over what any seed holds.
const LIMITS: [u64; 4] = [0, 125, 1000, 1 << 17];
/// In the registry of close codes, but not in theirs.
const BAD_GATEWAY: u16 = 1014;
/// What the reader may hold beyond twice the bytes that came: its first allocation.
const SLACK_BYTES: usize = 512;

/// The stream of a server, read by a client.
pub fn client(data: &[u8]) {
    run(Role::Client, data);
}

/// The stream of a client, read by a server.
pub fn server(data: &[u8]) {
    run(Role::Server, data);
}

fn run(role: Role, data: &[u8]) {
    let Some(([cut, limit], wire)) = data.split_first_chunk() else {
        return;
    };
    let limit = LIMITS[usize::from(limit % 4)];
    let whole = read(role, limit, &[wire]);
    assert_eq!(
        read(role, limit, &cuts::pieces(wire, *cut)),
        whole,
        "the cut changed what was read"
    );
    if let Some(error) = whole.error {
        assert_eq!(error.side, Side::Remote, "{error}");
        assert!(
            error.index <= wire.len() as u64,
            "{error} is beyond the {} bytes that came",
            wire.len()
        );
        assert!(
            close_code::may_be_sent(error.kind.close_code()),
            "{error} has no close code"
        );
    }
    if whole.error.is_none() {
        audit(role, limit, wire);
    }
    compare(role, limit, wire, &whole);
    write_back(role, &whole.messages);
}

#[derive(Clone, Debug, PartialEq)]
enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    error: Option<Error>,
}

fn read(role: Role, limit: u64, pieces: &[&[u8]]) -> Outcome {
    let mut reader = FrameReader::new(role, limit);
    let mut messages = Vec::new();
    let mut error = None;
    let mut fed = 0;
    for &piece in pieces {
        let mut input = piece;
        fed += piece.len();
        loop {
            let incoming = match reader.read(&mut input) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(found) => {
                    assert_eq!(error.replace(found), None, "a reader that failed read on");
                    continue;
                }
            };
            assert!(
                error.is_none() && !matches!(messages.last(), Some(Message::Close(_))),
                "a reader that was over read on"
            );
            messages.push(match incoming {
                Incoming::Text {
                    payload,
                    checked,
                    index,
                } => match check_utf8(payload, index) {
                    Ok(text) => Message::Text(text.to_owned()),
                    // What a whole frame leaves to its reader: the stream is over for that one too.
                    Err(found) => {
                        assert!(!checked, "text that counts as checked is no UTF-8");
                        let error = Some(found);
                        return Outcome { messages, error };
                    }
                },
                Incoming::Binary(payload) => Message::Binary(payload.to_owned()),
                Incoming::Ping(payload) => Message::Ping(payload.to_owned()),
                Incoming::Pong(payload) => Message::Pong(payload.to_owned()),
                Incoming::Close { code, reason } => Message::Close(code.map(|code| (code, reason.to_owned()))),
            });
        }
        assert!(input.is_empty(), "the reader left bytes behind");
        assert_eq!(reader.position(), fed as u64);
        assert!(
            reader.buffered() <= 2 * fed + SLACK_BYTES,
            "{} bytes held for {fed}",
            reader.buffered()
        );
    }
    Outcome { messages, error }
}

/// Walks over the frames of a stream that was taken, by the plain text of RFC 6455 section 5: each keeps the rules that
/// others are lenient about.
fn audit(role: Role, limit: u64, wire: &[u8]) {
    let mut rest = wire;
    let mut open = None;
    let mut empty = 0;
    while let &[first, second, ref after @ ..] = rest {
        let short = second & 0x7f;
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((extended, after)) = after.split_at_checked(extended) else {
            return;
        };
        let len = match extended {
            [] => u64::from(short),
            bytes => bytes.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)),
        };
        let is_minimal = match extended.len() {
            0 => true,
            2 => len > 125,
            _ => len > 0xffff,
        };
        assert!(is_minimal, "a length of {len} was taken in {} bytes", extended.len());
        assert_eq!(second & 0x80 != 0, role == Role::Server, "masked by the wrong side");
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        assert!(
            first & 0x70 == 0 && matches!(opcode, 0..=2 | 8..=10),
            "a first byte of {first:#x} was taken"
        );
        if opcode >= 8 {
            assert!(
                is_final && len <= 125,
                "a control frame in parts or of {len} bytes was taken"
            );
        } else {
            assert_eq!(
                opcode == 0,
                open.is_some(),
                "a message began inside another, or went on without one"
            );
            let size = open.unwrap_or(0) + len;
            assert!(
                size <= limit,
                "a message of {size} bytes was taken, the limit is {limit}"
            );
            open = (!is_final).then_some(size);
            empty = if len == 0 && !is_final { empty + 1 } else { 0 };
            assert!(
                empty <= MAX_EMPTY_FRAGMENTS,
                "{empty} empty fragments in a row were taken"
            );
        }
        let key_bytes = if role == Role::Server { 4 } else { 0 };
        match after.split_at_checked(key_bytes + usize::try_from(len).unwrap_or(usize::MAX - 4)) {
            Some((_, behind)) if opcode != 8 => rest = behind,
            _ => return,
        }
    }
}

/// What `tungstenite` reads up to a Close, and whether it then refused something.
fn read_theirs(role: Role, limit: u64, wire: &[u8]) -> (Vec<Message>, bool) {
    let role = match role {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    let limit = usize::try_from(limit).ok();
    // A control frame may be longer than the limit of a message.
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(limit)
        .max_frame_size(limit.map(|limit| limit.max(125)));
    let mut socket = WebSocket::from_raw_socket(Tape(wire), role, Some(config));
    let mut messages = Vec::new();
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (messages, false);
            }
            Err(_) => return (messages, true),
        };
        messages.push(match message {
            tungstenite::Message::Text(text) => Message::Text(text.as_str().to_owned()),
            tungstenite::Message::Binary(payload) => Message::Binary(payload.to_vec()),
            tungstenite::Message::Ping(payload) => Message::Ping(payload.to_vec()),
            tungstenite::Message::Pong(payload) => Message::Pong(payload.to_vec()),
            tungstenite::Message::Close(frame) => {
                let frame = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                messages.push(Message::Close(frame));
                return (messages, false);
            }
            tungstenite::Message::Frame(_) => unreachable!("a frame is never read"),
        });
    }
}

/// Holds our answer against theirs. They refuse nothing that we take, and take what we refuse only where we say that we
/// are stricter or earlier.
fn compare(role: Role, limit: u64, wire: &[u8], ours: &Outcome) {
    let (theirs, refused) = read_theirs(role, limit, wire);
    if let Some(Message::Close(Some((BAD_GATEWAY, _)))) = ours.messages.last() {
        return assert!(theirs.starts_with(&ours.messages[..ours.messages.len() - 1]));
    }
    match ours.error.map(|error| error.kind) {
        None => {
            assert_eq!(ours.messages, theirs);
            assert!(!refused, "taken, but tungstenite refuses it");
        }
        Some(
            // They take a length in any form, and any close code (which they answer with 1002).
            ErrorKind::LengthNotMinimal
            | ErrorKind::LengthHighBit
            | ErrorKind::ControlTooLong { .. }
            | ErrorKind::InvalidCloseCode(_)
            | ErrorKind::EmptyFragments { .. }
            // They look at the whole of a message or frame, so that control frames between may come first.
            | ErrorKind::InvalidUtf8
            | ErrorKind::MessageTooBig { .. },
        ) => assert!(theirs.starts_with(&ours.messages), "{theirs:?} instead of {:?}", ours.messages),
        // Whether they refuse it too depends on bytes that we do not wait for.
        Some(_) => assert_eq!(ours.messages, theirs),
    }
}

/// Writes what was read as our end would, and reads that with the other end.
fn write_back(role: Role, messages: &[Message]) {
    let peer = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let mut writer = FrameWriter::new(role, [3; 32]);
    let mut wire = Vec::new();
    for message in messages {
        match message {
            Message::Text(text) => writer.write(&mut wire, Opcode::Text, text.as_bytes()),
            // A wrong hint costs time, never bytes.
            Message::Binary(payload) => writer.write_with(&mut wire, Opcode::Binary, payload.len() / 2, |out| {
                out.extend_from_slice(payload);
            }),
            Message::Ping(payload) => writer.write(&mut wire, Opcode::Ping, payload),
            Message::Pong(payload) => writer.write(&mut wire, Opcode::Pong, payload),
            Message::Close(None) => writer.write_close(&mut wire, None, ""),
            Message::Close(Some((code, reason))) => writer.write_close(&mut wire, Some(*code), reason),
        }
        .expect("what a peer may send, we may send");
    }
    let again = read(peer, LIMITS[3], &[&wire]);
    assert_eq!((again.messages.as_slice(), again.error), (messages, None));
}
