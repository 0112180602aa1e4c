//! One stream socket, read and written without blocking, with TLS in it where there is TLS.
//!
//! A read is one `recv` into a buffer that the caller lends: plain bytes are handed on where they lie, encrypted ones
//! are opened there first. Nothing of a connection is kept between reads but a TLS record that is still incomplete.
//!
//! A long message comes over a network in dozens of segments, each of which would wake the reader. Where it is known how
//! much is missing before anything can be done, the system is told not to wake us for less.

#![expect(
    unsafe_code,
    reason = "a descriptor is borrowed by its number, and one option has no other way"
)]

use std::fmt;
use std::io;

use rustix::fd::{BorrowedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::outlet::Outlet;
use crate::tls::{Tls, TlsError};

// Apple's systems have no such flag; there a process that writes to closed sockets ignores SIGPIPE, as Python does.
#[cfg(not(any(target_vendor = "apple", windows)))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(any(target_vendor = "apple", windows))]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Missing bytes for which we are woken once: for fewer it would not save what two calls of the system cost.
const LEAST_AWAITED_BYTES: usize = 4 * 1024;
/// No more are waited for at once, so that a slow peer is seen to be alive.
const MOST_AWAITED_BYTES: usize = 64 * 1024;
/// Reads of so many bytes and more follow one another without a wait.
const BURST_BYTES: usize = 32 * 1024;

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many plain bytes were handed on; none where only TLS's own messages came.
    Bytes(usize),
    /// There was nothing to read.
    WouldBlock,
    /// The peer sends no more. What TLS brought before its `close_notify` was handed on.
    End,
}

/// Why a socket failed, for good.
#[derive(Debug)]
pub enum SocketError {
    /// The system says so.
    Io(io::Error),
    /// TLS says so.
    Tls(TlsError),
}

