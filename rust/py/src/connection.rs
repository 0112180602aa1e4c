//! The connection: arguments in, core called, results out.
//!
//! A call borrows the connection; one from another thread or from inside a call (a finaliser, a getter of a foreign
//! object) meanwhile raises `RuntimeError`. No foreign code runs while the core works: what may run some, such as making
//! events or letting go of owners, happens while the core is not borrowed.

use std::mem;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use voxwire_core::connection::{self, Config, Fill, Host, Input, OutOfMemory};
use voxwire_core::context::{BUFFER_DELAY_MS, ClientVerdict, ServerAction, ServerEvent, ServerInput, ServerState};
use voxwire_core::error::close_code;
use voxwire_core::frame::Role;
use voxwire_core::message::{TimestampKind, encode};

use crate::audio::read_format;
use crate::errors::{command_error, value_error};
use crate::events::{self, Owner};
use crate::raw::{NewBytes, with_bytes};

type Core = connection::Connection<Owner, NewBytes>;

/// What Python lends to the core: `bytes` that are written once, and counted references.
struct PythonHost<'py>(Python<'py>);

impl Host for PythonHost<'_> {
    type Buffer = NewBytes;
    type Owner = Owner;

    fn share(&self, owner: &Owner) -> Owner {
        owner.share(self.0)
    }

    fn begin(&self, size: usize) -> Result<NewBytes, OutOfMemory> {
        NewBytes::begin(self.0, size).map_err(|_| OutOfMemory)
    }

    fn write(&self, buffer: &mut NewBytes, start: usize, size: usize, fill: Fill<'_>) -> bool {
        buffer.write(self.0, start, size, fill)
    }

    fn bytes<'a>(&'a self, buffer: &'a NewBytes, size: usize) -> &'a [u8] {
        buffer.bytes(size)
    }
}

