//! RFC 6455 frames: bytes <-> messages and control frames, for both roles.
//!
//! The reader is strict in every place where the RFC says MUST, whatever the pieces in which the bytes come:
//!
//! | rule | source | close code |
//! |---|---|---|
//! | reserved bits and opcodes are 0 or known | 5.2 | 1002 |
//! | a client masks every frame, a server none | 5.1 | 1002 |
//! | a length takes the fewest bytes, its highest bit is 0 | 5.2 | 1002 |
//! | control frames are whole, at most 125 bytes, also between fragments | 5.4, 5.5 | 1002 |
//! | a continuation continues something, a new message waits for the end of the last | 5.4 | 1002 |
//! | a Close has a code that may be sent, or nothing | 5.5.1, 7.4 | 1002 |
//! | text and close reasons are UTF-8: the first bad byte fails, also within a frame | 8.1 | 1007 |
//! | a message within the limit, tested on the header | 7.4.1 | 1009 |
//! | at most 1024 empty fragments in a row | ours | 1008 |

mod header;
mod reader;
mod writer;

pub use header::MAX_HEADER_BYTES;
pub use reader::{FrameReader, Incoming, Part, check_utf8};
pub use writer::{FrameWriter, Opcode};

/// Longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Empty fragments in a row that a message may hold: each costs work and brings nothing.
pub const MAX_EMPTY_FRAGMENTS: u32 = 1024;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Masks what it sends, refuses masked frames.
    Client,
    /// Sends unmasked, refuses unmasked frames.
    Server,
}
