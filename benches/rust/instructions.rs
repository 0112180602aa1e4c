//! What is counted in instructions, for a guard that no neighbour on the machine can disturb.
//!
//! `instructions` lists the cases, `instructions CASE` prepares one, checks its answer, warms it up and then runs it
//! [`TURNS`] times inside [`counted`], which is the function that callgrind is told to count
//! (`benches/instructions.py`). Valgrind knows AVX2 and no AVX-512, so the wide path cannot be counted.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first wrong answer")]
#![expect(clippy::print_stdout, reason = "the list of cases")]

use std::hint::black_box;

use voxwire_audio::{Encoding, Format, Stream, transcode};
use voxwire_benches::host::Vectors;
use voxwire_benches::stream::{Shape, rotation, source};
use voxwire_benches::{CONTEXT_ID, ROTATION, SIZES, pcm};
use voxwire_core::connection::{Config, Connection, Event, Input};
use voxwire_core::context::BUFFER_DELAY_MS;
use voxwire_core::frame::Role;
use voxwire_kernels::base64;
use voxwire_kernels::width::{self, Width};

/// Runs of a case that are counted: a whole rotation of its messages.
const TURNS: usize = ROTATION as usize;
/// The widths that valgrind knows.
const WIDTHS: [(&str, Width); 2] = [("avx2", Width::Bits256), ("scalar", Width::Scalar)];
/// Of the conversions, the resampler and the codecs.
const SIZE_BYTES: usize = 9600;
const TELEPHONE: Format = Format {
    encoding: Encoding::PcmMulaw,
    sample_rate: 8000,
    channels: 1,
};
const STUDIO: Format = Format {
    encoding: Encoding::PcmS16le,
    sample_rate: 24000,
    channels: 1,
};

/// Something that is done once in each turn.
type Work = Box<dyn FnMut(usize)>;

struct Case {
    name: String,
    width: Width,
    prepare: Box<dyn Fn() -> Work>,
}

fn main() {
    let Some(name) = std::env::args().nth(1) else {
        for case in cases() {
            println!("{}", case.name);
        }
        return;
    };
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    width::at_most(case.width, || {
        let mut work = (case.prepare)();
        // What is learned, and what grows to its size, is so after two rotations.
        (0..2 * TURNS).for_each(&mut work);
        counted(&mut work);
    });
}

/// The only function whose instructions count, with all that it calls.
#[inline(never)]
fn counted(work: &mut dyn FnMut(usize)) {
    for turn in 0..TURNS {
        work(black_box(turn));
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, width) in WIDTHS {
        let mut add = |name: String, prepare: Box<dyn Fn() -> Work>| {
            cases.push(Case {
                name: format!("{name}, {suffix}"),
                width,
                prepare,
            });
        };
        for size in SIZES {
            add(
                format!("decode {size} B"),
                Box::new(move || decode(Shape::Usual, size, None)),
            );
            add(
                format!("decode {size} B in two pieces"),
                Box::new(move || decode_in_pieces(size)),
            );
            add(format!("encode {size} B"), Box::new(move || encode(size)));
        }
        for shape in Shape::ALL.into_iter().filter(|&shape| shape != Shape::Usual) {
            add(
                format!("decode 160 B, {}", shape.name()),
                Box::new(move || decode(shape, 160, None)),
            );
        }
        add(
            "decode, resample and encode 1920 B".to_owned(),
            Box::new(|| decode(Shape::Usual, 1920, Some(TELEPHONE))),
        );
        add("base64 to bytes".to_owned(), Box::new(decode_base64));
        for (from, to) in [
            (Encoding::PcmMulaw, Encoding::PcmS16le),
            (Encoding::PcmAlaw, Encoding::PcmS16le),
            (Encoding::PcmS16le, Encoding::PcmMulaw),
            (Encoding::PcmS16le, Encoding::PcmAlaw),
            (Encoding::PcmS16le, Encoding::PcmF32le),
            (Encoding::PcmF32le, Encoding::PcmS16le),
        ] {
            add(
                format!("{} to {}", from.name(), to.name()),
                Box::new(move || convert(from, to)),
            );
        }
        add("send a text".to_owned(), Box::new(send));
        add("resample 20 ms".to_owned(), Box::new(resample));
    }
    cases
}

fn end(role: Role) -> Connection<usize, Vec<u8>> {
    Connection::new(&Config {
        ping_interval_s: None,
        ..Config::new(role, [7; 32])
    })
}

/// A client with one context, whose audio comes as from the server or in another format.
fn client(deliver: Option<Format>) -> Connection<usize, Vec<u8>> {
    let mut client = end(Role::Client);
    client.open_context(CONTEXT_ID, 0, STUDIO, deliver, None).unwrap();
    client
}

