//! One end against a peer that may do anything. Two connections live the same life, one of which gets every read in
//! pieces: they must not differ.

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{CommandError, Config, Connection, Event, Input, State};
use voxwire_core::context::{ClientVerdict, ServerAction, ServerEvent, ServerInput, ServerState};
use voxwire_core::error::close_code;
use voxwire_core::frame::{Opcode, Role};
use voxwire_core::message::{TimestampKind, encode};

use super::ledger::{Ledger, Seen};
use super::memory::Memory;
use super::script::Script;
use super::wire::{self, Witness};
use crate::cuts;

/// Ids of contexts: usual ones, one that needs escapes, one beyond ASCII, then three that no context may have.
const IDS: [&str; 8] = ["a", "b", "c", "\"\\\n", "gr\u{fc}\u{df}", "", "\0", LONG_ID];
const LONG_ID: &str = match std::str::from_utf8(&[b'x'; 257]) {
    Ok(id) => id,
    Err(_) => "",
};
const FORMATS: [Format; 4] = [
    format(Encoding::PcmS16le, 24000, 1),
    format(Encoding::PcmMulaw, 8000, 1),
    format(Encoding::PcmF32le, 44100, 2),
    format(Encoding::PcmS16le, 0, 0),
];
const SETTINGS: [&[u8]; 4] = [b"{}", b"{\"speed\":1.5}", b"{\"flush\":true}", b"{"];
/// What an end may send for nothing but the closing of its contexts and itself.
const CLOSE_BYTES: usize = 200;
/// A cancel: the id, its escapes, what surrounds it.
const CANCEL_BYTES: usize = 1600;
/// The smallest frame that wants an answer is a ping of 2 bytes, and a client's pong to it has 6.
const ANSWER_FACTOR: usize = 4;

const fn format(encoding: Encoding, sample_rate: u32, channels: u16) -> Format {
    Format {
        encoding,
        sample_rate,
        channels,
    }
}

/// Two connections and what is known of both.
struct Stage {
    whole: Connection<u32, Vec<u8>>,
    cut: Connection<u32, Vec<u8>>,
    host: Memory,
    role: Role,
    now: f64,
    cut_seed: u8,
    ledger: Ledger,
    witness: Witness,
    /// Texts of the user's own went out, of which nothing is known.
    sent_raw: bool,
    opened: u32,
    fed: usize,
    answered: usize,
    parted: bool,
}

