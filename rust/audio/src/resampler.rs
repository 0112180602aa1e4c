//! One stream of floats from one sample rate to another, with the delay of the filter taken out.
//!
//! The work is done by rubato's FFT resampler, block by block. A block is a whole number of periods, the shortest
//! time in which both rates have whole frames. The filter, a windowed sinc, is as long as a block, so the size of
//! the blocks decides both the response and the delay:
//!
//! - With a Blackman-Harris window the stop band, from the lower Nyquist frequency up, lies below -109 dB at
//!   any size, and the pass band is flat to 0.9 of that frequency (-0.0003 dB) from 160 frames of the lower
//!   rate on. So a block is the smallest possible one of at least so many frames: 3.3 to 20 ms between the
//!   rates of the protocol. (The squared window, rubato's default, reaches -140 dB but needs blocks of twice
//!   the length.)
//! - A frame can be computed when the block that holds the end of its filter is there: half a block to one
//!   and a half of algorithmic delay. The first output comes with the first block, or where half a block is
//!   no whole number of frames on both sides, with the second: after 5 to 30 ms of input between the rates of
//!   the protocol.
//!
//! The frames on both sides are counted, never the time: output frame `k` is always the sound of source time
//! `k / target rate`, whatever the cuts of the input and wherever a flush was.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

use crate::FormatError;

/// Frames of the lower rate that the filter needs for its response.
const LEAST_FILTER_FRAMES: u64 = 160;

/// The most samples that a block may have, of all channels, on the side of the higher rate: 2 MiB of floats.
const MOST_BLOCK_SAMPLES: u64 = 8 * 65536;

pub(crate) struct Resampler {
    fft: Fft<f32>,
    channels: usize,
    period: Period,
    /// The block being filled, of which `filled_frames` are there, and the last one that was whole.
    block: Vec<f32>,
    previous_block: Vec<f32>,
    filled_frames: usize,
    resampled: Vec<f32>,
    frames_in: u64,
    /// Target frames that have left the filter, the delay included, and those of them that were given or
    /// dropped.
    frames_resampled: u64,
    frames_given: u64,
    /// Target frames that were dropped at the start.
    delay_frames: u64,
}

/// The ratio of the rates in lowest terms: the shortest time in which both have whole frames.
#[derive(Clone, Copy)]
struct Period {
    source_frames: u64,
    target_frames: u64,
}

impl Resampler {
    pub(crate) fn new(source_rate: u32, target_rate: u32, channels: u16) -> Result<Self, FormatError> {
        let divisor = greatest_common_divisor(source_rate, target_rate);
        let period = Period {
            source_frames: u64::from(source_rate / divisor),
            target_frames: u64::from(target_rate / divisor),
        };
        let periods = LEAST_FILTER_FRAMES.div_ceil(period.source_frames.min(period.target_frames));
        let samples = periods * period.source_frames.max(period.target_frames) * u64::from(channels);
        if samples > MOST_BLOCK_SAMPLES {
            return Err(FormatError::Block {
                source_rate,
                target_rate,
                samples,
                limit: MOST_BLOCK_SAMPLES,
            });
        }
        let channels = usize::from(channels);
        let fft = Fft::new_custom(
            source_rate as usize,
            target_rate as usize,
            (periods * period.source_frames) as usize,
            1,
            channels,
            WindowFunction::BlackmanHarris,
            FixedSync::Both,
        )
        .expect("rates and sizes are above 0");
        let mut resampler = Self {
            channels,
            period,
            block: vec![0.0; fft.fft_size_in() * channels],
            previous_block: vec![0.0; fft.fft_size_in() * channels],
            filled_frames: 0,
            resampled: vec![0.0; fft.fft_size_out() * channels],
            frames_in: 0,
            frames_resampled: 0,
            frames_given: 0,
            delay_frames: 0,
            fft,
        };
        resampler.start();
        Ok(resampler)
    }

    /// Takes source frames by `read`, which is given floats to fill and at what sample of the data they
    /// begin, and gives target frames to `write`.
    pub(crate) fn process(
        &mut self,
        frames: usize,
        mut read: impl FnMut(usize, &mut [f32]),
        mut write: impl FnMut(&[f32]),
    ) {
        let mut taken = 0;
        while taken < frames {
            let count = (frames - taken).min(self.fft.fft_size_in() - self.filled_frames);
            let start = self.filled_frames * self.channels;
            read(
                taken * self.channels,
                &mut self.block[start..start + count * self.channels],
            );
            taken += count;
            self.filled_frames += count;
            self.frames_in += count as u64;
            if self.filled_frames == self.fft.fft_size_in() {
                self.resample_block(self.filled_frames);
                self.write_due(u64::MAX, &mut write);
                std::mem::swap(&mut self.block, &mut self.previous_block);
                self.filled_frames = 0;
            }
        }
    }

