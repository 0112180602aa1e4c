//! The fuzz targets of voxwire as plain functions: libFuzzer runs them, and so does a test on every committed seed.
//!
//! A target panics where a rule is broken, and only then. Bytes of a peer end in events or in a remote error with a
//! close code, never in a third way; how they were cut never changes what comes out; and where somebody else's code
//! knows the answer, both answers are compared.

pub mod base64;
pub mod connection;
mod cuts;
pub mod frames;
pub mod g711;
pub mod http;
pub mod json;
mod memory;
mod room;
pub mod rtcp;
pub mod srtcp;
mod tape;

/// A target: takes any bytes, panics where a rule is broken.
pub type Target = fn(&[u8]);

/// Every target under the name that `fuzz_targets/` and `seeds/` have for it.
pub const TARGETS: [(&str, Target); 11] = [
    ("base64", base64::target),
    ("connection", connection::target),
    ("frames_client", frames::client),
    ("frames_server", frames::server),
    ("g711", g711::target),
    ("http_request", http::request::target),
    ("http_response", http::response::target),
    ("json_client_message", json::client::target),
    ("json_server_message", json::server::target),
    ("rtcp", rtcp::target),
    ("srtcp", srtcp::target),
];
