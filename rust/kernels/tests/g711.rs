//! G.711 against the tables of the recommendation, written down from their construction, exhaustively.

mod room;

use room::{converted, paths};
use voxwire_kernels::convert::{Coding, append_converted};
use voxwire_kernels::g711::{alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};

/// As many places as the widest register has bytes.
const PLACES: usize = 64;

/// One row of a table, magnitudes in 16 bits: the decision value it begins at, the value it decodes to.
struct Row {
    decision: i32,
    value: i32,
}

/// Table 2 of G.711, in the order of the code's seven low bits: steps of 2, 4 ... 256 in 14 bits, moved down
/// by 33.
fn mulaw_rows() -> Vec<Row> {
    rows(|segment, step| Row {
        decision: 4 * ((2 * step + 32) * (1 << segment) - 33).max(0),
        value: 4 * ((2 * step + 33) * (1 << segment) - 33),
    })
}

/// Table 1 of G.711: two segments with steps of 2 in 13 bits, then 4, 8 ... 128.
fn alaw_rows() -> Vec<Row> {
    rows(|segment, step| match segment {
        0 => Row {
            decision: 8 * 2 * step,
            value: 8 * (2 * step + 1),
        },
        _ => Row {
            decision: 8 * (2 * step + 32) * (1 << (segment - 1)),
            value: 8 * (2 * step + 33) * (1 << (segment - 1)),
        },
    })
}

fn rows(row: impl Fn(i32, i32) -> Row) -> Vec<Row> {
    (0..8)
        .flat_map(|segment| (0..16).map(move |step| (segment, step)))
        .map(|(segment, step)| row(segment, step))
        .collect()
}

fn position(rows: &[Row], magnitude: i32) -> u8 {
    (rows
        .iter()
        .rposition(|row| row.decision <= magnitude)
        .expect("the first row begins at 0")) as u8
}

fn all_samples() -> Vec<u8> {
    (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect()
}

fn all_codes() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

fn samples_of(bytes: &[u8]) -> Vec<i16> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes))
        .collect()
}

/// By the tables: every code, the 16 bits that each decodes to, every sample, the code of each.
struct Everything {
    coding: Coding,
    codes: Vec<u8>,
    decoded: Vec<u8>,
    samples: Vec<u8>,
    encoded: Vec<u8>,
}

fn everything() -> [Everything; 2] {
    let (mulaw, alaw) = (mulaw_rows(), alaw_rows());
    let sign = |is_negative| if is_negative { 0x80 } else { 0 };
    let signed = |code: u8, value: i32| (if code & 0x80 == 0 { -value } else { value } as i16).to_le_bytes();
    [
        Everything {
            coding: Coding::Mulaw,
            codes: all_codes(),
            decoded: (0..=u8::MAX)
                .flat_map(|code| signed(code, mulaw[usize::from(!code & 0x7f)].value))
                .collect(),
            samples: all_samples(),
            encoded: (i16::MIN..=i16::MAX)
                .map(|sample| !(position(&mulaw, i32::from(sample).abs()) | sign(sample < 0)))
                .collect(),
        },
        Everything {
            coding: Coding::Alaw,
            codes: all_codes(),
            decoded: (0..=u8::MAX)
                .flat_map(|code| signed(code, alaw[usize::from((code ^ 0x55) & 0x7f)].value))
                .collect(),
            samples: all_samples(),
            encoded: (i16::MIN..=i16::MAX)
                .map(|sample| {
                    let magnitude = i32::from(sample ^ (sample >> 15));
                    (position(&alaw, magnitude) | sign(sample >= 0)) ^ 0x55
                })
                .collect(),
        },
    ]
}

#[test]
fn every_path_decodes_every_code_in_every_lane() {
    for mut law in everything() {
        for lane in 0..PLACES {
            for path in paths() {
                let out = converted(path, &law.codes, law.coding, Coding::S16, 0, 0);
                assert!(out == law.decoded, "{path:?}: {:?}, moved by {lane}", law.coding);
            }
            law.codes.rotate_right(1);
            law.decoded.rotate_right(2);
        }
    }
}

#[test]
fn every_path_encodes_every_sample_in_every_lane() {
    for mut law in everything() {
        for lane in 0..PLACES {
            for path in paths() {
                let out = converted(path, &law.samples, Coding::S16, law.coding, 0, 0);
                assert!(out == law.encoded, "{path:?}: {:?}, moved by {lane}", law.coding);
            }
            law.samples.rotate_right(2);
            law.encoded.rotate_right(1);
        }
    }
}

#[test]
fn every_length_is_converted_on_every_path() {
    for law in everything() {
        for length in 0..=300 {
            let codes = law.codes.repeat(2);
            let decoded = law.decoded.repeat(2);
            // From the middle of all samples, where both signs and every segment are near.
            let first = 32768 - length / 2;
            let samples = &law.samples[2 * first..2 * (first + length)];
            for path in paths() {
                let out = converted(
                    path,
                    &codes[..length],
                    law.coding,
                    Coding::S16,
                    length % 64,
                    length * 5 % 64,
                );
                assert_eq!(out, decoded[..2 * length], "{path:?}: {:?}, {length} codes", law.coding);
                let out = converted(path, samples, Coding::S16, law.coding, length % 64, length * 5 % 64);
                assert_eq!(
                    out,
                    law.encoded[first..first + length],
                    "{path:?}: {:?}, {length} samples",
                    law.coding
                );
            }
        }
    }
}

