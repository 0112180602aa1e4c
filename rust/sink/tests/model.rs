//! The queue against a plain model of the contract, over random histories.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use proptest::collection::vec;
use proptest::prelude::*;
use voxwire_sink::{Progress, Quality, Queue, Wake};

#[derive(Debug, Clone)]
enum Step {
    Write(u8),
    Take(u64),
    Advance(u64, u64),
    Rewind(u64),
    Consume(u8),
    Clear(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..40).prop_map(Step::Write),
        (0_u64..40).prop_map(Step::Take),
        (0_u64..200, 0_u64..200).prop_map(|(left, heard)| Step::Advance(left, heard)),
        (0_u64..200).prop_map(Step::Rewind),
        (0_u8..40).prop_map(Step::Consume),
        proptest::option::of(0_u64..200).prop_map(Step::Clear),
    ]
}

/// Everything that was written in the segment, and three marks in it.
#[derive(Default)]
struct Model {
    audio: Vec<u8>,
    taken: usize,
    left: usize,
    played: usize,
}

proptest! {
    #[test]
    fn the_queue_keeps_the_contract(capacity in 1_u64..60, steps in vec(step(), 0..200)) {
        let (_reader, writer) = UnixStream::pair().expect("a pair of sockets");
        writer.set_nonblocking(true).expect("a socket that does not block");
        let queue = Queue::new(1, capacity, Quality::Measured, 0, Wake::new(OwnedFd::from(writer)));
        let mut model = Model::default();
        let mut segment = 0;
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Write(frames) => {
                    let data: Vec<u8> = (0..frames).map(|frame| next.wrapping_add(frame)).collect();
                    let taken = queue.write(&data).expect("an open queue").frames as usize;
                    let room = capacity as usize - (model.audio.len() - model.left);
                    prop_assert_eq!(taken, data.len().min(room));
                    model.audio.extend_from_slice(&data[..taken]);
                    next = next.wrapping_add(taken as u8);
                }
                Step::Take(frames) => {
                    let mut room = vec![0; frames as usize];
                    let piece = queue.peek(&mut room);
                    let there = &model.audio[model.taken..];
                    let count = there.len().min(frames as usize);
                    prop_assert_eq!(&room[..piece.frames as usize], &there[..count]);
                    queue.take(piece.segment, piece.frames);
                    model.taken += count;
                }
                Step::Advance(left, heard) => {
                    let (at_ns, bound, quality) = (0, 0, Quality::Measured);
                    queue.advance(Progress { segment, left, heard, at_ns, bound, quality });
                    model.left = (left as usize).clamp(model.left, model.taken);
                    model.played = (heard as usize).clamp(model.played, model.taken);
                }
                Step::Rewind(mark) => {
                    queue.rewind(segment, mark);
                    model.taken = (mark as usize).max(model.played).clamp(model.left, model.taken);
                }
                Step::Consume(frames) => {
                    let mut room = vec![0; frames as usize];
                    let consumed = queue.consume(&mut room, 0);
                    let there = &model.audio[model.taken..];
                    let count = there.len().min(frames as usize);
                    prop_assert_eq!(consumed.segment, segment);
                    prop_assert_eq!(&room[..consumed.frames as usize], &there[..count]);
                    model.taken += count;
                    (model.left, model.played) = (model.taken, model.taken);
                }
                Step::Clear(heard) => {
                    let last = queue.clear(heard, 0, 0);
                    let played = heard.map_or(model.taken, |heard| (heard as usize).clamp(model.played, model.taken));
                    prop_assert_eq!(last.segment, segment);
                    prop_assert_eq!(last.written as usize, model.audio.len());
                    prop_assert_eq!(last.played as usize, played);
                    prop_assert_eq!(last.played + last.discarded, last.written);
                    if !model.audio.is_empty() {
                        segment += 1;
                        model = Model::default();
                    }
                }
            }
            let position = queue.position();
            prop_assert_eq!(position.segment, segment);
            prop_assert_eq!(position.written as usize, model.audio.len());
            prop_assert_eq!(position.played as usize, model.played);
            prop_assert_eq!(position.discarded, 0);
        }
    }
}
