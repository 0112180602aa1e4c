//! Which of the frames that a device was given are audio, and which are silence put around it.

use std::collections::VecDeque;

/// A device counts what it is given from its last start; the host counts audio from the start of a segment. This joins
/// the two.
#[derive(Debug, Default)]
pub struct Timeline {
    spans: VecDeque<Span>,
    /// Frames of either kind that were given since the last restart.
    handed: u64,
    /// Frames before the first span, and where the audio stands there.
    passed: u64,
    audio_passed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    frames: u64,
    audio: bool,
}

impl Timeline {
    /// The device begins anew; the next audio frame is number `audio` of its segment.
    pub fn restart(&mut self, audio: u64) {
        self.spans.clear();
        self.handed = 0;
        self.passed = 0;
        self.audio_passed = audio;
    }

    /// The device was given audio.
    pub fn push_audio(&mut self, frames: u64) {
        self.push(frames, true);
    }

    /// The device was given silence, which nobody counts.
    pub fn push_silence(&mut self, frames: u64) {
        self.push(frames, false);
    }

    /// Frames given since the last restart.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// Where the audio stands in its segment once the device has got through that many of its frames.
    pub fn audio_at(&self, frames: u64) -> u64 {
        let mut audio = self.audio_passed;
        let mut rest = frames.saturating_sub(self.passed);
        for span in &self.spans {
            let here = rest.min(span.frames);
            if span.audio {
                audio += here;
            }
            rest -= here;
        }
        audio
    }

    /// Forgets what lies before that frame: nobody will ask for an earlier one.
    pub fn forget_before(&mut self, frames: u64) {
        while let Some(first) = self.spans.front_mut() {
            let here = frames.saturating_sub(self.passed).min(first.frames);
            if here == 0 {
                return;
            }
            self.passed += here;
            first.frames -= here;
            if first.audio {
                self.audio_passed += here;
            }
            if first.frames == 0 {
                self.spans.pop_front();
            }
        }
    }

    fn push(&mut self, frames: u64, audio: bool) {
        self.handed += frames;
        match self.spans.back_mut() {
            Some(last) if last.audio == audio => last.frames += frames,
            _ => self.spans.push_back(Span { frames, audio }),
        }
    }
}
