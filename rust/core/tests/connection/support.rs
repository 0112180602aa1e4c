//! Ends of connections whose buffers are vectors and whose owners are names.

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{Closed, Config, Connection, Event, Fill, Host, Input, OutOfMemory};
use voxwire_core::context::ClientVerdict;
use voxwire_core::frame::{FrameReader, FrameWriter, Incoming, Opcode, Role};

pub(crate) type Seen = Event<&'static str, Vec<u8>>;
pub(crate) type End = Connection<&'static str, Vec<u8>>;

pub(crate) const S16: Format = Format {
    encoding: Encoding::PcmS16le,
    sample_rate: 24000,
    channels: 1,
};

/// Lends vectors, none longer than its limit.
pub(crate) struct Memory {
    pub(crate) limit_bytes: usize,
}

impl Host for Memory {
    type Buffer = Vec<u8>;
    type Owner = &'static str;

    fn share(&self, owner: &&'static str) -> &'static str {
        owner
    }

    fn begin(&self, size: usize) -> Result<Vec<u8>, OutOfMemory> {
        if size > self.limit_bytes {
            return Err(OutOfMemory);
        }
        Ok(Vec::with_capacity(size))
    }

    fn write(&self, buffer: &mut Vec<u8>, start: usize, size: usize, fill: Fill<'_>) -> bool {
        assert_eq!(start, buffer.len(), "written in order");
        let written = fill(&mut buffer.spare_capacity_mut()[..size]);
        if written {
            // SAFETY: the capacity suffices, and by returning true `fill` promised to have written every byte; a debug
            // build under a sanitizer would find a broken promise when the bytes are compared.
            unsafe { buffer.set_len(start + size) };
        }
        written
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>, size: usize) -> &'a [u8] {
        &buffer[..size]
    }
}

pub(crate) const HOST: Memory = Memory {
    limit_bytes: usize::MAX,
};

pub(crate) fn config(role: Role) -> Config {
    Config::new(role, [7; 32])
}

pub(crate) fn client() -> End {
    End::new(&config(Role::Client))
}

pub(crate) fn server() -> End {
    End::new(&config(Role::Server))
}

pub(crate) fn plain(role: Role) -> End {
    End::new(&Config {
        messages: false,
        ..config(role)
    })
}

/// A client with a context that waits for the answer to one closing request; what it sent is gone.
pub(crate) fn waiting_client(ids: &[&'static str]) -> End {
    let mut end = client();
    for id in ids {
        open(&mut end, id);
        assert_eq!(push(&mut end, id, "Hi.", false), ClientVerdict::Sent);
    }
    end.poll_transmit();
    end
}

pub(crate) fn open(end: &mut End, id: &'static str) {
    end.open_context(id, id, S16, None, None).expect("the id is new");
}

pub(crate) fn push(end: &mut End, id: &str, transcript: &str, continues: bool) -> ClientVerdict {
    let input = Input {
        transcript,
        continues,
        flush: false,
        settings: b"{}",
        buffer_delay_ms: 0,
    };
    end.send_input(id, &input, None).expect("the input is valid")
}

/// Bytes of one frame as the peer of `role` sends it.
pub(crate) fn frame_to(role: Role, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let peer = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let mut wire = Vec::new();
    FrameWriter::new(peer, [9; 32])
        .write(&mut wire, opcode, payload)
        .expect("the payload fits");
    wire
}

pub(crate) fn tell(end: &mut End, json: &str) -> Vec<Seen> {
    tell_bytes(end, json.as_bytes())
}

pub(crate) fn tell_bytes(end: &mut End, payload: &[u8]) -> Vec<Seen> {
    let wire = frame_to(end.role(), Opcode::Text, payload);
    feed(end, &wire)
}

pub(crate) fn feed(end: &mut End, wire: &[u8]) -> Vec<Seen> {
    end.handle_data(wire, None, &HOST);
    end.poll_events()
}

/// What an end sent, as its peer reads it: one line a frame.
pub(crate) fn sent(end: &mut End) -> Vec<String> {
    let peer = match end.role() {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let wire = end.poll_transmit();
    let mut input = wire.as_slice();
    let mut reader = FrameReader::new(peer, 1 << 24);
    let mut lines = Vec::new();
    while let Some(incoming) = reader.read(&mut input).expect("what we send is valid") {
        lines.push(match incoming {
            Incoming::Text { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            Incoming::Binary(payload) => format!("binary {payload:?}"),
            Incoming::Ping(payload) => format!("ping {payload:?}"),
            Incoming::Pong(payload) => format!("pong {payload:?}"),
            Incoming::Close { code, reason } => format!("close {code:?} {reason}"),
        });
    }
    lines
}

pub(crate) fn chunk(id: &str, base64: &str) -> String {
    format!(r#"{{"type":"chunk","data":"{base64}","done":false,"status_code":206,"step_time":1,"context_id":"{id}"}}"#)
}

pub(crate) fn done(id: &str) -> String {
    format!(r#"{{"type":"done","done":true,"status_code":206,"context_id":"{id}"}}"#)
}

pub(crate) fn cancel(id: &str) -> String {
    let mut out = Vec::new();
    voxwire_core::message::encode::cancel(&mut out, id);
    String::from_utf8(out).expect("JSON is UTF-8")
}

pub(crate) fn audio(owner: &'static str, data: &[u8], start_s: f64) -> Seen {
    Event::Audio {
        owner,
        data: data.to_vec(),
        start_s,
        flush_id: None,
    }
}

/// The only event, which must be `Closed`.
pub(crate) fn closed(events: &[Seen]) -> Closed {
    match events {
        [Event::Closed(closed)] => closed.clone(),
        other => panic!("expected one Closed, got {other:?}"),
    }
}

/// The code and side of the only event, which must be `Failed`, and its owner.
pub(crate) fn failed(events: &[Seen]) -> (&'static str, bool, Option<&str>) {
    match events {
        [Event::Failed { owner, failure }] => (owner, failure.remote, failure.code.as_deref()),
        other => panic!("expected one Failed, got {other:?}"),
    }
}
