//! A device that keeps nothing back: what it copies out has left.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use voxwire_sink::{Consumed, Loss, Position, Quality, Queue, Wake};

fn queue(capacity: u64) -> (Queue, UnixStream) {
    let (wakes, writer) = UnixStream::pair().expect("a pair of sockets");
    wakes.set_nonblocking(true).expect("a socket that does not block");
    writer.set_nonblocking(true).expect("a socket that does not block");
    (
        Queue::new(2, capacity, Quality::Sent, 0, Wake::new(OwnedFd::from(writer))),
        wakes,
    )
}

fn write(queue: &Queue, frames: u8) -> u64 {
    let data: Vec<u8> = (0..frames).flat_map(|frame| [frame, 0]).collect();
    queue.write(&data).expect("an open queue").frames
}

fn consume(queue: &Queue, frames: usize) -> (Consumed, Vec<u8>) {
    let mut room = vec![0xEE; frames * 2];
    let consumed = queue.consume(&mut room, 7);
    assert!(room[consumed.frames as usize * 2..].iter().all(|&byte| byte == 0xEE));
    room.truncate(consumed.frames as usize * 2);
    (consumed, room.chunks(2).map(|frame| frame[0]).collect())
}

fn has_wake(wakes: &mut UnixStream) -> bool {
    match wakes.read(&mut [0; 64]) {
        Ok(count) => count > 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_consumed_has_been_played_and_its_room_is_free() {
    let (queue, _wakes) = queue(4);
    write(&queue, 4);
    let (consumed, frames) = consume(&queue, 3);
    assert_eq!((consumed.segment, consumed.frames), (0, 3));
    assert_eq!(frames, [0, 1, 2]);
    let position = queue.position();
    assert_eq!(
        (position.written, position.played, position.at_ns, position.bound),
        (4, 3, 7, 0)
    );
    assert_eq!(position.quality, Quality::Sent);
    assert_eq!(write(&queue, 9), 3);
    assert_eq!(consume(&queue, 9).1, [3, 0, 1, 2]);
}

#[test]
fn a_clear_takes_exactly_what_was_not_consumed() {
    let (queue, _wakes) = queue(8);
    write(&queue, 6);
    consume(&queue, 4);
    let last = queue.clear(None, 0, 9);
    assert_eq!((last.written, last.played, last.discarded), (6, 4, 2));
    let (consumed, _) = consume(&queue, 4);
    assert_eq!((consumed.segment, consumed.frames), (1, 0));
}

#[test]
fn speech_begins_in_a_segment_and_behind_a_finish() {
    let (queue, _wakes) = queue(16);
    let step = |room| {
        let (consumed, _) = consume(&queue, room);
        (consumed.frames, consumed.begins, consumed.ends)
    };
    assert_eq!(step(2), (0, true, true));
    write(&queue, 4);
    assert_eq!(step(2), (2, true, false));
    assert_eq!(step(2), (2, false, false));
    // Dry in the middle of speech.
    assert_eq!(step(2), (0, false, false));
    write(&queue, 3);
    queue.finish().expect("an open queue");
    write(&queue, 1);
    assert_eq!(step(3), (3, false, true));
    assert_eq!(step(3), (1, true, false));
    // A finish may come when all has left.
    queue.finish().expect("an open queue");
    assert_eq!(step(3), (0, true, true));
    write(&queue, 1);
    step(1);
    queue.clear(None, 0, 0);
    assert_eq!(step(1), (0, true, true));
}

#[test]
fn the_wakes_are_told_and_left_to_the_caller() {
    let (queue, mut wakes) = queue(4);
    write(&queue, 5);
    queue.finish().expect("an open queue");
    assert!(!consume(&queue, 1).0.owed);
    assert!(consume(&queue, 1).0.owed, "half of the room is free");
    assert!(!consume(&queue, 1).0.owed);
    assert!(consume(&queue, 1).0.owed, "all before the finish has left");
    assert!(!consume(&queue, 1).0.owed);
    assert!(!has_wake(&mut wakes));
    queue.wake();
    assert!(has_wake(&mut wakes));
}

#[test]
fn frames_that_could_not_be_sent_make_their_segment_uncertain() {
    let (queue, _wakes) = queue(8);
    write(&queue, 6);
    consume(&queue, 4);
    queue.doubt(0, 2);
    queue.doubt(0, 1);
    assert_eq!(queue.position().bound, 3);
    assert_eq!(queue.clear(None, 0, 0).bound, 3);
    queue.doubt(0, 1);
    assert_eq!(queue.position().bound, 0);
}

#[test]
fn nothing_leaves_after_the_end() {
    let (lost, mut wakes) = queue(8);
    write(&lost, 6);
    lost.finish().expect("an open queue");
    consume(&lost, 2);
    lost.lose(Loss {
        errno: None,
        message: "gone".to_owned(),
    });
    assert!(has_wake(&mut wakes));
    let (consumed, _) = consume(&lost, 9);
    assert_eq!((consumed.frames, consumed.owed), (0, false));
    assert_eq!(lost.clear(None, 0, 0).discarded, 4);

    let (closed, _wakes) = queue(8);
    write(&closed, 6);
    closed.close(None, 0, 0);
    assert_eq!(consume(&closed, 9).0.frames, 0);
    assert_eq!(closed.position().discarded, 6);

    // What was cut off by a close has not run dry.
    let (cut, _wakes) = queue(8);
    write(&cut, 6);
    consume(&cut, 2);
    cut.close(None, 0, 0);
    let (consumed, _) = consume(&cut, 9);
    assert!(consumed.begins && consumed.ends);
}

/// Consumes while another thread writes and clears; returns how many frames of each segment came out.
fn drain(queue: &Queue, over: &AtomicBool) -> Vec<u64> {
    let mut counts = Vec::new();
    let mut room = [0; 26];
    loop {
        let last = over.load(Ordering::Acquire);
        let consumed = queue
            .try_consume(&mut room, 0)
            .unwrap_or_else(|| queue.consume(&mut room, 0));
        counts.resize(counts.len().max(consumed.segment as usize + 1), 0);
        counts[consumed.segment as usize] += consumed.frames;
        if last {
            return counts;
        }
    }
}

#[test]
fn a_clear_between_two_threads_counts_every_frame_once() {
    let (queue, _wakes) = queue(97);
    let over = AtomicBool::new(false);
    let (finals, counts): (Vec<Position>, Vec<u64>) = thread::scope(|scope| {
        let drainer = scope.spawn(|| drain(&queue, &over));
        let finals = (0..2000_u32)
            .map(|round| {
                write(&queue, round as u8 % 97 + 1);
                queue.clear(None, 0, 0)
            })
            .collect();
        over.store(true, Ordering::Release);
        (finals, drainer.join().expect("the drainer"))
    });
    for position in finals {
        assert_eq!(position.played + position.discarded, position.written);
        let consumed = counts.get(position.segment as usize).copied().unwrap_or(0);
        assert_eq!(position.played, consumed, "{position:?}");
    }
}
