//! What the user of an end asks for, right or wrong, and what may become of it.

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{CommandError, Input, State};
use voxwire_core::context::{ClientVerdict, ServerAction, ServerEvent, ServerInput, ServerState};
use voxwire_core::frame::Opcode;
use voxwire_core::message::{TimestampKind, encode};

use super::hostile::{IDS, Stage};
use super::script::Script;

const FORMATS: [Format; 4] = [
    format(Encoding::PcmS16le, 24000, 1),
    format(Encoding::PcmMulaw, 8000, 1),
    format(Encoding::PcmF32le, 44100, 2),
    format(Encoding::PcmS16le, 0, 0),
];
const SETTINGS: [&[u8]; 4] = [b"{}", b"{\"speed\":1.5}", b"{\"flush\":true}", b"{"];

const fn format(encoding: Encoding, sample_rate: u32, channels: u16) -> Format {
    Format {
        encoding,
        sample_rate,
        channels,
    }
}

impl Stage {
    pub(super) fn send_plain(&mut self, script: &mut Script<'_>) {
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
        self.pinged += usize::from(kind == Opcode::Ping && result.is_ok());
        self.sent_raw |= kind == Opcode::Text && result.is_ok();
    }

    pub(super) fn command_client(&mut self, step: u8, script: &mut Script<'_>) {
        let now = Some(self.now);
        let id = script.choose(&IDS);
        let was_live = self.ledger.is_live(id);
        match step {
            11..=13 => {
                let format = script.choose(&FORMATS);
                let owner = self.opened;
                match self.both(|end, _| end.open_context(id, owner, format, None, now)) {
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
                self.both(|end, _| end.forget_context(id, now)).unwrap_or_default();
                self.ledger.stop(id);
            }
        }
    }

    pub(super) fn command_server(&mut self, step: u8, script: &mut Script<'_>) {
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