/// The audio of the only chunk among the events.
fn audio(client: &mut Connection<usize, Vec<u8>>) -> Vec<u8> {
    let pieces = client.poll_events().into_iter().filter_map(|event| match event {
        Event::Audio { data, .. } => Some(data),
        _ => None,
    });
    pieces.flatten().collect()
}

fn decode(shape: Shape, size: usize, deliver: Option<Format>) -> Work {
    let wires = rotation(shape, CONTEXT_ID, size);
    let mut client = client(deliver);
    for (wire, expected) in wires.iter().zip(source(size)) {
        client.handle_data(wire, None, &Vectors);
        let heard = audio(&mut client);
        match deliver {
            None => assert_eq!(heard, expected),
            // A third of the samples, in one byte in place of two, less what the filter still holds at first.
            Some(_) => assert!(heard.len() <= size, "{} bytes", heard.len()),
        }
    }
    Box::new(move |turn| {
        client.handle_data(&wires[turn % TURNS], None, &Vectors);
        black_box(client.poll_events());
    })
}

/// Every frame is cut in its middle.
fn decode_in_pieces(size: usize) -> Work {
    let wires = rotation(Shape::Usual, CONTEXT_ID, size);
    let mut client = client(None);
    for (wire, expected) in wires.iter().zip(source(size)) {
        for piece in wire.chunks(wire.len().div_ceil(2)) {
            client.handle_data(piece, None, &Vectors);
        }
        assert_eq!(audio(&mut client), expected);
    }
    Box::new(move |turn| {
        let wire = &wires[turn % TURNS];
        for piece in wire.chunks(wire.len().div_ceil(2)) {
            client.handle_data(piece, None, &Vectors);
            black_box(client.poll_events());
        }
    })
}

fn encode(size: usize) -> Work {
    let chunks = source(size);
    let mut server = end(Role::Server);
    let mut client = client(None);
    let mut send = move |turn: usize| {
        server
            .send_chunk(CONTEXT_ID, &chunks[turn % TURNS], 12.345, Some(1))
            .unwrap();
        let wire = server.poll_transmit();
        black_box(&wire);
        wire
    };
    for (turn, expected) in source(size).into_iter().enumerate() {
        client.handle_data(&send(turn), None, &Vectors);
        assert_eq!(audio(&mut client), expected);
    }
    Box::new(move |turn| drop(send(turn)))
}

fn decode_base64() -> Work {
    let data = pcm(SIZE_BYTES, 1);
    let mut text = Vec::new();
    base64::encode(&data, &mut text);
    let mut out = Vec::new();
    base64::append_decoded(&text, &mut out).unwrap();
    assert_eq!(out, data);
    Box::new(move |_| {
        out.clear();
        base64::append_decoded(black_box(&text), &mut out).unwrap();
    })
}

fn convert(from: Encoding, to: Encoding) -> Work {
    let mut data = Vec::new();
    transcode(&pcm(SIZE_BYTES, 1), Encoding::PcmS16le, from, &mut data).unwrap();
    let mut out = Vec::new();
    transcode(&data, from, to, &mut out).unwrap();
    let mut expected = Vec::new();
    width::at_most(Width::Bits512, || transcode(&data, from, to, &mut expected)).unwrap();
    assert_eq!(out, expected, "another answer than by the vectors of this processor");
    Box::new(move |_| {
        out.clear();
        transcode(black_box(&data), from, to, &mut out).unwrap();
    })
}

fn resample() -> Work {
    let mut stream = Stream::new(STUDIO, TELEPHONE).unwrap();
    let piece = pcm(960, 1);
    let mut out = Vec::new();
    for _ in 0..TURNS {
        stream.process(&piece, &mut out).unwrap();
    }
    // 160 samples a piece, but for what waits for a whole block.
    assert!((TURNS - 2) * 160 <= out.len() && out.len() <= TURNS * 160);
    Box::new(move |_| {
        out.clear();
        stream.process(black_box(&piece), &mut out).unwrap();
    })
}

fn send() -> Work {
    let mut client = client(None);
    let mut server = end(Role::Server);
    let mut send = move || {
        let input = Input {
            transcript: "It is a truth universally acknowledged. ",
            continues: true,
            flush: false,
            settings: br#"{"model_id":"sonic-3","voice":{"mode":"id","id":"a"}}"#,
            buffer_delay_ms: BUFFER_DELAY_MS,
        };
        client.send_input(CONTEXT_ID, &input, None).unwrap();
        let wire = client.poll_transmit();
        black_box(&wire);
        wire
    };
    server.handle_data(&send(), None, &Vectors);
    assert!(matches!(server.poll_events().as_slice(), [Event::Request { .. }]));
    Box::new(move |_| drop(send()))
}
