//! What only Python's own interface can do: buffers read and made without a copy, awaitables without a frame, audio that
//! costs the garbage collector nothing. The one file of the binding with `unsafe`.

#![expect(
    unsafe_code,
    reason = "buffers are borrowed from Python and filled in place, and slots are functions of C"
)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

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

/// Makes a `bytes` of `size` bytes, written once, by `fill` alone; None where `fill` reports failure.
///
/// `fill` must have written every byte when it returns true. Raises `MemoryError` where there is no room.
pub(crate) fn new_bytes(
    py: Python<'_>,
    size: usize,
    fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool,
) -> PyResult<Option<Py<PyBytes>>> {
    let mut bytes = NewBytes::begin(py, size)?;
    Ok(bytes.write(py, 0, size, fill).then(|| bytes.finish(py).unbind()))
}

/// A `bytes` that is being written, from its start on, and that nobody else knows yet.
pub(crate) struct NewBytes {
    object: Py<PyBytes>,
    /// Bytes at its start that are written.
    written: usize,
}

impl NewBytes {
    /// Makes one of `size` bytes.
    ///
    /// Raises `MemoryError` where there is no room.
    pub(crate) fn begin(py: Python<'_>, size: usize) -> PyResult<Self> {
        let length =
            ffi::Py_ssize_t::try_from(size).map_err(|_| PyMemoryError::new_err(format!("no room for {size} bytes")))?;
        // SAFETY: a null source asks for uninitialised bytes; the result is a new reference or null with an error set.
        let object = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(ptr::null(), length);
            Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>()
        };
        Ok(Self {
            object: object.unbind(),
            written: 0,
        })
    }

    /// Lets `fill` write `size` bytes from `start`, up to which all is written; returns what `fill` does, by which it
    /// promises to have written every one.
    ///
    /// # Panics
    ///
    /// If the place is another, or not within the object.
    pub(crate) fn write(
        &mut self,
        py: Python<'_>,
        start: usize,
        size: usize,
        fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool,
    ) -> bool {
        assert!(
            start == self.written && size <= self.size(py) - start,
            "bytes are written in order, and within their object"
        );
        // SAFETY: a live object of more than `start + size` bytes, the last being a null that is not handed out. Nobody
        // else has a reference to it: it was made here and is given away by `finish` (an empty one is shared, but then
        // the slice is empty, too). The bytes are handed out as possibly uninitialised.
        let room = unsafe {
            let place = ffi::PyBytes_AsString(self.object.as_ptr()).cast::<MaybeUninit<u8>>();
            std::slice::from_raw_parts_mut(place.add(start), size)
        };
        let is_written = fill(room);
        if is_written {
            self.written = start + size;
        }
        is_written
    }

    /// The first `size` bytes.
    ///
    /// # Panics
    ///
    /// If they are not written yet.
    pub(crate) fn bytes(&self, size: usize) -> &[u8] {
        assert!(size <= self.written, "bytes are read after they are written");
        // SAFETY: a live object with so many bytes, all of them written (the contract of the base64 decoder, which says so
        // by returning true). Whoever writes to it holds it alone.
        unsafe { std::slice::from_raw_parts(ffi::PyBytes_AsString(self.object.as_ptr()).cast(), size) }
    }

    /// Gives the object away.
    ///
    /// # Panics
    ///
    /// If not all of it is written.
    pub(crate) fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        assert!(
            self.written == self.size(py),
            "bytes are given away once they are written"
        );
        self.object.into_bound(py)
    }

    pub(crate) fn written_bytes(&self) -> usize {
        self.written
    }

    fn size(&self, _py: Python<'_>) -> usize {
        // SAFETY: a live `bytes`, with the interpreter held.
        unsafe { ffi::PyBytes_Size(self.object.as_ptr()).unsigned_abs() }
    }
}

