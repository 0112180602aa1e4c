//! How a sink calls its host from any thread: one write to a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// The writing end of whatever the host watches: a socket, a pipe, an eventfd, none of which blocks.
pub struct Wake {
    descriptor: Mutex<Option<OwnedFd>>,
}

impl Wake {
    /// Takes a descriptor of its own, such as a duplicate of the host's.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self {
            descriptor: Mutex::new(Some(descriptor)),
        }
    }

    /// Wakes the host, once; never blocks and never fails.
    pub fn wake(&self) {
        // The lock is held for the write, so that nothing is written any more once `close` has returned.
        if let Some(descriptor) = self.lock().as_ref() {
            write_once(descriptor.as_fd());
        }
    }

    /// Wakes nobody from now on.
    pub fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Eight bytes, the one size that an eventfd takes too.
///
/// No outcome matters: a full buffer means that a wake is on its way already, a closed peer that nobody waits.
fn write_once(descriptor: BorrowedFd<'_>) {
    let one = 1_u64.to_ne_bytes();
    // As a message where it can be: a peer that is gone must not end the program by SIGPIPE.
    if let Err(Errno::NOTSOCK) = send(descriptor, &one, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        let _ = rustix::io::write(descriptor, &one);
    }
}
