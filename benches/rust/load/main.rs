//! The load server of the suite: takes connections, then sends each context's stream from frames made beforehand.
//!
//! Its argument is an object in JSON:
//!
//! * `mode`: `saturated` (blobs of about 1 MB as fast as the peer takes them), `paced` (one frame a send, with the time
//!   in it) or `steady` (the same without the time, so that all of the audio can be compared)
//! * `connections`, `contexts`: how many are awaited, and how many contexts on each
//! * `size`: bytes of PCM in a chunk; `messages`: chunks of each context; `shape`: see [`Shape`]
//! * `interval_us`: paced and steady, from one chunk of a context to its next; the contexts' phases are spread evenly
//! * `certificate`, `key`: PEM files, for TLS 1.3
//! * `source`: a file that gets the chunks that take turns, one after the other
//! * `limit_s`: after so many seconds it gives up
//!
//! It prints `{"port"}` when it listens and, at the end, `{"cpu_s"}` of its sending.

mod peer;
mod send;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use voxwire_benches::process::{Plan, cpu_s, tell};
use voxwire_benches::stream::{Shape, source};

use crate::peer::Peer;
use crate::send::Stream;

fn main() -> io::Result<()> {
    let plan = Plan::from_argument()?;
    plan.end_in_time();
    let tls = tls(&plan)?;
    let stream = Stream {
        shape: Shape::from_name(plan.text("shape")).ok_or_else(|| io::Error::other("no such shape"))?,
        size: plan.number("size"),
        messages: plan.number("messages"),
    };
    if !plan.text("source").is_empty() {
        std::fs::write(plan.text("source"), source(stream.size).concat())?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    tell(&json!({"port": listener.local_addr()?.port()}))?;
    let is_saturated = plan.text("mode") == "saturated";
    let contexts = plan.number("contexts");
    let arrivals: Vec<_> = (0..plan.number("connections"))
        .map(|_| {
            let socket = listener.accept()?.0;
            let tls = tls.clone();
            Ok(thread::spawn(move || {
                let mut peer = Peer::welcome(socket, tls, contexts)?;
                let start = cpu_s();
                if is_saturated {
                    send::saturate(&stream, &mut peer)?;
                }
                Ok::<_, io::Error>((peer, start))
            }))
        })
        .collect::<io::Result<_>>()?;
    let mut peers = Vec::new();
    let mut start = f64::INFINITY;
    for arrival in arrivals {
        let (peer, cpu) = arrival.join().map_err(|_| io::Error::other("a sender failed"))??;
        start = start.min(cpu);
        peers.push(peer);
    }
    if !is_saturated {
        start = cpu_s();
        let is_stamped = plan.text("mode") == "paced";
        send::pace(&stream, &mut peers, plan.number("interval_us") as u64, is_stamped)?;
    }
    tell(&json!({"cpu_s": cpu_s() - start}))?;
    let closing: Vec<_> = peers
        .into_iter()
        .map(|peer| thread::spawn(move || peer.wait_closed()))
        .collect();
    for peer in closing {
        let _ = peer.join();
    }
    Ok(())
}

/// The one cipher suite is that of performance.md 5.3, so that no stack gains by another's.
fn tls(plan: &Plan) -> io::Result<Option<Arc<ServerConfig>>> {
    if plan.text("certificate").is_empty() {
        return Ok(None);
    }
    let chain: Vec<_> = CertificateDer::pem_file_iter(plan.text("certificate"))
        .and_then(Iterator::collect)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(plan.text("key")).map_err(io::Error::other)?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    Ok(Some(Arc::new(config)))
}
