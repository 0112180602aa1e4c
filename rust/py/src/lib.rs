//! `voxwire._core`: translation between Python and the core. It holds no rule of the protocol.

mod audio;
mod connection;
mod constants;
mod errors;
mod events;
mod handshake;
mod inbox;
mod raw;
mod socket;
mod tls;
mod values;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::audio::{Resampler, decode_base64, encode_base64, transcode};
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::events::{Batch, Cancel, Closed, Failed, Finished, FlushDone, Message, Request, Timestamps, Unusable};
    #[pymodule_export]
    use crate::handshake::{ClientHandshake, ServerHandshake};
    #[pymodule_export]
    use crate::inbox::{AudioTally, Batches, Inbox};
    #[pymodule_export]
    use crate::socket::{ReadBuffer, Reader, Socket};
    #[pymodule_export]
    use crate::tls::TlsContext;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("Audio", crate::raw::audio_type(module.py())?)?;
        crate::constants::add_to(module)
    }
}
