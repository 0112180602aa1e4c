//! A stream of audio from one format to another.

use crate::resampler::Resampler;
use crate::transcode::{read, write};
use crate::{CutSample, Format, FormatError, transcode};

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
        let frame_bytes = self.source.frame_bytes();
        CutSample::check(data.len(), frame_bytes)?;
        let (source, target) = (self.source.encoding, self.target.encoding);
        let Some(resampler) = &mut self.resampler else {
            return transcode(data, source, target, out);
        };
        let width = source.sample_width();
        resampler.process(
            data.len() / frame_bytes,
            |sample, floats| read(source, &data[sample * width..(sample + floats.len()) * width], floats),
            |floats| write(target, floats, out),
        );
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
