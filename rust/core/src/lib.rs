//! The protocol of voxwire: bytes in, events out, for both ends of a connection.
//!
//! Sans-I/O: nothing here knows a socket, a clock, a thread or Python. No input of a peer can cause a panic, and work and
//! memory are linear in the bytes received.

#![forbid(unsafe_code)]

pub mod connection;
pub mod context;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod message;
mod utf8;

/// Strict base64, for whoever needs it outside of a message.
pub use voxwire_kernels::base64;
