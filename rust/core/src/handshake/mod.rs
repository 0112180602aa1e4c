//! The HTTP upgrade, both sides (RFC 6455 section 4), under limits; the grammar of heads is read by `httparse`.

mod body;
mod client;
mod emit;
mod fault;
mod head;
mod server;

use sha1::{Digest, Sha1};
use voxwire_kernels::base64;

pub use client::ClientHandshake;
pub use fault::{AnswerFault, Fault};
pub use server::ServerHandshake;

/// Longest HTTP head, in bytes, with the empty line that ends it.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Longest line of a head, in bytes, without its line end.
pub const HEAD_LINE_BYTES: usize = 8 * 1024;
/// Most headers of a head.
pub const HEAD_HEADERS: usize = 64;
/// Longest value of a `Sec-WebSocket-*` header, in bytes.
pub const WEBSOCKET_HEADER_BYTES: usize = 1024;
/// Most bytes kept of the body of a refusal.
pub const ERROR_BODY_BYTES: usize = 64 * 1024;
/// The version of the protocol, as the header `Sec-WebSocket-Version` has it in a request and in a refusal with 426.
pub const VERSION: &str = "13";

/// What a server adds to the key before it hashes it (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` that answers the value of `Sec-WebSocket-Key`.
fn accept_value(key: &str) -> String {
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(ACCEPT_SUFFIX)
        .finalize();
    encode_base64(&digest)
}

fn encode_base64(data: &[u8]) -> String {
    let mut text = Vec::new();
    base64::encode(data, &mut text);
    text.into_iter().map(char::from).collect()
}
