//! The events, as Python objects. A `repr` shows no audio, no transcript and no id.

use std::collections::HashMap;

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList};
use voxwire_core::connection::{Closed as ClosedInfo, Failure, TimedOut};
use voxwire_core::message::TimestampKind;
use voxwire_core::message::json::Value;

use crate::inbox::Inbox;
use crate::raw::{NewBytes, new_audio};
use crate::values;

/// The Python objects that a context belongs to.
pub(crate) struct Owner {
    /// An [`Inbox`] stands for its owner.
    pub(crate) context: Py<PyAny>,
    pub(crate) format: Py<PyAny>,
}

impl Owner {
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self {
            context: self.context.clone_ref(py),
            format: self.format.clone_ref(py),
        }
    }

    /// Whom Python knows as the context.
    fn context(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        owner_of(py, self.context)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.format)
    }
}

fn owner_of(py: Python<'_>, context: Py<PyAny>) -> PyResult<Py<PyAny>> {
    match context.bind(py).cast_exact::<Inbox>() {
        Ok(inbox) => Ok(inbox.try_borrow()?.owner(py)),
        Err(_) => Ok(context),
    }
}

/// What the core tells of this binding.
pub(crate) type CoreEvent = voxwire_core::connection::Event<Owner, NewBytes>;

/// Makes the Python object of an event.
pub(crate) fn to_python(py: Python<'_>, event: CoreEvent) -> PyResult<Py<PyAny>> {
    use voxwire_core::connection::Event;
    match event {
        Event::Audio {
            owner,
            data,
            start_s,
            flush_id,
        } => {
            let format = owner.format.clone_ref(py);
            let context = Some(owner.context(py)?);
            new_audio(data.finish(py), format, start_s, flush_id, context)
        }
        Event::Timestamps {
            owner,
            kind,
            items,
            flush_id,
        } => {
            let items = PyList::new(py, items)?.unbind();
            object(
                py,
                Timestamps {
                    context: owner.context(py)?,
                    kind: TimestampKind::name(kind),
                    items,
                    flush_id,
                },
            )
        }
        Event::FlushDone { owner, flush_id } => object(
            py,
            FlushDone {
                flush_id,
                context: owner.context(py)?,
            },
        ),
        Event::Finished { owner, expired } => object(
            py,
            Finished {
                context: owner.context(py)?,
                expired,
            },
        ),
        Event::Failed { owner, failure } => object(
            py,
            Failed {
                context: owner.context(py)?,
                failure: *failure,
            },
        ),
        Event::Text(text) => object(
            py,
            Message {
                data: text.into_pyobject(py)?.into_any().unbind(),
            },
        ),
        Event::Binary(data) => object(
            py,
            Message {
                data: PyBytes::new(py, &data).into_any().unbind(),
            },
        ),
        Event::Request { context_id, fields } => object(py, Request::new(py, context_id, fields)?),
        Event::Cancel { context_id } => object(py, Cancel { context_id }),
        Event::Unusable {
            context_id,
            reason,
            continues,
            last,
        } => object(
            py,
            Unusable {
                context_id,
                reason,
                continues,
                last,
            },
        ),
        Event::Closed(info) => object(py, Closed { info }),
    }
}

fn object<T>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>>
where
    T: PyClass + Into<PyClassInitializer<T>>,
{
    Ok(Py::new(py, value)?.into_any())
}

fn shown(flush_id: Option<u64>) -> String {
    flush_id.map_or_else(|| "None".to_owned(), |id| id.to_string())
}

/// What one read brought for one context, in order.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Batch {
    context: Py<PyAny>,
    events: Py<PyList>,
    audio_bytes: Option<usize>,
}

#[pymethods]
impl Batch {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<Batch of {} events>", self.events.bind(py).len())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.events)
    }
}

/// The events of one context, while they are gathered.
struct Gathered {
    context: Py<PyAny>,
    events: Vec<Py<PyAny>>,
    audio_bytes: Option<usize>,
}

