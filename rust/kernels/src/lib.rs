//! The inner loops of voxwire: base64, G.711, sample conversion, WebSocket masks.
//!
//! Every function here is pure: bytes in, bytes out, no I/O, no clock, no global state but the processor's
//! features. This crate is the home of `unsafe`; each block states its proof, and what is public is safe to
//! call with any input.

pub mod base64;
pub mod convert;
pub mod g711;
pub mod mask;
pub mod sample;
