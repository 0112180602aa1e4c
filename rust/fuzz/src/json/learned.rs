//! A client that has learned the shape of a message answers as one that has not, to the message and to what differs from
//! it in a byte.

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{Config, Connection, Event};
use voxwire_core::frame::{FrameWriter, Opcode, Role};
use voxwire_core::message::ServerMessage;

use crate::memory::Memory;

/// Bytes that end, begin or spoil what may stand in a message.
const BYTES: [u8; 12] = *b"\"\\{},:.09A\x1f\x80";
/// Places that are spoilt, spread over the message by its own bytes.
const PLACES: usize = 3;

/// * `payload`: any message
/// * `strict`: what the strict look says of it
pub(super) fn compare(payload: &[u8], strict: &ServerMessage<'_>) {
    let ServerMessage::Chunk {
        context_id: Some(context_id),
        ..
    } = strict
    else {
        return;
    };
    let mut seed = payload
        .iter()
        .fold(0_u32, |seed, &byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut probe = payload.to_vec();
    for _ in 0..=PLACES {
        let Some(mut learned) = listener(context_id) else {
            return;
        };
        if !matches!(tell(&mut learned, payload).as_slice(), [Event::Audio { .. }]) {
            return;
        }
        let Some(mut ignorant) = listener(context_id) else {
            return;
        };
        assert_eq!(
            tell(&mut learned, &probe),
            tell(&mut ignorant, &probe),
            "what was learned differs"
        );
        probe.copy_from_slice(payload);
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        probe[(seed >> 8) as usize % payload.len()] = BYTES[(seed >> 4) as usize % BYTES.len()];
    }
}

fn listener(context_id: &str) -> Option<Connection<u32, Vec<u8>>> {
    let mut client = Connection::new(&Config::new(Role::Client, [7; 32]));
    // Every byte is a frame, so that no chunk leaves something for the next.
    let format = Format {
        encoding: Encoding::PcmMulaw,
        sample_rate: 8000,
        channels: 1,
    };
    client.open_context(context_id, 1, format, None, None).ok()?;
    Some(client)
}

/// The events of a message, without what depends on the place in the stream.
fn tell(client: &mut Connection<u32, Vec<u8>>, payload: &[u8]) -> Vec<Event<u32, Vec<u8>>> {
    let mut wire = Vec::new();
    FrameWriter::new(Role::Server, [0; 32])
        .write(&mut wire, Opcode::Text, payload)
        .expect("a message of any length can be written");
    let host = Memory {
        limit_bytes: usize::MAX,
    };
    client.handle_data(&wire, None, &host);
    let mut events = client.poll_events();
    for event in &mut events {
        match event {
            Event::Audio { start_s, .. } => *start_s = 0.0,
            Event::Closed(closed) => {
                closed.reason.clear();
                closed.error = None;
            }
            _ => {}
        }
    }
    events
}
