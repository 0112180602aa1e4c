//! The numbers that the core owns, shown to Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use voxwire_audio::{Encoding, SAMPLE_RATES};
use voxwire_core::error::close_code;
use voxwire_core::{connection, context, frame, handshake, message};

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let sample_widths = PyDict::new(py);
    for encoding in Encoding::ALL {
        sample_widths.set_item(encoding.name(), encoding.sample_width())?;
    }
    let limits = PyDict::new(py);
    limits.set_item("client_message_bytes", connection::CLIENT_MESSAGE_BYTES)?;
    limits.set_item("server_message_bytes", connection::SERVER_MESSAGE_BYTES)?;
    limits.set_item("json_depth", message::JSON_DEPTH)?;
    limits.set_item("empty_fragments", frame::MAX_EMPTY_FRAGMENTS)?;
    limits.set_item("head_bytes", handshake::HEAD_BYTES)?;
    limits.set_item("head_line_bytes", handshake::HEAD_LINE_BYTES)?;
    limits.set_item("head_headers", handshake::HEAD_HEADERS)?;
    limits.set_item("error_body_bytes", handshake::ERROR_BODY_BYTES)?;
    limits.set_item("unusable_messages", connection::UNUSABLE_MESSAGES)?;
    limits.set_item("chunk_bytes", connection::CHUNK_BYTES)?;
    limits.set_item("first_chunk_bytes", connection::FIRST_CHUNK_BYTES)?;
    limits.set_item("context_id_length", message::CONTEXT_ID_LENGTH)?;
    limits.set_item("joined_chunk_bytes", connection::JOINED_CHUNK_BYTES)?;
    limits.set_item("buffer_delay_ms", context::BUFFER_DELAY_MS)?;
    limits.set_item("remembered_contexts", context::REMEMBERED_CONTEXTS)?;
    let close_codes = PyDict::new(py);
    for (name, code) in [
        ("normal", close_code::NORMAL),
        ("going_away", close_code::GOING_AWAY),
        ("protocol_error", close_code::PROTOCOL_ERROR),
        ("unsupported", close_code::UNSUPPORTED),
        ("no_status", close_code::NO_STATUS),
        ("abnormal", close_code::ABNORMAL),
        ("invalid_data", close_code::INVALID_DATA),
        ("policy", close_code::POLICY),
        ("too_big", close_code::TOO_BIG),
        ("internal", close_code::INTERNAL),
    ] {
        close_codes.set_item(name, code)?;
    }
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("SAMPLE_WIDTHS", sample_widths)?;
    module.add("SAMPLE_RATES", PyTuple::new(py, SAMPLE_RATES)?)?;
    module.add("LIMITS", limits)?;
    module.add("CLOSE_CODES", close_codes)
}