/// What an awaitable is asked for.
pub(crate) enum Step<'py> {
    Value(Bound<'py, PyAny>),
    /// A future of the running loop; when it is done, the source is asked again.
    Wait(Bound<'py, PyAny>),
}

/// What awaitables get their values from. It is called from slots, for which nothing keeps account of references that are
/// not bound to the interpreter: one that is dropped unbound would stay alive until somebody calls this module again.
pub(crate) struct Source {
    /// Told whether it had told to wait before.
    pub(crate) step: for<'py> fn(&Bound<'py, PyAny>, bool) -> PyResult<Step<'py>>,
    /// Nobody waits for this future of `step` any more.
    pub(crate) leave: fn(&Bound<'_, PyAny>, &Bound<'_, PyAny>),
}

/// An awaitable: `await` takes its value at once where there is one, without a coroutine, a frame or an exception.
#[repr(C)]
struct Awaitable {
    object: ffi::PyObject,
    /// Owned; null once it was awaited, and while it is being asked. Of two threads that await at once, one gets it.
    owner: AtomicPtr<ffi::PyObject>,
    /// Owned; what the owner has told us to wait for, or null.
    waiter: AtomicPtr<ffi::PyObject>,
    source: &'static Source,
}

/// Makes an awaitable that is asked for its value when it is awaited; like a coroutine it is spent by that.
pub(crate) fn awaitable<'py>(owner: Bound<'py, PyAny>, source: &'static Source) -> PyResult<Bound<'py, PyAny>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = owner.py();
    let kind = TYPE.get_or_try_init(py, || awaitable_type(py))?;
    // SAFETY: the type is ours, alive and ready; what is made is large enough for `Awaitable`, zero behind its head, which
    // `awaitable_traverse` allows for, and nobody else uses it yet. The reference to the owner moves into it;
    // `awaitable_clear` gives it back.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind.as_ptr().cast(), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let place = object.as_ptr().cast::<Awaitable>();
        (&raw mut (*place).source).write(source);
        (*place).owner.store(owner.into_ptr(), Ordering::Release);
        Ok(object)
    }
}

fn awaitable_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let method = |name: &'static CStr, function: ffi::PyCFunction, flags: c_int| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: ptr::null(),
    };
    // With these it counts as a coroutine, of which a task can be made. Python keeps the address of the table.
    let methods = Box::leak(Box::new([
        method(c"send", awaitable_send_method, ffi::METH_O),
        method(c"throw", awaitable_throw, ffi::METH_VARARGS),
        method(c"close", awaitable_close, ffi::METH_NOARGS),
        ffi::PyMethodDef::zeroed(),
    ]));
    let mut slots = [
        slot(ffi::Py_tp_dealloc, awaitable_dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, awaitable_traverse as *mut c_void),
        slot(ffi::Py_tp_clear, awaitable_clear as *mut c_void),
        slot(ffi::Py_am_await, awaitable_itself as *mut c_void),
        slot(ffi::Py_tp_iter, awaitable_itself as *mut c_void),
        slot(ffi::Py_tp_iternext, awaitable_next as *mut c_void),
        slot(ffi::Py_am_send, awaitable_send as *mut c_void),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(0, ptr::null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    make_type::<Awaitable>(py, c"voxwire._core.Awaitable", flags, &mut slots, None)
}

/// Takes out what a place owns; None where it was taken before.
///
/// # Safety
///
/// The place belongs to a live `Awaitable`, and the interpreter is held.
unsafe fn taken<'py>(py: Python<'py>, place: &AtomicPtr<ffi::PyObject>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: as the caller promises. The place holds null or a reference that is ours, and null after this.
    unsafe { Bound::from_owned_ptr_or_opt(py, place.swap(ptr::null_mut(), Ordering::AcqRel)) }
}

/// Takes owner and waiter out and tells the owner where nobody waits any more; returns the owner, and whether there was
/// a waiter.
///
/// # Safety
///
/// `object` is a live `Awaitable`, and the interpreter is held.
unsafe fn left(py: Python<'_>, object: *mut ffi::PyObject) -> Option<(Bound<'_, PyAny>, bool)> {
    // SAFETY: as the caller promises.
    let (owner, waiter, source) = unsafe {
        let awaitable = &*object.cast::<Awaitable>();
        (
            taken(py, &awaitable.owner),
            taken(py, &awaitable.waiter),
            awaitable.source,
        )
    };
    if let (Some(owner), Some(waiter)) = (&owner, &waiter) {
        (source.leave)(owner, waiter);
    }
    owner.map(|owner| (owner, waiter.is_some()))
}

