//! The response of the resampler, measured with sines: gain, phase, aliases and images for every pair of
//! rates.
//!
//! All tones are multiples of 50 Hz, and every rate of the protocol has a whole number of frames in 20 ms: so
//! a Fourier sum over 20 ms separates a tone exactly from everything else, without a window.

use std::f64::consts::TAU;

use voxwire_audio::{Encoding, Format, SAMPLE_RATES, Stream};

/// A period of every tone used here, in 1/50 s, and what is skipped before it: longer than any filter.
const START_PERIODS: usize = 3;
const END_PERIODS: usize = 2;
const AMPLITUDE: f64 = 0.5;

/// What became of a sine, relative to it.
struct Answer {
    /// Of the tone itself; zero where the target rate cannot carry it.
    gain: f64,
    phase: f64,
    /// Everything else, as an amplitude.
    residue: f64,
}

fn decibels(ratio: f64) -> f64 {
    20.0 * (ratio + 1e-30).log10()
}

fn measure(source_rate: u32, target_rate: u32, frequency: u32) -> Answer {
    let format = |sample_rate| Format {
        encoding: Encoding::PcmF32le,
        sample_rate,
        channels: 1,
    };
    let mut stream = Stream::new(format(source_rate), format(target_rate)).expect("known rates");
    let frames = source_rate as usize / 50 * (START_PERIODS + 1 + END_PERIODS);
    let turns_per_frame = f64::from(frequency) / f64::from(source_rate);
    let data: Vec<u8> = (0..frames)
        .flat_map(|frame| ((AMPLITUDE * (TAU * turns_per_frame * frame as f64).cos()) as f32).to_le_bytes())
        .collect();
    let mut out = Vec::new();
    stream.process(&data, &mut out).expect("whole frames");
    stream.finish(&mut out);

    let period = target_rate as usize / 50;
    let output: Vec<f64> = out.as_chunks().0[START_PERIODS * period..(START_PERIODS + 1) * period]
        .iter()
        .map(|&bytes| f64::from(f32::from_le_bytes(bytes)) / AMPLITUDE)
        .collect();
    let power = output.iter().map(|sample| sample * sample).sum::<f64>() * 2.0 / period as f64;
    let (mut cosine, mut sine) = (0.0, 0.0);
    if 2 * frequency < target_rate {
        // The period measured begins with a whole turn of every tone, so the phase counts from the start of
        // the stream.
        let turns_per_frame = f64::from(frequency) / f64::from(target_rate);
        for (frame, sample) in output.iter().enumerate() {
            let angle = TAU * turns_per_frame * frame as f64;
            cosine += sample * angle.cos() * 2.0 / period as f64;
            sine += sample * angle.sin() * 2.0 / period as f64;
        }
    }
    let gain_squared = cosine * cosine + sine * sine;
    Answer {
        gain: gain_squared.sqrt(),
        phase: sine.atan2(cosine),
        residue: (power - gain_squared).max(0.0).sqrt(),
    }
}

/// The nearest multiple of 50 Hz at or below a part of a frequency.
fn tone(frequency: f64, part: f64) -> u32 {
    // A multiple of 50 Hz below 48 kHz.
    #[expect(clippy::cast_sign_loss, reason = "frequencies are positive")]
    let steps = (frequency * part / 50.0 + 1e-9).floor() as u32;
    steps * 50
}

fn for_each_pair(check: impl Fn(u32, u32, f64)) {
    for source_rate in SAMPLE_RATES {
        for target_rate in SAMPLE_RATES {
            if source_rate != target_rate {
                check(source_rate, target_rate, f64::from(source_rate.min(target_rate)) / 2.0);
            }
        }
    }
}

#[test]
fn the_pass_band_is_flat_and_in_time_to_nine_tenths_of_the_lower_nyquist_frequency() {
    for_each_pair(|source_rate, target_rate, nyquist| {
        for part in [0.02, 0.31, 0.7, 0.9] {
            let frequency = tone(nyquist, part);
            let answer = measure(source_rate, target_rate, frequency);
            let at = format!("{frequency} Hz, {source_rate} to {target_rate} Hz");
            assert!(
                decibels(answer.gain).abs() < 0.01,
                "{at}: gain {:.3} dB",
                decibels(answer.gain)
            );
            // A delay of a tenth of a target frame would turn 0.9 of the Nyquist frequency by 0.28.
            assert!(answer.phase.abs() < 0.001, "{at}: phase {:.5} rad", answer.phase);
            assert!(
                decibels(answer.residue) < -100.0,
                "{at}: residue {:.1} dB",
                decibels(answer.residue)
            );
        }
    });
}

#[test]
fn what_the_lower_rate_cannot_carry_is_rejected_by_100_db() {
    for_each_pair(|source_rate, target_rate, nyquist| {
        // Up to the source's own Nyquist frequency: aliases. Images need tones below the lower one, and come
        // below.
        for part in [1.0, 1.0125, 1.03, 1.06, 1.12, 1.3, 1.7, 2.0, 2.6, 3.3, 4.1, 5.0, 5.9] {
            let frequency = tone(nyquist, part).max(tone(nyquist + 49.9, 1.0));
            if 2 * frequency < source_rate {
                let answer = measure(source_rate, target_rate, frequency);
                let rejected = decibels(answer.residue.hypot(answer.gain));
                assert!(
                    rejected < -100.0,
                    "{frequency} Hz, {source_rate} to {target_rate} Hz: {rejected:.1} dB"
                );
            }
        }
    });
}

#[test]
fn away_from_the_edge_nothing_is_left_but_the_noise_of_floats() {
    for_each_pair(|source_rate, target_rate, nyquist| {
        let alias = tone(nyquist, 1.25);
        let aliases = (2 * alias < source_rate).then_some(alias);
        for frequency in [1000, 2000].into_iter().chain(aliases) {
            let answer = measure(source_rate, target_rate, frequency);
            let rest = if frequency > 2000 {
                answer.residue.hypot(answer.gain)
            } else {
                answer.residue
            };
            let rest = decibels(rest);
            assert!(
                rest < -130.0,
                "{frequency} Hz, {source_rate} to {target_rate} Hz: {rest:.1} dB"
            );
        }
    });
}

#[test]
fn tones_near_the_lower_nyquist_frequency_leave_no_image_or_alias() {
    for_each_pair(|source_rate, target_rate, nyquist| {
        for part in [0.93, 0.96, 0.98, 0.9999] {
            let frequency = tone(nyquist, part);
            let answer = measure(source_rate, target_rate, frequency);
            let residue = decibels(answer.residue);
            assert!(
                residue < -100.0,
                "{frequency} Hz, {source_rate} to {target_rate} Hz: {residue:.1} dB"
            );
        }
    });
}
