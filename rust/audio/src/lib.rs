//! Audio encodings, transcoding between them, and streaming conversion between sample rates.
//!
//! All audio is interleaved and little-endian. Nothing here reads a clock or does I/O.

mod encoding;
mod error;
mod resampler;
mod stream;
mod transcode;

pub use encoding::{Encoding, Format, SAMPLE_RATES};
pub use error::{CutSample, FormatError};
pub use stream::Stream;
pub use transcode::{transcode, transcode_into, transcoded_len};
