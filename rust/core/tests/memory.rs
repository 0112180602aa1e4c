//! What a connection holds, in bytes of heap: an allocator counts for each test what its own thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{Config, Connection, Event, Fill, Host, OutOfMemory};
use voxwire_core::frame::{FrameWriter, Opcode, Role};

/// Contexts that go over one connection.
const MANY: usize = 1_000_000;
/// Bytes of the largest message that a client takes (protocol.md 13).
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

const S16: Format = Format {
    encoding: Encoding::PcmS16le,
    sample_rate: 24000,
    channels: 1,
};

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    HELD_BYTES.set(HELD_BYTES.get() + bytes);
    PEAK_BYTES.set(PEAK_BYTES.get().max(HELD_BYTES.get()));
}

// SAFETY: every call goes to the system's allocator as it came; the counters neither allocate nor have destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, room: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(room, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes vectors.
struct Memory;

impl Host for Memory {
    type Buffer = Vec<u8>;
    type Owner = usize;

    fn share(&self, owner: &usize) -> usize {
        *owner
    }

    fn begin(&self, size: usize) -> Result<Vec<u8>, OutOfMemory> {
        Ok(Vec::with_capacity(size))
    }

    fn write(&self, buffer: &mut Vec<u8>, start: usize, size: usize, fill: Fill<'_>) -> bool {
        let written = fill(&mut buffer.spare_capacity_mut()[..size]);
        if written {
            // SAFETY: the capacity suffices, all before `start` is written, and by returning true `fill` promised to
            // have written every byte behind it.
            unsafe { buffer.set_len(start + size) };
        }
        written
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>, size: usize) -> &'a [u8] {
        &buffer[..size]
    }
}

type Client = Connection<usize, Vec<u8>>;

fn client() -> Client {
    Client::new(&Config {
        ping_interval_s: None,
        ..Config::new(Role::Client, [7; 32])
    })
}

fn id_of(number: usize) -> String {
    format!("7c9e6679-7425-40de-944b-{number:012}")
}

fn open(client: &mut Client, number: usize) -> String {
    let id = id_of(number);
    client
        .open_context(&id, number, S16, None, None)
        .expect("the id is new");
    id
}

fn frame(json: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameWriter::new(Role::Server, [0; 32])
        .write(&mut wire, Opcode::Text, json.as_bytes())
        .expect("a text");
    wire
}

fn chunk(id: &str, base64: &str) -> Vec<u8> {
    frame(&format!(
        r#"{{"type":"chunk","data":"{base64}","done":false,"status_code":206,"step_time":1,"context_id":"{id}"}}"#
    ))
}

fn done(id: &str) -> Vec<u8> {
    frame(&format!(
        r#"{{"type":"done","done":true,"status_code":206,"context_id":"{id}"}}"#
    ))
}

/// Heap that is held more after `act` than before it, with what `act` returns still alive.
fn held_by<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD_BYTES.get();
    let result = act();
    (result, (HELD_BYTES.get() - before).max(0).unsigned_abs())
}

#[test]
fn a_million_contexts_leave_nothing_behind() {
    let mut client = client();
    let mut held = Vec::new();
    let some = id_of(0);
    let mut wire = [chunk(&some, "AAAA"), done(&some)].concat();
    let places: Vec<_> = (0..wire.len() - some.len())
        .filter(|&at| wire[at..].starts_with(some.as_bytes()))
        .collect();
    let mut pass = |from: usize, to: usize| {
        for number in from..to {
            let id = open(&mut client, number);
            for &at in &places {
                wire[at..at + id.len()].copy_from_slice(id.as_bytes());
            }
            // A hundred end each second.
            client.handle_data(&wire, Some(number as f64 / 100.0), &Memory);
            assert_eq!(client.poll_events().len(), 2);
        }
        HELD_BYTES.get()
    };
    held.push(pass(0, MANY / 10));
    held.push(pass(MANY / 10, MANY));
    assert!(held[1] <= held[0] + 4096, "{held:?}");
    // The last 4096 ids are remembered, each with what it was and when it ended.
    let bytes_per_id = (held[1].unsigned_abs()) / 4096;
    assert!(bytes_per_id < 300, "{bytes_per_id} bytes for an ended context");
    // Once their time is over nothing is left of them.
    let ((), _) = held_by(|| {
        let id = open(&mut client, MANY);
        client.send_cancel(&id, Some(MANY as f64)).expect("a client");
    });
    assert!(HELD_BYTES.get() < 8192, "{} bytes", HELD_BYTES.get());
}

#[test]
fn an_idle_context_and_an_idle_connection_are_small() {
    let (mut client, heap) = held_by(client);
    let size = heap + size_of::<Client>();
    assert!(size < 1280, "{size} bytes for a connection without contexts");
    let ((), idle) = held_by(|| {
        for number in 0..1000 {
            open(&mut client, number);
        }
    });
    let bytes_per_context = idle / 1000;
    assert!(bytes_per_context < 512, "{bytes_per_context} bytes for an open context");
    assert!(size_of::<Client>() < 1024, "{} bytes", size_of::<Client>());
    drop(client);

    // A burst of everything passes through, and the caller takes what comes of it.
    let mut client = self::client();
    let ((), held) = held_by(|| {
        let ids: Vec<_> = (0..20).map(|number| open(&mut client, number)).collect();
        let audio = "AAAA".repeat(12_800);
        for _ in 0..5 {
            let read: Vec<u8> = ids.iter().flat_map(|id| chunk(id, &audio)).collect();
            for piece in read.chunks(262_144) {
                client.handle_data(piece, None, &Memory);
                let events = client.poll_events();
                assert!(events.iter().all(|event| matches!(event, Event::Audio { .. })));
            }
        }
        for id in &ids {
            client.handle_data(&done(id), None, &Memory);
        }
        assert_eq!(client.poll_events().len(), 20);
        assert_eq!(client.poll_transmit(), []);
    });
    assert!(held < 8192, "an idle connection holds {held} bytes");
}

