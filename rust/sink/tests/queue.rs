//! The rules of counting, as the host and a device see them.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use voxwire_sink::{Loss, Progress, Quality, Queue, Refusal, Wake};

/// A queue of two-byte frames, and the end where its wakes arrive.
struct Host {
    queue: Queue,
    wakes: UnixStream,
}

impl Host {
    fn new(capacity: u64) -> Self {
        let (wakes, writer) = UnixStream::pair().expect("a pair of sockets");
        wakes.set_nonblocking(true).expect("a socket that does not block");
        writer.set_nonblocking(true).expect("a socket that does not block");
        let wake = Wake::new(OwnedFd::from(writer));
        Self {
            queue: Queue::new(2, capacity, Quality::Measured, 0, wake),
            wakes,
        }
    }

    fn write(&self, frames: u8) -> u64 {
        let data: Vec<u8> = (0..frames).flat_map(|frame| [frame, 0]).collect();
        self.queue.write(&data).expect("an open queue").frames
    }

    fn take(&self, frames: u64) {
        let segment = self.queue.look().segment;
        self.queue.take(segment, frames);
    }

    fn advance(&self, left: u64, heard: u64) {
        let segment = self.queue.look().segment;
        self.advance_in(segment, left, heard);
    }

    fn advance_in(&self, segment: u64, left: u64, heard: u64) {
        self.queue.advance(Progress {
            segment,
            left,
            heard,
            at_ns: 7,
            bound: 0,
            quality: Quality::Measured,
        });
    }

    /// How many wakes arrived since the last call.
    fn wakes(&mut self) -> usize {
        let mut bytes = [0; 1024];
        match self.wakes.read(&mut bytes) {
            Ok(count) => count / 8,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let position = self.queue.position();
        (position.written, position.played, position.discarded)
    }
}

fn frames_at(queue: &Queue, room: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; room * 2];
    let piece = queue.peek(&mut bytes);
    bytes.truncate(piece.frames as usize * 2);
    bytes.chunks(2).map(|frame| frame[0]).collect()
}

#[test]
fn a_write_takes_what_fits() {
    let host = Host::new(4);
    assert_eq!(host.write(3), 3);
    assert_eq!(host.write(3), 1);
    assert_eq!(host.write(1), 0);
    assert_eq!(host.counts(), (4, 0, 0));
}

#[test]
fn a_cut_frame_is_refused_whole() {
    let host = Host::new(4);
    let refusal = host.queue.write(&[1, 2, 3]).expect_err("a cut frame");
    assert_eq!(refusal.to_string(), "buffer of 3 bytes ends inside a frame of 2 bytes");
    assert_eq!(host.counts(), (0, 0, 0));
}

#[test]
fn frames_come_out_in_order_around_the_end_of_the_memory() {
    let host = Host::new(5);
    assert_eq!(host.write(4), 4);
    host.take(3);
    host.advance(3, 3);
    assert_eq!(host.write(4), 4);
    assert_eq!(frames_at(&host.queue, 9), [3, 0, 1, 2, 3]);
    assert_eq!(frames_at(&host.queue, 2), [3, 0]);
}

#[test]
fn peeking_takes_nothing() {
    let host = Host::new(4);
    host.write(2);
    assert_eq!(frames_at(&host.queue, 4), [0, 1]);
    assert_eq!(frames_at(&host.queue, 4), [0, 1]);
    assert_eq!(host.queue.look().taken, 0);
}

#[test]
fn room_is_free_once_frames_have_left_not_when_they_are_heard() {
    let host = Host::new(4);
    host.write(4);
    host.take(4);
    assert_eq!(host.write(1), 0);
    host.advance(2, 0);
    assert_eq!(host.write(4), 2);
}

#[test]
fn a_short_write_is_owed_one_wake_at_half_of_the_room() {
    let mut host = Host::new(4);
    host.write(5);
    host.take(4);
    host.advance(1, 1);
    assert_eq!(host.wakes(), 0);
    host.advance(2, 2);
    assert_eq!(host.wakes(), 1);
    host.advance(4, 4);
    assert_eq!(host.wakes(), 0);
}

#[test]
fn a_full_write_is_owed_none() {
    let mut host = Host::new(4);
    host.write(4);
    host.take(4);
    host.advance(4, 4);
    assert_eq!(host.wakes(), 0);
}