unsafe extern "C" fn awaitable_dealloc(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, holding the interpreter, with an `Awaitable` that nobody refers to any more; the
    // collector must forget it first. An instance of a type on the heap holds a reference to that, which is given back
    // last.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        drop(left(Python::assume_attached(), object));
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn awaitable_traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a live `Awaitable` and what to call for each object that it refers to; one of a class
    // on the heap refers to that too. Nothing is taken out meanwhile.
    unsafe {
        let awaitable = &*object.cast::<Awaitable>();
        for place in [&awaitable.owner, &awaitable.waiter] {
            let referred = place.load(Ordering::Acquire);
            let outcome = if referred.is_null() {
                0
            } else {
                visit(referred, argument)
            };
            if outcome != 0 {
                return outcome;
            }
        }
        visit(ffi::Py_TYPE(object).cast(), argument)
    }
}

unsafe extern "C" fn awaitable_clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: a live `Awaitable`; its places hold null before the references are given back, which may run foreign code.
    unsafe {
        drop(left(Python::assume_attached(), object));
    }
    0
}

unsafe extern "C" fn awaitable_itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python passes a live object and takes a new reference to it.
    unsafe { ffi::Py_NewRef(object) }
}

/// `await`, where the interpreter asks without an exception.
unsafe extern "C" fn awaitable_send(
    object: *mut ffi::PyObject,
    _sent: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: Python passes a live `Awaitable` and the place for a new reference, and holds the interpreter. What is put
    // back into the places is owned, and they hold null.
    unsafe {
        let py = Python::assume_attached();
        let awaitable = &*object.cast::<Awaitable>();
        let stepped = match left(py, object) {
            Some((owner, has_waited)) => (awaitable.source.step)(&owner, has_waited).and_then(|step| match step {
                Step::Value(value) => Ok((ffi::PySendResult::PYGEN_RETURN, value)),
                Step::Wait(waiter) => {
                    // By this a task knows that it may wait for it.
                    if let Err(error) = waiter.setattr(intern!(py, "_asyncio_future_blocking"), true) {
                        (awaitable.source.leave)(&owner, &waiter);
                        return Err(error);
                    }
                    awaitable.waiter.store(waiter.clone().into_ptr(), Ordering::Release);
                    awaitable.owner.store(owner.into_ptr(), Ordering::Release);
                    Ok((ffi::PySendResult::PYGEN_NEXT, waiter))
                }
            }),
            None => Err(PyRuntimeError::new_err("cannot reuse an awaitable that was awaited")),
        };
        match stepped {
            Ok((outcome, value)) => {
                result.write(value.into_ptr());
                outcome
            }
            Err(error) => {
                error.restore(py);
                result.write(ptr::null_mut());
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

/// The same for those who iterate: the value comes in the exception that ends it.
unsafe extern "C" fn awaitable_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let mut value = ptr::null_mut();
    // SAFETY: as for `awaitable_send`, which gives a new reference unless it fails. The exception is made by a call of its
    // class, since `PyErr_SetObject` would take a tuple apart, and an exception for itself.
    unsafe {
        match awaitable_send(object, ptr::null_mut(), &raw mut value) {
            ffi::PySendResult::PYGEN_NEXT => return value,
            ffi::PySendResult::PYGEN_RETURN => {
                let kind = ffi::PyExc_StopIteration;
                let exception = ffi::PyObject_CallFunctionObjArgs(kind, value, ptr::null_mut::<ffi::PyObject>());
                ffi::Py_DECREF(value);
                if !exception.is_null() {
                    ffi::PyErr_SetObject(kind, exception);
                    ffi::Py_DECREF(exception);
                }
            }
            ffi::PySendResult::PYGEN_ERROR => {}
        }
    }
    ptr::null_mut()
}

unsafe extern "C" fn awaitable_send_method(
    object: *mut ffi::PyObject,
    _sent: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python passes a live `Awaitable`.
    unsafe { awaitable_next(object) }
}

/// Spends it without a value: nothing is taken from the source.
unsafe extern "C" fn awaitable_close(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python passes a live `Awaitable`, holding the interpreter.
    unsafe {
        drop(left(Python::assume_attached(), object));
        ffi::Py_NewRef(ffi::Py_None())
    }
}

/// Spends it and raises what was thrown: an instance, or a class with its argument.
unsafe extern "C" fn awaitable_throw(object: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let (mut kind, mut value, mut trace) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut::<ffi::PyObject>());
    // SAFETY: Python passes a live `Awaitable` and a tuple, holding the interpreter; what is unpacked of that is borrowed.
    unsafe {
        let name = c"throw".as_ptr();
        if ffi::PyArg_UnpackTuple(arguments, name, 1, 3, &raw mut kind, &raw mut value, &raw mut trace) == 0 {
            return ptr::null_mut();
        }
        drop(left(Python::assume_attached(), object));
        if ffi::PyExceptionInstance_Check(kind) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(kind).cast(), kind);
        } else if ffi::PyExceptionClass_Check(kind) != 0 {
            ffi::PyErr_SetObject(kind, value);
        } else {
            let expected = c"exceptions must be classes or instances deriving from BaseException";
            ffi::PyErr_SetString(ffi::PyExc_TypeError, expected.as_ptr());
        }
    }
    ptr::null_mut()
}

