//! JSON values of the core as Python values.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3::{IntoPyObjectExt, PyResult};
use voxwire_core::message::json::Value;

/// Makes a dict of the members of a request.
pub(crate) fn members(
    py: Python<'_>,
    members: impl IntoIterator<Item = (impl AsRef<str>, Value)>,
) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in members {
        dict.set_item(name.as_ref(), to_python(py, value)?)?;
    }
    Ok(dict)
}

/// The depth is bounded by the parser, so that the recursion is.
fn to_python(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(value) => value.into_bound_py_any(py),
        Value::Int(value) => value.into_bound_py_any(py),
        Value::Float(value) => value.into_bound_py_any(py),
        // Whoever validates the request refuses infinity, and can name the field.
        Value::OutOfRange => f64::INFINITY.into_bound_py_any(py),
        Value::String(value) => value.into_bound_py_any(py),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            Ok(list.into_any())
        }
        Value::Object(pairs) => Ok(members(py, pairs)?.into_any()),
    }
}
