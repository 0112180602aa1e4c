//! What waits for the iteration of a context: batches in the order of their reads, for one consumer.
//!
//! Audio comes here from the read, and a task is woken by a future, without a frame of the interpreter between them: a
//! chunk that comes alone finds the caches cold, and each frame is dear then.

use std::collections::VecDeque;
use std::mem;
use std::thread::{self, ThreadId};

use pyo3::exceptions::{PyIndexError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::raw::{self, Source, Step};

/// What an event, or a word in it, costs beside its samples, so that very many small ones are bounded too.
const EVENT_BYTES: usize = 128;

/// How much audio has come for a context, and how it kept up with real time.
#[pyclass(module = "voxwire._core")]
pub(crate) struct AudioTally {
    #[pyo3(get)]
    size_bytes: u64,
    #[pyo3(get, set)]
    bytes_per_s: f64,
    /// Of no meaning before any came.
    first_at_s: f64,
    #[pyo3(get, set)]
    stalls: u64,
    /// When all that has come will have been heard, had it been played as it came.
    dry_at_s: f64,
}

#[pymethods]
impl AudioTally {
    #[new]
    fn new() -> Self {
        Self {
            size_bytes: 0,
            bytes_per_s: 1.0,
            first_at_s: 0.0,
            stalls: 0,
            dry_at_s: 0.0,
        }
    }

    fn add(&mut self, size_bytes: usize, now_s: f64) {
        if now_s > self.dry_at_s {
            if self.size_bytes == 0 {
                self.first_at_s = now_s;
            } else {
                self.stalls += 1;
            }
            self.dry_at_s = now_s;
        }
        self.size_bytes += size_bytes as u64;
        self.dry_at_s += size_bytes as f64 / self.bytes_per_s;
    }

    #[getter]
    fn first_at_s(&self) -> Option<f64> {
        (self.size_bytes > 0).then_some(self.first_at_s)
    }

    #[getter]
    fn duration_s(&self) -> f64 {
        self.size_bytes as f64 / self.bytes_per_s
    }
}

/// The events of one read.
struct Batch {
    events: Py<PyList>,
    size_bytes: usize,
}

#[derive(Default)]
struct Backlog(VecDeque<Batch>);

/// Batches that wait for one consumer, and that consumer where it waits.
#[pyclass(module = "voxwire._core")]
pub(crate) struct Inbox {
    first: Option<Batch>,
    /// Only where a second batch came before the first was taken: contexts are many, and mostly idle.
    more: Option<Box<Backlog>>,
    /// What is left of a batch that is taken event by event: from the end, so that each leaves at once and nothing
    /// keeps it.
    rest: Vec<Py<PyAny>>,
    size_bytes: usize,
    waiter: Option<Py<PyAny>>,
    limit_bytes: usize,
    /// Whose events these are; asked by whoever comes from elsewhere, or to wait at a closed inbox.
    owner: Py<PyAny>,
    tally: Py<AudioTally>,
    home: Option<ThreadId>,
    /// None while the inbox is closed.
    event_loop: Option<Py<PyAny>>,
}

#[pymethods]
impl Inbox {
    #[classattr]
    const EVENT_BYTES: usize = EVENT_BYTES;

    #[new]
    fn new(owner: Py<PyAny>, tally: Py<AudioTally>, limit_bytes: usize) -> Self {
        Self {
            first: None,
            more: None,
            rest: Vec::new(),
            size_bytes: 0,
            waiter: None,
            limit_bytes,
            owner,
            tally,
            home: None,
            event_loop: None,
        }
    }

    fn open(&mut self, event_loop: Py<PyAny>) {
        self.home = Some(thread::current().id());
        self.event_loop = Some(event_loop);
    }

    fn close(&mut self) {
        self.event_loop = None;
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn put(slf: &Bound<'_, Self>, events: Bound<'_, PyList>, size_bytes: usize) -> PyResult<()> {
        {
            let mut inbox = slf.try_borrow_mut()?;
            let batch = Batch {
                events: events.unbind(),
                size_bytes,
            };
            inbox.size_bytes += size_bytes;
            if inbox.first.is_none() {
                inbox.first = Some(batch);
            } else {
                inbox.more.get_or_insert_default().0.push_back(batch);
            }
        }
        Self::wake(slf)
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.batch(py)?.ok_or_else(|| PyIndexError::new_err("an empty inbox"))
    }

    fn clear(&mut self) {
        let waiting = (self.first.take(), self.more.take(), mem::take(&mut self.rest));
        self.size_bytes = 0;
        drop(waiting);
    }

    fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let waiter = slf.try_borrow_mut()?.waiter.take();
        match waiter {
            Some(waiter) if !is_done(waiter.bind(py))? => waiter
                .call_method1(py, intern!(py, "set_result"), (py.None(),))
                .map(drop),
            _ => Ok(()),
        }
    }

    fn next_batch(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        raw::awaitable(slf.into_any(), &BATCHES)
    }

    fn batches(slf: Bound<'_, Self>) -> Batches {
        Batches { inbox: slf.unbind() }
    }

    fn __bool__(&self) -> bool {
        self.first.is_some() || !self.rest.is_empty()
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        raw::awaitable(slf.into_any(), &EVENTS)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        visit.call(&self.event_loop)?;
        visit.call(&self.waiter)?;
        let batches = self.first.iter().chain(self.more.iter().flat_map(|more| &more.0));
        batches
            .map(|batch| &batch.events)
            .try_for_each(|events| visit.call(events))?;
        self.rest.iter().try_for_each(|event| visit.call(event))
    }

    fn __clear__(&mut self, py: Python<'_>) {
        self.clear();
        self.waiter = None;
        self.event_loop = None;
        self.owner = py.None();
    }
}

impl Inbox {
    /// Puts audio straight in; false where the inbox is closed or has no room: then its owner is to be told.
    pub(crate) fn deliver(
        slf: &Bound<'_, Self>,
        events: &Bound<'_, PyList>,
        audio_bytes: usize,
        now_s: f64,
    ) -> PyResult<bool> {
        let py = slf.py();
        let size_bytes = audio_bytes + EVENT_BYTES * events.len();
        {
            let inbox = slf.try_borrow()?;
            if inbox.event_loop.is_none() || inbox.size_bytes + size_bytes > inbox.limit_bytes {
                return Ok(false);
            }
            inbox.tally.try_borrow_mut(py)?.add(audio_bytes, now_s);
        }
        Self::put(slf, events.clone(), size_bytes)?;
        Ok(true)
    }

    /// Whose events these are.
    pub(crate) fn owner(&self, py: Python<'_>) -> Py<PyAny> {
        self.owner.clone_ref(py)
    }

    /// Takes the oldest batch, or what is left of one.
    fn batch<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        if !self.rest.is_empty() {
            return PyList::new(py, mem::take(&mut self.rest).into_iter().rev()).map(Some);
        }
        let Some(batch) = self.first.take() else {
            return Ok(None);
        };
        self.first = self.more.as_mut().and_then(|more| more.0.pop_front());
        self.size_bytes -= batch.size_bytes;
        Ok(Some(batch.events.into_bound(py)))
    }

    /// Takes the oldest event.
    fn event<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.rest.is_empty() {
            let Some(events) = self.batch(py)? else { return Ok(None) };
            if events.len() == 1 {
                return events.get_item(0).map(Some);
            }
            self.rest = events.iter().rev().map(Bound::unbind).collect();
        }
        let event = self.rest.pop().map(|event| event.into_bound(py));
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(event)
    }
}