/// A piece of audio. Hundreds come with one read, so it is as plain as an object can be: no part of a cycle, hence unknown
/// to the garbage collector, and read by the interpreter without a call.
#[repr(C)]
struct Audio {
    object: ffi::PyObject,
    /// The references are owned and never null.
    data: *mut ffi::PyObject,
    format: *mut ffi::PyObject,
    flush_id: *mut ffi::PyObject,
    start_s: f64,
}

/// Audio that knows its context, which may know it in turn: the garbage collector has to look.
#[repr(C)]
struct OwnedAudio {
    audio: Audio,
    /// Owned; null once the collector has cleared it.
    context: *mut ffi::PyObject,
}

/// The name of a field, for C.
macro_rules! name {
    ($field:ident) => {
        concat!(stringify!($field), "\0").as_ptr().cast()
    };
}

/// A field that Python reads by itself; the code must name its type.
macro_rules! member {
    ($object:ident, $field:ident, $code:expr) => {
        ffi::PyMemberDef {
            name: name!($field),
            type_code: $code,
            offset: offset_of!($object, $field).cast_signed(),
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        }
    };
}

/// The classes of audio: without and with a context.
struct AudioTypes {
    plain: Py<PyType>,
    owned: Py<PyType>,
}

/// Makes the Python object of a piece of audio; one with a context is of a class of its own.
pub(crate) fn new_audio(
    data: Bound<'_, PyBytes>,
    format: Py<PyAny>,
    start_s: f64,
    flush_id: Option<u64>,
    context: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let py = data.py();
    let types = audio_types(py)?;
    let flush_id = match flush_id {
        None => py.None(),
        Some(flush_id) => flush_id.into_pyobject(py)?.into_any().unbind(),
    };
    // SAFETY: both types are ours and ready, of a size that fits the structure, and each object is allocated as the flags
    // of its type demand. Every place behind the head is written before anybody else can see it: `PyType_GenericAlloc`
    // tells the collector of an object whose places are null, which `owned_audio_traverse` allows for. The references move
    // into the object; `audio_dealloc` or `owned_audio_dealloc` gives them back.
    unsafe {
        let object = if context.is_some() {
            ffi::PyType_GenericAlloc(types.owned.as_ptr().cast(), 0)
        } else {
            let memory = ffi::PyObject_Malloc(size_of::<Audio>()).cast::<ffi::PyObject>();
            if memory.is_null() {
                return Err(PyMemoryError::new_err("no room for a piece of audio"));
            }
            ffi::PyObject_Init(memory, types.plain.as_ptr().cast())
        };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let place = object.cast::<Audio>();
        (&raw mut (*place).data).write(data.into_ptr());
        (&raw mut (*place).format).write(format.into_ptr());
        (&raw mut (*place).flush_id).write(flush_id.into_ptr());
        (&raw mut (*place).start_s).write(start_s);
        if let Some(context) = context {
            (&raw mut (*object.cast::<OwnedAudio>()).context).write(context.into_ptr());
        }
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

/// The class that Python knows as `Audio`.
pub(crate) fn audio_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    Ok(audio_types(py)?.plain.clone_ref(py))
}

fn audio_types(py: Python<'_>) -> PyResult<&AudioTypes> {
    static TYPES: PyOnceLock<AudioTypes> = PyOnceLock::new();
    TYPES.get_or_try_init(py, || {
        let plain = plain_audio_type(py)?;
        let owned = owned_audio_type(py, &plain)?;
        Ok(AudioTypes { plain, owned })
    })
}

fn plain_audio_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let mut members = [
        member!(Audio, data, ffi::Py_T_OBJECT_EX),
        member!(Audio, format, ffi::Py_T_OBJECT_EX),
        member!(Audio, start_s, ffi::Py_T_DOUBLE),
        member!(Audio, flush_id, ffi::Py_T_OBJECT_EX),
        ffi::PyMemberDef::default(),
    ];
    // Python keeps the address of this table, so it lives as long as the program; it is made once.
    let properties = Box::leak(Box::new([
        ffi::PyGetSetDef {
            name: name!(context),
            get: Some(audio_context),
            ..ffi::PyGetSetDef::default()
        },
        ffi::PyGetSetDef::default(),
    ]));
    let signature = c"Audio(data, format, start_s, flush_id, context=None)\n--\n\nA piece of audio of one context.";
    let mut slots = [
        slot(ffi::Py_tp_new, audio_new as *mut c_void),
        slot(ffi::Py_tp_dealloc, audio_dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, audio_repr as *mut c_void),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(ffi::Py_tp_getset, properties.as_mut_ptr().cast()),
        slot(ffi::Py_tp_doc, signature.as_ptr().cast_mut().cast()),
        slot(0, ptr::null_mut()),
    ];
    // A base for our own second class; `audio_new` makes none of a user's.
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE;
    make_type::<Audio>(py, c"voxwire._core.Audio", flags, &mut slots, None)
}

