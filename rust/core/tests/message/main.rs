//! Protocol messages: the shared vectors, exact wire forms, and properties against `serde_json`.

mod properties;
mod requests;
mod server_messages;
mod wire;

use std::fs;
use std::mem::MaybeUninit;

use serde_json::Value;
use voxwire_core::message::{
    ClientMessage, MessageError, ServerMessage, decode_client, decode_server, decode_server_strict, encode, json,
};
use voxwire_kernels::base64;

fn is_base64(text: &[u8]) -> bool {
    let Some(length) = base64::decoded_len(text) else {
        return false;
    };
    base64::decode(text, &mut vec![MaybeUninit::uninit(); length]).is_ok()
}

/// What a connection does: the guess is taken where the audio proves it.
fn receive(payload: &[u8], utf8_checked: bool) -> Result<ServerMessage<'_>, MessageError> {
    match decode_server(payload, utf8_checked)? {
        ServerMessage::Chunk {
            context_id,
            data: Some(data),
            flush_id,
            ..
        } if is_base64(&data) => Ok(ServerMessage::Chunk {
            context_id,
            data: Some(data),
            flush_id,
            proven: true,
        }),
        ServerMessage::Chunk { proven: false, .. } => decode_server_strict(payload),
        message => Ok(message),
    }
}

fn vectors() -> Vec<(Value, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/messages.jsonl");
    let text = fs::read_to_string(path).expect("the vectors are part of the repository");
    let vectors = text.lines().map(|line| {
        let vector: Value = serde_json::from_str(line).expect("each vector is JSON");
        let wire = match (vector["wire"].as_str(), vector["wire_hex"].as_str()) {
            (Some(wire), _) => wire.as_bytes().to_vec(),
            (None, digits) => bytes(digits.expect("a vector has its wire")),
        };
        (vector, wire)
    });
    vectors.collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("digits are ASCII"));
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("digits are hexadecimal"))
        .collect()
}

fn request(payload: &str) -> (Option<String>, Vec<(&'static str, json::Value)>) {
    match decode_client(payload.as_bytes()) {
        Ok(ClientMessage::Request { context_id, fields }) => (context_id, fields),
        other => panic!("expected a request, got {other:?}"),
    }
}

fn sent(append: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    append(&mut out);
    let text = String::from_utf8(out).expect("what is sent is UTF-8");
    text.strip_prefix("before").expect("messages are appended").to_owned()
}

fn sent_request(request: &encode::Request<'_>) -> String {
    sent(|out| encode::request(out, request).expect("the settings are an object"))
}
