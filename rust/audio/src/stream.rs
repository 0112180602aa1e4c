//! A stream of audio from one format to another.

use crate::resampler::Resampler;
use crate::transcode::{read, write};
use crate::{CutSample, Format, FormatError, transcode};

/// Samples that are amplified in one go where there is no block of a resampler to hold them.
const AMPLIFIED_AT_ONCE: usize = 256;

/// Converts a stream of audio piece by piece: decodes, resamples where the rates differ, encodes.
///
/// However the input is cut into pieces, the output is the same bytes. Its frame `k` is the sound of the
/// source at the time `k / target rate`: there is no delay in it. After a [`flush`](Self::flush) or at the
/// [`finish`](Self::finish) exactly `n * target rate / source rate` frames, rounded (halves up), have come
/// out for the `n` that went in.
///
/// At equal rates every frame comes out at once. Else frames come in blocks, which between the rates of the
/// protocol last 3.3 to 20 ms (18 to 20 ms where one of them is 8000 Hz), each at most one and a half blocks
/// after its time. Aliases and images lie at least 100 dB below the tone that makes them, and the response is
/// flat within 0.1 dB up to 0.9 of the lower Nyquist frequency.
pub struct Stream {
    source: Format,
    target: Format,
    resampler: Option<Resampler>,
}

impl Stream {
    /// A stream between two formats with the same number of channels, at any rates whose block is not too
    /// large.
    pub fn new(source: Format, target: Format) -> Result<Self, FormatError> {
        if source.sample_rate == 0 || target.sample_rate == 0 {
            return Err(FormatError::ZeroSampleRate);
        }
        if source.channels == 0 || target.channels == 0 {
            return Err(FormatError::ZeroChannels);
        }
        if source.channels != target.channels {
            return Err(FormatError::Channels {
                source: source.channels,
                target: target.channels,
            });
        }
        let resampler = if source.sample_rate == target.sample_rate {
            None
        } else {
            Some(Resampler::new(source.sample_rate, target.sample_rate, source.channels)?)
        };
        Ok(Self {
            source,
            target,
            resampler,
        })
    }

    /// Takes whole frames and appends what can be given so far.
    ///
    /// A piece that ends within a frame is refused as a whole: nothing was taken and nothing appended.
    pub fn process(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), CutSample> {
        self.process_with_gain(data, 1.0, out)
    }

    /// As [`Self::process`], with every sample of the piece multiplied by a finite `gain` first.
    ///
    /// The product is a float, held at full scale where it would leave it, and rounded only once, where the
    /// target's encoding is reached. At a gain of 1 nothing is touched. A gain that differs from the one
    /// before holds from the first sample of this piece, ahead of the filter.
    pub fn process_with_gain(&mut self, data: &[u8], gain: f32, out: &mut Vec<u8>) -> Result<(), CutSample> {
        let frame_bytes = self.source.frame_bytes();
        CutSample::check(data.len(), frame_bytes)?;
        let (source, target) = (self.source.encoding, self.target.encoding);
        let width = source.sample_width();
        let read_amplified = |sample: usize, floats: &mut [f32]| {
            read(source, &data[sample * width..(sample + floats.len()) * width], floats);
            amplify(floats, gain);
        };
        let Some(resampler) = &mut self.resampler else {
            if is_unity(gain) {
                return transcode(data, source, target, out);
            }
            let mut floats = [0.0; AMPLIFIED_AT_ONCE];
            let samples = data.len() / width;
            for start in (0..samples).step_by(AMPLIFIED_AT_ONCE) {
                let floats = &mut floats[..AMPLIFIED_AT_ONCE.min(samples - start)];
                read_amplified(start, floats);
                write(target, floats, out);
            }
            return Ok(());
        };
        resampler.process(data.len() / frame_bytes, read_amplified, |floats| {
            write(target, floats, out);
        });
        Ok(())
    }

    /// Appends everything that is due for the input so far, the end of it as if silence followed; the stream
    /// goes on.
    ///
    /// What comes after is as if there had been no flush, but for the frames already given.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.flush(|floats| write(self.target.encoding, floats, out));
        }
    }

    /// Appends everything that is due and ends the stream; what is given to it afterwards is a new one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(|floats| write(self.target.encoding, floats, out));
        }
    }
}

/// Multiplies floats, held at full scale.
fn amplify(floats: &mut [f32], gain: f32) {
    if is_unity(gain) {
        return;
    }
    for float in floats {
        *float = (*float * gain).clamp(-1.0, 1.0);
    }
}

/// Exactly 1, the gain that must leave every bit as it is.
const fn is_unity(gain: f32) -> bool {
    gain.to_bits() == 1.0_f32.to_bits()
}
