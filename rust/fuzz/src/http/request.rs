//! The head of a request, read by a server; and every request that our client writes.
//!
//! Input: a byte that tells the cuts, the stream of a client. With 255 as the first byte the rest are arguments of our
//! client: host, target, then names and values of headers, each behind the last with U+0001 between.

use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response};
use voxwire_core::handshake::{ClientHandshake, Fault, ServerHandshake, VERSION};

use super::{PlainHead, as_read, find, lines, pairs};
use crate::cuts;

/// Reads a stream, or writes a request and reads that.
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

#[derive(Debug, PartialEq)]
struct Outcome {
    is_done: bool,
    failure: Option<Fault>,
    upgrade_failure: Option<Fault>,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    remainder: Vec<u8>,
    answer: Option<Vec<u8>>,
}

fn outcome(pieces: &[&[u8]]) -> Outcome {
    let mut server = ServerHandshake::new();
    let mut is_done = false;
    for piece in pieces {
        let before = is_done;
        is_done = server.handle_data(piece);
        assert!(is_done || !before, "a head that was done is not any more");
    }
    let answer = server.accept(&[]).ok();
    assert_eq!(server.upgrade_failure().is_none(), answer.is_some());
    if server.failure().is_none() {
        assert_eq!(
            server.received(),
            pieces.concat(),
            "what was received is to be replayed"
        );
    }
    Outcome {
        is_done,
        failure: server.failure(),
        upgrade_failure: server.upgrade_failure(),
        method: server.method().to_owned(),
        target: server.target().to_owned(),
        headers: server.headers().to_vec(),
        remainder: server.remainder().to_vec(),
        answer,
    }
}

fn read(cut: u8, wire: &[u8]) {
    let whole = outcome(&[wire]);
    assert_eq!(
        outcome(&cuts::pieces(wire, cut)),
        whole,
        "the cut changed what was read"
    );
    if let Some(fault) = whole.failure {
        assert!(whole.is_done, "a failure that is not told");
        assert!((400..600).contains(&fault.status()), "{fault}");
        assert_eq!(whole.answer, None);
        return;
    }
    if !whole.is_done {
        assert!(whole.answer.is_none() && whole.headers.is_empty() && whole.remainder.is_empty());
        return;
    }
    let head = PlainHead::read(wire);
    head.assert_one_length();
    let first_line = format!("{} {} HTTP/1.1", whole.method, whole.target);
    assert_eq!(head.first_line, first_line);
    assert_eq!(head.headers, whole.headers);
    assert_eq!(whole.remainder, wire[head.len..]);
    assert_eq!(head.values("host").len(), 1, "a request without its host, or with two");
    judge(&head, &whole);
    compare_theirs(&wire[..head.len], &whole);
}

/// RFC 6455 section 4.2.1, read off the plain head.
fn judge(head: &PlainHead<'_>, whole: &Outcome) {
    let Some(answer) = &whole.answer else { return };
    let [key] = head.values("sec-websocket-key")[..] else {
        panic!("accepted without one key");
    };
    assert_eq!(whole.method, "GET");
    assert!(head.tokens("upgrade").iter().any(|token| token == "websocket"));
    assert!(head.tokens("connection").iter().any(|token| token == "upgrade"));
    assert_eq!(head.values("sec-websocket-version"), [VERSION]);
    assert_eq!(key.len(), 24);
    let accept = format!("\r\nSec-WebSocket-Accept: {}\r\n", derive_accept_key(key.as_bytes()));
    assert!(
        find(answer, accept.as_bytes()).is_some(),
        "the answer does not answer the key"
    );
}

/// What `tungstenite` upgrades, we upgrade, or refuse as a whole.
fn compare_theirs(head: &[u8], whole: &Outcome) {
    let Ok(Some((_, request))) = Request::try_parse(head) else {
        return;
    };
    if create_response(&request).is_ok() {
        // They split `Connection` at blanks too.
        assert!(
            matches!(whole.upgrade_failure, None | Some(Fault::Connection)),
            "{:?}",
            whole.upgrade_failure
        );
    }
}

/// Whatever request our client agrees to write, our server reads as it was meant.
fn write_and_read(data: &[u8]) {
    let mut parts = lines(data);
    let (host, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let headers = pairs(parts);
    let Ok(mut client) = ClientHandshake::new(host, target, &headers, [7; 16]) else {
        return;
    };
    let wire = client.poll_transmit();
    assert!(client.poll_transmit().is_empty(), "the request is sent twice");
    let mut server = ServerHandshake::new();
    assert!(server.handle_data(&wire), "the request does not end");
    match server.failure() {
        None => {}
        // What is too long, and a second Origin, is for the caller to see in the answer.
        Some(fault) => {
            let is_told = fault.status() == 431 || fault.status() == 414 || fault == Fault::DoubledHeader("origin");
            assert!(is_told, "our own request is refused: {fault}");
            return;
        }
    }
    assert_eq!((server.method(), server.target()), ("GET", target));
    assert_eq!(server.upgrade_failure(), None);
    assert_eq!(server.headers()[0], ("host".to_owned(), host.to_owned()));
    assert_eq!(server.headers()[5..], as_read(&headers));
    assert!(server.remainder().is_empty(), "a header became something else");
    let answer = server.accept(&[]).expect("the upgrade is valid");
    assert!(
        client.handle_data(&answer) && client.accepted(),
        "our own answer is refused: {:?}",
        client.failure()
    );
}
