//! Calls of the system that no safe crate offers: many datagrams in one call, socket filters, real-time scheduling. The
//! one file of the crate with `unsafe`.

#![expect(unsafe_code, reason = "system calls take pointers")]

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;

// --- sending ---

/// Datagrams that leave in one call at most.
pub const BATCH: usize = 64;

/// Where a datagram goes, as the system writes it.
#[derive(Clone, Copy)]
pub struct Destination {
    address: Address,
    /// So many bytes of it are meant.
    length: libc::socklen_t,
}

/// Of either family; not the system's own storage for all families, which is five times as large.
#[derive(Clone, Copy)]
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        let (address, length) = match address {
            SocketAddr::V4(address) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(address.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                (Address { v4 }, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: address.ip().octets(),
                    },
                    sin6_scope_id: address.scope_id(),
                };
                (Address { v6 }, size_of::<libc::sockaddr_in6>())
            }
        };
        Self {
            address,
            length: length as libc::socklen_t,
        }
    }
}

/// Sends datagrams, many in one call, without allocating. Its pointers keep it on its thread.
pub struct Mailer {
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Mailer {
    /// With room for [`BATCH`] datagrams.
    pub fn new() -> Self {
        Self {
            vectors: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
        }
    }

    /// Sends the first [`BATCH`] of the datagrams from one socket. Never blocks. Returns how many the system took, at
    /// least one; the error is about the first, and nothing was sent then.
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        datagrams: impl Iterator<Item = (&'a [u8], &'a Destination)>,
    ) -> io::Result<usize> {
        self.vectors.clear();
        self.messages.clear();
        // The vectors must not move once a message points at them.
        for (bytes, destination) in datagrams.take(BATCH) {
            self.vectors.push(libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            });
            // SAFETY: a structure of numbers and pointers, for which zeros are a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = (&raw const destination.address).cast_mut().cast();
            message.msg_hdr.msg_namelen = destination.length;
            message.msg_hdr.msg_iov = self.vectors.last_mut().map_or(ptr::null_mut(), ptr::from_mut);
            message.msg_hdr.msg_iovlen = 1;
            self.messages.push(message);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        if let [message] = &self.messages[..] {
            // The plain call is the cheaper one by a twentieth of the way of a packet, and most sockets send one at a
            // time.
            // SAFETY: the message points at a header, an address and bytes as below.
            let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message.msg_hdr, flags) };
            return if sent < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(1)
            };
        }
        // SAFETY: so many messages are there; each points at an address and a vector, the vector at bytes, all of which
        // outlive the call: the borrows of the arguments do, and no vector was moved, since there was room for all.
        // Sending writes to the messages alone.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                self.messages.len() as libc::c_uint,
                flags,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Default for Mailer {
    fn default() -> Self {
        Self::new()
    }
}

// --- what arrives ---

/// Classes and codes of linux/filter.h.
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// The second byte of a datagram: a filter sees the header of UDP too.
const SECOND_BYTE: u32 = 8 + 1;

/// From now on only RTCP comes in at that socket (RFC 5761 4: its second byte is from 192 to 223), and the system drops
/// the rest. What waits there already stays.
pub fn let_only_rtcp_through(socket: &UdpSocket) -> io::Result<()> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    attach_filter(
        socket,
        &mut [
            step(LOAD_BYTE, 0, 0, SECOND_BYTE),
            step(JUMP_AT_LEAST, 0, 2, 192),
            step(JUMP_ABOVE, 1, 0, 223),
            step(RETURN, 0, 0, u32::MAX),
            step(RETURN, 0, 0, 0),
        ],
    )
}

/// From now on nothing comes in at that socket.
pub fn let_nothing_through(socket: &UdpSocket) -> io::Result<()> {
    attach_filter(
        socket,
        &mut [libc::sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: 0,
        }],
    )
}

fn attach_filter(socket: &UdpSocket, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the option takes a structure of this type, which points at so many steps; the system copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

// --- scheduling ---

/// Of the real-time scheduler, in the middle: above all that is ordinary, below what the system itself needs.
const PRIORITY: libc::c_int = 50;

/// Runs a thread before all ordinary ones (`SCHED_FIFO`).
pub fn make_realtime<T>(thread: &JoinHandle<T>) -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: the thread was not joined, since its handle is here; the parameter is only read.
    match unsafe { libc::pthread_setschedparam(thread.as_pthread_t(), libc::SCHED_FIFO, &raw const parameter) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The system's words, without the number that the library puts behind them.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}
