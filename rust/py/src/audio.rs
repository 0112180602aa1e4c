//! Formats, base64, transcoding and resampling.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use voxwire_audio::{Encoding, Format, Stream, transcode_into, transcoded_len};
use voxwire_core::base64;

use crate::errors::{memory_error, type_error, value_error};
use crate::raw::{new_bytes, with_bytes};

/// Reads a `voxwire.audio.AudioFormat`.
pub(crate) fn read_format(format: &Bound<'_, PyAny>) -> PyResult<Format> {
    let py = format.py();
    let attribute = |name| {
        format.getattr(name).map_err(|error| {
            if !error.is_instance_of::<PyAttributeError>(py) {
                return error;
            }
            type_error("a format must be an AudioFormat with encoding, sample_rate and channels")
        })
    };
    let encoding = attribute(intern!(py, "encoding"))?;
    let name: &str = encoding.extract()?;
    let encoding = Encoding::from_name(name).ok_or_else(|| value_error("unknown encoding, see SAMPLE_WIDTHS"))?;
    let sample_rate = attribute(intern!(py, "sample_rate"))?.extract()?;
    let channels = attribute(intern!(py, "channels"))?.extract()?;
    Ok(Format {
        encoding,
        sample_rate,
        channels,
    })
}

/// Decodes strict base64: standard alphabet, padded, nothing else. Raises `ValueError` naming the position.
#[pyfunction]
pub(crate) fn decode_base64(text: &Bound<'_, PyAny>) -> PyResult<Py<PyBytes>> {
    let py = text.py();
    if let Ok(text) = text.cast::<PyString>() {
        return decode(py, text.to_str()?.as_bytes());
    }
    with_bytes(text, |text| decode(py, text))?
}

fn decode(py: Python<'_>, text: &[u8]) -> PyResult<Py<PyBytes>> {
    let Some(size) = base64::decoded_len(text) else {
        let length = text.len();
        return Err(value_error(format!(
            "base64 of {length} characters, must be a multiple of 4"
        )));
    };
    let mut outcome = Ok(());
    let decoded = new_bytes(py, size, &mut |room| {
        outcome = base64::decode(text, room);
        outcome.is_ok()
    })?;
    match (decoded, outcome) {
        (Some(decoded), Ok(())) => Ok(decoded),
        (_, Err(error)) => Err(value_error(error)),
        (None, Ok(())) => Err(memory_error(size)),
    }
}

/// Encodes as canonical base64.
#[pyfunction]
pub(crate) fn encode_base64<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let mut text = Vec::new();
    with_bytes(data, |data| base64::encode(data, &mut text))?;
    PyString::from_bytes(data.py(), &text)
}

/// Changes the encoding of whole samples. Raises `ValueError` for a cut sample, and where rate or channels differ.
#[pyfunction]
pub(crate) fn transcode(
    data: &Bound<'_, PyAny>,
    source: &Bound<'_, PyAny>,
    target: &Bound<'_, PyAny>,
) -> PyResult<Py<PyBytes>> {
    let (source, target) = (read_format(source)?, read_format(target)?);
    if source.sample_rate != target.sample_rate || source.channels != target.channels {
        return Err(value_error(
            "transcode keeps rate and channels, use a Resampler to change them",
        ));
    }
    let (source, target) = (source.encoding, target.encoding);
    let py = data.py();
    with_bytes(data, |data| {
        let size = transcoded_len(data.len(), source, target).map_err(value_error)?;
        new_bytes(py, size, &mut |room| transcode_into(data, source, target, room).is_ok())?
            .ok_or_else(|| memory_error(size))
    })?
}

/// Converts a stream of audio from one format to another.
#[pyclass(module = "voxwire._core")]
pub(crate) struct Resampler {
    source: Format,
    target: Format,
    stream: Stream,
}

#[pymethods]
impl Resampler {
    #[new]
    fn new(source: &Bound<'_, PyAny>, target: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (source, target) = (read_format(source)?, read_format(target)?);
        let stream = Stream::new(source, target).map_err(value_error)?;
        Ok(Self { source, target, stream })
    }

    /// Takes whole frames of the source format, multiplied by `gain`, and returns what of the target format is ready.
    #[pyo3(signature = (data, gain = 1.0))]
    fn process<'py>(&mut self, data: &Bound<'py, PyAny>, gain: f32) -> PyResult<Bound<'py, PyBytes>> {
        if !gain.is_finite() || gain < 0.0 {
            return Err(value_error("gain must be a finite number of at least 0"));
        }
        let mut out = Vec::new();
        with_bytes(data, |data| self.stream.process_with_gain(data, gain, &mut out))?.map_err(value_error)?;
        Ok(PyBytes::new(data.py(), &out))
    }

    /// Returns everything that is due for the input so far, as if silence followed; the stream goes on.
    fn flush<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut out = Vec::new();
        self.stream.flush(&mut out);
        PyBytes::new(py, &out)
    }

    /// Returns the rest; what is given afterwards is a new stream.
    fn finish<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut out = Vec::new();
        self.stream.finish(&mut out);
        PyBytes::new(py, &out)
    }

    fn __repr__(&self) -> String {
        let Self { source, target, .. } = self;
        format!(
            "<Resampler from {} at {} Hz to {} at {} Hz>",
            source.encoding, source.sample_rate, target.encoding, target.sample_rate
        )
    }
}
