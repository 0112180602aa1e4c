//! The two ways of sending.

use std::io;
use std::thread;
use std::time::Duration;

use voxwire_benches::process::monotonic_ns;
use voxwire_benches::stream::{Shape, Stamped, done, piece, rotation, source};

use crate::peer::Peer;

/// What a saturating sender hands to the system at once, about.
const BLOB_BYTES: usize = 1_000_000;

/// What each context gets.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) shape: Shape,
    /// Bytes of PCM in a chunk.
    pub(crate) size: usize,
    /// Chunks.
    pub(crate) messages: usize,
}

/// Sends every stream of a connection as fast as the peer takes it, the contexts in turn.
pub(crate) fn saturate(stream: &Stream, peer: &mut Peer) -> io::Result<()> {
    let contexts: Vec<_> = peer
        .contexts
        .iter()
        .map(|context_id| rotation(stream.shape, context_id, stream.size))
        .collect();
    let turns = contexts[0].len();
    // One step is one chunk of every context; a blob holds whole rotations of steps.
    let round: Vec<u8> = (0..turns)
        .flat_map(|turn| contexts.iter().flat_map(move |wires| wires[turn].iter().copied()))
        .collect();
    let rounds = BLOB_BYTES.div_ceil(round.len());
    let blob = round.repeat(rounds);
    let steps = turns * rounds;
    for _ in 0..stream.messages / steps {
        peer.send(&blob)?;
    }
    let rest: usize = (0..stream.messages % steps)
        .map(|step| contexts.iter().map(|wires| wires[step % turns].len()).sum::<usize>())
        .sum();
    peer.send(&blob[..rest])?;
    let ends: Vec<u8> = peer.contexts.iter().flat_map(|context_id| done(context_id)).collect();
    peer.send(&ends)
}

/// What one context gets.
enum Frames {
    /// Chunks with the time of sending in them.
    Stamped(Vec<Stamped>),
    /// Chunks made when they are sent, since those of thousands of contexts would fill the memory.
    Plain(String),
}

impl Frames {
    fn send(&mut self, message: usize, stream: &Stream, source: &[Vec<u8>], peer: &mut Peer) -> io::Result<()> {
        let turn = message % source.len();
        match self {
            Self::Stamped(frames) => peer.send(frames[turn].at(monotonic_ns())),
            Self::Plain(context_id) => peer.send(&piece(stream.shape, context_id, turn, &source[turn])),
        }
    }
}

/// Sends to each context one chunk every `interval_us`, each by a send of its own, and `is_stamped` with the time in it.
pub(crate) fn pace(stream: &Stream, peers: &mut [Peer], interval_us: u64, is_stamped: bool) -> io::Result<()> {
    let source = source(stream.size);
    let mut streams: Vec<_> = peers
        .iter()
        .enumerate()
        .flat_map(|(index, peer)| peer.contexts.iter().map(move |context_id| (index, context_id)))
        .map(|(index, context_id)| {
            let frames = if is_stamped {
                Frames::Stamped(source.iter().map(|data| Stamped::new(context_id, data)).collect())
            } else {
                Frames::Plain(context_id.clone())
            };
            (index, done(context_id), frames)
        })
        .collect();
    // Neighbours in time sit on different sockets.
    let contexts = streams.len() / peers.len();
    streams = spread(streams, contexts);
    let streams_count = streams.len() as u64;
    let start_ns = monotonic_ns();
    let mut count = 0_u64;
    for message in 0..stream.messages {
        for (index, _, frames) in &mut streams {
            let due_ns = start_ns + count * interval_us * 1000 / streams_count;
            if let Some(early_ns) = due_ns.checked_sub(monotonic_ns()) {
                thread::sleep(Duration::from_nanos(early_ns));
            }
            frames.send(message, stream, &source, &mut peers[*index])?;
            count += 1;
        }
    }
    for (index, done, _) in &streams {
        peers[*index].send(done)?;
    }
    Ok(())
}

/// Takes the first of each run of `length` items, then the second of each, and so on.
fn spread<Item>(items: Vec<Item>, length: usize) -> Vec<Item> {
    let mut placed: Vec<_> = items.into_iter().enumerate().collect();
    placed.sort_by_key(|(place, _)| (place % length, place / length));
    placed.into_iter().map(|(_, item)| item).collect()
}
