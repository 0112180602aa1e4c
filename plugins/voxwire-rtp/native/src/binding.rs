//! The stream as Python sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use voxwire_audio::Encoding;
use voxwire_plugin::{Numbers, SinkBusy, SinkClosed, SinkError, SinkLost, duplicate, numbers, refused, with_bytes};
use voxwire_sink::{Refusal, Wake};

use crate::clock::monotonic_ns;
use crate::digits::Digit;
use crate::figures::statistics;
use crate::opening::{Opened, Plan, open, read_address};
use crate::packet::{Coding, event_code};
use crate::rtcp::Cname;
use crate::settings::{Idle, PAYLOAD_BYTES, PTIMES_MS, Settings};
use crate::sockets::Failure;
use crate::srtp::{MasterKey, Suite};
use crate::stream::Peer;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::Stream;
    #[pymodule_export]
    use crate::figures::pacer_statistics;
}

/// One stream, from its opening to its close. Every method may be called from any thread.
#[pyclass(module = "voxwire_rtp._native", frozen)]
pub(crate) struct Stream {
    name: String,
    settings: OnceLock<Settings>,
    open: OnceLock<Arc<crate::stream::Stream>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: Option<Opened>,
    closed: bool,
}

#[pymethods]
impl Stream {
    /// `name` is whose stream it is, for messages.
    #[new]
    fn new(name: String) -> Self {
        Self {
            name,
            settings: OnceLock::new(),
            open: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// Opens the stream, once. Returns the frames of a packet, and how many are held here at most.
    #[pyo3(signature = (
        wake, *, encoding, sample_rate, payload_type, ptime_ms, idle, cn_payload_type, telephone_event, ssrc, sequence,
        timestamp, dscp, bind, local_ports, peer, peer_rtcp, rtcp_mux, cname, latch, suite, key, peer_key, realtime
    ))]
    #[expect(clippy::too_many_arguments, reason = "named in Python")]
    fn open(
        &self,
        py: Python<'_>,
        wake: i32,
        encoding: &str,
        sample_rate: u32,
        payload_type: u8,
        ptime_ms: u32,
        idle: &str,
        cn_payload_type: u8,
        telephone_event: Option<u8>,
        ssrc: Option<u32>,
        sequence: Option<u16>,
        timestamp: Option<u32>,
        dscp: u8,
        bind: &str,
        local_ports: Option<(u16, u16)>,
        peer: (String, u16),
        peer_rtcp: Option<(String, u16)>,
        rtcp_mux: bool,
        cname: &str,
        latch: bool,
        suite: Option<&str>,
        key: &[u8],
        peer_key: &[u8],
        realtime: bool,
    ) -> PyResult<(u32, u64)> {
        let settings = Settings {
            coding: Encoding::from_name(encoding)
                .and_then(Coding::from_encoding)
                .ok_or_else(|| invalid("encoding", encoding))?,
            sample_rate,
            ptime_ms: PTIMES_MS
                .into_iter()
                .find(|&known| known == ptime_ms)
                .ok_or_else(|| invalid("ptime", ptime_ms))?,
            payload_type: checked(payload_type, 127, "payload type")?,
            idle: Idle::from_name(idle).ok_or_else(|| invalid("idle", idle))?,
            comfort_payload_type: checked(cn_payload_type, 127, "payload type of comfort noise")?,
            event_payload_type: telephone_event
                .map(|value| checked(value, 127, "payload type of events"))
                .transpose()?,
            ssrc: 0,
            sequence: 0,
            timestamp: 0,
        };
        if !(1..=PAYLOAD_BYTES).contains(&settings.payload_bytes()) {
            let message = format!(
                "packets of {} bytes, expected 1 to {PAYLOAD_BYTES}",
                settings.payload_bytes()
            );
            return Err(PyValueError::new_err(message));
        }
        let suite = suite
            .map(|name| Suite::from_name(name).ok_or_else(|| invalid("suite", name)))
            .transpose()?;
        let rtp = address(peer)?;
        let reports = peer_rtcp.map(address).transpose()?;
        let plan = Plan {
            settings,
            ssrc,
            sequence,
            timestamp,
            peer: Peer {
                rtp,
                rtcp: if rtcp_mux { Some(rtp) } else { reports },
            },
            bind: if bind.is_empty() { None } else { Some(host(bind)?) },
            ports: local_ports,
            mux: rtcp_mux,
            latch,
            dscp: checked(dscp, 63, "dscp")?,
            cname: Cname::new(cname).map_err(|error| PyValueError::new_err(error.to_string()))?,
            protection: protection(suite, key)?,
            peer_protection: protection(suite, peer_key)?,
            realtime,
        };
        let wake = Wake::new(duplicate(wake)?);
        let name = self.name.clone();
        let opened = py
            .detach(|| open(name, plan, wake))
            .map_err(|failure| self.refuse(&failure))?;
        let answer = (settings.frames(), opened.stream.queue.capacity());
        let late = {
            let mut state = self.lock();
            if state.closed || self.open.set(Arc::clone(&opened.stream)).is_err() {
                Some(opened)
            } else {
                let _ = self.settings.set(settings);
                state.opened = Some(opened);
                None
            }
        };
        match late {
            None => Ok(answer),
            Some(opened) => {
                py.detach(|| opened.close());
                Err(SinkClosed::new_err(format!("{} is closed", self.name)))
            }
        }
    }

    /// Takes whole frames and returns how many.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<u64> {
        let queue = &self.stream()?.queue;
        let written = with_bytes(data, |data| queue.write(data))?;
        Ok(written.map_err(|refusal| self.refused(data.py(), refusal))?.frames)
    }

    /// Has the host woken when all that was written has been sent.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.stream()?
            .queue
            .finish()
            .map_err(|refusal| self.refused(py, refusal))
    }

    /// Drops what was not sent and returns the segment's final numbers.
    fn clear(&self) -> PyResult<Numbers> {
        Ok(numbers(self.stream()?.queue.clear(None, 0, monotonic_ns())))
    }

    /// What was sent.
    fn position(&self) -> PyResult<Numbers> {
        Ok(numbers(self.stream()?.queue.position()))
    }

    /// Holds the audio from the next packet on.
    fn pause(&self) -> PyResult<()> {
        self.stream()?.pause(true);
        Ok(())
    }

    /// Goes on where it stopped.
    fn resume(&self) -> PyResult<()> {
        self.stream()?.pause(false);
        Ok(())
    }

    /// Stops at once, and returns when the goodbye has been sent, if one is owed. False where the thread that sends has
    /// not let go of the stream in time.
    fn close(&self, py: Python<'_>) -> bool {
        if self.is_inherited() {
            return true;
        }
        let opened = {
            let mut state = self.lock();
            state.closed = true;
            state.opened.take()
        };
        opened.is_none_or(|opened| {
            opened.stream.queue.close(None, 0, monotonic_ns());
            py.detach(|| opened.close())
        })
    }

    /// Sends telephone events, one after the other; audio waits meanwhile.
    fn send_digits(&self, digits: &str, duration_ms: u64, pause_ms: u64) -> PyResult<()> {
        let stream = self.stream()?;
        let Some(settings) = self
            .settings
            .get()
            .filter(|settings| settings.event_payload_type.is_some())
        else {
            return Err(PyValueError::new_err(format!(
                "{} has no payload type for digits",
                self.name
            )));
        };
        let ptime_ms = u64::from(settings.ptime_ms);
        // RFC 4733 2.3.5: a longer duration does not fit into its field.
        let longest_ms = u64::from(u16::MAX / settings.frames() as u16) * ptime_ms;
        if !(1..=longest_ms).contains(&duration_ms) {
            let message = format!("duration_ms is {duration_ms}, must be 1 to {longest_ms} at this clock rate");
            return Err(PyValueError::new_err(message));
        }
        let codes: Option<Vec<u8>> = digits.chars().map(event_code).collect();
        let codes = codes.ok_or_else(|| PyValueError::new_err("digits are 0 to 9, *, #, A to D"))?;
        stream.send_digits(codes.into_iter().map(|code| Digit {
            code,
            slots: duration_ms.div_ceil(ptime_ms),
            pause_slots: pause_ms.div_ceil(ptime_ms),
        }));
        Ok(())
    }

    /// Host, RTP port and RTCP port; the last is 0 where there is none.
    fn local(&self) -> PyResult<(String, u16, u16)> {
        let stream = self.stream()?;
        let port = stream.local.port();
        let rtcp_port = match (stream.inbound.rtcp, stream.inbound.mux) {
            (true, _) => port + 1,
            (false, true) => port,
            (false, false) => 0,
        };
        Ok((stream.local.ip().to_string(), port, rtcp_port))
    }

    /// The numbers of this stream.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        statistics(py, self.stream()?)
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> PyResult<&crate::stream::Stream> {
        let stream = self.open.get();
        let stream = stream.ok_or_else(|| SinkClosed::new_err(format!("{} is not open", self.name)))?;
        if self.is_inherited() {
            let message = format!("{} was lost: it was opened in another process", self.name);
            return Err(SinkLost::new_err(message));
        }
        Ok(stream)
    }

    /// It was opened before this process was forked: its locks may never be free, and nobody sends for it here.
    fn is_inherited(&self) -> bool {
        self.open.get().is_some_and(|stream| !stream.process.is_current())
    }

    fn refused(&self, py: Python<'_>, refusal: Refusal) -> PyErr {
        refused(py, &self.name, refusal)
    }

    fn refuse(&self, failure: &Failure) -> PyErr {
        let message = format!("{} cannot be opened: {failure}", self.name);
        match failure {
            Failure::Busy(_) => SinkBusy::new_err(message),
            Failure::Other(_) => SinkError::new_err(message),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_inherited() {
            return;
        }
        if let Some(opened) = &self.lock().opened {
            opened.stream.queue.close(None, 0, monotonic_ns());
        }
    }
}

fn protection(suite: Option<Suite>, key: &[u8]) -> PyResult<Option<(Suite, MasterKey)>> {
    let Some(suite) = suite.filter(|_| !key.is_empty()) else {
        return Ok(None);
    };
    let key =
        MasterKey::new(key).ok_or_else(|| PyValueError::new_err(format!("key of {} bytes, expected 30", key.len())))?;
    Ok(Some((suite, key)))
}

fn address(peer: (String, u16)) -> PyResult<SocketAddr> {
    let (name, port) = peer;
    read_address(&name, port).ok_or_else(|| invalid("address", name))
}

fn host(name: &str) -> PyResult<IpAddr> {
    name.parse().map_err(|_| invalid("bind", name))
}

fn checked(value: u8, most: u8, what: &str) -> PyResult<u8> {
    if value <= most {
        Ok(value)
    } else {
        Err(invalid(what, value))
    }
}

fn invalid(what: &str, value: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{what} is {value}, which is none that a stream can have"))
}
