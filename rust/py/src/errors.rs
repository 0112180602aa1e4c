//! What Rust reports, as Python exceptions.

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use voxwire_core::connection::CommandError;

/// A value that is outside what is allowed.
#[expect(clippy::needless_pass_by_value, reason = "the argument of map_err")]
pub(crate) fn value_error(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// An object of the wrong type.
pub(crate) fn type_error(message: impl Into<String>) -> PyErr {
    PyTypeError::new_err(message.into())
}

/// A call at the wrong moment.
#[expect(clippy::needless_pass_by_value, reason = "as value_error")]
pub(crate) fn runtime_error(error: impl ToString) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Too little memory for a result of this size.
pub(crate) fn memory_error(size_bytes: usize) -> PyErr {
    PyMemoryError::new_err(format!("no room for {size_bytes} bytes"))
}

/// What a command of a connection refused.
pub(crate) fn command_error(error: CommandError) -> PyErr {
    if error.is_misuse() {
        runtime_error(error)
    } else {
        value_error(error)
    }
}
