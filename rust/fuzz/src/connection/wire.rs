//! What a peer puts on the wire: frames with any head, messages that a server or a client could mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use voxwire_core::frame::{FrameReader, Incoming, Role};
use voxwire_core::message::{decode_client, decode_server_strict};

use super::script::Script;

pub(super) fn peer_of(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// Appends a frame to the end of `role` with any first byte, masked as it must be.
pub(super) fn frame(out: &mut Vec<u8>, role: Role, first: u8, payload: &[u8]) {
    out.push(first);
    let mask_bit = if role == Role::Server { 0x80 } else { 0 };
    if payload.len() < 126 {
        out.push(mask_bit | payload.len() as u8);
    } else {
        out.push(mask_bit | 0x7e);
        out.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    if role == Role::Server {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        out.extend(key);
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend_from_slice(payload);
    }
}

/// Appends a text message, whole or in two frames with a ping between.
pub(super) fn text(out: &mut Vec<u8>, role: Role, payload: &[u8], is_fragmented: bool) {
    if is_fragmented {
        let (front, back) = payload.split_at(payload.len() / 2);
        frame(out, role, 0x01, front);
        frame(out, role, 0x89, b"between");
        frame(out, role, 0x80, back);
    } else {
        frame(out, role, 0x81, payload);
    }
}

/// A message of a server about a context.
pub(super) fn server_message(script: &mut Script<'_>, context_id: &str) -> Vec<u8> {
    let message = match script.byte() % 9 {
        0 | 1 => {
            let flush_id = script.flag().then_some(1);
            json!({"type": "chunk", "context_id": context_id, "data": STANDARD.encode(script.run()), "flush_id": flush_id})
        }
        2 => json!({"data": script.text(), "type": "chunk", "context_id": context_id, "done": false}),
        3 => {
            let kind = script.choose(&["words", "phonemes"]);
            let (name, member) = match kind {
                "words" => ("timestamps", "word_timestamps"),
                _ => ("phoneme_timestamps", "phoneme_timestamps"),
            };
            let times = script.choose(&["[0,1]", "[0,0.5]", "[1e400,1]", "[]", "7"]);
            let times: serde_json::Value = serde_json::from_str(times).unwrap_or_default();
            json!({"type": name, "context_id": context_id, member: {kind: [script.text(), "x"], "start": times, "end": times}})
        }
        4 => json!({"type": "flush_done", "context_id": context_id, "flush_id": script.byte(), "flush_done": true}),
        5 => json!({"type": "done", "context_id": context_id, "done": true}),
        6 => {
            json!({"type": "error", "context_id": context_id, "title": script.text(), "status_code": 500, "done": true})
        }
        7 => json!({"type": "error", "error": script.text()}),
        _ => json!({"type": script.text(), "context_id": context_id, "done": script.byte()}),
    };
    message.to_string().into_bytes()
}

/// A message of a client about a context.
pub(super) fn client_message(script: &mut Script<'_>, context_id: &str) -> Vec<u8> {
    let message = match script.byte() % 4 {
        0 | 1 => {
            let (continues, flush) = (script.flag(), script.flag());
            json!({"context_id": context_id, "transcript": script.text(), "continue": continues, "flush": flush})
        }
        2 => json!({"context_id": context_id, "cancel": true}),
        _ => json!({"context_id": context_id, "continue": script.byte()}),
    };
    message.to_string().into_bytes()
}

/// Reads what an end sent, as its peer: only valid frames, nothing behind a Close, and of a protocol end only messages
/// that the other side understands.
pub(super) struct Witness {
    reader: FrameReader,
    sender: Role,
    is_closed: bool,
    /// Pings that were sent.
    pub(super) pings: usize,
}

impl Witness {
    pub(super) fn new(sender: Role) -> Self {
        Self {
            reader: FrameReader::new(peer_of(sender), 1 << 24),
            sender,
            is_closed: false,
            pings: 0,
        }
    }

    /// * `sent`: what `poll_transmit` returned
    /// * `understood`: every text is a message of the protocol
    pub(super) fn read(&mut self, sent: &[u8], understood: bool) {
        let mut input = sent;
        while !input.is_empty() {
            assert!(!self.is_closed, "{} bytes were sent behind a close", input.len());
            match self.reader.read(&mut input).expect("what we send is valid") {
                Some(Incoming::Close { .. }) => self.is_closed = true,
                Some(Incoming::Text { payload, .. }) if understood => match self.sender {
                    Role::Client => drop(decode_client(payload).expect("a server reads what our client sends")),
                    Role::Server => drop(decode_server_strict(payload).expect("a client reads what our server sends")),
                },
                Some(Incoming::Text { payload, .. }) => {
                    std::str::from_utf8(payload).expect("what we send as text is text");
                }
                Some(Incoming::Ping(_)) => self.pings += 1,
                Some(Incoming::Binary(_) | Incoming::Pong(_)) => {}
                None => panic!("a frame was sent in part"),
            }
        }
    }
}