/// One WebSocket after its upgrade: bytes in, events out; no socket, no clock.
#[pyclass(module = "voxwire._core")]
pub(crate) struct Connection {
    core: Core,
    batched: bool,
    /// What came with a read that a [`Reader`](crate::socket::Reader) made, and was not for an inbox.
    undelivered: Vec<Py<PyAny>>,
    /// When the owner looks at the clock at the latest.
    timer_due: Option<f64>,
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (
        role,
        *,
        messages = true,
        batched = false,
        max_message_bytes = None,
        ping_interval_s = Some(connection::PING_INTERVAL_S),
        ping_timeout_s = connection::PING_TIMEOUT_S,
        close_timeout_s = connection::CLOSE_TIMEOUT_S,
        inactivity_timeout_s = Some(connection::INACTIVITY_TIMEOUT_S),
        seed = None,
        now = 0.0,
    ), text_signature = "(role, *, messages=True, batched=False, max_message_bytes=None, ping_interval_s=20.0, \
        ping_timeout_s=20.0, close_timeout_s=2.0, inactivity_timeout_s=10.0, seed=None, now=0.0)")]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python signature")]
    fn new(
        py: Python<'_>,
        role: &str,
        messages: bool,
        batched: bool,
        max_message_bytes: Option<u64>,
        ping_interval_s: Option<f64>,
        ping_timeout_s: f64,
        close_timeout_s: f64,
        inactivity_timeout_s: Option<f64>,
        seed: Option<&Bound<'_, PyAny>>,
        now: f64,
    ) -> PyResult<Self> {
        let role = role_from_name(role)?;
        let config = Config {
            role,
            messages,
            max_message_bytes,
            ping_interval_s: ping_interval_s
                .map(|time_s| duration("ping_interval_s", time_s))
                .transpose()?,
            ping_timeout_s: duration("ping_timeout_s", ping_timeout_s)?,
            close_timeout_s: duration("close_timeout_s", close_timeout_s)?,
            inactivity_timeout_s: inactivity_timeout_s
                .map(|time_s| duration("inactivity_timeout_s", time_s))
                .transpose()?,
            seed: read_seed(py, role, seed)?,
            now: moment(Some(now))?.unwrap_or_default(),
        };
        Ok(Self {
            core: Core::new(&config),
            batched,
            undelivered: Vec::new(),
            timer_due: None,
        })
    }

    #[getter]
    fn role(&self) -> &'static str {
        match self.core.role() {
            Role::Client => "client",
            Role::Server => "server",
        }
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.core.state().name()
    }

    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.core.counters();
        let dict = PyDict::new(py);
        dict.set_item(intern!(py, "messages"), counters.messages)?;
        dict.set_item(intern!(py, "bytes"), counters.bytes)?;
        dict.set_item(intern!(py, "late"), counters.late)?;
        dict.set_item(intern!(py, "unknown_contexts"), counters.unknown_contexts)?;
        dict.set_item(intern!(py, "unknown_types"), counters.unknown_types)?;
        dict.set_item(intern!(py, "dropped_timestamps"), counters.dropped_timestamps)?;
        Ok(dict)
    }

    #[getter]
    fn transmit_size(&self) -> usize {
        self.core.transmit_size()
    }

    #[pyo3(signature = (data, now = None))]
    fn handle_data(&mut self, data: &Bound<'_, PyAny>, now: Option<f64>) -> PyResult<()> {
        let (now, host) = (moment(now)?, PythonHost(data.py()));
        with_bytes(data, |data| self.core.handle_data(data, now, &host))
    }

    #[pyo3(signature = (now = None))]
    fn handle_eof(&mut self, now: Option<f64>) -> PyResult<()> {
        self.core.handle_eof(moment(now)?);
        Ok(())
    }

    fn handle_timeout(&mut self, now: f64) -> PyResult<()> {
        if let Some(now) = moment(Some(now))? {
            self.core.handle_timeout(now);
        }
        Ok(())
    }

    fn handle_progress(&mut self, now: f64) -> PyResult<()> {
        if let Some(now) = moment(Some(now))? {
            self.core.handle_progress(now);
        }
        Ok(())
    }

    fn poll_transmit<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let transmit = self.core.poll_transmit();
        let bytes = PyBytes::new(py, &transmit);
        self.core.reuse_transmit(transmit);
        bytes
    }

    fn poll_events<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let (batched, mut objects, events) = {
            let mut connection = slf.try_borrow_mut()?;
            let undelivered = mem::take(&mut connection.undelivered);
            (connection.batched, undelivered, connection.core.poll_events())
        };
        if batched {
            if let Err(error) = events::deliver(py, events, &mut objects) {
                slf.try_borrow_mut()?.undelivered = objects;
                return Err(error);
            }
        } else {
            for event in events {
                objects.push(events::to_python(py, event)?);
            }
        }
        PyList::new(py, objects)
    }

    fn note_timer(&mut self, due: Option<f64>) {
        self.timer_due = due;
    }

    fn poll_timeout(&self) -> Option<f64> {
        self.core.poll_timeout()
    }

    fn send_text(&mut self, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = payload.cast::<PyString>() {
            return self.core.send_text(text.to_str()?.as_bytes()).map_err(command_error);
        }
        with_bytes(payload, |payload| self.core.send_text(payload))?.map_err(command_error)
    }

    fn send_binary(&mut self, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        with_bytes(payload, |payload| self.core.send_binary(payload))?.map_err(command_error)
    }

    #[pyo3(signature = (payload = None), text_signature = "($self, /, payload=b'')")]
    fn send_ping(&mut self, payload: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        match payload {
            Some(payload) => with_bytes(payload, |payload| self.core.send_ping(payload))?,
            None => self.core.send_ping(b""),
        }
        .map_err(command_error)
    }

    #[pyo3(
        signature = (code = close_code::NORMAL, reason = "", now = None),
        text_signature = "($self, /, code=1000, reason='', now=None)"
    )]
    fn close(&mut self, code: u16, reason: &str, now: Option<f64>) -> PyResult<()> {
        self.core.close(Some(code), reason, moment(now)?).map_err(command_error)
    }

    #[pyo3(signature = (context_id, context, format, deliver = None))]
    fn open_context(
        &mut self,
        context_id: &str,
        context: Py<PyAny>,
        format: Bound<'_, PyAny>,
        deliver: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let layout = read_format(&format)?;
        let deliver_layout = deliver.as_ref().map(read_format).transpose()?;
        let owner = Owner {
            context,
            format: deliver.unwrap_or(format).unbind(),
        };
        self.core
            .open_context(context_id, owner, layout, deliver_layout, None)
            .map_err(command_error)
    }

    #[pyo3(signature = (
        context_id, transcript, *, continues, flush = false, settings, buffer_delay_ms = None, now = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword of the Python signature")]
    fn send_input(
        &mut self,
        context_id: &str,
        transcript: &str,
        continues: bool,
        flush: bool,
        settings: &Bound<'_, PyAny>,
        buffer_delay_ms: Option<u32>,
        now: Option<f64>,
    ) -> PyResult<&'static str> {
        let now = moment(now)?;
        with_bytes(settings, |settings| {
            let input = Input {
                transcript,
                continues,
                flush,
                settings,
                buffer_delay_ms: buffer_delay_ms.unwrap_or(BUFFER_DELAY_MS),
            };
            self.core.send_input(context_id, &input, now)
        })?
        .map(ClientVerdict::name)
        .map_err(command_error)
    }

    fn join_audio(&mut self, context_id: &str) -> PyResult<()> {
        self.core.join_audio(context_id).map_err(command_error)
    }

    #[pyo3(signature = (context_id, now = None))]
    fn send_cancel(&mut self, context_id: &str, now: Option<f64>) -> PyResult<bool> {
        self.core.send_cancel(context_id, moment(now)?).map_err(command_error)
    }

    fn forget_context(&mut self, context_id: &str) -> PyResult<u64> {
        self.core.forget_context(context_id, None).map_err(command_error)
    }

    #[pyo3(signature = (context_id, now = None))]
    fn context_state(&mut self, context_id: &str, now: Option<f64>) -> PyResult<&'static str> {
        self.core
            .context_state(context_id, moment(now)?)
            .map(ServerState::name)
            .map_err(command_error)
    }

    #[pyo3(signature = (context_id, transcript, *, continues, flush, valid, now = None))]
    fn handle_input(
        &mut self,
        context_id: &str,
        transcript: Option<&str>,
        continues: bool,
        flush: bool,
        valid: bool,
        now: Option<f64>,
    ) -> PyResult<&'static str> {
        let input = ServerInput {
            transcript,
            continues,
            flush,
            valid,
        };
        let action = self.core.handle_input(context_id, &input, moment(now)?);
        action.map(ServerAction::name).map_err(command_error)
    }

    #[pyo3(signature = (context_id, now = None))]
    fn handle_cancel(&mut self, context_id: &str, now: Option<f64>) -> PyResult<&'static str> {
        self.core
            .handle_cancel(context_id, moment(now)?)
            .map(ServerAction::name)
            .map_err(command_error)
    }

    #[pyo3(signature = (context_id, event, now = None))]
    fn handle_context(&mut self, context_id: &str, event: &str, now: Option<f64>) -> PyResult<&'static str> {
        let event = ServerEvent::from_name(event)
            .ok_or_else(|| value_error("event must be synthesis_failed, drained or expired"))?;
        let action = self.core.handle_context(context_id, event, moment(now)?);
        action.map(ServerAction::name).map_err(command_error)
    }

    #[pyo3(signature = (context_id, data, *, step_time_ms, flush_id = None))]
    fn send_chunk(
        &mut self,
        context_id: &str,
        data: &Bound<'_, PyAny>,
        step_time_ms: f64,
        flush_id: Option<u64>,
    ) -> PyResult<()> {
        with_bytes(data, |data| {
            self.core.send_chunk(context_id, data, step_time_ms, flush_id)
        })?
        .map_err(command_error)
    }

    #[pyo3(signature = (context_id, kind, items, *, flush_id = None))]
    #[expect(clippy::needless_pass_by_value, reason = "extracted from Python as an owned value")]
    fn send_timestamps(
        &mut self,
        context_id: &str,
        kind: &str,
        items: Vec<(String, f64, f64)>,
        flush_id: Option<u64>,
    ) -> PyResult<()> {
        let kind = [TimestampKind::Words, TimestampKind::Phonemes]
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or_else(|| value_error("kind must be words or phonemes"))?;
        self.core
            .send_timestamps(context_id, kind, &items, flush_id)
            .map_err(command_error)
    }

    fn send_flush_done(&mut self, context_id: &str, flush_id: u64) -> PyResult<()> {
        self.core.send_flush_done(context_id, flush_id).map_err(command_error)
    }

    fn send_done(&mut self, context_id: &str) -> PyResult<()> {
        self.core.send_done(context_id).map_err(command_error)
    }

    #[pyo3(signature = (context_id, *, status, title, message, request_id, code = None))]
    fn send_error(
        &mut self,
        context_id: Option<&str>,
        status: u16,
        title: &str,
        message: &str,
        request_id: &str,
        code: Option<&str>,
    ) -> PyResult<()> {
        let error = encode::Error {
            context_id,
            status,
            code,
            title,
            message,
            request_id,
        };
        self.core.send_error(&error).map_err(command_error)
    }

    fn __repr__(&self) -> String {
        format!("<Connection role={} state={}>", self.role(), self.state())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.undelivered.iter().try_for_each(|event| visit.call(event))?;
        self.core.owners().try_for_each(|owner| owner.traverse(&visit))
    }

    /// Lets go of everything that may refer back to us; what is left is a closed connection.
    fn __clear__(&mut self) {
        self.core.abandon();
        self.undelivered.clear();
    }
}

