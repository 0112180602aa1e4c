//! One accepted connection: the upgrade, the names of its contexts, and the way out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use voxwire_core::frame::{FrameReader, Incoming, Role};
use voxwire_core::handshake::ServerHandshake;
use voxwire_core::message::{ClientMessage, decode_client};

/// Plain text that TLS takes in one piece: enough records for one large write.
const TLS_BUFFER_BYTES: usize = 256 * 1024;
/// An empty Close frame of a server.
const CLOSE: [u8; 2] = [0x88, 0];

enum Wire {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A client that has named its contexts.
pub(crate) struct Peer {
    wire: Wire,
    reader: FrameReader,
    /// In the order of their first messages.
    pub(crate) contexts: Vec<String>,
}

impl Peer {
    /// Upgrades the connection and reads until `count` contexts are named.
    pub(crate) fn welcome(socket: TcpStream, tls: Option<Arc<ServerConfig>>, count: usize) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let wire = match tls {
            None => Wire::Plain(socket),
            Some(config) => {
                let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
                session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                Wire::Secure(Box::new(StreamOwned::new(session, socket)))
            }
        };
        let mut peer = Self {
            wire,
            reader: FrameReader::new(Role::Server, 1 << 20),
            contexts: Vec::new(),
        };
        let mut handshake = ServerHandshake::new();
        while !handshake.handle_data(&peer.receive()?) {}
        let answer = handshake.accept(&[]).map_err(|_| io::Error::other("no upgrade"))?;
        peer.send(&answer)?;
        let mut data = handshake.remainder().to_vec();
        loop {
            peer.learn(&data)?;
            if peer.contexts.len() >= count {
                return Ok(peer);
            }
            data = peer.receive()?;
        }
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(socket) => socket.write_all(data),
            Wire::Secure(stream) => {
                stream.write_all(data)?;
                stream.flush()
            }
        }
    }

    /// Reads until the client closes, and answers its Close. What goes wrong here concerns no figure.
    pub(crate) fn wait_closed(mut self) {
        while let Ok(data) = self.receive() {
            match self.learn(&data) {
                Ok(true) => {
                    let _ = self.send(&CLOSE);
                    break;
                }
                Ok(false) => {}
                Err(_) => break,
            }
        }
        let socket = match &self.wire {
            Wire::Plain(socket) => socket,
            Wire::Secure(stream) => &stream.sock,
        };
        let _ = socket.shutdown(Shutdown::Write);
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut data = vec![0; 16 * 1024];
        let count = match &mut self.wire {
            Wire::Plain(socket) => socket.read(&mut data)?,
            Wire::Secure(stream) => stream.read(&mut data)?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        data.truncate(count);
        Ok(data)
    }

    /// Notes the contexts named in `data`; true where the client closes.
    fn learn(&mut self, mut data: &[u8]) -> io::Result<bool> {
        loop {
            let incoming = self.reader.read(&mut data);
            match incoming.map_err(|_| io::Error::other("the client sends no valid frames"))? {
                None => return Ok(false),
                Some(Incoming::Close { .. }) => return Ok(true),
                Some(Incoming::Text { payload, .. }) => {
                    if let Ok(ClientMessage::Request {
                        context_id: Some(context_id),
                        ..
                    }) = decode_client(payload)
                        && !self.contexts.contains(&context_id)
                    {
                        self.contexts.push(context_id);
                    }
                }
                Some(_) => {}
            }
        }
    }
}