#[test]
fn no_alignment_is_wanted_of_input_or_output() {
    for law in everything() {
        let samples = &law.samples[65536..][..2 * 230];
        for place in 0..PLACES {
            for (place_in, place_out) in [(place, 0), (0, place), (place, 63 - place)] {
                for path in paths() {
                    let out = converted(path, &law.codes, law.coding, Coding::S16, place_in, place_out);
                    assert_eq!(
                        out, law.decoded,
                        "{path:?}: {:?}, at {place_in}, {place_out}",
                        law.coding
                    );
                    let out = converted(path, samples, Coding::S16, law.coding, place_in, place_out);
                    assert_eq!(
                        out,
                        law.encoded[32768..][..230],
                        "{path:?}: {:?}, at {place_in}, {place_out}",
                        law.coding
                    );
                }
            }
        }
    }
}

#[test]
fn every_mulaw_code_decodes_to_the_table() {
    let rows = mulaw_rows();
    assert_eq!(
        (rows[127].decision, rows[127].value),
        (4 * 7903, 4 * 8031),
        "the last row of table 2"
    );
    let mut decoded = vec![7];
    append_converted(&all_codes(), Coding::Mulaw, Coding::S16, &mut decoded);
    assert_eq!(decoded[0], 7, "what is in the output stays");
    for (code, sample) in (0..=u8::MAX).zip(samples_of(&decoded[1..])) {
        let value = rows[usize::from(!code & 0x7f)].value;
        let expected = if code & 0x80 == 0 { -value } else { value };
        assert_eq!(i32::from(sample), expected, "code {code:#04x}");
        assert_eq!(mulaw_to_sample(code), sample);
    }
}

#[test]
fn every_alaw_code_decodes_to_the_table() {
    let rows = alaw_rows();
    assert_eq!(
        (rows[127].decision, rows[127].value),
        (8 * 3968, 8 * 4032),
        "the last row of table 1"
    );
    let mut decoded = vec![7];
    append_converted(&all_codes(), Coding::Alaw, Coding::S16, &mut decoded);
    assert_eq!(decoded[0], 7, "what is in the output stays");
    for (code, sample) in (0..=u8::MAX).zip(samples_of(&decoded[1..])) {
        let value = rows[usize::from((code ^ 0x55) & 0x7f)].value;
        let expected = if code & 0x80 == 0 { -value } else { value };
        assert_eq!(i32::from(sample), expected, "code {code:#04x}");
        assert_eq!(alaw_to_sample(code), sample);
    }
}

#[test]
fn every_sample_encodes_to_mulaw_by_the_decision_values() {
    let rows = mulaw_rows();
    let mut encoded = vec![7];
    append_converted(&all_samples(), Coding::S16, Coding::Mulaw, &mut encoded);
    assert_eq!(encoded[0], 7, "what is in the output stays");
    for (sample, code) in (i16::MIN..=i16::MAX).zip(&encoded[1..]) {
        let sign = if sample < 0 { 0x80 } else { 0 };
        let expected = !(position(&rows, i32::from(sample).abs()) | sign);
        assert_eq!(*code, expected, "sample {sample}");
        assert_eq!(sample_to_mulaw(sample), expected);
    }
}

#[test]
fn every_sample_encodes_to_alaw_by_the_decision_values() {
    let rows = alaw_rows();
    let mut encoded = vec![7];
    append_converted(&all_samples(), Coding::S16, Coding::Alaw, &mut encoded);
    assert_eq!(encoded[0], 7, "what is in the output stays");
    for (sample, code) in (i16::MIN..=i16::MAX).zip(&encoded[1..]) {
        let (sign, magnitude) = if sample < 0 {
            (0, -1 - i32::from(sample))
        } else {
            (0x80, i32::from(sample))
        };
        let expected = (position(&rows, magnitude) | sign) ^ 0x55;
        assert_eq!(*code, expected, "sample {sample}");
        assert_eq!(sample_to_alaw(sample), expected);
    }
}

#[test]
fn every_code_comes_back_from_its_sample() {
    for code in 0..=u8::MAX {
        assert_eq!(sample_to_alaw(alaw_to_sample(code)), code);
        // The negative zero of mu-law decodes to 0, which is the positive one.
        assert_eq!(
            sample_to_mulaw(mulaw_to_sample(code)),
            if code == 0x7f { 0xff } else { code }
        );
    }
}

#[test]
fn a_cut_sample_is_left_out() {
    let mut encoded = Vec::new();
    append_converted(&[0, 0, 0], Coding::S16, Coding::Mulaw, &mut encoded);
    append_converted(&[0, 0, 0], Coding::S16, Coding::Alaw, &mut encoded);
    assert_eq!(encoded, [0xff, 0xd5]);
}

#[test]
fn shared_vectors_hold() {
    let vectors = include_str!("../../../tests/vectors/g711.jsonl");
    let mut count = 0;
    for line in vectors.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).expect("a vector is JSON");
        let number = |name: &str| i16::try_from(vector[name].as_i64().expect("a whole number")).expect("16 bits");
        let code = u8::try_from(number("code")).expect("a code has 8 bits");
        let is_mulaw = vector["law"] == "mulaw";
        assert!(is_mulaw || vector["law"] == "alaw", "{line}");
        let decoded = if is_mulaw {
            mulaw_to_sample(code)
        } else {
            alaw_to_sample(code)
        };
        assert_eq!(decoded, number("sample"), "{line}");
        for sample in number("first")..=number("last") {
            let encoded = if is_mulaw {
                sample_to_mulaw(sample)
            } else {
                sample_to_alaw(sample)
            };
            assert_eq!(encoded, code, "{sample} in {line}");
            count += 1;
        }
    }
    assert_eq!(count, 2 * 65536, "both laws cover every sample");
}
