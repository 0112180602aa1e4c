//! The contract's errors and positions, as Python knows them.

use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use voxwire_sink::{Position, Refusal};

import_exception!(voxwire.exceptions, FormatRefused);
import_exception!(voxwire.exceptions, SinkBusy);
import_exception!(voxwire.exceptions, SinkClosed);
import_exception!(voxwire.exceptions, SinkError);
import_exception!(voxwire.exceptions, SinkLost);

/// Segment, written, played, discarded, underruns, time of the reading, bound, quality: as in `Position`.
pub type Numbers = (u64, u64, u64, u64, u64, u64, u64, &'static str);

/// A position for Python.
pub fn numbers(position: Position) -> Numbers {
    let Position {
        segment,
        written,
        played,
        discarded,
        xruns,
        at_ns,
        bound,
        quality,
    } = position;
    (segment, written, played, discarded, xruns, at_ns, bound, quality.name())
}

/// The exception for what a queue refused; `name` is whose queue it is.
pub fn refused(py: Python<'_>, name: &str, refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::CutFrame { .. } => PyValueError::new_err(refusal.to_string()),
        Refusal::Closed => SinkClosed::new_err(format!("{name} is closed")),
        Refusal::Lost(loss) => {
            let error = SinkLost::new_err(loss.message);
            match error.value(py).setattr("errno", loss.errno) {
                Ok(()) => error,
                Err(other) => other,
            }
        }
    }
}
