//! One session, from the first hello to the last alert.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};

use super::config::TlsConfig;
use super::error::TlsError;
use super::records::{end_of_complete, may_open_a_session};

/// Bytes of one incomplete message at which a session fails: no certificate chain of the field comes near.
///
/// The buffer given to [`Tls::receive`] must have room for more, so that every wait for the rest has an end.
pub const MAX_UNCONSUMED_BYTES: usize = 65_535;

/// What a record adds at most: header, explicit nonce (TLS 1.2), content type (TLS 1.3), tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// What a record carries at most (RFC 8446 section 5.1).
const RECORD_PLAIN_BYTES: usize = 16_384;

/// What [`Tls::receive`] did with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many bytes at the front are done with; the rest is the beginning of something longer.
    pub consumed: usize,
    /// The peer's `close_notify` came: nothing it sends counts any more.
    pub closed: bool,
}

/// One TLS 1.2 or 1.3 session of a client, sans-I/O.
///
/// An empty [`receive`](Self::receive) begins the handshake; each later one takes what was read. After every call, what
/// stands in `outgoing` is to be sent, also where the call failed: it may be the alert that tells the peer why.
///
/// A stream that ends without `close_notify` is nothing that this type sees: the closing handshake of the WebSocket tells
/// a whole end from a torn one, as it does without TLS.
pub struct Tls {
    connection: UnbufferedClientConnection,
    /// Bytes at the front of what was not consumed that were opened already: the records of a handshake message whose
    /// other records have not come. They must be there, unread, in each call of the library.
    opened_bytes: usize,
    /// The peer has said `close_notify`.
    is_closed: bool,
    /// We have.
    has_closed: bool,
    is_rootless: bool,
    failure: Option<TlsError>,
}

impl fmt::Debug for Tls {
    /// Shows no key.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("is_established", &self.is_established())
            .field("is_closed", &self.is_closed)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Makes a session with the server of this name, a DNS name or an IP address, for which its certificate must be.
    pub fn new(config: &TlsConfig, server_name: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(server_name)
            .map_err(|_| TlsError::failed("the host is neither a DNS name nor an IP address"))?
            .to_owned();
        let connection = UnbufferedClientConnection::new(Arc::clone(&config.client), name)
            .map_err(|error| TlsError::from(&error))?;
        Ok(Self {
            connection,
            opened_bytes: 0,
            is_closed: false,
            has_closed: false,
            is_rootless: config.is_rootless,
            failure: None,
        })
    }

