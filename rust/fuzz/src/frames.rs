//! Frames: any bytes are messages or a remote error; every cut gives the same; `tungstenite` sees the same messages.
//!
//! Input: a byte that tells the cuts, a byte that tells the limit of a message, the stream.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};
use voxwire_core::error::{Error, ErrorKind, Side, close_code};
use voxwire_core::frame::{FrameReader, FrameWriter, Incoming, Opcode, Role, check_utf8};

use crate::cuts;

/// Limits of a message, in bytes; the last is over what any seed holds.
const LIMITS: [u64; 4] = [0, 125, 1000, 1 << 17];
/// In the registry of close codes since 2015, but not in theirs.
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

/// A socket that has received all it ever will, and forgets what it sends.
struct Tape<'a>(&'a [u8]);

impl Read for Tape<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Tape<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
