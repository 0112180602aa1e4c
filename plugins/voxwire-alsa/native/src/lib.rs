//! `voxwire_alsa._native`: an ALSA device as a sink. Python translates it into the contract's own types.

mod device;
mod foreign;
mod meter;
mod player;
mod shared;
mod silence;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::binding::{Device, devices, probe};
}

mod binding {
    use std::sync::{Arc, Mutex, PoisonError, mpsc};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use pyo3::exceptions::{PyOSError, PyValueError};
    use pyo3::prelude::*;
    use voxwire_audio::{Encoding, Format};
    use voxwire_plugin::{
        FormatRefused, Numbers, SinkBusy, SinkClosed, SinkError, duplicate, numbers, refused, with_bytes,
    };
    use voxwire_sink::{Queue, Refusal, Wake};

    use crate::device::{Request, list, serve, try_open};
    use crate::shared::{Failure, Shared};

    /// One device, from its opening to its close. Every method may be called from any thread.
    #[pyclass(module = "voxwire_alsa._native", frozen)]
    pub(crate) struct Device {
        shared: Arc<Shared>,
        thread: Mutex<Option<JoinHandle<()>>>,
    }

    #[pymethods]
    impl Device {
        /// `name` is whose device it is, for messages.
        #[new]
        fn new(name: String) -> PyResult<Self> {
            Ok(Self {
                shared: Arc::new(Shared::new(name)?),
                thread: Mutex::new(None),
            })
        }

        /// Opens a device on a thread of its own; once. Returns which format it was, its period, and how many frames
        /// are held here at most.
        #[pyo3(signature = (device, formats, wake, *, latency_ms, period_ms, preroll_ms, keep_running, timeout_s))]
        #[expect(clippy::too_many_arguments, reason = "named in Python")]
        fn open(
            &self,
            py: Python<'_>,
            device: String,
            formats: Vec<(String, u32, u16)>,
            wake: i32,
            latency_ms: u64,
            period_ms: u64,
            preroll_ms: u64,
            keep_running: bool,
            timeout_s: f64,
        ) -> PyResult<(usize, u64, u64)> {
            let request = Request {
                device,
                formats: formats.into_iter().map(read_format).collect::<PyResult<_>>()?,
                latency_ms,
                period_ms,
                preroll_ms,
                keep_running,
            };
            let timeout =
                Duration::try_from_secs_f64(timeout_s).map_err(|error| PyValueError::new_err(error.to_string()))?;
            let wake = Wake::new(duplicate(wake)?);
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new()
                .name("voxwire-alsa".to_owned())
                .spawn(move || serve(&shared, &request, wake))?;
            *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            let outcome = py.detach(|| self.shared.wait_open(timeout));
            match outcome {
                Some(Ok(opened)) if !self.shared.closing() => {
                    let capacity = self.queue()?.capacity();
                    Ok((opened.format, opened.period, capacity))
                }
                Some(Err(failure)) => Err(opening_error(failure)),
                None if !self.shared.closing() => {
                    let message = format!("{} did not open within {timeout_s} s", self.shared.name);
                    Err(SinkError::new_err(message))
                }
                Some(Ok(_)) | None => Err(self.closed()),
            }
        }

        /// Takes whole frames and returns how many.
        fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<u64> {
            let queue = self.queue()?;
            let written =
                with_bytes(data, |data| queue.write(data))?.map_err(|refusal| self.refused(data.py(), refusal))?;
            if written.rouse {
                self.shared.rouse();
            }
            Ok(written.frames)
        }

        /// Has the host woken when all that was written has been heard.
        fn finish(&self, py: Python<'_>) -> PyResult<()> {
            self.queue()?.finish().map_err(|refusal| self.refused(py, refusal))?;
            self.shared.rouse();
            Ok(())
        }

        /// Drops what can still be dropped and returns the segment's final numbers.
        fn clear(&self, py: Python<'_>) -> PyResult<Numbers> {
            let queue = self.queue()?;
            Ok(numbers(py.detach(|| self.shared.clear(queue))))
        }

        /// Where the device stands.
        fn position(&self) -> PyResult<Numbers> {
            Ok(numbers(self.queue()?.position()))
        }

        /// Stops the device at its next move; what was not heard is kept.
        fn pause(&self) -> PyResult<()> {
            self.queue()?;
            self.shared.pause(true);
            Ok(())
        }

        /// Goes on where it stopped.
        fn resume(&self) -> PyResult<()> {
            self.queue()?;
            self.shared.pause(false);
            Ok(())
        }

        /// Closes at once, also a device that is still opening; False where its thread does not end and is left behind.
        fn close(&self, py: Python<'_>) -> bool {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            py.detach(|| {
                if let Some(thread) = thread {
                    // A thread that has ended is through with everything that may last.
                    self.shared.close() && thread.join().is_ok()
                } else {
                    self.shared.abandon();
                    true
                }
            })
        }

        /// What the library said since the last call.
        fn take_messages(&self) -> Vec<String> {
            self.shared.take_messages()
        }
    }

    impl Device {
        fn queue(&self) -> PyResult<&Queue> {
            self.shared.queue().ok_or_else(|| self.closed())
        }

        fn closed(&self) -> PyErr {
            SinkClosed::new_err(format!("{} is not open", self.shared.name))
        }

        fn refused(&self, py: Python<'_>, refusal: Refusal) -> PyErr {
            refused(py, &self.shared.name, refusal)
        }
    }

    impl Drop for Device {
        fn drop(&mut self) {
            // Nobody can close it any more: its thread ends by itself.
            self.shared.abandon();
        }
    }

    /// Says why a device cannot be used, or None where it can.
    #[pyfunction]
    pub(crate) fn probe(py: Python<'_>, device: String, timeout_s: f64) -> PyResult<Option<String>> {
        let timeout =
            Duration::try_from_secs_f64(timeout_s).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("voxwire-probe".to_owned())
            // Whoever asked may have given up.
            .spawn(move || drop(sender.send(try_open(&device))))?;
        Ok(py.detach(move || match receiver.recv_timeout(timeout) {
            Ok(reason) => {
                // It has nothing left to do; a thread that lingers would look like a leak.
                let _ = thread.join();
                reason
            }
            Err(_) => Some(format!("the device does not open within {timeout_s} s")),
        }))
    }

    /// Names and descriptions of all devices that play.
    #[pyfunction]
    pub(crate) fn devices(py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        // On a thread of its own, whose messages are its own too.
        let listing = py.detach(|| thread::Builder::new().spawn(list).map(JoinHandle::join));
        match listing? {
            Ok(devices) => devices.map_err(SinkError::new_err),
            Err(_) => Err(PyOSError::new_err("internal fault while devices were listed")),
        }
    }

    fn read_format((encoding, sample_rate, channels): (String, u32, u16)) -> PyResult<Format> {
        let encoding = Encoding::from_name(&encoding)
            .ok_or_else(|| PyValueError::new_err(format!("unknown encoding {encoding:?}")))?;
        Ok(Format {
            encoding,
            sample_rate,
            channels,
        })
    }

    fn opening_error(failure: Failure) -> PyErr {
        match failure {
            Failure::Format(message) => FormatRefused::new_err(message),
            Failure::Busy(message) => SinkBusy::new_err(message),
            Failure::Other(message) => SinkError::new_err(message),
        }
    }
}
