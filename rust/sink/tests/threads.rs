//! Four threads at once: the host writes and clears, the device takes and reports, somebody looks.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use voxwire_sink::{Position, Progress, Quality, Queue, Wake};

const LENGTH: Duration = Duration::from_millis(300);
const FRAME_BYTES: usize = 8;

fn queue() -> (Queue, UnixStream) {
    let (reader, writer) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket that does not block");
    let wake = Wake::new(OwnedFd::from(writer));
    (Queue::new(FRAME_BYTES, 97, Quality::Sent, 0, wake), reader)
}

/// Takes frames as a pacer does, and checks that each segment's come whole and in order: a frame holds its own number
/// within the segment.
fn pace(queue: &Queue, over: &AtomicBool) {
    let mut room = [0; 13 * FRAME_BYTES];
    let (mut segment, mut expected) = (0, 0_u64);
    while !over.load(Ordering::Relaxed) {
        let piece = queue.peek(&mut room);
        if piece.segment != segment {
            (segment, expected) = (piece.segment, 0);
        }
        for frame in room.chunks(FRAME_BYTES).take(piece.frames as usize) {
            let number = u64::from_ne_bytes(frame.try_into().expect("a whole frame"));
            assert_eq!(number, expected, "of segment {segment}");
            expected += 1;
        }
        queue.take(piece.segment, piece.frames);
        queue.advance(Progress {
            segment,
            left: expected,
            heard: expected,
            at_ns: 0,
            bound: 0,
            quality: Quality::Sent,
        });
    }
}

/// Writes numbered frames, clears now and then, and returns what each clear said.
fn speak(queue: &Queue, over: &AtomicBool) -> (u64, Vec<Position>) {
    let (mut number, mut total, mut finals) = (0_u64, 0, Vec::new());
    let mut round = 0_u64;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        let data: Vec<u8> = (number..number + round % 40).flat_map(u64::to_ne_bytes).collect();
        let frames = queue.write(&data).expect("an open queue").frames;
        number += frames;
        total += frames;
        if round.is_multiple_of(17) {
            finals.push(queue.clear(None, 0, 0));
            number = 0;
        }
    }
    finals.push(queue.clear(None, 0, 0));
    (total, finals)
}

fn poll(queue: &Queue, over: &AtomicBool) {
    let mut last = queue.position();
    while !over.load(Ordering::Relaxed) {
        let position = queue.position();
        assert!(position.played + position.discarded <= position.written, "{position:?}");
        assert!(position.segment >= last.segment);
        if position.segment == last.segment {
            assert!(position.played >= last.played, "{position:?} after {last:?}");
            assert!(position.written >= last.written, "{position:?} after {last:?}");
        }
        last = position;
    }
}

#[test]
fn nothing_is_lost_doubled_or_counted_in_the_wrong_segment() {
    let (queue, _reader) = queue();
    let over = AtomicBool::new(false);
    let (total, finals) = thread::scope(|scope| {
        let speaker = scope.spawn(|| speak(&queue, &over));
        scope.spawn(|| pace(&queue, &over));
        scope.spawn(|| poll(&queue, &over));
        scope.spawn(|| poll(&queue, &over));
        let started = Instant::now();
        while started.elapsed() < LENGTH && !speaker.is_finished() {
            thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
        speaker.join().expect("the speaker")
    });
    assert!(total > 0);
    let counted: Vec<&Position> = finals.iter().filter(|position| position.written > 0).collect();
    assert_eq!(counted.iter().map(|position| position.written).sum::<u64>(), total);
    for (index, position) in counted.iter().enumerate() {
        assert_eq!(position.segment, index as u64);
        assert_eq!(position.played + position.discarded, position.written);
    }
}