impl Connection {
    /// What takes the bytes of one read that is made without Python, in order.
    pub(crate) fn feed(&mut self, py: Python<'_>, now: f64) -> PyResult<impl FnMut(&[u8])> {
        let now = moment(Some(now))?;
        Ok(move |data: &[u8]| self.core.handle_data(data, now, &PythonHost(py)))
    }

    /// Bytes that must come before the next event can.
    pub(crate) fn missing_bytes(&self) -> usize {
        self.core.missing_bytes()
    }

    /// Delivers what came to inboxes; whether there is more that the owner must see to.
    pub(crate) fn deliver(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let (events, mut undelivered) = {
            let mut connection = slf.try_borrow_mut()?;
            if !connection.batched {
                return Ok(true);
            }
            (connection.core.poll_events(), mem::take(&mut connection.undelivered))
        };
        let delivered = events::deliver(slf.py(), events, &mut undelivered);
        let mut connection = slf.try_borrow_mut()?;
        connection.undelivered.append(&mut undelivered);
        delivered?;
        let due = connection.core.poll_timeout();
        Ok(!connection.undelivered.is_empty()
            || connection.core.transmit_size() > 0
            || due.is_some_and(|due| connection.timer_due.is_none_or(|timer_due| due < timer_due)))
    }
}

