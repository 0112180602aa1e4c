//! G.711 against the tables of the recommendation, written down from their construction, exhaustively.

use voxwire_kernels::g711::{
    alaw_to_s16, alaw_to_sample, mulaw_to_s16, mulaw_to_sample, s16_to_alaw, s16_to_mulaw, sample_to_alaw,
    sample_to_mulaw,
};

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

#[test]
fn every_mulaw_code_decodes_to_the_table() {
    let rows = mulaw_rows();
    assert_eq!(
        (rows[127].decision, rows[127].value),
        (4 * 7903, 4 * 8031),
        "the last row of table 2"
    );
    let mut decoded = vec![7];
    mulaw_to_s16(&all_codes(), &mut decoded);
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
    alaw_to_s16(&all_codes(), &mut decoded);
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
    s16_to_mulaw(&all_samples(), &mut encoded);
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
    s16_to_alaw(&all_samples(), &mut encoded);
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
    s16_to_mulaw(&[0, 0, 0], &mut encoded);
    s16_to_alaw(&[0, 0, 0], &mut encoded);
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