fn owned_audio_type(py: Python<'_>, base: &Py<PyType>) -> PyResult<Py<PyType>> {
    let mut members = [
        member!(OwnedAudio, context, ffi::Py_T_OBJECT_EX),
        ffi::PyMemberDef::default(),
    ];
    let mut slots = [
        slot(ffi::Py_tp_dealloc, owned_audio_dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, owned_audio_traverse as *mut c_void),
        slot(ffi::Py_tp_clear, owned_audio_clear as *mut c_void),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(0, ptr::null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    // Of the same name: to whoever looks at it, it is the same.
    make_type::<OwnedAudio>(py, c"voxwire._core.Audio", flags, &mut slots, Some(base))
}

/// A slot of a class; the function or table must be what the number names.
fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// Makes a class of slots, the last of which is zero, for a structure that begins with an object's head.
fn make_type<Object>(
    py: Python<'_>,
    name: &'static CStr,
    flags: c_ulong,
    slots: &mut [ffi::PyType_Slot],
    base: Option<&Py<PyType>>,
) -> PyResult<Py<PyType>> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: c_int::try_from(size_of::<Object>()).unwrap_or(c_int::MAX),
        itemsize: 0,
        // Nobody gives these classes another constructor, or an object another class: places would be null.
        flags: (flags | ffi::Py_TPFLAGS_IMMUTABLETYPE) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    let base = base.map_or_else(ptr::null_mut, Py::as_ptr);
    // SAFETY: names, functions and the table of properties must live as long as the class, which is never freed: the
    // names and functions do, and the table is leaked where it is made. Members and documentation are copied. Each slot holds what
    // its number asks for, as the callers in this file see to. The result is a new reference, or null with an error set.
    unsafe {
        let kind = Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&raw mut spec, base))?;
        Ok(kind.cast_into_unchecked::<PyType>().unbind())
    }
}

