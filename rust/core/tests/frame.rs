//! Frames from outside: the vectors, the rows of the fault tables, any cut, any bytes.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use voxwire_core::error::{Error, ErrorKind, Side, close_code};
use voxwire_core::frame::{
    FrameReader, FrameWriter, Incoming, MAX_CONTROL_PAYLOAD, MAX_EMPTY_FRAGMENTS, Opcode, Role, check_utf8,
};

const MAX_MESSAGE: u64 = 16 * 1024 * 1024;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Text(String, u64),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Reads as a connection does: up to the first violation, texts proved where the reader did not.
struct Probe {
    reader: FrameReader,
    /// So many parts of a message are kept before all are given back.
    patience: usize,
    parts: usize,
    kept: Vec<u8>,
    events: Vec<Event>,
    error: Option<Error>,
}

impl Probe {
    fn new(role: Role, max_message: u64) -> Self {
        Self {
            reader: FrameReader::new(role, max_message),
            patience: 0,
            parts: 0,
            kept: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    /// One that takes the parts of texts.
    fn taking_parts(role: Role, max_message: u64, patience: usize) -> Self {
        Self {
            reader: FrameReader::new(role, max_message).offering_parts(),
            patience,
            ..Self::new(role, max_message)
        }
    }

    /// Takes a part, if there is one.
    fn take_part(&mut self, input: &mut &[u8]) -> Option<Result<(), Error>> {
        let part = self.reader.take_part(input)?;
        assert!(!part.payload.is_empty());
        assert_eq!(part.have, self.kept.len(), "a part is missing");
        self.kept.extend_from_slice(part.payload);
        self.parts += 1;
        if self.parts > self.patience {
            self.parts = 0;
            return Some(self.reader.collect(&std::mem::take(&mut self.kept)));
        }
        if part.missing == 0 {
            self.parts = 0;
            let text = std::mem::take(&mut self.kept);
            let index = self.reader.position() - text.len() as u64;
            let checked = check_utf8(&text, index).map(|text| Event::Text(text.to_owned(), index));
            return Some(checked.map(|event| self.events.push(event)));
        }
        Some(Ok(()))
    }

    fn feed(&mut self, mut input: &[u8]) {
        if self.error.is_some() {
            return;
        }
        loop {
            let event = match self.reader.read(&mut input) {
                Ok(Some(Incoming::Text {
                    payload,
                    checked: true,
                    index,
                })) => {
                    let text = std::str::from_utf8(payload).expect("what counts as checked is utf-8");
                    Event::Text(text.to_owned(), index)
                }
                Ok(Some(Incoming::Text {
                    payload,
                    checked: false,
                    index,
                })) => match check_utf8(payload, index) {
                    Ok(text) => Event::Text(text.to_owned(), index),
                    Err(error) => {
                        self.error = Some(error);
                        return;
                    }
                },
                Ok(Some(Incoming::Binary(payload))) => Event::Binary(payload.to_vec()),
                Ok(Some(Incoming::Ping(payload))) => Event::Ping(payload.to_vec()),
                Ok(Some(Incoming::Pong(payload))) => Event::Pong(payload.to_vec()),
                Ok(Some(Incoming::Close { code, reason })) => Event::Close(code, reason.to_owned()),
                Ok(None) => match self.take_part(&mut input) {
                    Some(Ok(())) => continue,
                    Some(Err(error)) => {
                        self.error = Some(error);
                        return;
                    }
                    None => {
                        assert!(input.is_empty(), "a reader that wants more has used up its input");
                        return;
                    }
                },
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            };
            self.events.push(event);
        }
    }

    fn kind(&self) -> Option<ErrorKind> {
        self.error.map(|error| error.kind)
    }
}

fn read_whole(role: Role, max_message: u64, wire: &[u8]) -> Probe {
    let mut probe = Probe::new(role, max_message);
    probe.feed(wire);
    probe
}

fn read_cut(role: Role, max_message: u64, wire: &[u8], cuts: &[usize]) -> Probe {
    feed_cut(Probe::new(role, max_message), wire, cuts)
}

fn feed_cut(mut probe: Probe, wire: &[u8], cuts: &[usize]) -> Probe {
    let mut start = 0;
    for &cut in cuts {
        let end = cut.clamp(start, wire.len());
        probe.feed(&wire[start..end]);
        start = end;
    }
    probe.feed(&wire[start..]);
    probe
}

fn apply_mask(payload: &[u8]) -> Vec<u8> {
    payload
        .iter()
        .zip(KEY.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect()
}

/// One frame towards `role`, written by the letter of RFC 6455 section 5.2 and without the writer under test.
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if role == Role::Server { 0x80 } else { 0 };
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(mask_bit | u8::try_from(len).expect("at most 125")),
        len @ 126..=65535 => {
            wire.push(mask_bit | 0x7E);
            wire.extend(u16::try_from(len).expect("at most 65535").to_be_bytes());
        }
        len => {
            wire.push(mask_bit | 0x7F);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    if role == Role::Server {
        wire.extend(KEY);
        wire.extend(apply_mask(payload));
    } else {
        wire.extend(payload);
    }
    wire
}

fn frames(role: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|&(first, payload)| frame(role, first, payload))
        .collect()
}

const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn text(text: &str, index: u64) -> Event {
    Event::Text(text.to_owned(), index)
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

// --- vectors -------------------------------------------------------------------------------------------------------

fn vector_event(value: &Value) -> Event {
    let string = |index: usize| value[index].as_str().expect("a string").to_owned();
    match string(0).as_str() {
        "text" => text(&string(1), 0),
        "binary" => Event::Binary(hex(&string(1))),
        "ping" => Event::Ping(hex(&string(1))),
        "pong" => Event::Pong(hex(&string(1))),
        "close" => Event::Close(
            value[1].as_u64().map(|code| u16::try_from(code).expect("a close code")),
            string(2),
        ),
        kind => panic!("unknown kind of event: {kind}"),
    }
}

#[test]
fn every_vector_gives_its_events_whole_and_at_every_cut() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/frames.jsonl");
    let lines = std::fs::read_to_string(path).expect("the vectors are there");
    let mut count = 0;
    for line in lines.lines() {
        let vector: Value = serde_json::from_str(line).expect("a line is json");
        let name = vector["name"].as_str().expect("a name");
        let role = match vector["role"].as_str() {
            Some("client") => Role::Client,
            Some("server") => Role::Server,
            role => panic!("unknown role: {role:?}"),
        };
        let wire = hex(vector["wire"].as_str().expect("a wire"));
        let max_message = vector["max_message"].as_u64().unwrap_or(MAX_MESSAGE);
        let expected: Vec<Event> = vector["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(vector_event)
            .collect();
        let code = vector["error"]["close_code"].as_u64();
        let whole = read_whole(role, max_message, &wire);
        let without_places: Vec<Event> = whole
            .events
            .iter()
            .map(|event| match event {
                Event::Text(payload, _) => text(payload, 0),
                event => event.clone(),
            })
            .collect();
        assert_eq!(without_places, expected, "{name}");
        assert_eq!(whole.kind().map(|kind| u64::from(kind.close_code())), code, "{name}");
        assert!(whole.error.is_none_or(|error| error.side == Side::Remote), "{name}");
        // Long wires differ from short ones in nothing that a cut could hit.
        let step = wire.len() / 600 + 1;
        for cut in (0..=wire.len()).step_by(step) {
            let cut_once = read_cut(role, max_message, &wire, &[cut]);
            assert_eq!(
                (&cut_once.events, cut_once.error),
                (&whole.events, whole.error),
                "{name}, cut at {cut}"
            );
        }
        let bytewise = read_cut(role, max_message, &wire, &(0..wire.len()).collect::<Vec<_>>());
        assert_eq!(
            (&bytewise.events, bytewise.error),
            (&whole.events, whole.error),
            "{name}, byte by byte"
        );
        count += 1;
    }
    assert!(count > 200, "only {count} vectors were read");
}

// --- rows ----------------------------------------------------------------------------------------------------------

#[test]
fn b1_a_continuation_that_declares_almost_2_63_bytes_is_too_big_and_allocates_nothing() {
    for role in BOTH {
        let mut wire = frame(role, 0x02, b"abc");
        wire.push(0x00);
        wire.push(if role == Role::Server { 0xFF } else { 0x7F });
        wire.extend(i64::MAX.to_be_bytes());
        for max_message in [MAX_MESSAGE, u64::MAX] {
            let mut probe = Probe::new(role, max_message);
            probe.feed(&wire[..wire.len() - 1]);
            let held = probe.reader.buffered();
            assert!(held <= 4096, "{held}");
            probe.feed(&wire[wire.len() - 1..]);
            assert!(
                matches!(probe.kind(), Some(ErrorKind::MessageTooBig { .. })),
                "{:?}",
                probe.error
            );
            assert_eq!(probe.reader.buffered(), 0);
        }
    }
}

#[test]
fn b1_a_declared_length_within_the_limit_is_not_allocated_before_it_came() {
    for role in BOTH {
        let mut wire = frame(role, 0x82, &vec![7; 8 * 1024 * 1024]);
        wire.truncate(1000);
        let probe = read_whole(role, MAX_MESSAGE, &wire);
        assert!(probe.reader.buffered() <= 2000, "{}", probe.reader.buffered());
    }
}

#[test]
fn b2_a_message_over_the_limit_fails_at_the_header_that_exceeds_it() {
    for role in BOTH {
        let first = frame(role, 0x01, b"12345");
        let mut second = frame(role, 0x80, b"6789");
        second.truncate(2);
        let probe = read_whole(role, 8, &[first.as_slice(), &second].concat());
        assert_eq!(
            probe.error,
            Some(Error::remote(
                ErrorKind::MessageTooBig { len: 9, limit: 8 },
                first.len() as u64 + 1
            ))
        );
        assert_eq!(
            read_whole(role, 8, &frame(role, 0x82, b"12345678")).events,
            [Event::Binary(b"12345678".into())]
        );
    }
}

#[test]
fn b3_a_reserved_bit_fails_after_the_earlier_messages() {
    for role in BOTH {
        for bit in [0x10, 0x20, 0x40] {
            let before = frames(role, &[(0x82, b"one"), (0x89, b"two")]);
            let wire = [before.clone(), frame(role, 0x81 | bit, b"x")].concat();
            let probe = read_whole(role, MAX_MESSAGE, &wire);
            assert_eq!(probe.events, [Event::Binary(b"one".into()), Event::Ping(b"two".into())]);
            assert_eq!(
                probe.error,
                Some(Error::remote(ErrorKind::ReservedBits, before.len() as u64))
            );
        }
    }
}

#[test]
fn b4_a_reserved_opcode_fails_after_the_earlier_messages() {
    for role in BOTH {
        for opcode in (3..=7).chain(11..=15) {
            for final_bit in [0, 0x80] {
                let wire = frames(role, &[(0x82, b"one"), (final_bit | opcode, b"x")]);
                let probe = read_whole(role, MAX_MESSAGE, &wire);
                assert_eq!(probe.events, [Event::Binary(b"one".into())]);
                assert_eq!(probe.kind(), Some(ErrorKind::ReservedOpcode(opcode)));
            }
        }
    }
}

#[test]
fn b5_a_masking_key_of_zeros_is_legal_at_a_server_and_masked_at_a_client_is_not() {
    let wire = hex("818500000000706c61696e");
    assert_eq!(read_whole(Role::Server, MAX_MESSAGE, &wire).events, [text("plain", 6)]);
    let probe = read_whole(Role::Client, MAX_MESSAGE, &wire);
    assert_eq!(probe.error, Some(Error::remote(ErrorKind::MaskedFrame, 1)));
    let probe = read_whole(Role::Server, MAX_MESSAGE, &hex("8105"));
    assert_eq!(probe.error, Some(Error::remote(ErrorKind::UnmaskedFrame, 1)));
}

#[test]
fn b6_a_control_frame_over_125_bytes_or_fragmented_fails_at_its_head() {
    for role in BOTH {
        for opcode in [0x08, 0x09, 0x0A] {
            let long = &frame(role, 0x80 | opcode, &[b'a'; 126])[..2];
            let probe = read_whole(role, MAX_MESSAGE, long);
            assert_eq!(
                probe.error,
                Some(Error::remote(ErrorKind::ControlTooLong { len: 126 }, 1))
            );
            let probe = read_whole(role, MAX_MESSAGE, &[opcode]);
            assert_eq!(probe.error, Some(Error::remote(ErrorKind::FragmentedControl, 0)));
        }
        let probe = read_whole(role, MAX_MESSAGE, &frame(role, 0x8A, &[b'a'; 125]));
        assert_eq!(probe.events, [Event::Pong(vec![b'a'; 125])]);
    }
}

#[test]
fn b7_frames_out_of_order_fail_at_their_first_byte() {
    for role in BOTH {
        let probe = read_whole(role, MAX_MESSAGE, &[0x80]);
        assert_eq!(probe.error, Some(Error::remote(ErrorKind::UnexpectedContinuation, 0)));
        let open = frames(role, &[(0x01, b"a"), (0x89, b"p")]);
        for first in [0x01, 0x02, 0x81, 0x82] {
            let probe = read_whole(role, MAX_MESSAGE, &[open.as_slice(), &[first]].concat());
            assert_eq!(probe.events, [Event::Ping(b"p".into())]);
            assert_eq!(
                probe.error,
                Some(Error::remote(ErrorKind::UnfinishedMessage, open.len() as u64))
            );
        }
    }
}

#[test]
fn b8_text_fails_at_its_first_bad_byte_also_in_the_middle_of_a_frame() {
    // Text, and the place of its first bad byte; the length is that of a text cut off at its end.
    let texts: [(&[u8], usize); 12] = [
        (b"ab\x80cd", 2),
        (b"ab\xC0\xAFcd", 2),
        (b"ab\xE0\x80\xAFcd", 3),
        (b"ab\xF0\x80\x80\xAFcd", 3),
        (b"ab\xED\xA0\x80cd", 3),
        (b"ab\xF4\x90\x80\x80cd", 3),
        (b"ab\xF5\x80\x80\x80cd", 2),
        (b"ab\xFFcd", 2),
        (b"ab\xE2\x82cd", 4),
        (b"ab\xF0\x9F\x98cd", 5),
        (b"ab\xC3", 3),
        (b"ab\xF0\x9F\x98", 5),
    ];
    for role in BOTH {
        for (bad_text, bad) in texts {
            let wire = frame(role, 0x81, bad_text);
            let head_len = wire.len() - bad_text.len();
            let error = Error::remote(ErrorKind::InvalidUtf8, (head_len + bad) as u64);
            assert_eq!(read_whole(role, MAX_MESSAGE, &wire).error, Some(error), "{bad_text:x?}");
            // Byte by byte it fails with the bad byte, neither before nor after it.
            let mut probe = Probe::new(role, MAX_MESSAGE);
            for (index, byte) in wire.iter().enumerate() {
                probe.feed(&[*byte]);
                let last = (head_len + bad).min(wire.len() - 1);
                assert_eq!(probe.error.is_some(), index >= last, "{bad_text:x?}, byte {index}");
            }
            assert_eq!(probe.error, Some(error));
            // The same text in fragments of one byte.
            let last = bad_text.len() - 1;
            let fragments: Vec<u8> = bad_text
                .iter()
                .enumerate()
                .flat_map(|(index, byte)| {
                    let opcode = u8::from(index == 0);
                    frame(role, if index == last { 0x80 | opcode } else { opcode }, &[*byte])
                })
                .collect();
            assert_eq!(
                read_whole(role, MAX_MESSAGE, &fragments).kind(),
                Some(ErrorKind::InvalidUtf8)
            );
        }
    }
}

#[test]
fn b9_a_million_fragments_of_one_byte_take_the_memory_of_the_message() {
    const COUNT: usize = 1_000_000;
    for role in BOTH {
        let mut wire = Vec::new();
        for index in 0..COUNT {
            let opcode = u8::from(index == 0);
            wire.extend(frame(role, if index + 1 == COUNT { 0x80 } else { opcode }, b"x"));
        }
        let mut probe = Probe::new(role, MAX_MESSAGE);
        let frame_len = wire.len() / COUNT;
        for (index, piece) in wire.chunks(64 * 1024).enumerate() {
            probe.feed(piece);
            let came = (index + 1) * 64 * 1024 / frame_len;
            let held = probe.reader.buffered();
            assert!(held <= came + 64 * 1024, "{held} of {came}");
        }
        assert_eq!(probe.error, None);
        assert_eq!(probe.events.len(), 1);
        assert!(matches!(&probe.events[0], Event::Text(text, _) if text.len() == COUNT));
        assert!(probe.reader.buffered() <= 4096, "a large message leaves nothing behind");
    }
}

#[test]
fn b10_a_million_empty_fragments_fail_after_1024_in_a_row() {
    for role in BOTH {
        let empty = frame(role, 0x00, b"");
        let allowed = MAX_EMPTY_FRAGMENTS as usize;
        let mut probe = Probe::new(role, MAX_MESSAGE);
        probe.feed(&frame(role, 0x01, b""));
        probe.feed(&empty.repeat(allowed - 1));
        assert_eq!(probe.error, None);
        let before = probe.reader.position();
        probe.feed(&empty.repeat(1_000_000 - allowed));
        assert_eq!(
            probe.error,
            Some(Error::remote(
                ErrorKind::EmptyFragments {
                    limit: MAX_EMPTY_FRAGMENTS
                },
                before
            ))
        );
        assert_eq!(probe.kind().map(ErrorKind::close_code), Some(close_code::POLICY));
        // A byte in between is progress.
        let mut wire = frame(role, 0x01, b"");
        for _ in 0..3 {
            wire.extend(empty.repeat(allowed - 1));
            wire.extend(frame(role, 0x00, b"x"));
        }
        wire.extend(frame(role, 0x80, b""));
        assert_eq!(read_whole(role, MAX_MESSAGE, &wire).error, None);
    }
}

#[test]
fn b11_a_long_message_in_reads_of_one_byte_takes_linear_time_and_its_own_memory() {
    let long = "0123456789abcdé".repeat(64 * 1024);
    for role in BOTH {
        let wire = frame(role, 0x81, long.as_bytes());
        let mut probe = Probe::new(role, MAX_MESSAGE);
        for (index, byte) in wire.iter().enumerate() {
            probe.feed(&[*byte]);
            assert!(probe.reader.buffered() <= long.len().min(2 * index + 65536));
        }
        assert_eq!(probe.events, [text(&long, (wire.len() - long.len()) as u64)]);
    }
}

#[test]
fn b11_text_that_is_always_cut_within_a_character_takes_linear_time() {
    let long = "é".repeat(512 * 1024);
    for role in BOTH {
        let wire = frame(role, 0x81, long.as_bytes());
        let head_len = wire.len() - long.len();
        let mut probe = Probe::new(role, MAX_MESSAGE);
        probe.feed(&wire[..=head_len]);
        for piece in wire[head_len + 1..].chunks(2) {
            probe.feed(piece);
        }
        assert_eq!(probe.events, [text(&long, head_len as u64)]);
    }
}

#[test]
fn b12_an_unsolicited_pong_is_reported_and_changes_nothing() {
    for role in BOTH {
        let probe = read_whole(role, MAX_MESSAGE, &frames(role, &[(0x8A, b"hm"), (0x82, b"x")]));
        assert_eq!(probe.events, [Event::Pong(b"hm".into()), Event::Binary(b"x".into())]);
        assert_eq!(probe.error, None);
    }
}

#[test]
fn b13_a_binary_message_is_reported_as_it_came() {
    for role in BOTH {
        let probe = read_whole(role, MAX_MESSAGE, &frames(role, &[(0x02, b"\xFF"), (0x80, b"\x00{}")]));
        assert_eq!(probe.events, [Event::Binary(b"\xFF\x00{}".into())]);
    }
}

#[test]
fn b14_nothing_after_a_close_is_looked_at() {
    for role in BOTH {
        let close = [&3000_u16.to_be_bytes()[..], b"bye"].concat();
        let wire = frames(
            role,
            &[
                (0x88, &close),
                (0x88, b"\x03\xE8"),
                (0x81, b"late"),
                (0xFF, b"nonsense"),
            ],
        );
        let mut probe = read_whole(role, MAX_MESSAGE, &wire);
        probe.feed(&[0xFF; 100]);
        assert_eq!(probe.events, [Event::Close(Some(3000), "bye".to_owned())]);
        assert_eq!(probe.error, None);
        assert_eq!(probe.reader.position(), wire.len() as u64 + 100);
    }
}

#[test]
fn b15_a_stream_that_ends_within_a_message_gave_only_what_was_whole() {
    for role in BOTH {
        let mut wire = frames(role, &[(0x82, b"whole"), (0x01, b"part"), (0x80, b"rest")]);
        wire.truncate(wire.len() - 1);
        let probe = read_whole(role, MAX_MESSAGE, &wire);
        assert_eq!(
            (probe.events.as_slice(), probe.error),
            (&[Event::Binary(b"whole".into())][..], None)
        );
    }
}

#[test]
fn b16_a_compressed_message_is_refused_as_nothing_was_agreed_on() {
    for role in BOTH {
        let probe = read_whole(role, MAX_MESSAGE, &frame(role, 0xC1, b"\xCA\x48\xCD\xC9\xC9\x07\x00"));
        assert_eq!(probe.error, Some(Error::remote(ErrorKind::ReservedBits, 0)));
    }
}

#[test]
fn a_reader_is_over_after_an_error() {
    for role in BOTH {
        let mut reader = FrameReader::new(role, MAX_MESSAGE);
        assert!(reader.read(&mut &b"\xFF"[..]).is_err());
        let wire = frame(role, 0x82, b"late");
        let mut input = wire.as_slice();
        assert_eq!(reader.read(&mut input), Ok(None));
        assert!(input.is_empty());
    }
}

#[test]
fn a_whole_unmasked_frame_is_borrowed_from_the_input_and_not_yet_checked() {
    let wire = frames(Role::Client, &[(0x81, b"text"), (0x82, b"data"), (0x89, b"ping")]);
    let mut reader = FrameReader::new(Role::Client, MAX_MESSAGE);
    let mut input = wire.as_slice();
    let lies_in_wire = |payload: &[u8]| wire.as_ptr_range().contains(&payload.as_ptr());
    let Ok(Some(Incoming::Text {
        payload,
        checked,
        index,
    })) = reader.read(&mut input)
    else {
        panic!("a text was sent");
    };
    assert!(lies_in_wire(payload) && !checked && index == 2);
    assert!(matches!(reader.read(&mut input), Ok(Some(Incoming::Binary(payload))) if lies_in_wire(payload)));
    assert!(matches!(reader.read(&mut input), Ok(Some(Incoming::Ping(payload))) if lies_in_wire(payload)));
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn a_text_that_did_not_come_whole_is_checked_already() {
    for role in BOTH {
        let wire = frame(role, 0x81, "käse".as_bytes());
        let mut reader = FrameReader::new(role, MAX_MESSAGE);
        assert_eq!(reader.read(&mut &wire[..4]), Ok(None));
        let index = (wire.len() - 5) as u64;
        let payload = "käse".as_bytes();
        assert_eq!(
            reader.read(&mut &wire[4..]),
            Ok(Some(Incoming::Text {
                payload,
                checked: true,
                index
            }))
        );
    }
}

#[test]
fn a_text_is_offered_in_parts_and_may_be_given_back_at_any_of_them() {
    let wire = [
        frame(Role::Client, 0x81, "käse und brot".as_bytes()),
        frame(Role::Client, 0x81, b"whole"),
    ]
    .concat();
    let expected = read_whole(Role::Client, MAX_MESSAGE, &wire).events;
    for cut in 0..wire.len() {
        for second in cut..wire.len() {
            for patience in 0..4 {
                let probe = Probe::taking_parts(Role::Client, MAX_MESSAGE, patience);
                let probe = feed_cut(probe, &wire, &[cut, second]);
                assert_eq!(
                    (&probe.events, probe.error),
                    (&expected, None),
                    "{cut} {second} {patience}"
                );
                assert!(probe.kept.is_empty());
            }
        }
    }
}

#[test]
fn a_text_that_is_given_back_fails_at_its_first_bad_byte() {
    let wire = frame(Role::Client, 0x81, b"abc\xc3defgh");
    for cut in 3..wire.len() {
        let probe = feed_cut(Probe::taking_parts(Role::Client, MAX_MESSAGE, 1), &wire, &[cut]);
        let error = probe.error.expect("no text");
        assert_eq!((error.kind, error.index), (ErrorKind::InvalidUtf8, 6), "cut at {cut}");
    }
    // Cut off in the middle of a character, where it was the last part that was given back.
    let wire = frame(Role::Client, 0x81, b"abc\xc3");
    let probe = feed_cut(Probe::taking_parts(Role::Client, MAX_MESSAGE, 0), &wire, &[3]);
    assert_eq!(probe.error.map(|error| error.index), Some(wire.len() as u64));
}

#[test]
fn only_texts_of_one_frame_and_bounded_length_are_offered() {
    let offered = |role, wire: &[u8]| {
        let mut reader = FrameReader::new(role, MAX_MESSAGE).offering_parts();
        let mut input = &wire[..wire.len() - 1];
        while reader.read(&mut input).expect("valid so far").is_some() {}
        reader.take_part(&mut input).is_some()
    };
    assert!(offered(Role::Client, &frame(Role::Client, 0x81, b"text")));
    assert!(offered(Role::Client, &frame(Role::Client, 0x81, &vec![b'a'; 262_144])));
    assert!(!offered(Role::Client, &frame(Role::Client, 0x81, &vec![b'a'; 262_145])));
    assert!(!offered(Role::Client, &frame(Role::Client, 0x82, b"binary")));
    assert!(!offered(Role::Client, &frame(Role::Client, 0x89, b"ping")));
    assert!(!offered(Role::Client, &frame(Role::Client, 0x01, b"fragment")));
    assert!(!offered(
        Role::Client,
        &frames(Role::Client, &[(0x01, b"fragment"), (0x80, b"end")])
    ));
    assert!(!offered(Role::Server, &frame(Role::Server, 0x81, b"masked")));
    assert!(!{
        let mut reader = FrameReader::new(Role::Client, MAX_MESSAGE);
        let wire = frame(Role::Client, 0x81, b"text");
        let mut input = &wire[..4];
        assert_eq!(reader.read(&mut input), Ok(None));
        reader.take_part(&mut input).is_some()
    });
}

#[test]
fn a_short_message_in_two_reads_is_given_exactly_its_room() {
    for role in BOTH {
        let wire = frame(role, 0x82, &[7; 100]);
        let mut reader = FrameReader::new(role, MAX_MESSAGE);
        assert_eq!(reader.read(&mut &wire[..20]), Ok(None));
        assert_eq!(reader.buffered(), 100);
        assert_eq!(reader.read(&mut &wire[20..]), Ok(Some(Incoming::Binary(&[7; 100]))));
    }
}

#[test]
fn a_message_in_many_reads_is_collected_without_overshoot() {
    let payload = vec![5; 16 * 1024 * 1024];
    let wire = frame(Role::Client, 0x82, &payload);
    let mut reader = FrameReader::new(Role::Client, MAX_MESSAGE);
    let mut came = 0;
    for piece in wire.chunks(200_000) {
        let mut input = piece;
        came += piece.len();
        if let Some(incoming) = reader.read(&mut input).expect("a valid message") {
            assert_eq!(incoming, Incoming::Binary(&payload));
        }
        assert!(
            reader.buffered() <= (2 * came).min(payload.len()),
            "{} of {came}",
            reader.buffered()
        );
    }
    assert_eq!(reader.read(&mut &[][..]), Ok(None));
    assert_eq!(reader.buffered(), 0);
}

// --- writer --------------------------------------------------------------------------------------------------------

const LENGTHS: [usize; 9] = [0, 1, 124, 125, 126, 127, 65535, 65536, 70000];

fn peer(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

#[test]
fn what_is_written_is_read_at_every_length_whatever_the_hint() {
    for role in BOTH {
        let mut writer = FrameWriter::new(role, [9; 32]);
        for len in LENGTHS {
            let payload: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
            for hint in LENGTHS {
                let mut out = b"kept".to_vec();
                writer
                    .write_with(&mut out, Opcode::Binary, hint, |out| out.extend_from_slice(&payload))
                    .expect("a message never fails");
                assert_eq!(&out[..4], b"kept");
                let probe = read_whole(peer(role), MAX_MESSAGE, &out[4..]);
                assert_eq!(
                    (probe.events, probe.error),
                    (vec![Event::Binary(payload.clone())], None)
                );
            }
        }
    }
}

#[test]
fn frames_of_a_server_are_written_to_the_letter() {
    let mut writer = FrameWriter::new(Role::Server, [0; 32]);
    for len in LENGTHS {
        let payload = vec![b'a'; len];
        let mut out = Vec::new();
        writer
            .write(&mut out, Opcode::Text, &payload)
            .expect("a message never fails");
        assert_eq!(out, frame(Role::Client, 0x81, &payload));
    }
    let mut out = Vec::new();
    writer.write(&mut out, Opcode::Ping, b"p").expect("short enough");
    writer.write(&mut out, Opcode::Pong, b"").expect("short enough");
    writer.write_close(&mut out, Some(1000), "ok").expect("a valid close");
    writer.write_close(&mut out, None, "").expect("a valid close");
    assert_eq!(out, hex("8901708a00880403e86f6b8800"));
}

#[test]
fn masks_differ_from_frame_to_frame_and_from_seed_to_seed() {
    let keys = |seed: u8| {
        let mut writer = FrameWriter::new(Role::Client, [seed; 32]);
        let keys: Vec<[u8; 4]> = (0..64)
            .map(|_| {
                let mut out = Vec::new();
                writer
                    .write(&mut out, Opcode::Text, b"")
                    .expect("a message never fails");
                [out[2], out[3], out[4], out[5]]
            })
            .collect();
        keys
    };
    let (first, second) = (keys(1), keys(2));
    for (index, key) in first.iter().enumerate() {
        assert!(!first[..index].contains(key) && !second.contains(key));
    }
    assert_eq!(first, keys(1), "a seed gives the same masks again");
}

#[test]
fn a_control_frame_that_the_peer_would_refuse_is_not_written() {
    for role in BOTH {
        let mut writer = FrameWriter::new(role, [3; 32]);
        let mut out = b"kept".to_vec();
        let error = writer.write(&mut out, Opcode::Ping, &[0; 126]).expect_err("too long");
        assert_eq!(
            error,
            Error::local(ErrorKind::ControlTooLong { len: 126 }, MAX_CONTROL_PAYLOAD as u64)
        );
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            let error = writer
                .write_close(&mut out, Some(code), "")
                .expect_err("a code that may not be sent");
            assert_eq!(error, Error::local(ErrorKind::InvalidCloseCode(code), 0));
        }
        let error = writer
            .write_close(&mut out, Some(1000), &"r".repeat(124))
            .expect_err("too long");
        assert_eq!(error, Error::local(ErrorKind::CloseReasonTooLong { len: 124 }, 123));
        let error = writer.write_close(&mut out, None, "why").expect_err("no code");
        assert_eq!(error, Error::local(ErrorKind::CloseReasonWithoutCode, 0));
        assert_eq!(out, b"kept");
    }
}

// --- any stream, any cut ---------------------------------------------------------------------------------------------

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn control() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (
        prop_oneof![Just(0x89_u8), Just(0x8A)],
        prop::collection::vec(any::<u8>(), 0..=MAX_CONTROL_PAYLOAD),
    )
}

/// A message in fragments cut anywhere, also within characters, with control frames between them.
fn message() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let payload = prop_oneof![
        4 => "\\PC{0,40}".prop_map(|text| (0x01_u8, text.into_bytes())),
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (0x02, bytes)),
        1 => prop::sample::select(&LENGTHS[..]).prop_map(|len| (0x01, vec![b'z'; len])),
    ];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (payload, cuts, prop::collection::vec(control(), 0..3)).prop_map(|((opcode, payload), cuts, controls)| {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        places.sort_unstable();
        places.push(payload.len());
        let mut result = Vec::new();
        let mut controls = controls.into_iter();
        let mut start = 0;
        for (number, &place) in places.iter().enumerate() {
            let first = if number == 0 { opcode } else { 0 } | if number + 1 == places.len() { 0x80 } else { 0 };
            result.push((first, payload[start..place].to_vec()));
            result.extend(controls.next());
            start = place;
        }
        result
    })
}

fn stream() -> impl Strategy<Value = (Role, Vec<u8>)> {
    let last = prop::option::of(prop_oneof![
        Just((0x88_u8, b"\x03\xE8bye".to_vec())),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..130)),
    ]);
    let damage = prop::option::weighted(0.4, (any::<prop::sample::Index>(), 1..=255_u8));
    (role(), prop::collection::vec(message(), 0..5), last, damage).prop_map(|(role, messages, last, damage)| {
        let mut wire: Vec<u8> = messages
            .into_iter()
            .flatten()
            .chain(last)
            .flat_map(|(first, payload)| frame(role, first, &payload))
            .collect();
        if let Some((place, change)) = damage
            && !wire.is_empty()
        {
            let place = place.index(wire.len());
            wire[place] ^= change;
        }
        (role, wire)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_cut_gives_the_same_events_and_errors(
        (role, wire) in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        max_message in prop_oneof![3 => Just(MAX_MESSAGE), 1 => 0..300_u64],
        patience in 0..4_usize,
    ) {
        let whole = read_whole(role, max_message, &wire);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let cut = read_cut(role, max_message, &wire, &cuts);
        prop_assert_eq!((&cut.events, cut.error), (&whole.events, whole.error));
        let taken = feed_cut(Probe::taking_parts(role, max_message, patience), &wire, &cuts);
        // What is taken in parts is proved when all is there, and only where it all comes.
        if taken.kept.is_empty() {
            prop_assert_eq!((&taken.events, taken.error), (&whole.events, whole.error));
        } else {
            prop_assert_eq!(&taken.events, &whole.events);
        }
        if wire.len() < 4000 {
            let bytewise = read_cut(role, max_message, &wire, &(0..wire.len()).collect::<Vec<_>>());
            prop_assert_eq!((&bytewise.events, bytewise.error), (&whole.events, whole.error));
        }
    }

    #[test]
    fn any_bytes_give_events_or_a_remote_error_with_its_code(
        role in role(),
        wire in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let probe = read_whole(role, 1000, &wire);
        if let Some(error) = probe.error {
            prop_assert_eq!(error.side, Side::Remote);
            prop_assert!(error.index <= wire.len() as u64);
            prop_assert!(matches!(error.kind.close_code(), 1002 | 1007 | 1008 | 1009));
        }
        prop_assert!(probe.reader.buffered() <= 2 * wire.len() + 4096);
    }

    #[test]
    fn text_fails_with_the_byte_with_which_the_standard_library_sees_it_fail(
        role in role(),
        bytes in prop::collection::vec(
            prop_oneof![Just(b'a'), Just(0xC3), Just(0xA9), Just(0xE2), Just(0x82), Just(0xED), Just(0xA0),
                        Just(0xF0), Just(0x9F), Just(0xF4), Just(0x8F), Just(0x90), any::<u8>()], 1..12),
    ) {
        let expected = (1..=bytes.len())
            .find(|&end| std::str::from_utf8(&bytes[..end]).is_err_and(|error| error.error_len().is_some()))
            .map(|end| end - 1);
        let mut wire = frame(role, 0x81, &[bytes.as_slice(), &[b'a'; 100]].concat());
        wire.truncate(wire.len() - 100);
        let head_len = wire.len() - bytes.len();
        let probe = read_whole(role, MAX_MESSAGE, &wire);
        prop_assert_eq!(probe.error.map(|error| error.index), expected.map(|bad| (head_len + bad) as u64));
        let whole = check_utf8(&bytes, 0).map_err(|error| error.index);
        let cut_off = std::str::from_utf8(&bytes).is_err().then_some(bytes.len());
        prop_assert_eq!(whole.err(), expected.or(cut_off).map(|bad| bad as u64));
    }

    #[test]
    fn what_is_written_is_read(
        role in role(),
        seed in any::<[u8; 32]>(),
        messages in prop::collection::vec((any::<bool>(), "\\PC{0,200}"), 0..8),
    ) {
        let mut writer = FrameWriter::new(role, seed);
        let mut out = Vec::new();
        for (is_text, payload) in &messages {
            let opcode = if *is_text { Opcode::Text } else { Opcode::Binary };
            writer.write(&mut out, opcode, payload.as_bytes()).expect("a message never fails");
        }
        writer.write_close(&mut out, Some(1000), "bye").expect("a valid close");
        let events: Vec<Event> = read_whole(peer(role), MAX_MESSAGE, &out)
            .events
            .into_iter()
            .map(|event| if let Event::Text(payload, _) = event { text(&payload, 0) } else { event })
            .collect();
        let expected: Vec<Event> = messages
            .iter()
            .map(|(is_text, payload)| if *is_text { text(payload, 0) } else { Event::Binary(payload.clone().into()) })
            .chain([Event::Close(Some(1000), "bye".to_owned())])
            .collect();
        prop_assert_eq!(events, expected);
    }
}
