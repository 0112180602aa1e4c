//! The answer to an upgrade, read by a client; and every answer that our server writes.
//!
//! Input: a byte that tells the cuts, the stream of a server. With 255 as the first byte the rest are arguments of our
//! server: a status, then names and values of headers, then a body, each behind the last with U+0001 between.

use tungstenite::handshake::client::{ClientHandshake as TheirHandshake, Request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::WebSocketConfig;
use voxwire_core::handshake::{AnswerFault, ClientHandshake, ERROR_BODY_BYTES, ServerHandshake};

use super::{PlainHead, as_read, lines, pairs};
use crate::cuts;
use crate::tape::Tape;

/// Makes a fixed request, so that seeds can hold the answer to it.
const KEY: [u8; 16] = *b"the sample nonce";
const KEY_TEXT: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SUBPROTOCOL: &str = "speech";

/// Reads a stream, or writes an answer and reads that.
pub fn target(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    if cut == u8::MAX {
        write_and_read(data);
    } else {
        read(cut, data);
    }
}

fn client() -> ClientHandshake {
    ClientHandshake::new("localhost", "/", &[("Sec-WebSocket-Protocol", SUBPROTOCOL)], KEY)
        .expect("the arguments are valid")
}

#[derive(Debug, PartialEq)]
struct Outcome {
    is_done: bool,
    /// What the end of the stream made of it.
    is_known: bool,
    accepted: bool,
    failure: Option<AnswerFault>,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    remainder: Vec<u8>,
}

fn outcome(pieces: &[&[u8]]) -> Outcome {
    let mut client = client();
    let mut is_done = false;
    for piece in pieces {
        let before = is_done;
        is_done = client.handle_data(piece);
        assert!(is_done || !before, "an answer that was done is not any more");
    }
    let is_known = client.handle_eof();
    assert!(is_known || !is_done, "an answer that was done is not known");
    assert!(client.body().len() <= ERROR_BODY_BYTES);
    assert!(!(client.accepted() && client.failure().is_some()));
    Outcome {
        is_done,
        is_known,
        accepted: client.accepted(),
        failure: client.failure(),
        status: client.status(),
        headers: client.headers().to_vec(),
        body: client.body().to_vec(),
        remainder: client.remainder().to_vec(),
    }
}

fn read(cut: u8, wire: &[u8]) {
    let whole = outcome(&[wire]);
    assert_eq!(
        outcome(&cuts::pieces(wire, cut)),
        whole,
        "the cut changed what was read"
    );
    compare_theirs(wire, &whole);
    let Some(status) = whole.status else {
        assert!(!whole.accepted && whole.body.is_empty() && whole.headers.is_empty());
        return;
    };
    assert!((100..600).contains(&status), "a status of {status} was taken");
    // Interim answers came before it.
    let mut rest = wire;
    let head = loop {
        let head = PlainHead::read(rest);
        let interim = head
            .first_line
            .split(' ')
            .nth(1)
            .is_some_and(|status| status.starts_with('1') && status != "101");
        if !interim {
            break head;
        }
        rest = &rest[head.len..];
    };
    assert_eq!(head.headers, whole.headers);
    let first_line = |version| format!("HTTP/1.{version} {status}");
    assert!((0..=1).any(|version| head.first_line.starts_with(&first_line(version))));
    if whole.accepted {
        assert_eq!((status, &head.first_line[..8]), (101, "HTTP/1.1"));
        assert_eq!(whole.remainder, rest[head.len..]);
        assert_eq!(head.tokens("upgrade"), ["websocket"]);
        assert!(head.tokens("connection").iter().any(|token| token == "upgrade"));
        assert_eq!(
            head.values("sec-websocket-accept"),
            [derive_accept_key(KEY_TEXT.as_bytes())]
        );
        assert!(head.tokens("sec-websocket-extensions").is_empty());
        assert!(matches!(head.values("sec-websocket-protocol")[..], [] | [SUBPROTOCOL]));
    } else if whole.failure.is_none() && !matches!(status, 204 | 304) {
        head.assert_one_length();
        judge_body(&head, &rest[head.len..], &whole);
    }
}

/// The body of a refusal is what its head says, as far as it came and is kept.
fn judge_body(head: &PlainHead<'_>, body: &[u8], whole: &Outcome) {
    if !head.values("transfer-encoding").is_empty() {
        assert_eq!(head.tokens("transfer-encoding"), ["chunked"]);
        return;
    }
    let length = head
        .values("content-length")
        .first()
        .map_or(u64::MAX, |length| length.parse().unwrap_or(0));
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(ERROR_BODY_BYTES);
    assert_eq!(whole.body, body[..length.min(body.len())]);
    assert_eq!(whole.is_done, body.len() >= length);
}

/// What `tungstenite` takes for an upgrade, we take, or refuse for the form of its head or for an extension.
fn compare_theirs(wire: &[u8], whole: &Outcome) {
    let request = Request::builder()
        .uri("ws://localhost/")
        .header("Host", "localhost")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Key", KEY_TEXT)
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        .body(())
        .expect("the request is valid");
    // No frame is read: a small buffer will do.
    let config = Some(WebSocketConfig::default().read_buffer_size(64));
    let handshake = TheirHandshake::start(Tape(wire), request, config).expect("the request is valid");
    if handshake.handshake().is_ok() {
        let is_stricter = matches!(whole.failure, Some(AnswerFault::Head(_) | AnswerFault::Extension));
        assert!(whole.accepted || is_stricter, "{whole:?}");
    }
}

/// Whatever answer our server agrees to write, our client reads as it was meant.
fn write_and_read(data: &[u8]) {
    let mut parts: Vec<&str> = lines(data).collect();
    let body = if parts.len() > 1 { parts.pop() } else { None }.unwrap_or_default();
    let mut parts = parts.into_iter();
    let status = parts.next().and_then(|status| status.parse().ok()).unwrap_or(400);
    let headers = pairs(parts);
    if let Ok(wire) = ServerHandshake::refuse(status, &headers, body.as_bytes()) {
        let mut client = client();
        let is_done = client.handle_data(&wire);
        if let Some(AnswerFault::Head(fault)) = client.failure() {
            // What is too long is for the caller to keep short.
            assert_eq!(fault.status(), 431, "our own refusal is refused: {fault}");
            return;
        }
        assert_eq!((client.failure(), client.status()), (None, Some(status)));
        assert!(is_done, "the refusal does not end");
        assert_eq!(client.headers()[2..], as_read(&headers));
        // A 304 has no body whatever its length says (RFC 9112 section 6.3).
        let kept = if status == 304 {
            0
        } else {
            body.len().min(ERROR_BODY_BYTES)
        };
        assert_eq!(client.body(), &body.as_bytes()[..kept]);
    }
    let mut request = client();
    let mut server = ServerHandshake::new();
    assert!(server.handle_data(&request.poll_transmit()));
    if let Ok(wire) = server.accept(&headers) {
        let is_done = request.handle_data(&wire);
        assert!(is_done && request.remainder().is_empty(), "the answer does not end");
        match request.failure() {
            None => {
                assert!(request.accepted());
                assert_eq!(request.headers()[3..], as_read(&headers));
            }
            // Too long, or a subprotocol of the caller's that was not offered.
            Some(AnswerFault::Head(fault)) => {
                let is_told = fault.status() == 431
                    || fault == voxwire_core::handshake::Fault::DoubledHeader("sec-websocket-protocol");
                assert!(is_told, "our own answer is refused: {fault}");
            }
            Some(fault) => assert_eq!(fault, AnswerFault::Subprotocol),
        }
    }
}