#[test]
fn a_finish_is_owed_one_wake_when_all_before_it_is_heard() {
    let mut host = Host::new(8);
    host.write(2);
    host.queue.finish().expect("an open queue");
    host.write(2);
    host.take(4);
    host.advance(4, 1);
    assert_eq!(host.wakes(), 0);
    host.advance(4, 2);
    assert_eq!(host.wakes(), 1);
    host.advance(4, 4);
    assert_eq!(host.wakes(), 0);
}

#[test]
fn each_finish_is_owed_a_wake_of_its_own() {
    let mut host = Host::new(8);
    host.write(2);
    host.queue.finish().expect("an open queue");
    host.write(2);
    host.queue.finish().expect("an open queue");
    host.take(4);
    host.advance(2, 2);
    assert_eq!(host.wakes(), 1);
    host.advance(4, 4);
    assert_eq!(host.wakes(), 1);
}

#[test]
fn a_device_is_told_which_of_its_frames_ended_speech() {
    let host = Host::new(8);
    let ended = || {
        let look = host.queue.look();
        (look.finished, look.ends)
    };
    host.queue.finish().expect("an open queue");
    assert_eq!(ended(), (0, true));
    host.write(4);
    assert_eq!(ended(), (0, false));
    host.queue.finish().expect("an open queue");
    assert_eq!(ended(), (0, true));
    host.take(3);
    assert_eq!(ended(), (0, true));
    host.take(1);
    host.write(2);
    host.queue.finish().expect("an open queue");
    assert_eq!(ended(), (4, true));
    host.write(2);
    host.take(4);
    assert_eq!(ended(), (6, false));
    host.queue.finish().expect("an open queue");
    assert_eq!(ended(), (8, true));
}

#[test]
fn a_finish_with_nothing_left_to_hear_wakes_at_once() {
    let mut host = Host::new(4);
    host.queue.finish().expect("an open queue");
    assert_eq!(host.wakes(), 1);
}

#[test]
fn numbers_never_fall_and_never_pass_what_was_taken() {
    let host = Host::new(8);
    host.write(6);
    host.take(4);
    host.advance(3, 3);
    host.advance(1, 1);
    assert_eq!(host.counts(), (6, 3, 0));
    host.advance(9, 9);
    assert_eq!(host.counts(), (6, 4, 0));
    // What has left cannot come back, so two frames more have room, and no more.
    assert_eq!(host.write(9), 6);
}

#[test]
fn a_clear_settles_the_segment_and_begins_the_next() {
    let host = Host::new(8);
    host.write(6);
    host.take(4);
    host.advance(1, 1);
    let last = host.queue.clear(Some(3), 0, 9);
    assert_eq!((last.segment, last.written, last.played, last.discarded), (0, 6, 3, 3));
    assert_eq!(last.at_ns, 9);
    let position = host.queue.position();
    assert_eq!((position.segment, position.written, position.discarded), (1, 0, 0));
    assert_eq!(host.write(9), 8);
}

#[test]
fn a_clear_never_takes_back_what_was_played() {
    let host = Host::new(8);
    host.write(6);
    host.take(4);
    host.advance(3, 2);
    assert_eq!(host.queue.clear(Some(0), 0, 0).played, 2);
}

#[test]
fn a_clear_without_a_number_counts_all_that_was_taken() {
    let host = Host::new(8);
    host.write(6);
    host.take(4);
    let last = host.queue.clear(None, 4, 0);
    assert_eq!((last.played, last.discarded, last.bound), (4, 2, 4));
}

#[test]
fn clearing_an_empty_segment_keeps_its_number() {
    let host = Host::new(8);
    assert_eq!(host.queue.clear(Some(0), 0, 0).segment, 0);
    assert_eq!(host.queue.clear(Some(0), 0, 0).segment, 0);
    host.write(1);
    host.queue.clear(Some(0), 0, 0);
    assert_eq!(host.queue.clear(Some(0), 0, 0).segment, 1);
}

#[test]
fn a_clear_ends_what_was_owed() {
    let mut host = Host::new(4);
    host.write(5);
    host.queue.finish().expect("an open queue");
    host.queue.clear(Some(0), 0, 0);
    assert!(!host.queue.look().ends);
    host.write(1);
    host.take(1);
    host.advance(1, 1);
    assert_eq!(host.wakes(), 0);
}