/// The iteration over whole batches.
#[pyclass(frozen, module = "voxwire._core")]
pub(crate) struct Batches {
    inbox: Py<Inbox>,
}

#[pymethods]
impl Batches {
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Inbox::next_batch(self.inbox.bind(py).clone())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.inbox)
    }
}

static BATCHES: Source = Source {
    step: |inbox| {
        let batch = borrow(inbox)?.batch(inbox.py())?;
        batch.map_or_else(|| begin_wait(inbox), |batch| Ok(Step::Value(batch.into_any())))
    },
    leave: end_wait,
};

/// Only when it is awaited does an event leave: an `anext` that is cancelled before it began has taken none.
static EVENTS: Source = Source {
    step: |inbox| {
        let event = borrow(inbox)?.event(inbox.py())?;
        event.map_or_else(|| begin_wait(inbox), |event| Ok(Step::Value(event)))
    },
    leave: end_wait,
};

/// Lets its own thread take what is there.
fn borrow<'a>(inbox: &'a Bound<'_, PyAny>) -> PyResult<PyRefMut<'a, Inbox>> {
    let inbox = inbox.cast::<Inbox>()?;
    if inbox.try_borrow()?.home != Some(thread::current().id()) {
        check_wait(inbox)?;
    }
    Ok(inbox.try_borrow_mut()?)
}

fn check_wait(inbox: &Bound<'_, Inbox>) -> PyResult<()> {
    let py = inbox.py();
    let owner = inbox.try_borrow()?.owner.clone_ref(py);
    owner.call_method0(py, intern!(py, "check_wait")).map(drop)
}

fn begin_wait<'py>(inbox: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
    let py = inbox.py();
    let inbox = inbox.cast::<Inbox>()?;
    let event_loop = inbox
        .try_borrow()?
        .event_loop
        .as_ref()
        .map(|event_loop| event_loop.clone_ref(py));
    // `borrow` has seen that this is its thread, in which no other loop can run then. To ask which one does would cost a
    // system call in Python 3.11.
    let event_loop = match event_loop {
        Some(event_loop) if event_loop.call_method0(py, intern!(py, "is_running"))?.is_truthy(py)? => event_loop,
        _ => {
            check_wait(inbox)?;
            py.import(intern!(py, "asyncio"))?
                .call_method0(intern!(py, "get_running_loop"))?
                .unbind()
        }
    };
    if let Some(waiter) = &inbox.try_borrow()?.waiter
        && !is_done(waiter.bind(py))?
    {
        return Err(PyRuntimeError::new_err(
            "a second consumer of one context: another task waits for its events",
        ));
    }
    let waiter = event_loop.bind(py).call_method0(intern!(py, "create_future"))?;
    inbox.try_borrow_mut()?.waiter = Some(waiter.clone().unbind());
    Ok(Step::Wait(waiter))
}

fn end_wait(inbox: &Bound<'_, PyAny>, waiter: &Bound<'_, PyAny>) {
    let Ok(inbox) = inbox.cast::<Inbox>() else { return };
    let Ok(mut inbox) = inbox.try_borrow_mut() else { return };
    if inbox.waiter.as_ref().is_some_and(|own| own.is(waiter)) {
        inbox.waiter = None;
    }
}

fn is_done(waiter: &Bound<'_, PyAny>) -> PyResult<bool> {
    waiter.call_method0(intern!(waiter.py(), "done"))?.is_truthy()
}