fn role_from_name(name: &str) -> PyResult<Role> {
    match name {
        "client" => Ok(Role::Client),
        "server" => Ok(Role::Server),
        _ => Err(value_error("role must be client or server")),
    }
}

/// A server masks nothing, so that it needs no seed.
fn read_seed(py: Python<'_>, role: Role, seed: Option<&Bound<'_, PyAny>>) -> PyResult<[u8; 32]> {
    let seed = match (seed, role) {
        (Some(seed), _) => seed.clone(),
        (None, Role::Client) => py
            .import(intern!(py, "os"))?
            .call_method1(intern!(py, "urandom"), (size_of::<[u8; 32]>(),))?,
        (None, Role::Server) => return Ok([0; 32]),
    };
    with_bytes(&seed, |seed| <[u8; 32]>::try_from(seed).map_err(|_| seed.len()))?
        .map_err(|size| value_error(format!("seed of {size} bytes, must be 32")))
}

/// A time span that a timer can wait for.
fn duration(name: &str, time_s: f64) -> PyResult<f64> {
    if time_s.is_finite() && time_s > 0.0 {
        return Ok(time_s);
    }
    Err(value_error(format!(
        "{name} of {time_s}, must be a positive number of seconds"
    )))
}

/// A point in time; the order of times must hold.
fn moment(now: Option<f64>) -> PyResult<Option<f64>> {
    match now {
        Some(now) if !now.is_finite() => Err(value_error("now must be a finite number of seconds")),
        now => Ok(now),
    }
}
