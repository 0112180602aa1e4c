//! What Python lends for the time of a call. The one file of the bindings' common part with `unsafe`.

#![expect(unsafe_code, reason = "buffers and descriptors are borrowed from Python")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A descriptor of our own for the one that Python names by its number.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: not negative, and the borrow ends with this expression; whoever passed the number keeps it open until
    // then. Were it closed all the same, the system would refuse the number or duplicate a stranger: no memory is at
    // stake.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// Calls `read` with the bytes of any contiguous buffer, borrowed for this one call.
pub fn with_bytes<R>(object: &Bound<'_, PyAny>, read: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return Ok(read(bytes.as_bytes()));
    }
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("buffer is not contiguous"));
    }
    if buffer.len_bytes() == 0 {
        // Its pointer may be null.
        return Ok(read(&[]));
    }
    // SAFETY: the exporter promises that many readable bytes at this address until the buffer is released, which is
    // after `read` has returned: `read` cannot keep the slice, since its result does not know the slice's lifetime. No
    // Python code runs meanwhile, since `read` only copies. What cannot be promised is that no foreign thread writes to
    // the memory without the interpreter: whoever passes such a buffer must not.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    Ok(read(bytes))
}
