//! Opening a device on a thread of its own, and what becomes of that thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use voxwire_audio::Format;
use voxwire_sink::{Loss, Quality, Queue, Wake};

use crate::foreign::{Code, Library, Pcm, Setup, c_name, take_messages};
use crate::player::{Manner, Player};
use crate::shared::{Failure, Opened, Shared, now_ns};

/// Audio that waits here beside what the device holds: a host that is late by less is not heard.
const WAITING_MS: u64 = 500;

/// What is to be opened, and how.
pub(crate) struct Request {
    /// The library's name of the device.
    pub(crate) device: String,
    /// Best first.
    pub(crate) formats: Vec<Format>,
    pub(crate) latency_ms: u64,
    pub(crate) period_ms: u64,
    pub(crate) preroll_ms: u64,
    pub(crate) keep_running: bool,
}

/// The whole life of a device's thread.
pub(crate) fn serve(shared: &Shared, request: &Request, wake: Wake) {
    // A fault of ours must end what waits for this thread, not leave it waiting.
    if catch_unwind(AssertUnwindSafe(|| open_and_play(shared, request, wake))).is_err() {
        let message = format!("{} failed: internal fault of its thread", shared.name);
        match shared.queue() {
            Some(queue) => queue.lose(Loss { errno: None, message }),
            None => shared.failed(Failure::Other(message)),
        }
    }
    shared.keep_messages(take_messages());
    shared.ended();
}

fn open_and_play(shared: &Shared, request: &Request, wake: Wake) {
    let library = match Library::open() {
        Ok(library) => library,
        Err(reason) => return shared.failed(Failure::Other(format!("{} cannot be opened: {reason}", shared.name))),
    };
    library.keep_messages();
    let opening = open(library, shared, request);
    let (mut pcm, index, setup) = match opening {
        Ok(opening) => opening,
        Err(failure) => return shared.failed(failure),
    };
    let format = request.formats[index];
    let rate = u64::from(format.sample_rate);
    let manner = Manner {
        encoding: format.encoding,
        sample_rate: format.sample_rate,
        frame_bytes: format.frame_bytes(),
        preroll: rate * request.preroll_ms / 1000,
        keep_running: request.keep_running,
    };
    let capacity = setup.buffer + rate * WAITING_MS / 1000;
    let queue = Queue::new(manner.frame_bytes, capacity, Quality::Measured, now_ns(), wake);
    let opened = Opened {
        format: index,
        period: setup.period,
    };
    shared.keep_messages(take_messages());
    if !shared.opened(opened, queue) {
        return;
    }
    let (Some(queue), Some(rouser)) = (shared.queue(), shared.rouser()) else {
        return;
    };
    let outcome = Player::new(&mut pcm, shared, &rouser, queue, setup, manner).and_then(|mut player| player.run());
    if let Err(code) = outcome {
        let said = take_messages();
        queue.lose(Loss {
            errno: Some(code.0),
            message: format!("{} was lost: {}", shared.name, reason(library, code, &said)),
        });
        shared.keep_messages(said);
    }
}

/// Opens the device with the first format that it does exactly.
fn open(library: &'static Library, shared: &Shared, request: &Request) -> Result<(Pcm, usize, Setup), Failure> {
    let failure = |code: Code| {
        let said = take_messages();
        let text = format!("{} cannot be opened: {}", shared.name, reason(library, code, &said));
        shared.keep_messages(said);
        if code.0 == libc::EBUSY {
            Failure::Busy(text)
        } else {
            Failure::Other(text)
        }
    };
    let name = c_name(&request.device).ok_or_else(|| failure(Code(libc::EINVAL)))?;
    let mut pcm = Pcm::open(library, &name).map_err(failure)?;
    for (index, format) in request.formats.iter().enumerate() {
        let frames = |time_ms: u64| (u64::from(format.sample_rate) * time_ms / 1000).max(1);
        let (period, buffer) = (frames(request.period_ms), frames(request.latency_ms));
        if let Some(setup) = pcm.configure(format, period, buffer).map_err(failure)? {
            return Ok((pcm, index, setup));
        }
    }
    let offered = request.formats.first().map_or_else(
        || "none was offered".to_owned(),
        |first| {
            let Format {
                encoding,
                sample_rate,
                channels,
            } = first;
            let more = request.formats.len() - 1;
            format!("{encoding} at {sample_rate} Hz with {channels} channel(s) and {more} more were offered")
        },
    );
    Err(Failure::Format(format!(
        "{} does none of the formats: {offered}, alsa:default and alsa:plughw: convert",
        shared.name
    )))
}

/// Opens a device and closes it again; why it cannot be used, or None where it can.
pub(crate) fn try_open(device: &str) -> Option<String> {
    let library = match Library::open() {
        Ok(library) => library,
        Err(reason) => return Some(reason),
    };
    library.keep_messages();
    let Some(name) = c_name(device) else {
        return Some("the name of the device holds a NUL".to_owned());
    };
    match Pcm::open(library, &name) {
        // In use is not out of use.
        Ok(_) | Err(Code(libc::EBUSY)) => None,
        Err(code) => Some(reason(library, code, &take_messages())),
    }
}

/// All devices that play.
pub(crate) fn list() -> Result<Vec<(String, String)>, String> {
    let library = Library::open()?;
    library.keep_messages();
    let devices = library.devices();
    let said = take_messages();
    devices.map_err(|code| format!("devices cannot be listed: {}", reason(library, code, &said)))
}

/// An error in the words of this house, or of the system, with the first thing that the library said about it.
fn reason(library: &Library, code: Code, said: &[String]) -> String {
    let words = match code.0 {
        libc::ENOENT | libc::ENXIO => "there is no such device".to_owned(),
        libc::ENODEV => "the device is gone".to_owned(),
        libc::EPIPE => "the device or its sound server takes nothing any more".to_owned(),
        libc::EBUSY => "another program uses it".to_owned(),
        libc::ECONNREFUSED | libc::EHOSTDOWN => "no sound server answers".to_owned(),
        libc::EACCES | libc::EPERM => "no permission, the group audio has it".to_owned(),
        _ => lower_first(&library.describe(code)),
    };
    match said.first() {
        Some(first) => format!("{words} ({first})"),
        None => words,
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}