/// Plays a script to its end, then loses the stream.
pub(super) fn play(role: Role, messages: bool, mut script: Script<'_>) {
    let options = script.byte();
    let config = Config {
        messages,
        max_message_bytes: (options & 1 == 1).then_some(300),
        ping_interval_s: (options & 2 == 0).then_some(20.0),
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
        ledger: Ledger::new(role, messages),
        witness: Witness::new(role),
        sent_raw: !messages,
        opened: 0,
        fed: 0,
        answered: 0,
        parted: false,
    };
    while !script.is_over() {
        let step = script.byte();
        stage.step(step & 0x7f, &mut script);
        if stage.parted {
            return;
        }
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
    fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        mut act: impl FnMut(&mut Connection<u32, Vec<u8>>, &Memory) -> T,
    ) -> T {
        let whole = act(&mut self.whole, &self.host);
        assert_eq!(act(&mut self.cut, &self.host), whole, "the cut changed an answer");
        whole
    }

    fn drain(&mut self, transmits: bool) {
        let events = self.both(|end, _| end.poll_events().into_iter().map(without_index).collect::<Vec<_>>());
        for event in &events {
            self.ledger.take(event);
        }
        if transmits {
            let whole = self.whole.poll_transmit();
            let cut = self.cut.poll_transmit();
            self.witness.read(&whole, !self.sent_raw);
            assert!(whole == cut || self.ledger.is_closed, "the cut changed what is sent");
        }
        let (state, timeout, counters) = self.both(|end, _| {
            assert!(end.transmit_size() == 0 || !transmits, "bytes stay behind");
            let mut counters = end.counters();
            if end.state() == State::Closed {
                // A message that broke the connection counts where it came whole.
                counters.messages = 0;
            }
            (end.state(), end.poll_timeout(), counters)
        });
        // What came before the end may be answered until the next look at what is to be sent.
        let is_closed = state == State::Closed;
        assert!(
            is_closed == self.ledger.is_closed || (!is_closed && !transmits),
            "the state is not what was told"
        );
        assert_eq!(counters.bytes, self.fed as u64);
        assert!(timeout.is_none_or(f64::is_finite), "a timer that never fires");
    }

    fn feed(&mut self, data: &[u8]) {
        let before = self.whole.transmit_size();
        let now = self.now;
        self.whole.handle_data(data, Some(now), &self.host);
        for piece in cuts::pieces(data, self.cut_seed) {
            self.cut.handle_data(piece, Some(now), &self.host);
        }
        if data.is_empty() {
            self.cut.handle_data(data, Some(now), &self.host);
        }
        self.fed += data.len();
        // While a client closes, text that is wrong is seen only where it comes in pieces: the two then part.
        self.parted = self.whole.state() == State::Closing && self.cut.state() == State::Closed;
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
                self.both(|end, _| end.close(code, reason, now)).unwrap_or_default();
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

    fn send_plain(&mut self, script: &mut Script<'_>) {
        let kind = script.choose(&[Opcode::Text, Opcode::Binary, Opcode::Ping]);
        let payload = script.run();
        let was_open = self.whole.state() == State::Open;
        let result = self.both(|end, _| match kind {
            Opcode::Text => end.send_text(payload),
            Opcode::Binary => end.send_binary(payload),
            Opcode::Ping | Opcode::Pong => end.send_ping(payload),
        });
        let is_valid = match kind {
            Opcode::Text => std::str::from_utf8(payload).is_ok(),
            Opcode::Binary => true,
            Opcode::Ping | Opcode::Pong => payload.len() <= 125,
        };
        assert_eq!(result.is_ok(), was_open && is_valid, "{result:?}");
        self.sent_raw |= kind == Opcode::Text && result.is_ok();
    }

    fn command_client(&mut self, step: u8, script: &mut Script<'_>) {
        let now = Some(self.now);
        let id = script.choose(&IDS);
        let was_live = self.ledger.is_live(id);
        match step {
            11..=13 => {
                let format = script.choose(&FORMATS);
                let owner = self.opened;
                match self.both(|end, _| end.open_context(id, owner, format, now)) {
                    Ok(()) => {
                        self.opened += 1;
                        self.ledger.open(owner, id, format);
                    }
                    Err(CommandError::Closing) => assert_ne!(self.whole.state(), State::Open),
                    Err(error) => assert!(
                        matches!(
                            error,
                            CommandError::NoClient
                                | CommandError::InvalidContextId
                                | CommandError::InvalidFormat
                                | CommandError::ContextInUse
                        ),
                        "{error}"
                    ),
                }
            }
            14..=16 => {
                let flags = script.byte();
                let input = Input {
                    transcript: script.text(),
                    continues: flags & 1 == 1,
                    flush: flags & 2 == 2,
                    settings: script.choose(&SETTINGS),
                    buffer_delay_ms: u32::from(script.byte()) * 20,
                };
                let result = self.both(|end, _| end.send_input(id, &input, now));
                if result == Ok(ClientVerdict::Sent) {
                    assert!(
                        was_live && self.whole.state() == State::Open,
                        "an input of a dead context was sent"
                    );
                }
            }
            17 => {
                let stopped = self.both(|end, _| end.send_cancel(id, now));
                assert!(stopped.is_err() || stopped == Ok(was_live), "{stopped:?}");
                self.ledger.stop(id);
            }
            _ => {
                self.both(|end, _| end.give_up_context(id, now)).unwrap_or_default();
                self.ledger.stop(id);
            }
        }
    }

    fn command_server(&mut self, step: u8, script: &mut Script<'_>) {
        let now = Some(self.now);
        let id = script.choose(&IDS);
        let before = self.both(|end, _| end.context_state(id, now));
        let action = match step {
            11..=13 => {
                let flags = script.byte();
                let input = ServerInput {
                    transcript: (flags & 8 == 0).then(|| script.text()),
                    continues: flags & 1 == 1,
                    flush: flags & 2 == 2,
                    valid: flags & 4 == 0,
                };
                self.both(|end, _| end.handle_input(id, &input, now))
            }
            14 => self.both(|end, _| end.handle_cancel(id, now)),
            15 => {
                let event = script.choose(&[ServerEvent::SynthesisFailed, ServerEvent::Drained, ServerEvent::Expired]);
                self.both(|end, _| end.handle_context(id, event, now))
            }
            _ => return self.send_answer(step, id, script),
        };
        let (Ok(before), Ok(action)) = (before, action) else {
            return;
        };
        let is_live = |state| matches!(state, ServerState::Open | ServerState::Draining | ServerState::Refusing);
        match action {
            ServerAction::Create | ServerAction::CreateAndClose => {
                assert!(!is_live(before), "{action:?} in {before:?}");
            }
            ServerAction::Append
            | ServerAction::AppendAndClose
            | ServerAction::AppendSilent
            | ServerAction::EndSegment
            | ServerAction::Close
            | ServerAction::Stop
            | ServerAction::StopAndFail
            | ServerAction::DoneAndFail
            | ServerAction::Refuse => assert!(is_live(before), "{action:?} in {before:?}"),
            ServerAction::Ignore | ServerAction::Fail | ServerAction::RepeatError | ServerAction::Done => {}
        }
    }

    fn send_answer(&mut self, step: u8, id: &str, script: &mut Script<'_>) {
        let was_open = self.whole.state() == State::Open;
        let (number, text, data) = (script.byte(), script.text(), script.run());
        let flush_id = (number & 1 == 1).then_some(u64::from(number));
        let kind = if number & 2 == 0 {
            TimestampKind::Words
        } else {
            TimestampKind::Phonemes
        };
        let sent = self.both(|end, _| match step {
            16 => end.send_chunk(id, data, f64::from(number), flush_id),
            17 => end.send_timestamps(
                id,
                kind,
                &[(text, 0.0, f64::from(number)), ("x", f64::NAN, 1e300)],
                flush_id,
            ),
            18 => end.send_flush_done(id, u64::from(number)),
            _ if number & 4 == 0 => end.send_done(id),
            _ => end.send_error(&encode::Error {
                context_id: (number & 8 == 0).then_some(id),
                status: 500,
                code: flush_id.map(|_| text),
                title: text,
                message: text,
                request_id: "r",
            }),
        });
        match sent {
            Ok(()) => assert!(was_open, "sent after the end"),
            Err(error) => assert!(
                matches!(
                    error,
                    CommandError::Closing | CommandError::NoServer | CommandError::EmptyChunk
                ),
                "{error}"
            ),
        }
    }
}

/// Takes out of the end of a connection where its text was found wrong: where a frame came whole that is the start of the
/// character, else the byte that spoilt it.
fn without_index(event: Seen) -> Seen {
    match event {
        Event::Closed(mut closed) if closed.code == close_code::INVALID_DATA => {
            let digits = |digit: char| digit.is_ascii_digit();
            closed.reason = closed.reason.trim_end_matches(digits).to_owned();
            closed.error = closed.error.map(|error| error.trim_end_matches(digits).to_owned());
            Event::Closed(closed)
        }
        event => event,
    }
}
