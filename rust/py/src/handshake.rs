//! The HTTP upgrade, both halves. A `repr` shows no header: it may be a credential.

#![expect(
    clippy::needless_pass_by_value,
    reason = "arguments are extracted from Python as owned values"
)]

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use voxwire_core::handshake;

use crate::errors::value_error;
use crate::raw::with_bytes;

type Headers = Vec<(String, String)>;

fn borrowed(headers: &Headers) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The client's half of the HTTP upgrade (RFC 6455 section 4.1).
#[pyclass(module = "voxwire._core")]
pub(crate) struct ClientHandshake {
    core: handshake::ClientHandshake,
}

#[pymethods]
impl ClientHandshake {
    #[new]
    #[pyo3(
        signature = (*, host, target, headers = Vec::new(), key),
        text_signature = "(*, host, target, headers=(), key)"
    )]
    fn new(host: &str, target: &str, headers: Headers, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let key = with_bytes(key, |key| <[u8; 16]>::try_from(key).map_err(|_| key.len()))?
            .map_err(|size| value_error(format!("key of {size} bytes, must be 16")))?;
        let core = handshake::ClientHandshake::new(host, target, &borrowed(&headers), key);
        Ok(Self {
            core: core.map_err(value_error)?,
        })
    }

    fn poll_transmit<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.poll_transmit())
    }

    fn handle_data(&mut self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_bytes(data, |data| self.core.handle_data(data))
    }

    fn handle_eof(&mut self) -> bool {
        self.core.handle_eof()
    }

    #[getter]
    fn accepted(&self) -> bool {
        self.core.accepted()
    }

    #[getter]
    fn failure(&self) -> Option<String> {
        self.core.failure().map(|fault| fault.to_string())
    }

    #[getter]
    fn status(&self) -> Option<u16> {
        self.core.status()
    }

    #[getter]
    fn headers(&self) -> Headers {
        self.core.headers().to_vec()
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core.body())
    }

    #[getter]
    fn remainder<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core.remainder())
    }

    fn __repr__(&self) -> String {
        match (self.core.accepted(), self.core.status()) {
            (true, _) => "<ClientHandshake accepted>".to_owned(),
            (false, Some(status)) => format!("<ClientHandshake status={status}>"),
            (false, None) => "<ClientHandshake>".to_owned(),
        }
    }
}

/// The server's half: reads one request head under the limits, then answers.
#[pyclass(module = "voxwire._core")]
pub(crate) struct ServerHandshake {
    core: handshake::ServerHandshake,
}

#[pymethods]
impl ServerHandshake {
    #[new]
    fn new() -> Self {
        Self {
            core: handshake::ServerHandshake::new(),
        }
    }

    fn handle_data(&mut self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_bytes(data, |data| self.core.handle_data(data))
    }

    #[getter]
    fn failure(&self) -> Option<(u16, String)> {
        self.core.failure().map(|fault| (fault.status(), fault.to_string()))
    }

    #[getter]
    fn method(&self) -> &str {
        self.core.method()
    }

    #[getter]
    fn target(&self) -> &str {
        self.core.target()
    }

    #[getter]
    fn headers(&self) -> Headers {
        self.core.headers().to_vec()
    }

    #[getter]
    fn received<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core.received())
    }

    #[getter]
    fn remainder<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.core.remainder())
    }

    fn upgrade_failure(&self) -> Option<(u16, String)> {
        self.core
            .upgrade_failure()
            .map(|fault| (fault.status(), fault.to_string()))
    }

    #[pyo3(signature = (headers = Vec::new()), text_signature = "($self, /, headers=())")]
    fn accept<'py>(&self, py: Python<'py>, headers: Headers) -> PyResult<Bound<'py, PyBytes>> {
        let answer = self.core.accept(&borrowed(&headers)).map_err(value_error)?;
        Ok(PyBytes::new(py, &answer))
    }

    #[staticmethod]
    fn refuse<'py>(status: u16, headers: Headers, body: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let answer =
            handshake::ServerHandshake::refuse(status, &borrowed(&headers), body.as_bytes()).map_err(value_error)?;
        Ok(PyBytes::new(body.py(), &answer))
    }

    fn __repr__(&self) -> String {
        match self.core.failure() {
            Some(fault) => format!("<ServerHandshake refused={}>", fault.status()),
            None => "<ServerHandshake>".to_owned(),
        }
    }
}
