//! What a connection is told at its start.

use crate::frame::Role;

/// Bytes of one message that a client accepts at most (protocol.md 13); plain connections too.
pub const CLIENT_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one message that a server accepts at most (protocol.md 2.6).
pub const SERVER_MESSAGE_BYTES: u64 = 1024 * 1024;
/// Seconds from one of our pings to the next, by default.
pub const PING_INTERVAL_S: f64 = 20.0;
/// Seconds that a pong may take, by default.
pub const PING_TIMEOUT_S: f64 = 20.0;
/// Seconds that the peer's Close may take, by default.
pub const CLOSE_TIMEOUT_S: f64 = 2.0;
/// Seconds that a server may owe an answer and send nothing, by default.
pub const INACTIVITY_TIMEOUT_S: f64 = 10.0;

/// What a connection is told at its start. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// False delivers plain WebSocket messages.
    pub messages: bool,
    /// Bytes of one received message at most; None for the role's own limit.
    pub max_message_bytes: Option<u64>,
    /// From one of our pings to the next; None for none.
    pub ping_interval_s: Option<f64>,
    /// How long a pong may take before the peer counts as dead.
    pub ping_timeout_s: f64,
    /// How long the peer's Close may take.
    pub close_timeout_s: f64,
    /// How long a server may owe something to a client's context and send nothing; None for any time.
    pub inactivity_timeout_s: Option<f64>,
    /// Random bytes for the masks of a client.
    pub seed: [u8; 32],
    /// Present time on a monotonic clock of the caller's choice.
    pub now: f64,
}

impl Config {
    /// The defaults of faults.md section 2, at time 0.
    pub const fn new(role: Role, seed: [u8; 32]) -> Self {
        Self {
            role,
            messages: true,
            max_message_bytes: None,
            ping_interval_s: Some(PING_INTERVAL_S),
            ping_timeout_s: PING_TIMEOUT_S,
            close_timeout_s: CLOSE_TIMEOUT_S,
            inactivity_timeout_s: Some(INACTIVITY_TIMEOUT_S),
            seed,
            now: 0.0,
        }
    }
}