impl fmt::Display for SocketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Tls(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SocketError {}

impl From<Errno> for SocketError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<TlsError> for SocketError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// A connected stream socket that does not block. The descriptor belongs to the caller.
pub struct Socket {
    descriptor: Option<RawFd>,
    outlet: Outlet,
    secured: Option<Box<Secured>>,
    write_side: WriteSide,
    /// Bytes for which the system calls the socket readable.
    awaited: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteSide {
    Open,
    /// It ends once all that waits is sent.
    Ending,
    Ended,
}

/// What TLS needs beside the socket.
struct Secured {
    session: Tls,
    /// Plain bytes that wait for the end of the TLS handshake.
    early: Vec<u8>,
    /// The beginning of a record whose end has not come.
    cut: Vec<u8>,
}

impl Socket {
    /// Takes a descriptor on loan: it must stay open until [`Self::close`].
    pub fn new(descriptor: RawFd) -> Self {
        Self {
            // No descriptor is negative; as a number of its own, -1 would break the rule of `BorrowedFd`.
            descriptor: Some(descriptor).filter(|&number| number != -1_i32 as RawFd),
            outlet: Outlet::default(),
            secured: None,
            write_side: WriteSide::Open,
            awaited: 1,
        }
    }

    /// The same with TLS on it, whose handshake begins now. What is sent before it has ended waits for that.
    pub fn with_tls(descriptor: RawFd, mut session: Tls) -> Result<Self, SocketError> {
        let mut socket = Self::new(descriptor);
        session.receive(&mut [], socket.outlet.tail(), &mut |_| ())?;
        socket.secured = Some(Box::new(Secured {
            session,
            early: Vec::new(),
            cut: Vec::new(),
        }));
        socket.flush()?;
        Ok(socket)
    }

    /// Reads once, into `buffer`, and hands on what came as plain bytes. With TLS the buffer must hold more than the
    /// largest record (16 KiB and 2048 bytes: RFC 5246 section 6.2.3).
    pub fn receive(&mut self, buffer: &mut [u8], mut deliver: impl FnMut(&[u8])) -> Result<Received, SocketError> {
        if self.secured.is_some() {
            return self.receive_secured(buffer, &mut deliver);
        }
        Ok(match read(self.borrowed()?, buffer)? {
            None => Received::WouldBlock,
            Some(0) => Received::End,
            Some(count) => {
                deliver(&buffer[..count]);
                Received::Bytes(count)
            }
        })
    }

    /// After a read that brought `count` plain bytes: the next is not needed before `missing` more have come. The end of
    /// the stream and failures are told of at once all the same.
    ///
    /// The rest must be on its way or be something that timers look after: for less the socket is not readable.
    pub fn await_rest(&mut self, count: usize, missing: usize) {
        // Some of it was read already, if it waits here for the end of its record.
        let held = self.secured.as_ref().map_or(0, |secured| secured.cut.len());
        let rest = missing.saturating_sub(held);
        let awaited = if count < BURST_BYTES && rest >= LEAST_AWAITED_BYTES {
            rest.min(MOST_AWAITED_BYTES)
        } else {
            1
        };
        if awaited != self.awaited
            && let Ok(descriptor) = self.borrowed()
            && set_low_water(descriptor, awaited)
        {
            self.awaited = awaited;
        }
    }

    fn receive_secured(&mut self, buffer: &mut [u8], deliver: &mut dyn FnMut(&[u8])) -> Result<Received, SocketError> {
        let descriptor = self.borrowed()?;
        let Some(secured) = &mut self.secured else {
            return Ok(Received::WouldBlock);
        };
        let Some((cut, room)) = buffer
            .split_at_mut_checked(secured.cut.len())
            .filter(|(_, room)| !room.is_empty())
        else {
            return Err(TlsError::Failed("a record larger than the read buffer".to_owned()).into());
        };
        let count = match read(descriptor, room)? {
            None => return Ok(Received::WouldBlock),
            Some(0) => return Ok(Received::End),
            Some(count) => count,
        };
        cut.copy_from_slice(&secured.cut);
        let incoming = &mut buffer[..secured.cut.len() + count];
        let mut plain = 0;
        let outcome = secured
            .session
            .receive(incoming, self.outlet.tail(), &mut |data: &[u8]| {
                plain += data.len();
                deliver(data);
            });
        let taken = match outcome {
            Ok(taken) => taken,
            Err(error) => {
                // The alert that says why; whether it still leaves changes nothing.
                let _ = self.flush();
                return Err(error.into());
            }
        };
        secured.cut.clear();
        secured.cut.extend_from_slice(&incoming[taken.consumed..]);
        if secured.cut.is_empty() {
            secured.cut = Vec::new();
        }
        if !secured.early.is_empty() && secured.session.is_established() {
            let early = std::mem::take(&mut secured.early);
            secured.session.send(&early, self.outlet.tail())?;
        }
        if self.outlet.len() > 0 {
            self.flush()?;
        }
        Ok(if taken.closed {
            Received::End
        } else {
            Received::Bytes(plain)
        })
    }

    /// Sends what the system takes at once and keeps the rest, in order.
    pub fn send(&mut self, data: &[u8]) -> Result<(), SocketError> {
        if self.write_side != WriteSide::Open {
            return Err(Errno::PIPE.into());
        }
        match &mut self.secured {
            Some(secured) if !secured.session.is_established() => secured.early.extend_from_slice(data),
            Some(secured) => {
                secured.session.send(data, self.outlet.tail())?;
                self.flush()?;
            }
            None if self.outlet.len() > 0 => self.outlet.push(data),
            None => {
                let count = write(self.borrowed()?, data)?;
                self.outlet.push(&data[count..]);
            }
        }
        Ok(())
    }

    /// Sends what waits, as far as the system takes it.
    pub fn flush(&mut self) -> Result<(), SocketError> {
        let descriptor = self.borrowed()?;
        while self.outlet.len() > 0 {
            let count = write(descriptor, self.outlet.waiting())?;
            if count == 0 {
                return Ok(());
            }
            self.outlet.take(count);
        }
        if self.write_side == WriteSide::Ending {
            self.write_side = WriteSide::Ended;
            shutdown(descriptor, Shutdown::Write)?;
        }
        Ok(())
    }

    /// Ends this side's stream once all that waits is sent, TLS's `close_notify` last.
    pub fn shutdown_write(&mut self) -> Result<(), SocketError> {
        if self.write_side != WriteSide::Open {
            return Ok(());
        }
        if let Some(secured) = &mut self.secured {
            secured.early = Vec::new();
            secured.session.close(self.outlet.tail());
        }
        self.write_side = WriteSide::Ending;
        self.flush()
    }

    /// Bytes that the system has not taken yet, without those that wait for the end of TLS's handshake.
    pub fn unsent_bytes(&self) -> usize {
        self.outlet.len()
    }

    /// Lets go of the descriptor and of all that waits; the caller may then close it. Every later call fails.
    pub fn close(&mut self) {
        self.descriptor = None;
        self.outlet = Outlet::default();
        self.secured = None;
        self.write_side = WriteSide::Ended;
    }

    fn borrowed(&self) -> Result<BorrowedFd<'static>, Errno> {
        let number = self.descriptor.ok_or(Errno::BADF)?;
        // SAFETY: the number is not -1 (see `new`), and whoever made this socket keeps the descriptor open until
        // `close`, which forgets the number; the borrow does not outlive the call of this module that made it. Were it
        // closed all the same, the system would refuse the number or read a stranger's stream: no memory is at stake.
        Ok(unsafe { BorrowedFd::borrow_raw(number) })
    }
}

/// Whether the system took it: there are systems and sockets without such an option, which only wake more often.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_low_water(descriptor: BorrowedFd<'_>, bytes: usize) -> bool {
    use rustix::fd::AsRawFd;

    let Ok(value) = libc::c_int::try_from(bytes) else {
        return false;
    };
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option reads one integer of this size, which lives as long as the call.
    let outcome = unsafe {
        libc::setsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size,
        )
    };
    outcome == 0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_low_water(_: BorrowedFd<'_>, _: usize) -> bool {
    false
}

/// None where there is nothing to read; 0 at the end of the stream.
fn read(descriptor: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    match recv(descriptor, buffer, RecvFlags::empty()) {
        Ok((count, _)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many bytes the system took: none where its queue is full.
fn write(descriptor: BorrowedFd<'_>, data: &[u8]) -> Result<usize, Errno> {
    match send(descriptor, data, SEND_FLAGS) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        outcome => outcome,
    }
}
