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

    fn take<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        Self::batch(slf)?.ok_or_else(|| PyIndexError::new_err("an empty inbox"))
    }

    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        let waiting = slf.try_borrow_mut()?.empty();
        // To let go of it may run foreign code, which finds an inbox that nobody holds.
        drop(waiting);
        Ok(())
    }

    fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let waiter = slf.try_borrow_mut()?.waiter.take().map(|waiter| waiter.into_bound(py));
        match waiter {
            Some(waiter) if !is_done(&waiter)? => {
                waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
            }
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
        drop(self.empty());
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
            if !inbox.is_open() || inbox.size_bytes + size_bytes > inbox.limit_bytes {
                return Ok(false);
            }
            inbox.tally.try_borrow_mut(py)?.add(audio_bytes, now_s);
        }
        Self::put(slf, events.clone(), size_bytes)?;
        Ok(true)
    }

    fn is_open(&self) -> bool {
        self.event_loop.is_some()
    }

    /// This is the thread in which it was opened.
    fn is_home(&self) -> bool {
        self.home == Some(thread::current().id())
    }

    /// Whose events these are.
    pub(crate) fn owner(&self, py: Python<'_>) -> Py<PyAny> {
        self.owner.clone_ref(py)
    }

    /// Takes out all that waits.
    fn empty(&mut self) -> (Option<Batch>, Option<Box<Backlog>>, Vec<Py<PyAny>>) {
        self.size_bytes = 0;
        (self.first.take(), self.more.take(), mem::take(&mut self.rest))
    }

    /// Takes the oldest batch, or what is left of one.
    fn batch<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyList>>> {
        let py = slf.py();
        let mut inbox = slf.try_borrow_mut()?;
        if inbox.rest.is_empty() {
            return Ok(inbox.whole_batch().map(|events| events.into_bound(py)));
        }
        let rest = mem::take(&mut inbox.rest).into_iter().rev();
        // To make a list may run foreign code, which finds an inbox that nobody holds.
        drop(inbox);
        PyList::new(py, rest.map(|event| event.into_bound(py))).map(Some)
    }

    fn whole_batch(&mut self) -> Option<Py<PyList>> {
        let batch = self.first.take()?;
        if let Some(more) = &mut self.more {
            self.first = more.0.pop_front();
            if more.0.is_empty() {
                self.more = None;
            }
        }
        self.size_bytes -= batch.size_bytes;
        Some(batch.events)
    }

    /// Takes the oldest event.
    fn event<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let mut inbox = slf.try_borrow_mut()?;
        while inbox.rest.is_empty() {
            let Some(events) = inbox.whole_batch() else {
                return Ok(None);
            };
            let events = events.into_bound(py);
            if events.len() == 1 {
                return events.get_item(0).map(Some);
            }
            inbox.rest = events.iter().rev().map(Bound::unbind).collect();
        }
        let event = inbox.rest.pop().map(|event| event.into_bound(py));
        if inbox.rest.is_empty() {
            inbox.rest = Vec::new();
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
    step: |inbox, has_waited| {
        let inbox = inbox.cast::<Inbox>()?;
        check(inbox, has_waited)?;
        let batch = Inbox::batch(inbox)?;
        batch.map_or_else(|| begin_wait(inbox), |batch| Ok(Step::Value(batch.into_any())))
    },
    leave: end_wait,
};

/// Only when it is awaited does an event leave: an `anext` that is cancelled before it began has taken none.
static EVENTS: Source = Source {
    step: |inbox, has_waited| {
        let inbox = inbox.cast::<Inbox>()?;
        // What is left of a batch was asked for when that was taken; only its thread is looked at for each event.
        let is_checked = {
            let inbox = inbox.try_borrow()?;
            !inbox.rest.is_empty() && inbox.is_home()
        };
        if !is_checked {
            check(inbox, has_waited)?;
        }
        let event = Inbox::event(inbox)?;
        event.map_or_else(|| begin_wait(inbox), |event| Ok(Step::Value(event)))
    },
    leave: end_wait,
};

/// Lets those take and wait who are where the inbox is open; others, and all where it is closed, the owner must let.
fn check(inbox: &Bound<'_, Inbox>, has_waited: bool) -> PyResult<()> {
    let py = inbox.py();
    let (owner, event_loop, has_waited) = {
        let inbox = inbox.try_borrow()?;
        let is_home = inbox.is_home();
        let event_loop = inbox.event_loop.as_ref().filter(|_| is_home);
        (
            inbox.owner.bind(py).clone(),
            event_loop.map(|event_loop| event_loop.bind(py).clone()),
            has_waited && is_home,
        )
    };
    // While it runs no other loop does, in its thread. To ask which one does is a system call in Python 3.11.
    if let Some(event_loop) = event_loop
        && (has_waited || event_loop.call_method0(intern!(py, "is_running"))?.is_truthy()?)
    {
        return Ok(());
    }
    // Who has waited was in the right place when that began, and learns of the end also where that place is left.
    let question = if has_waited {
        intern!(py, "check_end")
    } else {
        intern!(py, "check_wait")
    };
    owner.call_method0(question).map(drop)
}

fn begin_wait<'py>(inbox: &Bound<'py, Inbox>) -> PyResult<Step<'py>> {
    let py = inbox.py();
    let (event_loop, waiter) = {
        let inbox = inbox.try_borrow()?;
        let bound = |object: &Option<Py<PyAny>>| object.as_ref().map(|object| object.bind(py).clone());
        (bound(&inbox.event_loop), bound(&inbox.waiter))
    };
    if let Some(waiter) = waiter {
        if !is_done(&waiter)? {
            return Err(PyRuntimeError::new_err(
                "a second consumer of one context: another task waits for its events",
            ));
        }
        end_wait(inbox.as_any(), &waiter);
    }
    let was_open = event_loop.is_some();
    let event_loop = match event_loop {
        Some(event_loop) => event_loop,
        None => py
            .import(intern!(py, "asyncio"))?
            .call_method0(intern!(py, "get_running_loop"))?,
    };
    let waiter = event_loop.call_method0(intern!(py, "create_future"))?;
    let has_changed = {
        let mut inbox = inbox.try_borrow_mut()?;
        // Foreign code may have run since it was looked at: a collector that puts, ends or waits.
        let has_changed = inbox.__bool__() || inbox.is_open() != was_open || inbox.waiter.is_some();
        if !has_changed {
            inbox.waiter = Some(waiter.clone().unbind());
        }
        has_changed
    };
    if has_changed {
        waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(Step::Wait(waiter))
}

fn end_wait(inbox: &Bound<'_, PyAny>, waiter: &Bound<'_, PyAny>) {
    let Ok(inbox) = inbox.cast::<Inbox>() else { return };
    let Ok(mut borrowed) = inbox.try_borrow_mut() else {
        return;
    };
    if borrowed.waiter.as_ref().is_some_and(|own| own.is(waiter)) {
        let own = borrowed.waiter.take();
        drop(borrowed);
        drop(own.map(|own| own.into_bound(inbox.py())));
    }
}

fn is_done(waiter: &Bound<'_, PyAny>) -> PyResult<bool> {
    waiter.call_method0(intern!(waiter.py(), "done"))?.is_truthy()
}
