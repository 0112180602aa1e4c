//! The sockets, and all streams that come to them.

use std::io;
use std::net::UdpSocket;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use serde_json::{Value, json};

use crate::batch::Batch;
use crate::stream::{Expected, Packet, Stream};

/// A tenth of a second of some thousand streams, where the system gives as much.
const BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// A pair of neighbouring ports is looked for so often.
const TRIALS: usize = 1000;

/// A receiver of many streams.
pub(crate) struct Receiver {
    pub(crate) expected: Expected,
    /// RTP on an even port, RTCP on the next.
    sockets: Vec<(UdpSocket, UdpSocket)>,
    streams: Vec<Stream>,
    batch: Batch,
    strangers: u64,
    reports: u64,
    /// Of the first packet and of the last.
    arrivals_ns: (u64, u64),
    /// By each socket's queue.
    dropped: Vec<u32>,
}

impl Receiver {
    /// Opens so many pairs of ports on the loopback.
    pub(crate) fn new(expected: Expected, streams: usize, ports: usize) -> io::Result<Self> {
        let sockets = (0..ports).map(|_| pair()).collect::<io::Result<Vec<_>>>()?;
        for (rtp, _) in &sockets {
            Batch::prepare(rtp)?;
            // Beyond the system's limit only where we may.
            set_socket_recv_buffer_size_force(rtp, BUFFER_BYTES)
                .or_else(|_| set_socket_recv_buffer_size(rtp, BUFFER_BYTES))?;
        }
        Ok(Self {
            expected,
            sockets,
            streams: std::iter::repeat_with(Stream::default).take(streams).collect(),
            batch: Batch::new(),
            strangers: 0,
            reports: 0,
            arrivals_ns: (u64::MAX, 0),
            dropped: vec![0; ports],
        })
    }

    /// The ports for RTP.
    pub(crate) fn ports(&self) -> io::Result<Vec<u16>> {
        let addresses = self.sockets.iter().map(|(rtp, _)| rtp.local_addr());
        addresses.map(|address| Ok(address?.port())).collect()
    }

    /// Takes all that waits.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        for ((rtp, rtcp), dropped) in self.sockets.iter().zip(&mut self.dropped) {
            let so_far = self.batch.receive(rtp, |data, arrival_ns| {
                match Packet::parse(data, &self.expected, self.streams.len()) {
                    Some(packet) => {
                        let (first_ns, last_ns) = self.arrivals_ns;
                        self.arrivals_ns = (first_ns.min(arrival_ns), last_ns.max(arrival_ns));
                        self.streams[packet.stream].take(&packet, arrival_ns, &self.expected);
                    }
                    None => self.strangers += 1,
                }
            })?;
            *dropped = so_far.max(*dropped);
            self.batch.receive(rtcp, |_, _| self.reports += 1)?;
        }
        Ok(())
    }

    /// When the first packet came and when the last, in nanoseconds since 1970.
    pub(crate) fn arrivals_ns(&self) -> (u64, u64) {
        self.arrivals_ns
    }

    /// What came: of each stream, and of all packets how late they were, in microseconds.
    pub(crate) fn report(&self) -> Value {
        let mut late_ns: Vec<u64> = self.streams.iter().flat_map(Stream::late_ns).collect();
        late_ns.sort_unstable();
        let quantile = |per_mille: usize| {
            let place = late_ns.len() * per_mille / 1000;
            late_ns.get(place).or(late_ns.last()).map(|late| *late as f64 / 1000.0)
        };
        json!({
            "streams": self.streams.iter().map(Stream::report).collect::<Vec<_>>(),
            "late_us": {"p50": quantile(500), "p99": quantile(990), "p999": quantile(999), "max": quantile(1000)},
            "strangers": self.strangers,
            "reports": self.reports,
            "dropped": self.dropped.iter().sum::<u32>(),
        })
    }
}

fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    for _ in 0..TRIALS {
        let rtp = UdpSocket::bind("127.0.0.1:0")?;
        let port = rtp.local_addr()?.port();
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            return Ok((rtp, rtcp));
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
