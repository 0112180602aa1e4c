//! One end against a peer that may do anything. Two connections live the same life, one of which gets every read in
//! pieces, and often vectors of another width: they must not differ.

use voxwire_core::connection::{Config, Connection, PING_INTERVAL_S, State, UNUSABLE_MESSAGES};
use voxwire_core::frame::Role;
use voxwire_kernels::width::{self, Width};

use super::ledger::Ledger;
use super::script::Script;
use super::wire::{self, Witness};
use crate::cuts;
use crate::memory::Memory;

/// Ids of contexts: usual ones, one that needs escapes, one beyond ASCII, then three that no context may have.
pub(super) const IDS: [&str; 8] = ["a", "b", "c", "\"\\\n", "gr\u{fc}\u{df}", "", "\0", LONG_ID];
const LONG_ID: &str = match std::str::from_utf8(&[b'x'; 257]) {
    Ok(id) => id,
    Err(_) => "",
};
/// What an end may send for nothing but the closing of its contexts and itself.
const CLOSE_BYTES: usize = 200;
/// A cancel: the id, its escapes, what surrounds it.
const CANCEL_BYTES: usize = 1600;
/// The smallest frame that wants an answer is a ping of 2 bytes, and a client's pong to it has 6.
const ANSWER_FACTOR: usize = 4;

/// Two connections and what is known of both.
pub(super) struct Stage {
    pub(super) whole: Connection<u32, Vec<u8>>,
    cut: Connection<u32, Vec<u8>>,
    host: Memory,
    pub(super) role: Role,
    pub(super) now: f64,
    cut_seed: u8,
    cut_width: Width,
    pub(super) ledger: Ledger,
    witness: Witness,
    /// Texts of the user's own went out, of which nothing is known.
    pub(super) sent_raw: bool,
    pub(super) opened: u32,
    has_closed: bool,
    /// Pings of the user's own.
    pub(super) pinged: usize,
    fed: usize,
    answered: usize,
}

/// Plays a script to its end, then loses the stream.
pub(super) fn play(role: Role, messages: bool, mut script: Script<'_>) {
    let options = script.byte();
    let config = Config {
        messages,
        max_message_bytes: (options & 1 == 1).then_some(300),
        ping_interval_s: (options & 2 == 0).then_some(PING_INTERVAL_S),
        inactivity_timeout_s: (options & 4 == 0).then_some(10.0),
        ..Config::new(role, [7; 32])
    };
    let mut stage = Stage {
        whole: Connection::new(&config),
        cut: Connection::new(&config),
        host: Memory {
            limit_bytes: if options & 8 == 8 { 100 } else { usize::MAX },
        },
        role,
        now: 0.0,
        cut_seed: script.byte(),
        cut_width: [Width::Bits512, Width::Bits256, Width::Scalar][usize::from(options >> 4) % 3],
        ledger: Ledger::new(role, messages),
        witness: Witness::new(role),
        sent_raw: !messages,
        opened: 0,
        has_closed: false,
        pinged: 0,
        fed: 0,
        answered: 0,
    };
    while !script.is_over() {
        let step = script.byte();
        stage.step(step & 0x7f, &mut script);
        stage.drain(step & 0x80 == 0);
    }
    stage.both(|end, _| end.handle_eof(None));
    stage.drain(true);
    assert!(stage.ledger.is_closed, "the end of the stream is not the end");
    assert_eq!((stage.whole.state(), stage.whole.poll_timeout()), (State::Closed, None));
    assert_eq!(stage.whole.owners().count(), 0, "owners are held after the end");
}