/// Puts the audio of one read into the inboxes of its contexts, and adds Python objects of the rest: one [`Batch`] for
/// each context, in the order in which their first events came, then what belongs to none.
///
/// Where one of them fails, the others come nevertheless, and the first failure is returned. While there are objects that
/// nobody has taken, no audio overtakes them.
pub(crate) fn deliver(py: Python<'_>, events: Vec<CoreEvent>, objects: &mut Vec<Py<PyAny>>) -> PyResult<()> {
    let mut failure = None;
    let (batches, others) = gather(py, events, &mut failure);
    if !batches.is_empty() {
        let may_go_straight = objects.is_empty();
        let now_s = monotonic_s(py).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            f64::NAN
        });
        for batch in batches {
            match batch.deliver(py, now_s, may_go_straight) {
                Ok(object) => objects.extend(object),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
    }
    objects.extend(others);
    failure.map_or(Ok(()), Err)
}

/// Makes the Python objects of the events of each context, and of what belongs to none.
fn gather(py: Python<'_>, events: Vec<CoreEvent>, failure: &mut Option<PyErr>) -> (Vec<Gathered>, Vec<Py<PyAny>>) {
    let mut batches: Vec<Gathered> = Vec::new();
    let mut places: HashMap<*mut ffi::PyObject, usize> = HashMap::new();
    let mut others = Vec::new();
    let mut last = 0;
    for event in events {
        let Some(owner) = event.owner() else {
            match to_python(py, event) {
                Ok(object) => others.push(object),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
            continue;
        };
        let context = owner.context.as_ptr();
        if batches.get(last).is_none_or(|batch| batch.context.as_ptr() != context) {
            // Most reads bring something for one context alone, which needs no table.
            if let [first] = &batches[..] {
                places.insert(first.context.as_ptr(), 0);
            }
            let next = batches.len();
            last = if next == 0 {
                0
            } else {
                *places.entry(context).or_insert(next)
            };
            if last == next {
                batches.push(Gathered {
                    context: owner.context.clone_ref(py),
                    events: Vec::new(),
                    audio_bytes: Some(0),
                });
            }
        }
        let batch = &mut batches[last];
        let audio_bytes = match (&event, batch.audio_bytes) {
            (CoreEvent::Audio { data, .. }, Some(size)) => Some(size + data.written_bytes()),
            _ => None,
        };
        let made = match event {
            // The batch knows the context.
            CoreEvent::Audio {
                owner,
                data,
                start_s,
                flush_id,
            } => new_audio(data.finish(py), owner.format, start_s, flush_id, None),
            event => to_python(py, event),
        };
        match made {
            Ok(object) => {
                batch.events.push(object);
                batch.audio_bytes = audio_bytes;
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    (batches, others)
}

impl Gathered {
    /// Puts it into the inbox of its context; makes a [`Batch`] where that is for more than an inbox.
    fn deliver(self, py: Python<'_>, now_s: f64, may_go_straight: bool) -> PyResult<Option<Py<PyAny>>> {
        let Self {
            context,
            events,
            audio_bytes,
        } = self;
        if events.is_empty() {
            return Ok(None);
        }
        let events = PyList::new(py, events)?;
        if may_go_straight
            && let Some(audio_bytes) = audio_bytes
            && let Ok(inbox) = context.bind(py).cast_exact::<Inbox>()
            && Inbox::deliver(inbox, &events, audio_bytes, now_s)?
        {
            return Ok(None);
        }
        object(
            py,
            Batch {
                context: owner_of(py, context)?,
                events: events.unbind(),
                audio_bytes,
            },
        )
        .map(Some)
    }
}

/// What `time.monotonic` tells: a loop's own clock may count whole milliseconds.
fn monotonic_s(py: Python<'_>) -> PyResult<f64> {
    static TIME: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let time = TIME.get_or_try_init(py, || py.import("time").map(Bound::unbind))?;
    time.bind(py).call_method0(intern!(py, "monotonic"))?.extract()
}

/// Word or phoneme times of one context, as received.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Timestamps {
    context: Py<PyAny>,
    kind: &'static str,
    items: Py<PyList>,
    flush_id: Option<u64>,
}

#[pymethods]
impl Timestamps {
    fn __repr__(&self, py: Python<'_>) -> String {
        let count = self.items.bind(py).len();
        format!(
            "<Timestamps of {count} {}, flush_id={}>",
            self.kind,
            shown(self.flush_id)
        )
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.items)
    }
}

/// Everything before flush `flush_id` has arrived.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct FlushDone {
    flush_id: Option<u64>,
    context: Py<PyAny>,
}

#[pymethods]
impl FlushDone {
    #[new]
    #[pyo3(signature = (flush_id, context = None))]
    fn new(py: Python<'_>, flush_id: Option<u64>, context: Option<Py<PyAny>>) -> Self {
        Self {
            flush_id,
            context: context.unwrap_or_else(|| py.None()),
        }
    }

    fn __repr__(&self) -> String {
        format!("<FlushDone flush_id={}>", shown(self.flush_id))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)
    }
}

