//! The socket that the core reads itself: one call takes what came and hands it to a connection where it lies.
//!
//! The interpreter stays held during the system calls. They never block, and giving it up would now and then hand it to a
//! busy thread for a whole switch interval of 5 ms (benches/choices/gil.py).

use std::hint::black_box;

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use voxwire_link::socket::{self, Received, SocketError};
use voxwire_link::tls::{Tls, TlsError};

use crate::connection::Connection;
use crate::errors::value_error;
use crate::raw::with_bytes;
use crate::tls::TlsContext;

/// Where reads go. One serves all sockets of a loop: what a read brought is used up before the next begins. Python
/// never sees its memory, so that nothing can change it meanwhile.
#[pyclass(module = "voxwire._core")]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
}

#[pymethods]
impl ReadBuffer {
    #[new]
    fn new(size: usize) -> PyResult<Self> {
        if size == 0 {
            return Err(value_error("size of 0 bytes, must be positive"));
        }
        // The audio of each read is freed together. glibc would give its pages back to the system and fault them in again
        // with the next read, a tenth of what a large chunk costs, unless it has seen a larger block freed before.
        drop(black_box(Vec::<u8>::with_capacity(4 * size)));
        Ok(Self {
            bytes: vec![0; size].into_boxed_slice(),
        })
    }

    fn __len__(&self) -> usize {
        self.bytes.len()
    }
}

/// A connected stream socket that does not block, with TLS in it where a context is given.
#[pyclass(module = "voxwire._core")]
pub(crate) struct Socket {
    socket: socket::Socket,
}

#[pymethods]
impl Socket {
    #[new]
    #[pyo3(signature = (fileno, *, tls = None, server_name = ""), text_signature = "(fileno, *, tls=None, server_name='')")]
    fn new(py: Python<'_>, fileno: i32, tls: Option<&TlsContext>, server_name: &str) -> PyResult<Self> {
        let socket = match tls {
            None => socket::Socket::new(fileno),
            Some(tls) => {
                let session = Tls::new(tls.config(), server_name).map_err(SocketError::Tls);
                session
                    .and_then(|session| socket::Socket::with_tls(fileno, session))
                    .map_err(|error| raised(py, &error))?
            }
        };
        Ok(Self { socket })
    }

    fn receive_bytes<'py>(&mut self, buffer: &Bound<'py, ReadBuffer>) -> PyResult<(Bound<'py, PyBytes>, bool)> {
        let py = buffer.py();
        let mut plain = Vec::new();
        let received = self.socket.receive(&mut buffer.try_borrow_mut()?.bytes, |data| {
            plain.extend_from_slice(data);
        });
        let ended = received.map_err(|error| raised(py, &error))? == Received::End;
        Ok((PyBytes::new(py, &plain), ended))
    }

    fn send(&mut self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = data.py();
        with_bytes(data, |data| self.socket.send(data))?.map_err(|error| raised(py, &error))?;
        Ok(self.socket.unsent_bytes())
    }

    fn flush(&mut self, py: Python<'_>) -> PyResult<usize> {
        self.socket.flush().map_err(|error| raised(py, &error))?;
        Ok(self.socket.unsent_bytes())
    }

    fn shutdown_write(&mut self, py: Python<'_>) -> PyResult<usize> {
        self.socket.shutdown_write().map_err(|error| raised(py, &error))?;
        Ok(self.socket.unsent_bytes())
    }

    #[getter]
    fn unsent_bytes(&self) -> usize {
        self.socket.unsent_bytes()
    }

    fn close(&mut self) {
        self.socket.close();
    }
}

/// What a loop calls for a socket that can be read: it reads once, and tells only what there is to be seen to.
#[pyclass(frozen, module = "voxwire._core")]
pub(crate) struct Reader {
    socket: Py<Socket>,
    connection: Py<Connection>,
    buffer: Py<ReadBuffer>,
    clock: Py<PyAny>,
    tell: Py<PyAny>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(
        socket: Py<Socket>,
        connection: Py<Connection>,
        buffer: Py<ReadBuffer>,
        clock: Py<PyAny>,
        tell: Py<PyAny>,
    ) -> Self {
        Self {
            socket,
            connection,
            buffer,
            clock,
            tell,
        }
    }

    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        match self.read(py) {
            Ok(Came::Nothing) => Ok(()),
            Ok(came) => self.tell.call1(py, (came == Came::End, py.None())).map(drop),
            Err(error) if error.is_instance_of::<PyException>(py) => self.tell.call1(py, (false, error)).map(drop),
            // What is to end the program, such as a signal's.
            Err(error) => Err(error),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)?;
        visit.call(&self.clock)?;
        visit.call(&self.tell)
    }
}

/// What a read left to be seen to.
#[derive(PartialEq, Eq)]
enum Came {
    Nothing,
    Something,
    End,
}

impl Reader {
    fn read(&self, py: Python<'_>) -> PyResult<Came> {
        let now = self.clock.call0(py)?.extract(py)?;
        let connection = self.connection.bind(py);
        let received = {
            let mut core = connection.try_borrow_mut()?;
            let mut feed = core.feed(py, now)?;
            let mut buffer = self.buffer.try_borrow_mut(py)?;
            let mut socket = self.socket.try_borrow_mut(py)?;
            let received = socket.socket.receive(&mut buffer.bytes, &mut feed);
            drop(feed);
            if let Ok(Received::Bytes(count)) = received {
                socket.socket.await_rest(count, core.missing_bytes());
            }
            received
        };
        // Nothing is held here: foreign code may run, which may send.
        let has_more = match received.map_err(|error| raised(py, &error))? {
            Received::End => return Ok(Came::End),
            Received::Bytes(_) => Connection::deliver(connection)?,
            Received::WouldBlock => false,
        };
        // TLS answers by itself.
        if has_more || self.socket.try_borrow(py)?.unsent_bytes() > 0 {
            Ok(Came::Something)
        } else {
            Ok(Came::Nothing)
        }
    }
}

/// An `OSError` of the class that its number asks for, or a `voxwire.exceptions.TlsError`.
fn raised(py: Python<'_>, error: &SocketError) -> PyErr {
    match error {
        SocketError::Io(error) => system_error(py, error),
        SocketError::Tls(error) => tls_error(py, error).unwrap_or_else(|error| error),
    }
}

fn system_error(py: Python<'_>, error: &std::io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return PyOSError::new_err(error.to_string());
    };
    let text = py
        .import(intern!(py, "os"))
        .and_then(|os| os.call_method1(intern!(py, "strerror"), (number,)));
    match text {
        Ok(text) => PyOSError::new_err((number, text.unbind())),
        Err(error) => error,
    }
}

fn tls_error(py: Python<'_>, error: &TlsError) -> PyResult<PyErr> {
    let class = py
        .import(intern!(py, "voxwire.exceptions"))?
        .getattr(intern!(py, "TlsError"))?;
    let details = PyDict::new(py);
    if let TlsError::Untrusted(_) = error {
        details.set_item(intern!(py, "code"), intern!(py, "tls_untrusted"))?;
    }
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&details))?))
}
