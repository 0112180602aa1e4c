//! Sockets over real pairs: what one side sends comes out at the other, in order, whatever the system takes at once.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use voxwire_link::socket::{Received, Socket, SocketError};

fn pair() -> (Socket, UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("no blocking");
    (Socket::new(ours.as_raw_fd()), ours, theirs)
}

fn received(socket: &mut Socket, buffer: &mut [u8]) -> (Received, Vec<u8>) {
    let mut bytes = Vec::new();
    let outcome = socket
        .receive(buffer, |data| bytes.extend_from_slice(data))
        .expect("no failure");
    (outcome, bytes)
}

fn errno(error: &SocketError) -> Option<i32> {
    match error {
        SocketError::Io(error) => error.raw_os_error(),
        SocketError::Tls(_) => None,
    }
}

#[test]
fn one_read_brings_at_most_a_buffer_and_leaves_the_rest() {
    let (mut socket, _ours, mut theirs) = pair();
    let mut buffer = [0; 8];
    assert_eq!(received(&mut socket, &mut buffer), (Received::WouldBlock, vec![]));
    theirs.write_all(b"0123456789").expect("room");
    assert_eq!(
        received(&mut socket, &mut buffer),
        (Received::Bytes(8), b"01234567".to_vec())
    );
    assert_eq!(received(&mut socket, &mut buffer), (Received::Bytes(2), b"89".to_vec()));
    theirs.shutdown(Shutdown::Write).expect("open");
    assert_eq!(received(&mut socket, &mut buffer), (Received::End, vec![]));
}

#[test]
fn what_the_system_does_not_take_waits_in_order() {
    let (mut socket, _ours, mut theirs) = pair();
    let sent: Vec<u8> = (0..3_000_000_usize).map(|index| (index / 7) as u8).collect();
    for piece in sent.chunks(70_001) {
        socket.send(piece).expect("no failure");
    }
    assert!(socket.unsent_bytes() > 0);
    socket.shutdown_write().expect("no failure");
    assert_eq!(errno(&socket.send(b"x").expect_err("it has ended")), Some(32));
    let mut taken = Vec::new();
    let mut piece = vec![0; 50_000];
    loop {
        let count = theirs.read(&mut piece).expect("no failure");
        if count == 0 {
            break;
        }
        taken.extend_from_slice(&piece[..count]);
        socket.flush().expect("no failure");
    }
    assert_eq!(socket.unsent_bytes(), 0);
    assert!(taken == sent, "{} bytes of {}", taken.len(), sent.len());
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (mut socket, _ours, theirs) = pair();
    drop(theirs);
    assert_eq!(errno(&socket.send(b"x").expect_err("nobody is there")), Some(32));
}

#[test]
fn nothing_works_once_the_descriptor_is_given_back() {
    let (mut socket, _ours, _theirs) = pair();
    socket.close();
    let error = socket.receive(&mut [0; 8], |_| ()).expect_err("closed");
    assert_eq!(errno(&error), Some(9));
    assert_eq!(errno(&socket.send(b"x").expect_err("closed")), Some(32));
    let mut never = Socket::new(-1);
    assert_eq!(errno(&never.send(b"x").expect_err("no descriptor")), Some(9));
}
