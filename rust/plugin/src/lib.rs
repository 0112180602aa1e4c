//! What the bindings of native sink plugins share: bytes that Python lends, descriptors, errors, positions.

mod errors;
mod lent;

pub use errors::{FormatRefused, Numbers, SinkBusy, SinkClosed, SinkError, SinkLost, numbers, refused};
pub use lent::{duplicate, with_bytes};
