//! Python buffers, read and made without a copy, and what else Python's own interface alone can do: the one file of the
//! binding with `unsafe`.

#![expect(unsafe_code, reason = "buffers are borrowed from Python and filled in place")]

use std::mem::MaybeUninit;
use std::ptr;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Calls `read` with the bytes of any contiguous buffer, borrowed for this one call.
///
/// Raises `TypeError` for what is no buffer and `BufferError` for one that is not contiguous.
pub(crate) fn with_bytes<R>(object: &Bound<'_, PyAny>, read: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return Ok(read(bytes.as_bytes()));
    }
    let mut view = View(ffi::Py_buffer::new());
    // SAFETY: `view` is writable memory of the right type, and we hold the interpreter (`object` is bound to it). With
    // PyBUF_SIMPLE a success promises contiguous bytes. On failure `obj` stays null, so that the release is a no-op.
    let outcome = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut view.0, ffi::PyBUF_SIMPLE) };
    if outcome != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    let bytes = if view.0.len == 0 {
        // An empty buffer may have a null pointer.
        &[]
    } else {
        // SAFETY: the exporter promises `len` readable bytes at `buf` until the release, which `View` does after `read`
        // has returned: `read` cannot keep the slice, since its result does not know the slice's lifetime. Nobody
        // resizes an exported buffer, and no Python code runs meanwhile, since `read` only calls the core. What cannot
        // be promised is that no foreign thread writes to the memory without the interpreter: whoever passes such a
        // buffer must not.
        unsafe { std::slice::from_raw_parts(view.0.buf.cast::<u8>(), view.0.len.unsigned_abs()) }
    };
    Ok(read(bytes))
}

/// A buffer that is given back on every way out; it stays where it was made, as some exporters demand.
struct View(ffi::Py_buffer);

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer or still empty (then a no-op); released once; made and dropped inside
        // `with_bytes`, so under the same hold of the interpreter.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) }
    }
}

/// Takes an object out of the care of Python's garbage collector, which then need not visit it.
///
/// For objects that can be no part of a cycle: where one is, nothing ever frees it.
pub(crate) fn untrack<T>(object: &Bound<'_, T>) {
    // SAFETY: `object` is alive and we hold the interpreter (it is bound to it). A class of ours that can be traversed
    // is allocated with the collector's header; for another this is not called. Untracking twice, as the deallocator
    // does later, is allowed.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) }
}

/// Makes a `bytes` of `size` bytes, written once, by `fill` alone; None where `fill` reports failure.
///
/// `fill` must have written every byte when it returns true. Raises `MemoryError` where there is no room.
pub(crate) fn new_bytes(
    py: Python<'_>,
    size: usize,
    fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool,
) -> PyResult<Option<Py<PyBytes>>> {
    let length =
        ffi::Py_ssize_t::try_from(size).map_err(|_| PyMemoryError::new_err(format!("no room for {size} bytes")))?;
    // SAFETY: a null source asks for uninitialised bytes; the result is a new reference or null with an error set.
    let object = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(ptr::null(), length))?
            .cast_into_unchecked::<PyBytes>()
    };
    // SAFETY: the object is new (for a size of 0 shared, but then the slice is empty), nobody else knows it, and it has
    // `size` writable bytes at this address. They are handed out as possibly uninitialised. Python sees the object only
    // where `fill` returned true, by which it promises to have written every byte (the base64 decoder's contract).
    let room = unsafe {
        let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>();
        std::slice::from_raw_parts_mut(start, size)
    };
    Ok(fill(room).then(|| object.unbind()))
}
