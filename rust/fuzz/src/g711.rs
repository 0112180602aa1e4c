//! G.711 and the sample formats: every way from any encoding to any other against the tables of the recommendation.
//!
//! Input: audio of any encoding, whose length also tells where in a block of 64 bytes it is converted.

use std::sync::LazyLock;

use voxwire_audio::{Encoding, transcode};
use voxwire_kernels::convert::{Coding, Path, append_converted, convert_with, converted_len};

use crate::room::{CANARY, Room};

/// Converts the input from each encoding to each.
pub fn target(data: &[u8]) {
    for source in Encoding::ALL {
        let width = source.sample_width();
        let samples: Vec<Sample> = data
            .chunks_exact(width)
            .map(|bytes| Sample::read(source, bytes))
            .collect();
        for target in Encoding::ALL {
            let mut out = vec![0xa5];
            let result = transcode(data, source, target, &mut out);
            assert_eq!(out[0], 0xa5, "what was there is gone");
            assert_eq!(result.is_ok(), data.len().is_multiple_of(width), "{result:?}");
            if result.is_err() {
                assert_eq!(out.len(), 1, "refused and written nevertheless");
                continue;
            }
            let mut expected = Vec::with_capacity(out.len());
            if source == target {
                expected.extend_from_slice(data);
            } else {
                for sample in &samples {
                    sample.write(target, &mut expected);
                }
            }
            assert_eq!(out[1..], expected, "{source} to {target}");
            kernels(data, coding(source), coding(target), &expected);
        }
    }
}

/// Converts whole samples by every path, into the very end of an allocation, so that a sanitizer sees every byte
/// beyond, and with a cut sample behind them, which is left out.
fn kernels(data: &[u8], source: Coding, target: Coding, expected: &[u8]) {
    let place = data.len() % 64;
    assert_eq!(converted_len(data.len(), source, target), expected.len());
    for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
        let mut room = Room::new(place + expected.len());
        convert_with(path, data, source, target, &mut room.slots()[place..]);
        let room = room.bytes();
        assert!(
            room[..place].iter().all(|&byte| byte == CANARY),
            "written before the output"
        );
        assert_eq!(room[place..], *expected, "{source:?} to {target:?} by {path:?}");
    }
    let cut = [data, &vec![0xff; source.width() - 1]].concat();
    let mut out = Vec::new();
    append_converted(&cut, source, target, &mut out);
    assert_eq!(out, expected, "{source:?} to {target:?}, with a cut sample");
}

fn coding(encoding: Encoding) -> Coding {
    match encoding {
        Encoding::PcmF32le => Coding::F32,
        Encoding::PcmS16le => Coding::S16,
        Encoding::PcmMulaw => Coding::Mulaw,
        Encoding::PcmAlaw => Coding::Alaw,
    }
}

/// A sample as the reference holds it.
#[derive(Clone, Copy)]
enum Sample {
    Float(f32),
    Integer(i16),
}

impl Sample {
    fn read(encoding: Encoding, bytes: &[u8]) -> Self {
        match (encoding, bytes) {
            (Encoding::PcmF32le, &[a, b, c, d]) => Self::Float(f32::from_le_bytes([a, b, c, d])),
            (Encoding::PcmS16le, &[low, high]) => Self::Integer(i16::from_le_bytes([low, high])),
            (Encoding::PcmMulaw, &[code]) => Self::Integer(TABLES.mulaw.decoded[usize::from(code)]),
            (Encoding::PcmAlaw, &[code]) => Self::Integer(TABLES.alaw.decoded[usize::from(code)]),
            _ => unreachable!("samples have the width of their encoding"),
        }
    }

    fn write(self, encoding: Encoding, out: &mut Vec<u8>) {
        let integer = match self {
            Self::Integer(integer) => integer,
            // In double precision the product is exact and the rounding the only one; NaN casts to 0.
            Self::Float(float) => (f64::from(float) * 32768.0).round_ties_even() as i16,
        };
        let index = usize::from(integer.cast_unsigned());
        match encoding {
            Encoding::PcmF32le => out.extend((f32::from(integer) / 32768.0).to_le_bytes()),
            Encoding::PcmS16le => out.extend(integer.to_le_bytes()),
            Encoding::PcmMulaw => out.push(TABLES.mulaw.encoded[index]),
            Encoding::PcmAlaw => out.push(TABLES.alaw.encoded[index]),
        }
    }
}

/// What each code decodes to, and what each sample, taken as 16 bits without sign, encodes to.
struct Table {
    decoded: [i16; 256],
    encoded: Vec<u8>,
}

struct Tables {
    mulaw: Table,
    alaw: Table,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    // Table 2 of G.711: segments of 16 steps of 2, 4 ... 256 in 14 bits, moved down by 33; negative is inverted.
    let mulaw = Table::new(
        |segment, step| {
            let begin = 4 * (((2 * step + 32) << segment) - 33).max(0);
            (begin, 4 * (((2 * step + 33) << segment) - 33))
        },
        |position, is_negative| !(position | if is_negative { 0x80 } else { 0 }),
        i32::abs,
    );
    // Table 1: two segments with steps of 2 in 13 bits, then 4, 8 ... 128; every even bit is inverted.
    let alaw = Table::new(
        |segment, step| match segment {
            0 => (16 * step, 8 * (2 * step + 1)),
            _ => (
                (8 * (2 * step + 32)) << (segment - 1),
                (8 * (2 * step + 33)) << (segment - 1),
            ),
        },
        |position, is_negative| (position | if is_negative { 0 } else { 0x80 }) ^ 0x55,
        |sample| if sample < 0 { -1 - sample } else { sample },
    );
    Tables { mulaw, alaw }
});

impl Table {
    /// Makes both directions of a law.
    ///
    /// * `row`: of a segment and a step the magnitude where it begins, and the one that it decodes to, in 16 bits
    /// * `code`: of the row's number and the sign
    /// * `magnitude`: of a sample
    fn new(
        row: impl Fn(i32, i32) -> (i32, i32),
        code: impl Fn(u8, bool) -> u8,
        magnitude: impl Fn(i32) -> i32,
    ) -> Self {
        let rows: Vec<(i32, i32)> = (0..128).map(|position| row(position / 16, position % 16)).collect();
        let mut decoded = [0; 256];
        for (position, &(_, value)) in (0..).zip(&rows) {
            decoded[usize::from(code(position, false))] = value as i16;
            decoded[usize::from(code(position, true))] = -value as i16;
        }
        let encode = |sample: i16| {
            let sample = i32::from(sample);
            let position = rows.partition_point(|&(begin, _)| begin <= magnitude(sample)) - 1;
            code(position as u8, sample < 0)
        };
        let encoded = (0..=u16::MAX).map(|sample| encode(sample.cast_signed())).collect();
        Self { decoded, encoded }
    }
}