    /// Gives all target frames that are due for the frames so far, as if silence followed. The stream can go
    /// on.
    pub(crate) fn flush(&mut self, mut write: impl FnMut(&[f32])) {
        let frames_resampled = self.frames_resampled;
        if self.write_tail(&mut write) {
            // Of what it was given, the filter remembers its last block only: given the last true one once
            // more it has forgotten the silence.
            std::mem::swap(&mut self.block, &mut self.previous_block);
            self.resample_block(self.fft.fft_size_in());
            std::mem::swap(&mut self.block, &mut self.previous_block);
            self.frames_resampled = frames_resampled;
        }
    }

    /// As [`Self::flush`], and begins a new stream.
    pub(crate) fn finish(&mut self, mut write: impl FnMut(&[f32])) {
        self.write_tail(&mut write);
        self.fft.reset();
        self.previous_block.fill(0.0);
        self.start();
    }

    /// Sets everything but the filter's memory to the start of a stream.
    ///
    /// The filter delays by half a block, rounded down, of source frames. Silence is put before the stream
    /// until that is a whole number of periods: then the delay is a whole number of target frames, too, and
    /// can be taken out exactly.
    fn start(&mut self) {
        let filter_delay = self.fft.fft_size_in() as u64 / 2;
        let delay_periods = filter_delay.div_ceil(self.period.source_frames);
        self.filled_frames = (delay_periods * self.period.source_frames - filter_delay) as usize;
        self.block[..self.filled_frames * self.channels].fill(0.0);
        self.delay_frames = delay_periods * self.period.target_frames;
        self.frames_in = 0;
        self.frames_resampled = 0;
        self.frames_given = self.delay_frames;
    }

    /// Gives what is due by means of silence; false if nothing was due.
    fn write_tail(&mut self, write: &mut impl FnMut(&[f32])) -> bool {
        let due_frames = self.delay_frames + self.period.target_frames_of(self.frames_in);
        if self.frames_given == due_frames {
            return false;
        }
        let mut frames = self.filled_frames;
        // Twice at most: what is missing is the rest of this block and half a block of delay.
        while self.frames_given < due_frames {
            self.resample_block(frames);
            self.write_due(due_frames, write);
            frames = 0;
        }
        true
    }

    /// Resamples the block, of which so many frames count and the rest is silence.
    fn resample_block(&mut self, frames: usize) {
        let (source_frames, target_frames) = (self.fft.fft_size_in(), self.fft.fft_size_out());
        let source = InterleavedSlice::new(&self.block, self.channels, source_frames)
            .expect("the block has exactly these channels and frames");
        let mut target = InterleavedSlice::new_mut(&mut self.resampled, self.channels, target_frames)
            .expect("the output has exactly these channels and frames");
        self.fft
            .process_into_buffer(&source, &mut target, Some(&Indexing::new().partial_len(frames)))
            .expect("both buffers are as large as the resampler asks for");
        self.frames_resampled += target_frames as u64;
    }

    /// Gives those frames of the block just resampled that were not given yet, up to `end_frame`.
    fn write_due(&mut self, end_frame: u64, write: &mut impl FnMut(&[f32])) {
        let block_start = self.frames_resampled - self.fft.fft_size_out() as u64;
        let start = self.frames_given.max(block_start);
        let end = self.frames_resampled.min(end_frame);
        if start < end {
            let sample_of = |frame: u64| (frame - block_start) as usize * self.channels;
            write(&self.resampled[sample_of(start)..sample_of(end)]);
            self.frames_given = end;
        }
    }
}

impl Period {
    /// The frames of the target in so many of the source, rounded to the nearest, halves up.
    fn target_frames_of(self, source_frames: u64) -> u64 {
        let periods = source_frames / self.source_frames;
        let rest = source_frames % self.source_frames;
        periods * self.target_frames + (2 * rest * self.target_frames + self.source_frames) / (2 * self.source_frames)
    }
}

fn greatest_common_divisor(first: u32, second: u32) -> u32 {
    if second == 0 {
        first
    } else {
        greatest_common_divisor(second, first % second)
    }
}
