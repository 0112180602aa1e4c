//! The end of streams, and who waits for it.

mod room;

use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use room::calls::{Far, call, plan};
use voxwire_rtp::opening::open;
use voxwire_rtp::registry::overview;
use voxwire_sink::Wake;

/// The thread that sends is one for the process.
static ALONE: Mutex<()> = Mutex::new(());

macro_rules! alone {
    () => {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    };
}

/// What a pipe of Linux holds.
const PIPE_BYTES: usize = 1 << 16;
/// Frames of a packet.
const FRAMES: usize = 160;

#[test]
fn who_only_looks_does_not_wait_for_goodbyes_of_others() {
    alone!();
    let looked_before_the_goodbye = || {
        let far = Far::new();
        let (leaving, _wakes) = call(plan(far.peer()));
        leaving.stream.queue.write(&[1; FRAMES]).expect("an open queue");
        far.receive();
        let (silent, _wakes) = call(plan(Far::new().peer()));
        // Its goodbye is due 0.3 s after its packet; the other one has nothing to say, but the thread ends with both.
        drop(leaving);
        let closing = thread::spawn(move || silent.close());
        while overview().0 > 0 {
            thread::yield_now();
        }
        far.control.set_nonblocking(true).expect("a socket that does not block");
        let early = far.control.recv(&mut [0; 200]).is_err();
        assert!(closing.join().expect("a close"));
        assert!(
            !early || far.control.recv(&mut [0; 200]).is_ok(),
            "the close has waited for it"
        );
        early
    };
    // On a busy machine the goodbye may be first, though not each time.
    assert!((0..20).any(|_| looked_before_the_goodbye()));
}

#[test]
fn a_thread_that_is_stuck_is_not_waited_for_without_end() {
    alone!();
    let far = Far::new();
    // A wake that blocks holds up whoever gives it, which a host's must not: a pipe that is full.
    let (mut reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&vec![0; PIPE_BYTES]).expect("room for as much");
    let wake = Wake::new(OwnedFd::from(writer));
    let stuck = open("sink 'rtp:x'".to_owned(), plan(far.peer()), wake).unwrap_or_else(|failure| panic!("{failure}"));
    stuck.stream.queue.write(&[1; FRAMES]).expect("an open queue");
    stuck.stream.queue.finish().expect("an open queue");
    far.receive();
    assert!(!stuck.close(), "it has not ended");
    assert_eq!(overview().0, 0);

    // Once it goes on it ends, and whoever comes next is served.
    let reading = thread::spawn(move || {
        let mut room = [0; 4096];
        while matches!(reader.read(&mut room), Ok(length) if length > 0) {}
    });
    let (next, _wakes) = call(plan(far.peer()));
    next.stream.queue.write(&[1; FRAMES]).expect("an open queue");
    far.receive();
    assert!(next.close());
    reading.join().expect("the wake is closed with its stream");
}
