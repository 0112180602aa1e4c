//! Whom a client trusts, and what it shows.

use std::path::PathBuf;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use voxwire_link::tls::{ConfigError, TlsConfig, TlsFiles};

use crate::errors::value_error;

/// How a client speaks TLS.
#[pyclass(module = "voxwire._core", frozen)]
pub(crate) struct TlsContext {
    config: TlsConfig,
    files: TlsFiles,
}

impl TlsContext {
    /// What sessions are made with.
    pub(crate) fn config(&self) -> &TlsConfig {
        &self.config
    }
}

#[pymethods]
impl TlsContext {
    #[new]
    #[pyo3(signature = (*, ca_file = None, certificate_file = None, key_file = None))]
    fn new(
        py: Python<'_>,
        ca_file: Option<PathBuf>,
        certificate_file: Option<PathBuf>,
        key_file: Option<PathBuf>,
    ) -> PyResult<Self> {
        let files = TlsFiles {
            ca: ca_file,
            certificate: certificate_file,
            key: key_file,
        };
        match py.detach(|| TlsConfig::new(&files)) {
            Ok(config) => Ok(Self { config, files }),
            Err(error) => Err(raised(py, error)),
        }
    }

    #[getter]
    fn ca_file(&self) -> Option<PathBuf> {
        self.files.ca.clone()
    }

    #[getter]
    fn certificate_file(&self) -> Option<PathBuf> {
        self.files.certificate.clone()
    }

    #[getter]
    fn key_file(&self) -> Option<PathBuf> {
        self.files.key.clone()
    }

    fn __repr__(&self) -> String {
        let trusted = match &self.files.ca {
            Some(path) => path.display().to_string(),
            None => "the platform's roots".to_owned(),
        };
        format!("<TlsContext trusting {trusted}>")
    }
}

/// An `OSError` of the class that its number asks for, with the name of the file, or a `ValueError`.
fn raised(py: Python<'_>, error: ConfigError) -> PyErr {
    let ConfigError::Unreadable { path, error } = error else {
        return value_error(error);
    };
    let Some(number) = error.raw_os_error() else {
        return value_error(ConfigError::Unreadable { path, error });
    };
    let text = py
        .import(intern!(py, "os"))
        .and_then(|os| os.call_method1(intern!(py, "strerror"), (number,)));
    match text {
        Ok(text) => PyOSError::new_err((number, text.unbind(), path.display().to_string())),
        Err(error) => error,
    }
}
