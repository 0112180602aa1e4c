//! TLS 1.2 and 1.3 of a client, sans-I/O: encrypted bytes in, plain bytes out.
//!
//! On rustls with aws-lc-rs, whose AES-GCM is the only one measured here that uses VAES (performance.md 12), through the
//! unbuffered API: a record is opened in the buffer that the socket was read into, and no second buffer is held for it.

#![forbid(unsafe_code)]

mod config;
mod error;
mod records;
mod session;

pub use config::{ConfigError, TlsConfig, TlsFiles};
pub use error::TlsError;
pub use session::{MAX_UNCONSUMED_BYTES, Taken, Tls};
