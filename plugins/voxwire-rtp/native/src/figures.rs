//! Statistics as Python sees them; `_native.pyi` says what each number is.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::registry::{Scheduling, TOTALS, overview};
use crate::statistics::Histogram;
use crate::stream::{Heard, Stream};

type Report = (i32, f64, f64, Option<f64>, u64, u32, u64);

/// Of one stream.
pub(crate) fn statistics<'py>(py: Python<'py>, stream: &Stream) -> PyResult<Bound<'py, PyTuple>> {
    let counters = &stream.counters;
    let peer = stream.peer().rtp;
    let counts = (
        counters.packets.get(),
        counters.octets.get(),
        counters.late.get(),
        counters.skipped.get(),
        counters.unsent.get(),
        stream.queue.position().xruns,
        milliseconds(counters.jitter_ns.get()),
        milliseconds(counters.worst_jitter_ns.get()),
        histogram(py, &counters.variations)?,
    );
    let ends = (
        counters.ssrc.get(),
        (peer.ip().to_string(), peer.port()),
        counters.collisions.get(),
        stream.peer_left(),
        stream.heard().map(|heard| report(stream, &heard)),
    );
    joined(&counts.into_pyobject(py)?, &ends.into_pyobject(py)?)
}

/// The numbers of the thread that sends.
#[pyfunction]
pub(crate) fn pacer_statistics(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let (streams, scheduling) = overview();
    let (scheduling, refusal) = match scheduling {
        Scheduling::Ordinary => ("ordinary", String::new()),
        Scheduling::Refused(reason) => ("ordinary", reason),
        Scheduling::Realtime => ("fifo", String::new()),
    };
    let counts = (
        streams,
        TOTALS.packets.get(),
        TOTALS.late.get(),
        TOTALS.worst_delay_ns.get() / 1000,
        histogram(py, &TOTALS.delays)?,
        TOTALS.stalls.get(),
        TOTALS.skipped.get(),
        TOTALS.unsent.get(),
        TOTALS.xruns.get(),
        histogram(py, &TOTALS.variations)?,
    );
    let thread = (TOTALS.cpu_ns.get() as f64 / 1e9, scheduling, refusal);
    joined(&counts.into_pyobject(py)?, &thread.into_pyobject(py)?)
}

fn histogram<'py>(py: Python<'py>, histogram: &Histogram) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, histogram.counts().collect::<Vec<_>>())
}

/// One tuple of two, as the conversion knows those of twelve at most.
fn joined<'py>(one: &Bound<'py, PyTuple>, other: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
    Ok(one.as_sequence().concat(other.as_sequence())?.cast_into()?)
}

fn report(stream: &Stream, heard: &Heard) -> Report {
    let block = heard.block;
    // The receiver counts cycles from the first packet that it got.
    let expected = i64::from(block.highest_sequence) + 1 - stream.counters.base_sequence.get().cast_signed();
    let received = (expected - i64::from(block.lost)).max(0).cast_unsigned();
    (
        block.lost,
        f64::from(block.fraction_lost) / 256.0,
        f64::from(block.jitter) * 1000.0 / f64::from(stream.sample_rate),
        heard.round_trip_ns.map(milliseconds),
        // What it says may be wrong, or forged.
        received.min(stream.counters.packets.get()),
        block.highest_sequence,
        heard.at_ns,
    )
}

fn milliseconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e6
}
