//! The inner loops of voxwire: base64, G.711, sample conversion, WebSocket masks.
//!
//! Every function here is pure: bytes in, bytes out, no I/O, no clock, no global state but the processor's
//! features. This crate is the home of `unsafe`; each block states its proof, and what is public is safe to
//! call with any input.

#[cfg(target_endian = "big")]
compile_error!("samples are little-endian on the wire, and floats are converted where they lie in memory");

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod base64;
pub mod convert;
pub mod g711;
pub mod mask;
mod path;
pub mod sample;
#[doc(hidden)]
pub mod width;