impl Stage {
    /// Does the same with both; the answers must be the same.
    pub(super) fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        mut act: impl FnMut(&mut Connection<u32, Vec<u8>>, &Memory) -> T,
    ) -> T {
        let whole = act(&mut self.whole, &self.host);
        assert_eq!(act(&mut self.cut, &self.host), whole, "the cut changed an answer");
        whole
    }

    fn drain(&mut self, transmits: bool) {
        let events = self.both(|end, _| end.poll_events());
        for event in &events {
            self.ledger.take(event);
        }
        if transmits {
            let sent = self.both(|end, _| end.poll_transmit());
            self.witness.read(&sent, !self.sent_raw);
            let due = (self.now / PING_INTERVAL_S).floor();
            let pings = self.witness.pings.saturating_sub(self.pinged);
            assert!(pings as f64 <= due, "{pings} pings of its own in {} s", self.now);
        }
        let (state, timeout, counters, unsent) =
            self.both(|end, _| (end.state(), end.poll_timeout(), end.counters(), end.transmit_size()));
        assert!(unsent == 0 || !transmits, "bytes stay behind");
        // What came before the end may be answered until the next look at what is to be sent.
        let is_closed = state == State::Closed;
        assert!(
            is_closed == self.ledger.is_closed || (!is_closed && !transmits),
            "the state is not what was told"
        );
        // Nobody but the user closes first, unless a client sends nothing but what is unusable.
        let is_meant = self.has_closed || self.ledger.unusable_in_a_row == UNUSABLE_MESSAGES;
        assert!(state != State::Closing || is_meant, "a close that nobody wanted");
        assert_eq!(counters.bytes, self.fed as u64);
        assert!(timeout.is_none_or(f64::is_finite), "a timer that never fires");
    }

    fn feed(&mut self, data: &[u8]) {
        let before = self.whole.transmit_size();
        let now = self.now;
        self.whole.handle_data(data, Some(now), &self.host);
        width::at_most(self.cut_width, || {
            for piece in cuts::pieces(data, self.cut_seed) {
                self.cut.handle_data(piece, Some(now), &self.host);
            }
            if data.is_empty() {
                self.cut.handle_data(data, Some(now), &self.host);
            }
        });
        self.fed += data.len();
        // The end of a connection may take back what was not polled yet.
        self.answered += self.whole.transmit_size().saturating_sub(before);
        let bound = ANSWER_FACTOR * self.fed + CANCEL_BYTES * self.opened as usize + CLOSE_BYTES;
        assert!(
            self.answered <= bound,
            "{} bytes in answer to {}",
            self.answered,
            self.fed
        );
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let now = Some(self.now);
        match step % 20 {
            0 => self.feed(script.run()),
            1 => {
                let mut data = Vec::new();
                wire::frame(&mut data, self.role, script.byte(), script.run());
                self.feed(&data);
            }
            2..=4 => {
                let id = script.choose(&IDS);
                let is_fragmented = script.flag();
                let message = match self.role {
                    Role::Client => wire::server_message(script, id),
                    Role::Server => wire::client_message(script, id),
                };
                let mut data = Vec::new();
                wire::text(&mut data, self.role, &message, is_fragmented);
                self.feed(&data);
            }
            5 => {
                let mut data = Vec::new();
                wire::text(&mut data, self.role, script.run(), false);
                self.feed(&data);
            }
            6 => self.now += f64::from(script.byte()) / 8.0,
            7 => self.time_out(),
            8 => self.both(|end, _| end.handle_eof(now)),
            9 => {
                let code = script.choose(&[Some(1000), Some(1001), Some(4999), None, Some(1005), Some(0)]);
                let reason = script.text();
                self.has_closed |= self.both(|end, _| end.close(code, reason, now)).is_ok();
            }
            10 => self.send_plain(script),
            _ if self.role == Role::Client => self.command_client(step % 20, script),
            _ => self.command_server(step % 20, script),
        }
    }

    /// Lets time pass to where the connection wants to be woken; then it must not want the same again.
    fn time_out(&mut self) {
        if let Some(due) = self.whole.poll_timeout() {
            self.now = self.now.max(due);
        }
        let now = self.now;
        self.both(|end, _| end.handle_timeout(now));
        assert!(
            self.whole.poll_timeout().is_none_or(|due| due > now),
            "woken in vain at {now}"
        );
    }
}