#[test]
fn reports_about_a_segment_that_is_over_count_nothing() {
    let host = Host::new(8);
    host.write(4);
    host.take(4);
    host.queue.clear(Some(0), 0, 0);
    host.write(4);
    host.queue.take(0, 4);
    host.advance_in(0, 4, 4);
    host.queue.rewind(0, 0);
    assert_eq!(host.queue.look().taken, 0);
    assert_eq!(host.counts(), (4, 0, 0));
}

#[test]
fn what_comes_back_is_taken_again() {
    let host = Host::new(8);
    host.write(6);
    host.take(5);
    host.advance(2, 2);
    host.queue.rewind(0, 3);
    assert_eq!(frames_at(&host.queue, 8), [3, 4, 5]);
    // Not further back than what has left.
    host.queue.rewind(0, 0);
    assert_eq!(frames_at(&host.queue, 8), [2, 3, 4, 5]);
}

#[test]
fn a_sleeping_device_is_roused_by_the_first_write_only() {
    let host = Host::new(8);
    let write = |data: &[u8]| host.queue.write(data).expect("an open queue").rouse;
    assert!(!write(&[]));
    // Nobody has looked yet.
    assert!(write(&[1, 0]));
    assert!(!write(&[1, 0]));
    let look = host.queue.look();
    assert!(!write(&[1, 0]));
    // Something came between the look and the sleep.
    assert!(!host.queue.await_write(&look));
    assert!(!write(&[1, 0]));
    assert!(host.queue.await_write(&host.queue.look()));
    assert!(write(&[1, 0]));
    let look = host.queue.look();
    host.queue.clear(Some(0), 0, 0);
    assert!(!host.queue.await_write(&look));
}

#[test]
fn a_loss_wakes_once_and_keeps_the_numbers() {
    let mut host = Host::new(8);
    let loss = Loss {
        errno: Some(19),
        message: "gone".to_owned(),
    };
    host.write(4);
    host.take(4);
    host.advance(2, 1);
    host.queue.lose(loss.clone());
    host.queue.lose(Loss {
        errno: None,
        message: "again".to_owned(),
    });
    assert_eq!(host.wakes(), 1);
    assert_eq!(host.queue.write(&[]), Err(Refusal::Lost(loss.clone())));
    assert_eq!(host.queue.finish(), Err(Refusal::Lost(loss.clone())));
    host.advance(4, 4);
    assert_eq!(host.counts(), (4, 1, 0));
    let last = host.queue.clear(Some(0), 0, 0);
    assert_eq!((last.played, last.discarded), (1, 3));
    host.queue.close(None, 0, 0);
    assert_eq!(host.queue.write(&[]), Err(Refusal::Lost(loss)));
}

#[test]
fn a_close_settles_the_numbers_and_wakes_nobody_any_more() {
    let mut host = Host::new(4);
    host.write(5);
    host.take(3);
    host.queue.close(Some(2), 0, 0);
    host.queue.close(None, 0, 0);
    assert_eq!(host.counts(), (4, 2, 2));
    assert_eq!(host.queue.position().segment, 0);
    assert_eq!(host.queue.write(&[1, 0]), Err(Refusal::Closed));
    host.advance(3, 3);
    host.queue.lose(Loss {
        errno: None,
        message: "late".to_owned(),
    });
    assert_eq!(host.wakes(), 0);
    assert_eq!(host.queue.finish(), Err(Refusal::Closed));
}

#[test]
fn a_full_descriptor_loses_no_wake_and_blocks_nobody() {
    let mut host = Host::new(4);
    for _ in 0..100_000 {
        host.queue.finish().expect("an open queue");
    }
    assert!(host.wakes() > 0);
}

#[test]
fn a_wake_reaches_a_descriptor_that_is_no_socket() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let wake = Wake::new(OwnedFd::from(writer));
    wake.wake();
    wake.close();
    wake.wake();
    let mut bytes = Vec::new();
    std::io::BufReader::new(reader).read_to_end(&mut bytes).expect("a pipe");
    assert_eq!(bytes.len(), 8);
}

#[test]
fn a_peer_that_is_gone_ends_nothing() {
    let (reader, writer) = UnixStream::pair().expect("a pair of sockets");
    drop(reader);
    Wake::new(OwnedFd::from(writer)).wake();
}