unsafe extern "C" fn audio_context(_object: *mut ffi::PyObject, _closure: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: None is always there; Python takes a new reference.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

unsafe extern "C" fn audio_new(
    kind: *mut ffi::PyTypeObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let mut names = [
        name!(data),
        name!(format),
        name!(start_s),
        name!(flush_id),
        name!(context),
        ptr::null::<c_char>(),
    ];
    let (mut data, mut format, mut flush_id) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let mut start_s = 0.0_f64;
    // SAFETY: Python passes a tuple and a dict or null, holding the interpreter. The format asks for bytes, an object, a
    // double, an object and perhaps a third, and each has a place of its type; what comes is borrowed from the arguments.
    unsafe {
        let mut context = ffi::Py_None();
        let parsed = ffi::PyArg_ParseTupleAndKeywords(
            arguments,
            keywords,
            c"SOdO|O:Audio".as_ptr(),
            names.as_mut_ptr().cast(),
            &raw mut data,
            &raw mut format,
            &raw mut start_s,
            &raw mut flush_id,
            &raw mut context,
        );
        if parsed == 0 {
            return ptr::null_mut();
        }
        let py = Python::assume_attached();
        let refused = match audio_type(py) {
            Err(error) => Some(error),
            Ok(ours) if ours.as_ptr() != kind.cast() => Some(PyTypeError::new_err("Audio cannot be derived from")),
            // One of a class of its own could refer to anything, and the collector does not look there.
            Ok(_) if ffi::PyBytes_CheckExact(data) == 0 => Some(PyTypeError::new_err("data must be bytes")),
            Ok(_) => None,
        };
        if let Some(error) = refused {
            error.restore(py);
            return ptr::null_mut();
        }
        let data = Bound::from_borrowed_ptr(py, data).cast_into_unchecked::<PyBytes>();
        let format = Bound::from_borrowed_ptr(py, format).unbind();
        let context = Some(Bound::from_borrowed_ptr(py, context)).filter(|context| !context.is_none());
        let made = Bound::from_borrowed_ptr(py, flush_id)
            .extract()
            .and_then(|flush_id| new_audio(data, format, start_s, flush_id, context.map(Bound::unbind)));
        match made {
            Ok(audio) => audio.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

unsafe extern "C" fn audio_dealloc(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, holding the interpreter, with an `Audio` that nobody refers to any more.
    unsafe {
        audio_release(object.cast());
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn owned_audio_dealloc(object: *mut ffi::PyObject) {
    // SAFETY: as above, with an `OwnedAudio`, which the collector must forget first.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        audio_release(object.cast());
        owned_audio_clear(object);
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// Gives back what every audio refers to.
///
/// # Safety
///
/// The audio is being deallocated, and the interpreter is held.
unsafe fn audio_release(audio: *mut Audio) {
    // SAFETY: the references are owned, and nobody looks at them again.
    unsafe {
        ffi::Py_DECREF((*audio).data);
        ffi::Py_DECREF((*audio).format);
        ffi::Py_DECREF((*audio).flush_id);
    }
}

unsafe extern "C" fn owned_audio_traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a live `OwnedAudio` and what to call for each object that it refers to; one of a class
    // on the heap refers to that too. Bytes and int refer to nothing.
    unsafe {
        let context = (*object.cast::<OwnedAudio>()).context;
        let outcome = if context.is_null() { 0 } else { visit(context, argument) };
        if outcome != 0 {
            return outcome;
        }
        let format = (*object.cast::<Audio>()).format;
        let outcome = if format.is_null() { 0 } else { visit(format, argument) };
        if outcome != 0 {
            return outcome;
        }
        visit(ffi::Py_TYPE(object).cast(), argument)
    }
}

unsafe extern "C" fn owned_audio_clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: a live `OwnedAudio`; its place holds null before the reference is given back, which may run foreign code.
    unsafe {
        let context = ptr::replace(&raw mut (*object.cast::<OwnedAudio>()).context, ptr::null_mut());
        ffi::Py_XDECREF(context);
    }
    0
}

/// Shows no audio.
unsafe extern "C" fn audio_repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python passes a live `Audio`, whose data is bytes and whose flush id is an int or None.
    unsafe {
        let audio = &*object.cast::<Audio>();
        let py = Python::assume_attached();
        let flush_id = Bound::from_borrowed_ptr(py, audio.flush_id);
        let size = ffi::PyBytes_Size(audio.data);
        let text = format!(
            "<Audio of {size} bytes, start_s={}, flush_id={flush_id}>",
            audio.start_s
        );
        ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len().cast_signed())
    }
}
