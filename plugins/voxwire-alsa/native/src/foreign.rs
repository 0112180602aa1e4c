//! What the compiler cannot check: the functions of libasound, which is opened at run time and never linked. The one
//! file of the plugin with `unsafe`.
//!
//! libasound lets one thread at a time use a device: a [`Pcm`] cannot leave the thread that opened it. Every device is
//! opened without blocking, and `snd_pcm_drain` is not here at all: the plugins of both sound servers wait inside it
//! even so.

#![expect(unsafe_code, reason = "a C library is called")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_ushort, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use voxwire_audio::{Encoding, Format};

/// A system's error number, positive, as libasound returns it negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

/// What a device was set to, in frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) period: u64,
    pub(crate) buffer: u64,
}

/// What a device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Prepared,
    Running,
    Xrun,
    Suspended,
    Disconnected,
    Other,
}

// Constants of alsa/pcm.h, part of the library's binary interface.
const STREAM_PLAYBACK: c_int = 0;
const MODE_NONBLOCK: c_int = 1;
const ACCESS_RW_INTERLEAVED: c_int = 3;

fn format_number(encoding: Encoding) -> c_int {
    match encoding {
        Encoding::PcmS16le => 2,
        Encoding::PcmF32le => 14,
        Encoding::PcmMulaw => 20,
        Encoding::PcmAlaw => 21,
    }
}

type Object = *mut c_void;
/// `snd_local_error_handler_t`. Its last argument is a `va_list`, which is handed on as it came: on x86-64 it decays to
/// a pointer, on aarch64 it is passed by reference, elsewhere it is one machine word.
type Handler = unsafe extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char, *mut c_void);

