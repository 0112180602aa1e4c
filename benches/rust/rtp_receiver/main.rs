//! Receives many streams of RTP and says of each what came, when, and whether it was the right audio.
//!
//! Times are the kernel's, of each packet's arrival in a socket's queue; so it is of no matter when it is read from
//! there, which is every few milliseconds, lest a wake-up for each packet disturb the sender that is measured.
//!
//! Its argument is an object in JSON:
//!
//! * `streams`, `first_ssrc`: how many, and the synchronisation source of the first; each has the next number
//! * `ports`: pairs of sockets (RTP, RTCP) on the loopback; which stream comes to which is the sender's affair
//! * `payload_type`, `step` (of the timestamps, from packet to packet), `clock_rate`, `silence` (a byte)
//! * `source`, `block_bytes`: a file of blocks of audio that take turns from stream to stream; each stream repeats its
//!   own. An empty name compares nothing
//! * `cores`, `priority`: each of these cores has a witness, under `SCHED_FIFO` with that priority
//! * `limit_s`: after so many seconds it gives up
//!
//! It prints `{"ports"}` when it listens and, when its standard input ends, what came: see `report` of the receiver and
//! of a stream, and in `wakes` that of each witness; null where the system allows none. `--self` as the only argument
//! compares what it finds with what is known to be sent.

mod batch;
mod check;
mod receiver;
mod stream;
mod witness;

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use voxwire_benches::process::{Plan, tell};

use crate::receiver::Receiver;
use crate::stream::Expected;
use crate::witness::Witness;

const TURN: Duration = Duration::from_millis(5);

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--self") {
        return check::check();
    }
    let plan = Plan::from_argument()?;
    plan.end_in_time();
    let blocks = match plan.text("source") {
        "" => Vec::new(),
        path => fs::read(path)?
            .chunks_exact(plan.number("block_bytes"))
            .map(<[u8]>::to_vec)
            .collect(),
    };
    let expected = Expected {
        first_ssrc: plan.number("first_ssrc") as u32,
        payload_type: plan.number("payload_type") as u8,
        step: plan.number("step") as u32,
        clock_rate: plan.number("clock_rate") as u32,
        silence: plan.number("silence") as u8,
        blocks,
    };
    let mut receiver = Receiver::new(expected, plan.number("streams"), plan.number("ports"))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let priority = plan.number("priority") as u8;
    let witnesses: Vec<_> = plan
        .numbers("cores")
        .into_iter()
        .map(|core| Witness::start(core, priority, is_over.clone()))
        .collect();
    tell(&json!({"ports": receiver.ports()?}))?;
    let told = is_over.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Release);
    });
    loop {
        // Asked first: what was sent before the end is in the queues by then.
        let was_over = is_over.load(Ordering::Acquire);
        receiver.drain()?;
        if was_over {
            let mut report = receiver.report();
            let wakes = witnesses
                .into_iter()
                .map(|witness| witness.report(receiver.arrivals_ns()));
            report["wakes"] = json!(wakes.collect::<io::Result<Option<Vec<_>>>>()?);
            return tell(&report);
        }
        thread::sleep(TURN);
    }
}
