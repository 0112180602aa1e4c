//! What the SIMD paths look up, worked out from the definitions of the two laws.

use super::{ALAW_INVERSION, ALAW_SAMPLES, MULAW_SAMPLES};
use super::{MULAW_BIAS, alaw_to_sample, mulaw_to_sample, sample_to_alaw, sample_to_mulaw};

/// A law of G.711.
///
/// A code has its sign in bit 7 (set for positive), the segment in bits 4 to 6, the step in the segment in
/// bits 0 to 3; on the wire some or all of the bits are inverted.
pub(crate) trait Law {
    /// The bits to invert, so that the samples of 16 neighbouring codes are evenly spaced.
    const INVERSION: u8;
    /// The code of the smallest positive samples.
    const POSITIVE: u8;
    /// Added to a magnitude, so that each segment begins at a power of two; None where they do so already.
    const BIAS: Option<i16>;
    /// For 512 bits.
    const ROWS: Rows;
    /// For 256 bits.
    const FACTORS: Factors;
    /// For both.
    const SEGMENTS: Segments;

    /// The 16-bit sample of a code.
    fn decode(code: u8) -> i16;
    /// The code of a 16-bit sample.
    fn encode(sample: i16) -> u8;
}

pub(crate) enum Mulaw {}

impl Law for Mulaw {
    const INVERSION: u8 = 0;
    const POSITIVE: u8 = 0xff;
    const BIAS: Option<i16> = Some(MULAW_BIAS as i16);
    const ROWS: Rows = Rows::new(&MULAW_SAMPLES, Self::INVERSION);
    const FACTORS: Factors = Factors::mulaw();
    const SEGMENTS: Segments = Segments::new(0);

    #[inline]
    fn decode(code: u8) -> i16 {
        mulaw_to_sample(code)
    }

    #[inline]
    fn encode(sample: i16) -> u8 {
        sample_to_mulaw(sample)
    }
}

pub(crate) enum Alaw {}

impl Law for Alaw {
    const INVERSION: u8 = ALAW_INVERSION;
    const POSITIVE: u8 = 0x80 ^ ALAW_INVERSION;
    const BIAS: Option<i16> = None;
    const ROWS: Rows = Rows::new(&ALAW_SAMPLES, Self::INVERSION);
    const FACTORS: Factors = Factors::alaw();
    const SEGMENTS: Segments = Segments::new(1);

    #[inline]
    fn decode(code: u8) -> i16 {
        alaw_to_sample(code)
    }

    #[inline]
    fn encode(sample: i16) -> u8 {
        sample_to_alaw(sample)
    }
}

/// The samples of a row of 16 codes (inverted as [`Law::INVERSION`] says) are `slope * code + offset`, cut to
/// 16 bits.
///
/// Little-endian, for the 16 rows, twice over.
pub(crate) struct Rows {
    pub(crate) slopes: [u8; 64],
    pub(crate) offsets: [u8; 64],
}

impl Rows {
    const fn new(samples: &[i16; 256], inversion: u8) -> Self {
        let mut slopes = [0; 64];
        let mut offsets = [0; 64];
        let mut index = 0;
        while index < 32 {
            let code = (index % 16 * 16) as u8;
            let first = samples[(code ^ inversion) as usize];
            let second = samples[((code + 1) ^ inversion) as usize];
            let slope = second.wrapping_sub(first);
            let offset = first.wrapping_sub(slope.wrapping_mul(code as i16));
            [slopes[2 * index], slopes[2 * index + 1]] = slope.to_le_bytes();
            [offsets[2 * index], offsets[2 * index + 1]] = offset.to_le_bytes();
            index += 1;
        }
        Self { slopes, offsets }
    }
}

/// The magnitude of a code is `-(step * width + constant * addition)`, where the first factors are bytes
/// without and the second ones bytes with sign.
pub(crate) struct Factors {
    /// By the low half of a code.
    pub(crate) steps: [u8; 16],
    /// By the high half of a code.
    pub(crate) widths: [u8; 16],
    /// By the high half of a code.
    pub(crate) additions: [u8; 16],
    /// Not zero.
    pub(crate) constant: u8,
}

impl Factors {
    const fn mulaw() -> Self {
        let mut factors = Self {
            steps: [0; 16],
            widths: [0; 16],
            additions: [1; 16],
            constant: MULAW_BIAS as u8,
        };
        let mut half = 0;
        while half < 16 {
            factors.steps[half] = (15 - half as u8) * 8 + MULAW_BIAS as u8;
            factors.widths[half] = negative_power(7 - half % 8);
            half += 1;
        }
        factors
    }

    const fn alaw() -> Self {
        let mut factors = Self {
            steps: [0; 16],
            widths: [0; 16],
            additions: [0; 16],
            constant: 128,
        };
        let mut half = 0;
        while half < 16 {
            let ordered = half ^ (ALAW_INVERSION as usize & 0x0f);
            factors.steps[half] = (ordered * 16 + 8) as u8;
            let segment = ordered % 8;
            if segment == 0 {
                factors.widths[half] = negative_power(0);
            } else {
                factors.widths[half] = negative_power(segment - 1);
                factors.additions[half] = negative_power(segment);
            }
            half += 1;
        }
        factors
    }
}

const fn negative_power(exponent: usize) -> u8 {
    (1_u8 << exponent).wrapping_neg()
}

/// The segment of a magnitude of 15 bits is the larger of those of the two halves of its highest 8 bits.
pub(crate) struct Segments {
    pub(crate) by_low_half: [u8; 16],
    pub(crate) by_high_half: [u8; 16],
}

impl Segments {
    /// By the segment: how far to the right a magnitude is shifted, so that the leading bit and four more are
    /// left.
    pub(crate) const SHIFTS: [u8; 16] = [3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    /// By the segment: what brings a magnitude to 15 bits.
    pub(crate) const SCALES: [u8; 16] = [128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    /// By the segment: where its positions begin, less the 16 that its leading bit adds.
    pub(crate) const BEGINNINGS: [u8; 16] = [0_u8.wrapping_sub(16), 0, 16, 32, 48, 64, 80, 96, 0, 0, 0, 0, 0, 0, 0, 0];

    /// `lowest` is the first segment whose steps all have the width of its number: that of A-law is 1, for
    /// segment 0 has the same steps and no leading bit.
    const fn new(lowest: u8) -> Self {
        let mut by_low_half = [lowest; 16];
        let mut by_high_half = [lowest; 16];
        let mut half = 1_usize;
        while half < 16 {
            let segment = half.ilog2() as u8;
            if segment > lowest {
                by_low_half[half] = segment;
            }
            by_high_half[half] = segment + 4;
            half += 1;
        }
        Self {
            by_low_half,
            by_high_half,
        }
    }
}
