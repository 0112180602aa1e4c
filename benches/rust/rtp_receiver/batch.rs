//! Many datagrams in one system call, each with the time at which the kernel took it, which `rustix` has no way to ask.

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_uint, c_void, cmsghdr, iovec, mmsghdr, msghdr, socklen_t, timespec};

/// Datagrams that one call takes at most.
const BATCH: usize = 64;
/// Longer than any datagram that counts; of a longer one the rest is cut off.
const PACKET_BYTES: usize = 2048;
/// Room for a time and a count, each with its header, whose alignment it has.
const CONTROL_BYTES: usize = 128;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What the kernel says of one datagram.
struct Notes {
    /// Nanoseconds since 1970 at which it came to the socket's queue.
    arrival_ns: u64,
    /// Datagrams of this socket so far for which there was no room; 0 where it says nothing.
    dropped: u32,
}

/// Buffers of one call.
pub(crate) struct Batch {
    packets: Vec<[u8; PACKET_BYTES]>,
    controls: Vec<Control>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            packets: vec![[0; PACKET_BYTES]; BATCH],
            controls: (0..BATCH).map(|_| Control([0; CONTROL_BYTES])).collect(),
        }
    }

    /// Has the kernel note the time of each datagram of a socket, and how many it dropped.
    pub(crate) fn prepare(socket: &UdpSocket) -> io::Result<()> {
        set_option(socket, libc::SO_TIMESTAMPNS)?;
        set_option(socket, libc::SO_RXQ_OVFL)
    }

    /// Takes all that waits at a non-blocking socket, in the order of arrival.
    ///
    /// `take` gets each datagram and the nanoseconds since 1970 of its arrival. Returns the datagrams that the kernel has
    /// dropped so far, 0 where nothing new came.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8], u64)) -> io::Result<u32> {
        let mut dropped = 0;
        loop {
            let mut vectors = self.packets.iter_mut().map(|packet| iovec {
                iov_base: packet.as_mut_ptr().cast(),
                iov_len: PACKET_BYTES,
            });
            let mut vectors: [iovec; BATCH] = std::array::from_fn(|_| vectors.next().unwrap_or(EMPTY));
            let mut headers: [mmsghdr; BATCH] =
                std::array::from_fn(|index| header(&mut vectors[index], &mut self.controls[index]));
            let length = BATCH as c_uint;
            // SAFETY: the descriptor is open as long as the socket is borrowed. Each of the `length` headers points to a
            // vector and a control buffer that live until the end of this turn, the vector to a packet of `self`, which
            // is borrowed mutably; every length is that of its buffer. No name and no timeout is asked for.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    length,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            let Ok(count) = usize::try_from(count) else {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(dropped),
                    _ => Err(error),
                };
            };
            for (index, header) in headers[..count].iter().enumerate() {
                let notes = notes(&header.msg_hdr);
                dropped = dropped.max(notes.dropped);
                take(&self.packets[index][..header.msg_len as usize], notes.arrival_ns);
            }
            if count < BATCH {
                return Ok(dropped);
            }
        }
    }
}

const EMPTY: iovec = iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

fn header(vector: &mut iovec, control: &mut Control) -> mmsghdr {
    // SAFETY: a `msghdr` is numbers and pointers, for which all zeros are valid.
    let mut header: msghdr = unsafe { mem::zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    mmsghdr {
        msg_hdr: header,
        msg_len: 0,
    }
}

fn notes(header: &msghdr) -> Notes {
    let mut notes = Notes {
        arrival_ns: 0,
        dropped: 0,
    };
    // SAFETY: the kernel has filled `msg_controllen` bytes of the control buffer, which is alive and aligned for its
    // headers; these two functions stay within it.
    let mut message: *const cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: as above; it is null or points to a whole header.
    while let Some(found) = unsafe { message.as_ref() } {
        // SAFETY: it points to a whole header.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (found.cmsg_level, found.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the data of this type is a `timespec`, which need not be aligned.
                let time = unsafe { ptr::read_unaligned(data.cast::<timespec>()) };
                notes.arrival_ns = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the data of this type is a `u32`, which need not be aligned.
                notes.dropped = unsafe { ptr::read_unaligned(data.cast::<u32>()) };
            }
            _ => {}
        }
        // SAFETY: as for the first.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    notes
}

fn set_option(socket: &UdpSocket, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and the value is a `c_int` of that length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&on).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
