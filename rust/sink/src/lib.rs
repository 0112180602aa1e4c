//! What native sinks are built on: audio on its way from the host to a device, counted by segments, and a wake by
//! descriptor. No Python, no device, no clock, no thread: time is an argument, and each sink brings a thread of its own.
//!
//! A [`Queue`] stands between the two. The host writes, finishes, clears and asks where the sink stands; the device's
//! thread takes frames and says how far they got, or consumes them where what it takes is gone. Each of these holds one
//! lock for the time of a copy, so neither side ever waits for what the other does with the audio.

#![forbid(unsafe_code)]

mod queue;
mod reading;
mod ring;
mod timeline;
mod wake;

pub use queue::Queue;
pub use reading::{Consumed, Look, Loss, Piece, Position, Progress, Quality, Refusal, Written};
pub use timeline::Timeline;
pub use wake::Wake;
