//! The floor under every client: one thread, epoll, large reads, no Python.
//!
//! Its argument is an object in JSON: `way` is `discard` (what the kernel's receive alone costs) or `decode` (this
//! project's core, each piece of audio in a fresh vector); `port`, `size`, `shape`, `messages` as the load server has
//! them; `is_paced` keeps the latencies; `source` compares the audio with that file; `limit_s` bounds it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustix::event::epoll;
use serde_json::{Value, json};
use voxwire_audio::{Encoding, Format};
use voxwire_benches::host::Vectors;
use voxwire_benches::process::{Plan, cpu_s, monotonic_ns, tell};
use voxwire_benches::stream::{STAMP_BYTES, Shape, Stamped, done, rotation, source};
use voxwire_benches::{CONTEXT_ID, ROTATION};
use voxwire_core::connection::{Config, Connection, Event};
use voxwire_core::frame::{FrameWriter, Opcode, Role};
use voxwire_core::handshake::ClientHandshake;

/// As much as the client of this project reads at once.
const READ_BYTES: usize = 256 * 1024;
const SEED: [u8; 32] = [7; 32];
const FORMAT: Format = Format {
    encoding: Encoding::PcmS16le,
    sample_rate: 24_000,
    channels: 1,
};

/// What one way makes of the bytes of a read.
trait Client {
    /// The first message.
    fn request(&mut self) -> io::Result<Vec<u8>>;
    /// Takes a read; true at the end of the stream.
    fn take(&mut self, data: &[u8]) -> io::Result<bool>;
    /// Messages, bytes of audio, nanoseconds from sending to here of each message.
    fn figures(self: Box<Self>) -> (usize, usize, Vec<u64>);
}

fn main() -> io::Result<()> {
    let plan = Plan::from_argument()?;
    plan.end_in_time();
    let mut socket = TcpStream::connect(("127.0.0.1", plan.number("port") as u16))?;
    socket.set_nodelay(true)?;
    let mut handshake = ClientHandshake::new("localhost", "/tts/websocket", &[], [1; 16]).map_err(other)?;
    socket.write_all(&handshake.poll_transmit())?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 || handshake.handle_data(&buffer[..count]) {
            break;
        }
    }
    let mut client: Box<dyn Client> = match plan.text("way") {
        "discard" => Box::new(Discard::new(&plan)?),
        "decode" => Box::new(Decode::new(&plan)?),
        _ => return Err(io::Error::other("way is discard or decode")),
    };
    socket.set_nonblocking(true)?;
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&queue, &socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    let mut ready = Vec::with_capacity(1);
    let (cpu, start) = (cpu_s(), monotonic_ns());
    socket.write_all(&client.request()?)?;
    let mut is_over = false;
    while !is_over {
        ready.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut ready), None)?;
        match socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => is_over = client.take(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let (cpu, wall) = (cpu_s() - cpu, (monotonic_ns() - start) as f64 * 1e-9);
    let (messages, bytes, latencies_ns) = client.figures();
    tell(&json!({"cpu_s": cpu, "wall_s": wall, "messages": messages, "bytes": bytes, "latencies_ns": latencies_ns}))
}

fn other(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

/// Receives and looks at nothing: the length of the stream is known beforehand.
struct Discard {
    due: usize,
    messages: usize,
    bytes: usize,
}

impl Discard {
    fn new(plan: &Plan) -> io::Result<Self> {
        let shape = Shape::from_name(plan.text("shape")).ok_or_else(|| other("no such shape"))?;
        let (size, messages) = (plan.number("size"), plan.number("messages"));
        let lengths: Vec<_> = if plan.is_set("is_paced") {
            source(size)
                .iter()
                .map(|data| Stamped::new(CONTEXT_ID, data).at(0).len())
                .collect()
        } else {
            rotation(shape, CONTEXT_ID, size).iter().map(Vec::len).collect()
        };
        let chunks: usize = lengths.iter().cycle().take(messages).sum();
        Ok(Self {
            due: chunks + done(CONTEXT_ID).len(),
            messages,
            bytes: messages * size,
        })
    }
}

impl Client for Discard {
    fn request(&mut self) -> io::Result<Vec<u8>> {
        let request = json!({"transcript": "Hi.", "context_id": CONTEXT_ID, "continue": false});
        let mut wire = Vec::new();
        FrameWriter::new(Role::Client, SEED)
            .write(&mut wire, Opcode::Text, request.to_string().as_bytes())
            .map_err(other)?;
        Ok(wire)
    }

    fn take(&mut self, data: &[u8]) -> io::Result<bool> {
        self.due = self
            .due
            .checked_sub(data.len())
            .ok_or_else(|| other("more bytes than the stream has"))?;
        Ok(self.due == 0)
    }

    fn figures(self: Box<Self>) -> (usize, usize, Vec<u64>) {
        (self.messages, self.bytes, Vec::new())
    }
}

/// Decodes with the core.
struct Decode {
    connection: Connection<usize, Vec<u8>>,
    source: Vec<u8>,
    is_paced: bool,
    messages: usize,
    bytes: usize,
    latencies_ns: Vec<u64>,
}

impl Decode {
    fn new(plan: &Plan) -> io::Result<Self> {
        let mut config = Config::new(Role::Client, SEED);
        config.ping_interval_s = None;
        config.inactivity_timeout_s = None;
        let mut connection = Connection::new(&config);
        connection
            .open_context(CONTEXT_ID, 0, FORMAT, None, None)
            .map_err(other)?;
        Ok(Self {
            connection,
            source: match plan.text("source") {
                "" => Vec::new(),
                path => fs::read(path)?,
            },
            is_paced: plan.is_set("is_paced"),
            messages: 0,
            bytes: 0,
            latencies_ns: Vec::new(),
        })
    }

    fn check(&self, data: &[u8]) -> io::Result<()> {
        if self.source.is_empty() {
            return Ok(());
        }
        let size = self.source.len() / ROTATION as usize;
        let at = self.bytes % self.source.len();
        if data.len() == size && self.source[at..at + size] == *data {
            return Ok(());
        }
        Err(other(format!(
            "the audio of message {} is not its source",
            self.messages
        )))
    }
}

impl Client for Decode {
    fn request(&mut self) -> io::Result<Vec<u8>> {
        let input = voxwire_core::connection::Input {
            transcript: "Hi.",
            continues: false,
            flush: false,
            settings: b"{}",
            buffer_delay_ms: 0,
        };
        self.connection.send_input(CONTEXT_ID, &input, None).map_err(other)?;
        Ok(self.connection.poll_transmit())
    }

    fn take(&mut self, data: &[u8]) -> io::Result<bool> {
        self.connection.handle_data(data, None, &Vectors);
        for event in self.connection.poll_events() {
            match event {
                Event::Audio { data, .. } => {
                    if self.is_paced {
                        let stamp: [u8; STAMP_BYTES] = data[..STAMP_BYTES].try_into().map_err(other)?;
                        self.latencies_ns.push(monotonic_ns() - u64::from_le_bytes(stamp));
                    }
                    self.check(&data)?;
                    self.messages += 1;
                    self.bytes += data.len();
                }
                Event::Finished { .. } => return Ok(true),
                Event::Failed { .. } | Event::Closed(_) => return Err(other(Value::from("the stream failed"))),
                _ => {}
            }
        }
        Ok(false)
    }

    fn figures(self: Box<Self>) -> (usize, usize, Vec<u64>) {
        (self.messages, self.bytes, self.latencies_ns)
    }
}
