//! The iteration of a context: events one by one, without a coroutine for each while some wait.

use std::thread::{self, ThreadId};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::raw;

/// Events that wait for an `async for`, and who is asked for more.
#[pyclass(module = "voxwire._core")]
pub(crate) struct Arrivals {
    /// From the end, so that each leaves at once and nothing keeps it.
    waiting: Vec<Py<PyAny>>,
    more: Py<PyAny>,
    /// What waited was forgotten: whoever was about to take it finds the end, not a rival.
    is_cleared: bool,
    /// Where events were put last; others are sent to `more`, which tells them that they are wrong here.
    home: Option<ThreadId>,
}

#[pymethods]
impl Arrivals {
    #[new]
    fn new(more: Py<PyAny>) -> Self {
        Self {
            waiting: Vec::new(),
            more,
            is_cleared: false,
            home: None,
        }
    }

    fn put(&mut self, events: &Bound<'_, PyList>) {
        self.is_cleared = false;
        self.home = Some(thread::current().id());
        self.waiting.splice(0..0, events.iter().rev().map(Bound::unbind));
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.waiting.drain(..).rev())
    }

    fn clear(&mut self) {
        self.is_cleared = true;
        self.waiting = Vec::new();
    }

    fn __bool__(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let more = {
            let arrivals = slf.try_borrow()?;
            if !arrivals.waiting.is_empty() && arrivals.home == Some(thread::current().id()) {
                return raw::ready(slf.clone().into_any(), take_next);
            }
            arrivals.more.clone_ref(py)
        };
        more.bind(py).call0()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.more)?;
        self.waiting.iter().try_for_each(|event| visit.call(event))
    }

    fn __clear__(&mut self, py: Python<'_>) {
        self.waiting.clear();
        self.more = py.None();
    }
}

/// Only now does an event leave: an `anext` that is cancelled before it began has taken none.
fn take_next<'py>(arrivals: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (event, is_cleared) = {
        let mut arrivals = arrivals.cast::<Arrivals>()?.try_borrow_mut()?;
        (arrivals.waiting.pop(), arrivals.is_cleared)
    };
    match event {
        Some(event) => Ok(event.into_bound(arrivals.py())),
        None if is_cleared => Err(PyStopAsyncIteration::new_err(())),
        None => Err(PyRuntimeError::new_err(
            "a second consumer of one context has taken this event",
        )),
    }
}