unsafe extern "C" {
    /// The C library's own, with the `va_list` that a handler gets.
    fn vsnprintf(buffer: *mut c_char, size: usize, format: *const c_char, arguments: *mut c_void) -> c_int;
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of libasound that are used here, under their own names and with their own types.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Finds all of them, or names the first that is missing.
            fn find(library: Object) -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: {
                        let name = concat!(stringify!($name), "\0");
                        // SAFETY: `library` came from dlopen and is never closed; the name ends with a NUL.
                        let found = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
                        if found.is_null() {
                            return Err(stringify!($name));
                        }
                        // SAFETY: not null, and in the library's major version, by which it was opened, the function of
                        // this name has the type that alsa/asoundlib.h gives it, which is the one here.
                        unsafe {
                            std::mem::transmute::<Object, unsafe extern "C" fn($($argument),*) $(-> $result)?>(found)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    snd_pcm_open(*mut Object, *const c_char, c_int, c_int) -> c_int;
    snd_pcm_close(Object) -> c_int;
    snd_pcm_hw_params_malloc(*mut Object) -> c_int;
    snd_pcm_hw_params_free(Object);
    snd_pcm_hw_params_any(Object, Object) -> c_int;
    snd_pcm_hw_params_set_access(Object, Object, c_int) -> c_int;
    snd_pcm_hw_params_set_format(Object, Object, c_int) -> c_int;
    snd_pcm_hw_params_set_channels(Object, Object, c_uint) -> c_int;
    snd_pcm_hw_params_set_rate(Object, Object, c_uint, c_int) -> c_int;
    snd_pcm_hw_params_set_period_size_near(Object, Object, *mut c_ulong, *mut c_int) -> c_int;
    snd_pcm_hw_params_set_buffer_size_near(Object, Object, *mut c_ulong) -> c_int;
    snd_pcm_hw_params(Object, Object) -> c_int;
    snd_pcm_hw_params_get_format(Object, *mut c_int) -> c_int;
    snd_pcm_hw_params_get_channels(Object, *mut c_uint) -> c_int;
    snd_pcm_hw_params_get_rate(Object, *mut c_uint, *mut c_int) -> c_int;
    snd_pcm_hw_params_get_period_size(Object, *mut c_ulong, *mut c_int) -> c_int;
    snd_pcm_hw_params_get_buffer_size(Object, *mut c_ulong) -> c_int;
    snd_pcm_sw_params_malloc(*mut Object) -> c_int;
    snd_pcm_sw_params_free(Object);
    snd_pcm_sw_params_current(Object, Object) -> c_int;
    snd_pcm_sw_params_set_start_threshold(Object, Object, c_ulong) -> c_int;
    snd_pcm_sw_params_set_avail_min(Object, Object, c_ulong) -> c_int;
    snd_pcm_sw_params(Object, Object) -> c_int;
    snd_pcm_prepare(Object) -> c_int;
    snd_pcm_start(Object) -> c_int;
    snd_pcm_drop(Object) -> c_int;
    snd_pcm_resume(Object) -> c_int;
    snd_pcm_state(Object) -> c_int;
    snd_pcm_avail(Object) -> c_long;
    snd_pcm_delay(Object, *mut c_long) -> c_int;
    snd_pcm_writei(Object, *const c_void, c_ulong) -> c_long;
    snd_pcm_poll_descriptors_count(Object) -> c_int;
    snd_pcm_poll_descriptors(Object, *mut libc::pollfd, c_uint) -> c_int;
    snd_pcm_poll_descriptors_revents(Object, *mut libc::pollfd, c_uint, *mut c_ushort) -> c_int;
    snd_pcm_format_set_silence(c_int, *mut c_void, c_uint) -> c_int;
    snd_strerror(c_int) -> *const c_char;
    snd_lib_error_set_local(Option<Handler>) -> Option<Handler>;
    snd_device_name_hint(c_int, *const c_char, *mut *mut Object) -> c_int;
    snd_device_name_get_hint(Object, *const c_char) -> *mut c_char;
    snd_device_name_free_hint(*mut Object) -> c_int;
}

// --- the library ---

/// libasound, opened and never closed.
pub(crate) struct Library {
    functions: Functions,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Debian's names; other systems have the same library in `alsa-lib`.
const ADVICE: &str = "install the package libasound2 (libasound2t64 on newer Debian and Ubuntu, alsa-lib elsewhere)";

impl Library {
    /// Opens it at the first call. The error is one line that names what to install.
    pub(crate) fn open() -> Result<&'static Self, String> {
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        // By the name of its binary interface: the name without a number belongs to the development package.
        // SAFETY: the name ends with a NUL. What the library's constructors do cannot be promised; they are ALSA's.
        let handle = unsafe { libc::dlopen(c"libasound.so.2".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: dlopen has failed on this thread, so this is its text, valid until the next call of the family.
            let reason = unsafe { text(libc::dlerror()) };
            return Err(format!("libasound.so.2 cannot be opened ({reason}), {ADVICE}"));
        }
        let functions = Functions::find(handle).map_err(|name| format!("libasound.so.2 has no {name}, {ADVICE}"))?;
        Ok(LIBRARY.get_or_init(|| Self { functions }))
    }

    /// The library's words for an error.
    pub(crate) fn describe(&self, code: Code) -> String {
        // SAFETY: takes any number and returns a static text.
        unsafe { text((self.functions.snd_strerror)(-code.0)) }
    }

    /// From now on what the library would print about calls of this thread is kept for [`take_messages`]. Whatever else
    /// uses the library in this process keeps its own ways.
    pub(crate) fn keep_messages(&self) {
        // SAFETY: sets a variable of this thread; the handler has the type of the interface and lives as long as we do.
        unsafe { (self.functions.snd_lib_error_set_local)(Some(keep_message)) };
    }

    /// Names and descriptions of all devices that play, as the configuration lists them.
    pub(crate) fn devices(&self) -> Result<Vec<(String, String)>, Code> {
        let functions = &self.functions;
        let mut hints: *mut Object = ptr::null_mut();
        // SAFETY: -1 is all cards, the interface's name ends with a NUL, the list goes where we say.
        check(unsafe { (functions.snd_device_name_hint)(-1, c"pcm".as_ptr(), &raw mut hints) })?;
        let mut devices = Vec::new();
        let mut next = hints;
        // SAFETY: the list is valid until it is freed below, and ends with a null pointer, beyond which nothing is read.
        while let Some(hint) = unsafe { next.as_ref() }.copied().filter(|hint| !hint.is_null()) {
            // SAFETY: a hint of the list, and keys that end with a NUL.
            let (name, description, direction) = unsafe {
                (
                    owned_text((functions.snd_device_name_get_hint)(hint, c"NAME".as_ptr())),
                    owned_text((functions.snd_device_name_get_hint)(hint, c"DESC".as_ptr())),
                    owned_text((functions.snd_device_name_get_hint)(hint, c"IOID".as_ptr())),
                )
            };
            // No direction means both.
            if let Some(name) = name.filter(|_| direction.is_none_or(|direction| direction == "Output")) {
                devices.push((name, description.unwrap_or_default()));
            }
            // SAFETY: this entry was not the last one.
            next = unsafe { next.add(1) };
        }
        // SAFETY: made by the call above and not used after this.
        unsafe { (functions.snd_device_name_free_hint)(hints) };
        Ok(devices)
    }
}

// --- a device ---

/// An open device, owned by the thread that opened it.
pub(crate) struct Pcm {
    functions: &'static Functions,
    /// Valid from the open until the drop; the raw pointer keeps it on this thread.
    handle: Object,
    /// Of the format that was set; 0 before.
    frame_bytes: usize,
    polled: Vec<libc::pollfd>,
}

// One rule for all blocks of this implementation that say "own handle": SAFETY there means that the handle is valid as
// long as `self`, that this thread alone uses it, and that pointers given along are valid for the call.
impl Pcm {
    /// Opens a device for playback. It may take as long as whatever stands behind the name likes.
    pub(crate) fn open(library: &'static Library, name: &CStr) -> Result<Self, Code> {
        let functions = &library.functions;
        let mut handle = ptr::null_mut();
        // SAFETY: the name ends with a NUL, the handle goes where we say.
        check(unsafe { (functions.snd_pcm_open)(&raw mut handle, name.as_ptr(), STREAM_PLAYBACK, MODE_NONBLOCK) })?;
        Ok(Self {
            functions,
            handle,
            frame_bytes: 0,
            polled: Vec::new(),
        })
    }

    /// Sets the device to exactly this format, and to a period and a buffer near those, in frames. None where it does
    /// not do the format: nothing is ever changed silently, all of it is read back.
    pub(crate) fn configure(&mut self, format: &Format, period: u64, buffer: u64) -> Result<Option<Setup>, Code> {
        let functions = self.functions;
        let mut params = ptr::null_mut();
        // SAFETY: the object goes where we say; it is freed below.
        check(unsafe { (functions.snd_pcm_hw_params_malloc)(&raw mut params) })?;
        // SAFETY: `params` is valid until it is freed behind this.
        let outcome = unsafe { self.configure_with(params, format, period, buffer) };
        // SAFETY: made above, not used after this.
        unsafe { (functions.snd_pcm_hw_params_free)(params) };
        if let Ok(Some(setup)) = outcome {
            self.frame_bytes = format.frame_bytes();
            self.set_thresholds(setup.period)?;
        }
        outcome
    }

    /// # Safety
    ///
    /// `params` is an object of `snd_pcm_hw_params_malloc` that nobody else uses.
    unsafe fn configure_with(
        &self,
        params: Object,
        format: &Format,
        period: u64,
        buffer: u64,
    ) -> Result<Option<Setup>, Code> {
        let (functions, pcm) = (self.functions, self.handle);
        let number = format_number(format.encoding);
        let (rate, channels) = (format.sample_rate, c_uint::from(format.channels));
        let (mut period, mut buffer) = (period as c_ulong, buffer as c_ulong);
        let mut direction = 0;
        // SAFETY: own handle and `params` by this function's contract; each number goes where we say.
        unsafe {
            check((functions.snd_pcm_hw_params_any)(pcm, params))?;
            let accepted = (functions.snd_pcm_hw_params_set_access)(pcm, params, ACCESS_RW_INTERLEAVED) >= 0
                && (functions.snd_pcm_hw_params_set_format)(pcm, params, number) >= 0
                && (functions.snd_pcm_hw_params_set_channels)(pcm, params, channels) >= 0
                && (functions.snd_pcm_hw_params_set_rate)(pcm, params, rate, 0) >= 0
                && (functions.snd_pcm_hw_params_set_period_size_near)(pcm, params, &raw mut period, &raw mut direction)
                    >= 0
                && (functions.snd_pcm_hw_params_set_buffer_size_near)(pcm, params, &raw mut buffer) >= 0;
            if !accepted {
                return Ok(None);
            }
            match check((functions.snd_pcm_hw_params)(pcm, params)) {
                Ok(_) => (),
                Err(Code(libc::EINVAL)) => return Ok(None),
                Err(code) => return Err(code),
            }
            let (mut number_set, mut rate_set, mut channels_set) = (-1, 0, 0);
            check((functions.snd_pcm_hw_params_get_format)(params, &raw mut number_set))?;
            check((functions.snd_pcm_hw_params_get_channels)(
                params,
                &raw mut channels_set,
            ))?;
            check((functions.snd_pcm_hw_params_get_rate)(
                params,
                &raw mut rate_set,
                &raw mut direction,
            ))?;
            if (number_set, rate_set, channels_set, direction) != (number, rate, channels, 0) {
                return Ok(None);
            }
            check((functions.snd_pcm_hw_params_get_period_size)(
                params,
                &raw mut period,
                &raw mut direction,
            ))?;
            check((functions.snd_pcm_hw_params_get_buffer_size)(params, &raw mut buffer))?;
        }
        #[allow(clippy::unnecessary_cast, reason = "the C type is narrower on other machines")]
        let (period, buffer) = (period as u64, buffer as u64);
        Ok(Some(Setup {
            period: period.max(1),
            buffer: buffer.max(1),
        }))
    }

    /// The device starts by itself with the second period, and counts as ready when it can take one.
    fn set_thresholds(&self, period: u64) -> Result<(), Code> {
        let (functions, pcm) = (self.functions, self.handle);
        let period = period as c_ulong;
        let mut params = ptr::null_mut();
        // SAFETY: the object goes where we say; it is freed below.
        check(unsafe { (functions.snd_pcm_sw_params_malloc)(&raw mut params) })?;
        // SAFETY: own handle; `params` is valid until it is freed behind this.
        let outcome = unsafe {
            check((functions.snd_pcm_sw_params_current)(pcm, params))
                .and_then(|_| {
                    check((functions.snd_pcm_sw_params_set_start_threshold)(
                        pcm,
                        params,
                        2 * period,
                    ))
                })
                .and_then(|_| check((functions.snd_pcm_sw_params_set_avail_min)(pcm, params, period)))
                .and_then(|_| check((functions.snd_pcm_sw_params)(pcm, params)))
        };
        // SAFETY: made above, not used after this.
        unsafe { (functions.snd_pcm_sw_params_free)(params) };
        outcome.map(drop)
    }

    /// Makes a device ready to be written to and started.
    pub(crate) fn prepare(&self) -> Result<(), Code> {
        // SAFETY: own handle.
        check(unsafe { (self.functions.snd_pcm_prepare)(self.handle) }).map(drop)
    }

    /// Starts a prepared device.
    pub(crate) fn start(&self) -> Result<(), Code> {
        // SAFETY: own handle.
        check(unsafe { (self.functions.snd_pcm_start)(self.handle) }).map(drop)
    }

    /// Stops a device at once and forgets what it has not passed on.
    pub(crate) fn stop(&self) -> Result<(), Code> {
        // SAFETY: own handle.
        check(unsafe { (self.functions.snd_pcm_drop)(self.handle) }).map(drop)
    }

    /// Goes on after a suspend of the machine; `EAGAIN` until it can.
    pub(crate) fn resume(&self) -> Result<(), Code> {
        // SAFETY: own handle.
        check(unsafe { (self.functions.snd_pcm_resume)(self.handle) }).map(drop)
    }

    /// What the device is doing, as far as its plugin tells.
    pub(crate) fn state(&self) -> State {
        // SAFETY: own handle.
        match unsafe { (self.functions.snd_pcm_state)(self.handle) } {
            2 => State::Prepared,
            3 => State::Running,
            4 => State::Xrun,
            7 => State::Suspended,
            8 => State::Disconnected,
            _ => State::Other,
        }
    }

    /// Frames that there is room for, by the latest state of the device.
    pub(crate) fn avail(&self) -> Result<u64, Code> {
        // SAFETY: own handle.
        check_long(unsafe { (self.functions.snd_pcm_avail)(self.handle) })
    }

    /// Frames until the next one written would be heard; what is less than none is none.
    pub(crate) fn delay(&self) -> Result<u64, Code> {
        let mut frames = 0;
        // SAFETY: own handle; the number goes where we say.
        check(unsafe { (self.functions.snd_pcm_delay)(self.handle, &raw mut frames) })?;
        Ok(u64::try_from(frames).unwrap_or(0))
    }

    /// Writes whole frames and returns how many were taken.
    pub(crate) fn write(&self, data: &[u8]) -> Result<u64, Code> {
        let frames = data.len().checked_div(self.frame_bytes).unwrap_or(0) as c_ulong;
        // SAFETY: own handle, and `data` holds that many frames of the format that was set last.
        check_long(unsafe { (self.functions.snd_pcm_writei)(self.handle, data.as_ptr().cast(), frames) })
    }

    /// Fills `data` with silence.
    pub(crate) fn silence(&self, encoding: Encoding, data: &mut [u8]) -> Result<(), Code> {
        let samples = (data.len() / encoding.sample_width()) as c_uint;
        let number = format_number(encoding);
        // SAFETY: `data` has room for that many samples of this encoding.
        check(unsafe { (self.functions.snd_pcm_format_set_silence)(number, data.as_mut_ptr().cast(), samples) })
            .map(drop)
    }

    /// Sleeps until `waker` is readable, or (where `watch` says so) the device can take a period, or the time is up.
    /// Returns whether it was the device.
    pub(crate) fn wait(&mut self, waker: BorrowedFd<'_>, watch: bool, timeout: Option<Duration>) -> Result<bool, Code> {
        let (functions, pcm) = (self.functions, self.handle);
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        self.polled.clear();
        self.polled.push(entry(waker.as_raw_fd(), libc::POLLIN));
        if watch {
            // SAFETY: own handle.
            let count = check(unsafe { (functions.snd_pcm_poll_descriptors_count)(pcm) })?.cast_unsigned();
            self.polled.resize(1 + count as usize, entry(-1, 0));
            // SAFETY: own handle, and there is room for `count` entries behind the first.
            let filled =
                check(unsafe { (functions.snd_pcm_poll_descriptors)(pcm, self.polled.as_mut_ptr().add(1), count) })?;
            self.polled.truncate(1 + filled.cast_unsigned() as usize);
        }
        // Rounded up: a wait that ends early would only be followed by another.
        let timeout_ms = timeout.map_or(-1, |time| {
            c_int::try_from(time.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
        });
        // SAFETY: the entries are valid for the call, and their number is right.
        let ready = unsafe { libc::poll(self.polled.as_mut_ptr(), self.polled.len() as libc::nfds_t, timeout_ms) };
        if ready <= 0 || self.polled[1..].iter().all(|polled| polled.revents == 0) {
            // Also after a signal: then the caller looks around, and waits again.
            return Ok(false);
        }
        let mut events = 0;
        let count = (self.polled.len() - 1) as c_uint;
        // The descriptors mean what the plugin says they mean.
        // SAFETY: own handle, the entries that it filled itself, and their number.
        check(unsafe {
            (functions.snd_pcm_poll_descriptors_revents)(pcm, self.polled.as_mut_ptr().add(1), count, &raw mut events)
        })?;
        Ok(events != 0)
    }
}

impl Drop for Pcm {
    fn drop(&mut self) {
        // SAFETY: own handle, which ends here.
        unsafe { (self.functions.snd_pcm_close)(self.handle) };
    }
}

fn check(result: c_int) -> Result<c_int, Code> {
    if result < 0 { Err(Code(-result)) } else { Ok(result) }
}

fn check_long(result: c_long) -> Result<u64, Code> {
    u64::try_from(result).map_err(|_| Code(c_int::try_from(-result).unwrap_or(libc::EIO)))
}

// --- texts ---

thread_local! {
    static MESSAGES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Messages of a thread that are kept at most: a broken configuration repeats itself.
const MESSAGES_KEPT: usize = 32;

/// What the library had to say about this thread's calls since the last time.
pub(crate) fn take_messages() -> Vec<String> {
    MESSAGES.take()
}

/// A `snd_local_error_handler_t`. It needs neither Python nor a lock.
unsafe extern "C" fn keep_message(
    _file: *const c_char,
    _line: c_int,
    function: *const c_char,
    code: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) {
    let mut buffer = [0_u8; 512];
    // SAFETY: the library calls us with a format, the arguments that belong to it, and the name of a function; the
    // result is cut to the size of the buffer and ends with a NUL.
    let (message, function) = unsafe {
        vsnprintf(buffer.as_mut_ptr().cast(), buffer.len(), format, arguments);
        (text(buffer.as_ptr().cast()), text(function))
    };
    let reason = match LIBRARY.get() {
        Some(library) if code != 0 => format!(": {}", library.describe(Code(code.abs()))),
        _ => String::new(),
    };
    let line = format!("{function}: {}{reason}", message.trim_end());
    MESSAGES.with_borrow_mut(|kept| {
        if kept.len() < MESSAGES_KEPT {
            kept.push(line);
        }
    });
}

/// # Safety
///
/// `start` is null or the start of a text that ends with a NUL.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

/// # Safety
///
/// `start` is null or a text on the C library's heap, which is ours to free.
unsafe fn owned_text(start: *mut c_char) -> Option<String> {
    if start.is_null() {
        return None;
    }
    // SAFETY: by this function's contract; it is freed once, after it was copied.
    unsafe {
        let copy = text(start);
        libc::free(start.cast());
        Some(copy)
    }
}

/// A device's name for C; None where it holds a NUL.
pub(crate) fn c_name(name: &str) -> Option<CString> {
    CString::new(name).ok()
}