    /// Whether the handshake is done, so that [`send`](Self::send) may be called.
    pub fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Takes encrypted bytes as read and opens them in place; each run of plain bytes goes to `deliver`.
    ///
    /// What must be sent is appended to `outgoing`. What is not consumed is to be presented again, unchanged, with more
    /// behind it. A failure is final: each later call reports it again.
    pub fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<Taken, TlsError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.is_closed {
            return Ok(Taken {
                consumed: incoming.len(),
                closed: true,
            });
        }
        // Nothing new behind what waits.
        if incoming.len() < self.opened_bytes {
            return Ok(Taken {
                consumed: 0,
                closed: false,
            });
        }
        if self.connection.protocol_version().is_none() && !may_open_a_session(incoming) {
            return Err(self.fail(TlsError::failed(
                "the server sent something else than TLS, is it a plain port?",
            )));
        }
        // Opening moves the parts of a message together, over the headers between them: count before that.
        let complete = self.opened_bytes + end_of_complete(&incoming[self.opened_bytes..]);
        let consumed = self.open(incoming, outgoing, deliver)?;
        if self.is_closed {
            return Ok(Taken {
                consumed: incoming.len(),
                closed: true,
            });
        }
        self.opened_bytes = complete.saturating_sub(consumed);
        if incoming.len() - consumed > MAX_UNCONSUMED_BYTES {
            return Err(self.fail(TlsError::failed(format!(
                "a handshake message of more than {MAX_UNCONSUMED_BYTES} bytes"
            ))));
        }
        Ok(Taken {
            consumed,
            closed: false,
        })
    }

    /// Encrypts `plain` and appends the records to `outgoing`. Only between the handshake and [`close`](Self::close).
    pub fn send(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if !self.is_established() || self.has_closed {
            return Err(TlsError::failed("the session is not open for sending"));
        }
        let records = plain.len().div_ceil(RECORD_PLAIN_BYTES);
        let room = plain.len() + records * RECORD_OVERHEAD_BYTES;
        match self.write(|traffic| append(outgoing, room, |buffer| traffic.encrypt(plain, buffer))) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.fail(TlsError::failed("nothing more can be sent with these keys"))),
        }
    }

    /// Appends our `close_notify`, once, where a session is open; what comes in still counts.
    pub fn close(&mut self, outgoing: &mut Vec<u8>) {
        if self.failure.is_none() && self.is_established() && !self.has_closed {
            self.has_closed = true;
            // An alert is too short to fail for any other reason than spent keys, and then nothing can be said.
            let _ = self.write(|traffic| {
                append(outgoing, RECORD_OVERHEAD_BYTES, |buffer| {
                    traffic.queue_close_notify(buffer)
                })
            });
        }
    }

    /// Runs the library over `incoming`; returns how much of it is done with.
    fn open(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, TlsError> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[consumed..]);
            let error = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            deliver(record.payload);
                        }
                        Some(Err(error)) => break Some(error),
                        None => break None,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, outgoing);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_closed = true;
                    None
                }
                // Blocked until more comes, or all done; there is no early data for a client.
                Ok(_) => return Ok(consumed + discard),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                self.tell_why(outgoing);
                return Err(self.fail(TlsError::from(&error)));
            }
            consumed += discard;
        }
    }

    /// Appends the alert of a failure. The library gives what is ready before it looks at input, so that it needs none.
    fn tell_why(&mut self, outgoing: &mut Vec<u8>) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(&mut []).state
        {
            encode(data, outgoing);
        }
    }

    /// Calls `write` where application data may be sent.
    fn write<R>(
        &mut self,
        write: impl FnOnce(&mut WriteTraffic<'_, rustls::client::ClientConnectionData>) -> R,
    ) -> Option<R> {
        // What was opened is skipped by its length, whatever stands there: for a message that is not complete the
        // library reads nothing of it.
        let mut opened = vec![0; self.opened_bytes];
        match self.connection.process_tls_records(&mut opened).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(write(&mut traffic)),
            _ => None,
        }
    }

    fn fail(&mut self, error: TlsError) -> TlsError {
        let error = match error {
            TlsError::Untrusted(_) if self.is_rootless => TlsError::Untrusted(
                "this system has no root certificates, install them, set SSL_CERT_FILE or name a file of authorities"
                    .into(),
            ),
            error => error,
        };
        self.failure = Some(error.clone());
        error
    }
}

/// Appends what the library has ready.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let _ = append(outgoing, 0, |buffer| data.encode(buffer));
}

/// Appends what `fill` writes: at first into `room` bytes, then into as many as it asks for.
fn append<E: TooSmall>(
    outgoing: &mut Vec<u8>,
    mut room: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let start = outgoing.len();
    loop {
        outgoing.resize(start + room, 0);
        let outcome = fill(&mut outgoing[start..]);
        outgoing.truncate(start + outcome.as_ref().map_or(0, |written| *written));
        match outcome {
            Ok(_) => return Ok(()),
            Err(error) => match error.required_size() {
                Some(required) if required > room => room = required,
                _ => return Err(error),
            },
        }
    }
}

/// An error that may ask for more room.
trait TooSmall {
    fn required_size(&self) -> Option<usize>;
}

impl TooSmall for EncodeError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl TooSmall for EncryptError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}
