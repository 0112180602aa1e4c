//! Protocol messages to and from JSON (protocol.md 3, 4 and 9; the contract of the JSON is stricter than RFC 8259 asks).
//!
//! One message is scanned once, without recursion and in linear time; members that nobody reads are stepped over
//! without building values. No input panics, and no error quotes what it refuses: kind and byte index are enough.

pub mod decode;
pub mod encode;
mod envelope;
pub mod json;
mod server;

pub(crate) use decode::decode_server_placed;
pub use decode::{ClientMessage, Unusable, UnusableReason, decode_client, decode_server, decode_server_strict};
pub(crate) use envelope::{Envelopes, Front};
pub use server::{ErrorEvent, MessageError, ServerMessage, Timed, TimestampKind};

/// Deepest nesting of objects and arrays that is read; the outermost object has depth 1.
pub const JSON_DEPTH: usize = 32;

/// Longest `context_id` in Unicode code points (protocol.md 2.6).
pub const CONTEXT_ID_LENGTH: usize = 256;

/// Whether a context may have this id: 1 to [`CONTEXT_ID_LENGTH`] code points, none of them U+0000.
pub fn is_usable_context_id(id: &str) -> bool {
    // The length in bytes answers without counting for all but the unusual.
    !id.is_empty()
        && (id.len() <= CONTEXT_ID_LENGTH || id.chars().nth(CONTEXT_ID_LENGTH).is_none())
        && !id.as_bytes().contains(&0)
}

/// Whether an id stands in a message just as it is, with nothing that would have to be escaped and nothing beyond ASCII.
pub(crate) fn is_plain_context_id(id: &str) -> bool {
    json::is_plain(id.as_bytes())
}
