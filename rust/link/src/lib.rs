//! What carries the bytes of a connection: a socket that this side reads itself, and TLS on it.

mod outlet;
pub mod socket;
pub mod tls;
