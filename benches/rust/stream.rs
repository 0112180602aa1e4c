//! The stream of one context as bytes on the wire, in the shapes that servers send.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{ROTATION, frame, pcm};

/// Bytes at the start of a stamped chunk that hold the time of sending, little-endian nanoseconds of `CLOCK_MONOTONIC`.
pub const STAMP_BYTES: usize = 8;
/// Added to the time in a stamped `step_time`, so that it always has 19 digits.
const STAMP_BASE: u64 = 1_000_000_000_000_000_000;
/// Characters of base64 that hold the stamp: whole groups of 3 bytes.
const STAMP_CHARACTERS: usize = STAMP_BYTES.div_ceil(3) * 4;

/// How a chunk is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Type and audio first, `"step_time":123`, no blanks.
    Usual,
    /// Other keys first, blanks after the separators, `flush_id`, a fractional time.
    Reordered,
    /// As usual, with a `flush_id`.
    FlushId,
    /// As usual, with a `step_time` of many digits that changes from chunk to chunk.
    Fractional,
    /// As usual, with the times of three words before each chunk.
    Timestamps,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 5] = [
        Self::Usual,
        Self::Reordered,
        Self::FlushId,
        Self::Fractional,
        Self::Timestamps,
    ];

    /// The name in plans and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Reordered => "reordered",
            Self::FlushId => "flush_id",
            Self::Fractional => "fractional",
            Self::Timestamps => "timestamps",
        }
    }

    /// The shape of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }
}

/// The chunks that take turns in every stream of this size.
pub fn source(size: usize) -> Vec<Vec<u8>> {
    (0..ROTATION).map(|seed| pcm(size, seed)).collect()
}

/// What is sent for each chunk of a rotation: its frame, and what the shape puts before it.
pub fn rotation(shape: Shape, context_id: &str, size: usize) -> Vec<Vec<u8>> {
    let source = source(size);
    let chunks = source.iter().enumerate();
    chunks
        .map(|(turn, data)| piece(shape, context_id, turn, data))
        .collect()
}

/// What is sent for one chunk of a rotation.
pub fn piece(shape: Shape, context_id: &str, turn: usize, data: &[u8]) -> Vec<u8> {
    chunk(shape, context_id, turn, data, "123")
}

/// The end of a stream.
pub fn done(context_id: &str) -> Vec<u8> {
    frame(format!(r#"{{"type":"done","done":true,"status_code":200,"context_id":"{context_id}"}}"#).as_bytes())
}

fn chunk(shape: Shape, context_id: &str, turn: usize, data: &[u8], step_time: &str) -> Vec<u8> {
    let text = STANDARD.encode(data);
    let changing = format!("{}.{}", 11 + turn * 37, 1_234_567 + turn * 1017);
    let (step_time, flush) = match shape {
        Shape::Usual | Shape::Timestamps => (step_time, ""),
        Shape::FlushId => (step_time, r#""flush_id":1,"#),
        Shape::Fractional => (changing.as_str(), ""),
        Shape::Reordered => {
            return frame(
                format!(
                    r#"{{"context_id": "{context_id}", "flush_id": 1, "step_time": {changing}, "status_code": 206, "data": "{text}", "done": false, "type": "chunk"}}"#
                )
                .as_bytes(),
            );
        }
    };
    let mut wire = if shape == Shape::Timestamps {
        timestamps(context_id, turn)
    } else {
        Vec::new()
    };
    wire.extend(frame(
        format!(
            r#"{{"type":"chunk","data":"{text}","done":false,"status_code":206,"step_time":{step_time},{flush}"context_id":"{context_id}"}}"#
        )
        .as_bytes(),
    ));
    wire
}

fn timestamps(context_id: &str, turn: usize) -> Vec<u8> {
    let start = turn as f64;
    frame(
        format!(
            r#"{{"type":"timestamps","done":false,"status_code":206,"context_id":"{context_id}","word_timestamps":{{"words":["of","all","things"],"start":[{},{},{}],"end":[{},{},{}]}}}}"#,
            start + 0.02,
            start + 0.31,
            start + 0.55,
            start + 0.3,
            start + 0.54,
            start + 0.975,
        )
        .as_bytes(),
    )
}

/// One frame that is sent again and again, each time with the time of sending in it.
///
/// The time stands in `step_time`, as 10^18 + nanoseconds, and in the first bytes of the audio, where every stack finds
/// it, whatever it shows of the message.
pub struct Stamped {
    wire: Vec<u8>,
    step_time: usize,
    audio: usize,
    /// The byte of audio that shares a group of base64 with the stamp.
    neighbour: u8,
}

impl Stamped {
    /// Writes the usual message around `data`, at least 9 bytes.
    pub fn new(context_id: &str, data: &[u8]) -> Self {
        let wire = chunk(Shape::Usual, context_id, 0, data, &STAMP_BASE.to_string());
        let after = |name: &[u8]| {
            let found = wire.windows(name.len()).position(|window| window == name);
            found.map_or(0, |at| at + name.len())
        };
        Self {
            step_time: after(br#""step_time":"#),
            audio: after(br#""data":""#),
            neighbour: data[STAMP_BYTES],
            wire,
        }
    }

    /// The frame, stamped with this time.
    pub fn at(&mut self, now_ns: u64) -> &[u8] {
        let digits = (STAMP_BASE + now_ns).to_string();
        self.wire[self.step_time..][..digits.len()].copy_from_slice(digits.as_bytes());
        let mut stamp = [self.neighbour; STAMP_BYTES + 1];
        stamp[..STAMP_BYTES].copy_from_slice(&now_ns.to_le_bytes());
        let room = &mut self.wire[self.audio..][..STAMP_CHARACTERS];
        // The room is exactly what 9 bytes take, so nothing can fail.
        let _ = STANDARD.encode_slice(stamp, room);
        &self.wire
    }
}