#[test]
fn a_chunk_in_pieces_takes_its_audio_and_little_more() {
    let mut client = client();
    let id = open(&mut client, 0);
    for audio in [
        "AAAA".repeat(10_000),
        "AAAA".repeat(9_999) + "AAA=",
        "AAAA".repeat(9_999) + "AA==",
    ] {
        let wire = chunk(&id, &audio);
        let size = audio.trim_end_matches('=').len() * 3 / 4;
        // The first of its kind teaches how the next will end.
        for is_taught in [false, true] {
            let before = HELD_BYTES.get();
            PEAK_BYTES.set(before);
            let mut heard = 0;
            for piece in wire.chunks(1000) {
                client.handle_data(piece, None, &Memory);
                for event in client.poll_events() {
                    if let Event::Audio { data, .. } = event {
                        heard += data.len();
                    }
                }
            }
            // Each of two chunks that are no multiple of a frame gives half of one to the other.
            assert!(heard.abs_diff(size) <= 1, "{heard} of {size}");
            let peak = (PEAK_BYTES.get() - before).unsigned_abs();
            assert!(
                peak <= size + 2048 || !is_taught || size % 2 == 1,
                "{peak} bytes for {size}"
            );
        }
    }
    // Some have a label behind the audio and some have not; some come late, as after every interruption.
    let labelled = frame(&format!(
        r#"{{"type":"chunk","data":"{}","done":false,"status_code":206,"step_time":1,"context_id":"{id}","flush_id":1}}"#,
        "AAAA".repeat(10_000)
    ));
    let unlabelled = chunk(&id, &"AAAA".repeat(10_000));
    let late = open(&mut client, 2);
    client.send_cancel(&late, None).expect("a client");
    let late = chunk(&late, &"AAAA".repeat(10_000));
    for is_taught in [false, true, true] {
        for wire in [&labelled, &unlabelled, &late] {
            let before = HELD_BYTES.get();
            PEAK_BYTES.set(before);
            for piece in wire.chunks(1000) {
                client.handle_data(piece, None, &Memory);
            }
            assert_eq!(client.poll_events().len(), usize::from(wire != &late));
            let peak = (PEAK_BYTES.get() - before).unsigned_abs();
            // Which of two ends it will have is not known; its audio may have to be moved.
            assert!(peak <= 62_048 || !is_taught, "{peak} bytes");
        }
    }
    // Another id is longer than all that is expected behind the audio, but not the next time.
    let longer = format!("{id}{}", &id[..24]);
    client.open_context(&longer, 1, S16, None, None).expect("the id is new");
    let wire = chunk(&longer, &"AAAA".repeat(10_000));
    for is_taught in [false, true] {
        let before = HELD_BYTES.get();
        PEAK_BYTES.set(before);
        let events: Vec<_> = wire
            .chunks(1000)
            .flat_map(|piece| {
                client.handle_data(piece, None, &Memory);
                client.poll_events()
            })
            .collect();
        assert!(matches!(events.as_slice(), [Event::Audio { data, .. }] if data.len() == 30_000));
        let peak = (PEAK_BYTES.get() - before).unsigned_abs();
        assert!(peak <= 32_048 || !is_taught, "{peak} bytes");
    }
    // Of one that is left unfinished nothing stays with the end.
    let before = HELD_BYTES.get();
    client.handle_data(&chunk(&id, &"AAAA".repeat(10_000))[..1000], None, &Memory);
    assert!(HELD_BYTES.get() - before > 20_000, "room is made for all of it");
    client.handle_eof(None);
    client.poll_events();
    assert!(HELD_BYTES.get() - before < 1024, "{}", HELD_BYTES.get() - before);
}

#[test]
fn a_message_of_16_mib_takes_what_came_and_what_comes_of_it() {
    let mut client = client();
    let id = open(&mut client, 0);
    let envelope = chunk(&id, "").len();
    let wire = chunk(&id, &"AAAA".repeat((MESSAGE_BYTES - envelope) / 4));
    let before = HELD_BYTES.get();
    PEAK_BYTES.set(before);
    // What is merely declared takes no room.
    client.handle_data(&wire[..1000], None, &Memory);
    assert!(HELD_BYTES.get() - before < 4096, "{}", HELD_BYTES.get() - before);
    for piece in wire[1000..].chunks(65536) {
        client.handle_data(piece, None, &Memory);
    }
    let peak = (PEAK_BYTES.get() - before).unsigned_abs();
    let events = client.poll_events();
    let [Event::Audio { data, .. }] = events.as_slice() else {
        panic!("{} events", events.len())
    };
    assert_eq!(data.len(), (MESSAGE_BYTES - envelope) / 4 * 3);
    // The text, and either its audio or the half that grew into the whole.
    assert!(peak <= MESSAGE_BYTES * 7 / 4 + 65536, "{peak} bytes at the most");
    drop(events);
    let held = HELD_BYTES.get() - before;
    assert!(held < 4096, "{held} bytes are kept");
}