/// The context ended well.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Finished {
    context: Py<PyAny>,
    expired: bool,
}

#[pymethods]
impl Finished {
    fn __repr__(&self) -> &'static str {
        if self.expired {
            "<Finished expired>"
        } else {
            "<Finished>"
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)
    }
}

/// The context failed.
#[pyclass(frozen, module = "voxwire._core")]
pub(crate) struct Failed {
    context: Py<PyAny>,
    failure: Failure,
}

#[pymethods]
impl Failed {
    #[getter]
    fn context(&self, py: Python<'_>) -> Py<PyAny> {
        self.context.clone_ref(py)
    }

    #[getter]
    fn side(&self) -> &'static str {
        self.failure.side()
    }

    #[getter]
    fn code(&self) -> Option<&str> {
        self.failure.code.as_deref()
    }

    #[getter]
    fn status(&self) -> Option<u16> {
        self.failure.status
    }

    #[getter]
    fn message(&self) -> &str {
        &self.failure.message
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.failure.request_id.as_deref()
    }

    fn __repr__(&self) -> String {
        let code = self.failure.code.as_deref().unwrap_or("None");
        format!("<Failed side={} code={code}>", self.side())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)
    }
}

/// A plain WebSocket message.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Message {
    data: Py<PyAny>,
}

#[pymethods]
impl Message {
    fn __repr__(&self, py: Python<'_>) -> String {
        let data = self.data.bind(py);
        match data.cast::<PyBytes>() {
            Ok(bytes) => format!("<Message of {} bytes>", bytes.as_bytes().len()),
            Err(_) => format!("<Message of {} characters>", data.len().unwrap_or_default()),
        }
    }
}

/// A generation request, as the server received it.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Request {
    context_id: Option<String>,
    fields: Py<PyDict>,
}

impl Request {
    fn new(py: Python<'_>, context_id: Option<String>, fields: Vec<(&'static str, Value)>) -> PyResult<Self> {
        Ok(Self {
            context_id,
            fields: values::members(py, fields)?.unbind(),
        })
    }
}

#[pymethods]
impl Request {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<Request of {} fields>", self.fields.bind(py).len())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.fields)
    }
}

/// A cancel request.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Cancel {
    context_id: String,
}

#[pymethods]
impl Cancel {
    #[expect(clippy::unused_self, reason = "a slot of Python, which shows no id")]
    fn __repr__(&self) -> &'static str {
        "<Cancel>"
    }
}

/// A message that is neither request nor cancel.
#[pyclass(frozen, get_all, module = "voxwire._core")]
pub(crate) struct Unusable {
    context_id: Option<String>,
    reason: String,
    continues: bool,
    last: bool,
}

#[pymethods]
impl Unusable {
    fn __repr__(&self) -> String {
        format!("<Unusable: {}>", self.reason)
    }
}

/// The last event: the WebSocket is over.
#[pyclass(frozen, module = "voxwire._core")]
pub(crate) struct Closed {
    info: ClosedInfo,
}

#[pymethods]
impl Closed {
    #[getter]
    fn code(&self) -> u16 {
        self.info.code
    }

    #[getter]
    fn reason(&self) -> &str {
        &self.info.reason
    }

    #[getter]
    fn clean(&self) -> bool {
        self.info.clean
    }

    #[getter]
    fn error(&self) -> Option<&str> {
        self.info.error.as_deref()
    }

    #[getter]
    fn timed_out(&self) -> Option<&'static str> {
        self.info.timed_out.map(TimedOut::name)
    }

    /// Leaves the peer's reason out: it may repeat what we sent.
    fn __repr__(&self) -> String {
        let how = if self.info.clean { "clean" } else { "not clean" };
        format!("<Closed code={} {how}>", self.info.code)
    }
}
