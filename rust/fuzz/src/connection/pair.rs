//! A client and a server of ours over a wire that cuts and delays: what the one sends, the other gets, whole and in
//! order, and neither ever finds fault with the other.

use std::collections::VecDeque;

use voxwire_audio::{Encoding, Format};
use voxwire_core::connection::{Closed, Config, Connection, Event, Input, State, failure_code};
use voxwire_core::context::{ClientVerdict, ServerInput};
use voxwire_core::error::close_code;
use voxwire_core::frame::Role;
use voxwire_core::message::json::Value;
use voxwire_core::message::{Timed, TimestampKind, encode};

use super::ledger::{Ledger, Seen};
use super::script::Script;
use super::wire::peer_of;
use crate::memory::Memory;

const HOST: Memory = Memory {
    limit_bytes: usize::MAX,
};
const FORMATS: [Format; 2] = [
    Format {
        encoding: Encoding::PcmS16le,
        sample_rate: 24000,
        channels: 1,
    },
    Format {
        encoding: Encoding::PcmMulaw,
        sample_rate: 8000,
        channels: 1,
    },
];
/// Contexts of one script at most; the loop over them stays short.
const CONTEXTS: usize = 16;

/// One end, and what is under way to it.
struct End {
    connection: Connection<u32, Vec<u8>>,
    ledger: Ledger,
    incoming: VecDeque<u8>,
    closed: Option<Closed>,
}

/// How the server ended its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Going,
    Done,
    Error,
}

/// One context as both sides know it.
struct Context {
    id: String,
    format: Format,
    /// Requests that are under way to the server.
    asked: VecDeque<(String, bool, bool)>,
    /// The client's last request said that it was the last.
    is_finished: bool,
    /// The server has read one.
    is_known: bool,
    answer: Answer,
    audio_sent: Vec<u8>,
    audio_heard: Vec<u8>,
    times_sent: VecDeque<(TimestampKind, Vec<Timed>)>,
    /// The client cancelled, or failed it for its own reasons.
    is_given_up: bool,
}

struct Stage {
    ends: [End; 2],
    contexts: Vec<Context>,
    now: f64,
    /// A clock ran out somewhere: not all that was sent need arrive.
    is_late: bool,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Plays a script, then closes in good order.
pub(super) fn play(mut script: Script<'_>) {
    let end = |role| End {
        connection: Connection::new(&Config::new(role, [7; 32])),
        ledger: Ledger::new(role, true),
        incoming: VecDeque::new(),
        closed: None,
    };
    let mut stage = Stage {
        ends: [end(Role::Client), end(Role::Server)],
        contexts: Vec::new(),
        now: 0.0,
        is_late: false,
    };
    assert_eq!(
        peer_of(stage.ends[CLIENT].connection.role()),
        stage.ends[SERVER].connection.role()
    );
    while !script.is_over() {
        let step = script.byte();
        stage.step(step, &mut script);
    }
    stage.finish();
}

impl Stage {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 16 {
            0 | 1 => self.open(script),
            2 | 3 => self.ask(script),
            4 => self.give_up(script),
            5..=7 => self.answer_audio(script),
            8 => self.answer_times(script),
            9 => self.answer_end(script),
            10 => self.deliver(SERVER, usize::from(script.byte())),
            11 => self.deliver(CLIENT, usize::from(script.byte())),
            12 => {
                self.deliver(SERVER, usize::MAX);
                self.deliver(CLIENT, usize::MAX);
            }
            13 => self.pass_time(script),
            14 => {
                let end = &mut self.ends[usize::from(script.flag())];
                let _ = end.connection.send_ping(&script.run()[..0]);
            }
            _ => {
                let end = &mut self.ends[usize::from(script.flag())];
                let code = script.choose(&[close_code::NORMAL, close_code::GOING_AWAY]);
                end.connection
                    .close(Some(code), "enough", Some(self.now))
                    .expect("the reason is short");
            }
        }
    }

    fn choose(&self, script: &mut Script<'_>) -> Option<usize> {
        let index = usize::from(script.byte());
        (!self.contexts.is_empty()).then(|| index % self.contexts.len())
    }

    fn open(&mut self, script: &mut Script<'_>) {
        let number = self.contexts.len();
        if number == CONTEXTS {
            return;
        }
        let format = script.choose(&FORMATS);
        let id = format!("{number}\u{e9}\"");
        let client = &mut self.ends[CLIENT];
        let opened = client
            .connection
            .open_context(&id, number as u32, format, None, Some(self.now));
        assert_eq!(opened.is_ok(), client.connection.state() == State::Open, "{opened:?}");
        if opened.is_err() {
            return;
        }
        client.ledger.open(number as u32, &id, format);
        self.contexts.push(Context {
            id,
            format,
            asked: VecDeque::new(),
            is_finished: false,
            is_known: false,
            answer: Answer::Going,
            audio_sent: Vec::new(),
            audio_heard: Vec::new(),
            times_sent: VecDeque::new(),
            is_given_up: false,
        });
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let Some(index) = self.choose(script) else { return };
        let (continues, flush, transcript) = (script.flag(), script.flag(), script.text());
        let context = &mut self.contexts[index];
        let input = Input {
            transcript,
            continues,
            flush,
            settings: b"{\"voice\":{\"mode\":\"id\",\"id\":\"v\"}}",
            buffer_delay_ms: 0,
        };
        let client = &mut self.ends[CLIENT].connection;
        if client.send_input(&context.id, &input, Some(self.now)) == Ok(ClientVerdict::Sent) {
            context.is_finished |= !continues;
            context.asked.push_back((transcript.to_owned(), continues, flush));
        }
    }

    fn give_up(&mut self, script: &mut Script<'_>) {
        let Some(index) = self.choose(script) else { return };
        let context = &mut self.contexts[index];
        context.is_given_up = true;
        let client = &mut self.ends[CLIENT];
        let was_live = client.ledger.is_live(&context.id);
        assert_eq!(client.connection.send_cancel(&context.id, Some(self.now)), Ok(was_live));
        client.ledger.stop(&context.id);
    }

    /// A context that the server may speak of, if it can speak.
    fn speaker(&mut self, script: &mut Script<'_>) -> Option<(&mut Connection<u32, Vec<u8>>, &mut Context)> {
        let index = self.choose(script)?;
        let server = &mut self.ends[SERVER].connection;
        let context = &mut self.contexts[index];
        let speaks = server.state() == State::Open && context.is_known && context.answer == Answer::Going;
        speaks.then_some((server, context))
    }

    fn answer_audio(&mut self, script: &mut Script<'_>) {
        let Some((server, context)) = self.speaker(script) else {
            return;
        };
        let flush_id = script.flag().then_some(u64::MAX);
        let data = script.run();
        if !data.is_empty() {
            server
                .send_chunk(&context.id, data, 1.5, flush_id)
                .expect("the server is open");
            context.audio_sent.extend_from_slice(data);
        }
    }

    fn answer_times(&mut self, script: &mut Script<'_>) {
        let Some((server, context)) = self.speaker(script) else {
            return;
        };
        let kind = script.choose(&[TimestampKind::Words, TimestampKind::Phonemes]);
        let start_s = f64::from(script.byte()) / 8.0;
        let items = vec![
            (script.text().to_owned(), start_s, start_s + 0.1),
            ("x".to_owned(), 0.0, 1e-9),
        ];
        server
            .send_timestamps(&context.id, kind, &items, None)
            .expect("the server is open");
        context.times_sent.push_back((kind, items));
    }

    fn answer_end(&mut self, script: &mut Script<'_>) {
        let kind = script.byte() % 3;
        let Some((server, context)) = self.speaker(script) else {
            return;
        };
        let sent = match kind {
            0 => server.send_flush_done(&context.id, 1),
            1 => {
                context.answer = Answer::Done;
                server.send_done(&context.id)
            }
            _ => {
                context.answer = Answer::Error;
                server.send_error(&encode::Error {
                    context_id: Some(&context.id),
                    status: 500,
                    code: None,
                    title: "Failed",
                    message: script.text(),
                    request_id: "r",
                })
            }
        };
        sent.expect("the server is open");
    }

    fn pass_time(&mut self, script: &mut Script<'_>) {
        self.now += f64::from(script.byte()) / 16.0;
        for index in [CLIENT, SERVER] {
            let end = &mut self.ends[index].connection;
            if end.poll_timeout().is_some_and(|due| due <= self.now) {
                end.handle_timeout(self.now);
                assert!(end.poll_timeout().is_none_or(|due| due > self.now), "woken in vain");
                self.is_late = true;
                self.take_events(index);
            }
        }
    }

    /// Moves bytes that are under way to an end, at most so many.
    fn deliver(&mut self, to: usize, limit: usize) {
        let sent = self.ends[1 - to].connection.poll_transmit();
        let end = &mut self.ends[to];
        end.incoming.extend(sent);
        let size = limit.min(end.incoming.len());
        let data: Vec<u8> = end.incoming.drain(..size).collect();
        end.connection.handle_data(&data, Some(self.now), &HOST);
        self.take_events(to);
    }

    fn take_events(&mut self, of: usize) {
        for event in self.ends[of].connection.poll_events() {
            self.ends[of].ledger.take(&event);
            match event {
                Event::Closed(closed) => {
                    let is_unfinished = self.is_late && closed.code == close_code::ABNORMAL;
                    assert!(closed.error.is_none() || is_unfinished, "our ends disagree: {closed:?}");
                    self.ends[of].closed = Some(closed);
                }
                event if of == CLIENT => self.hear(event),
                event => self.serve(event),
            }
        }
    }

    fn hear(&mut self, event: Seen) {
        match event {
            Event::Audio { owner, data, .. } => {
                let context = &mut self.contexts[owner as usize];
                context.audio_heard.extend(data);
                assert!(
                    context.audio_sent.starts_with(&context.audio_heard),
                    "audio that was not sent"
                );
            }
            Event::Timestamps { owner, kind, items, .. } => {
                let sent = self.contexts[owner as usize].times_sent.pop_front();
                assert_eq!(sent, Some((kind, items)));
            }
            Event::FlushDone { flush_id, .. } => assert_eq!(flush_id, Some(1)),
            Event::Finished { owner, expired } => {
                let context = &self.contexts[owner as usize];
                assert_eq!(expired, !context.is_finished);
                assert_eq!(context.answer, Answer::Done);
                assert_eq!(
                    context.audio_heard, context.audio_sent,
                    "finished without all of its audio"
                );
                assert!(context.times_sent.is_empty(), "finished without all of its times");
            }
            Event::Failed { owner, failure } => {
                let context = &mut self.contexts[owner as usize];
                let frame_bytes = context.format.frame_bytes();
                match failure.code.as_deref() {
                    _ if failure.remote => {
                        assert_eq!(context.answer, Answer::Error);
                        let whole = context.audio_sent.len() / frame_bytes * frame_bytes;
                        assert_eq!(context.audio_heard, context.audio_sent[..whole]);
                    }
                    Some(failure_code::INVALID_AUDIO) => {
                        assert!(!context.audio_sent.len().is_multiple_of(frame_bytes), "{failure:?}");
                    }
                    Some(failure_code::INACTIVITY) => assert!(self.is_late),
                    _ => panic!("our server was not understood: {failure:?}"),
                }
                context.is_given_up |= !failure.remote;
            }
            event => panic!("a client got {event:?}"),
        }
    }

    fn serve(&mut self, event: Seen) {
        let context = |id: &str, contexts: &mut Vec<Context>| {
            contexts
                .iter()
                .position(|context| context.id == id)
                .expect("a context that was opened")
        };
        match event {
            Event::Request { context_id, fields } => {
                let id = context_id.expect("our requests name their context");
                let index = context(&id, &mut self.contexts);
                let context = &mut self.contexts[index];
                let (transcript, continues, flush) = context.asked.pop_front().expect("a request that was sent");
                let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
                assert_eq!(field("transcript"), Some(&Value::String(transcript.clone())));
                assert_eq!(field("continue"), Some(&Value::Bool(continues)));
                assert_eq!(field("flush"), flush.then_some(&Value::Bool(true)));
                assert!(matches!(field("voice"), Some(Value::Object(voice)) if voice.len() == 2));
                context.is_known = true;
                let input = ServerInput {
                    transcript: Some(&transcript),
                    continues,
                    flush,
                    valid: true,
                };
                let server = &mut self.ends[SERVER].connection;
                server
                    .handle_input(&id, &input, Some(self.now))
                    .expect("this is a server");
            }
            Event::Cancel { context_id } => {
                let index = context(&context_id, &mut self.contexts);
                assert!(self.contexts[index].is_given_up, "a cancel that nobody sent");
                let server = &mut self.ends[SERVER].connection;
                server
                    .handle_cancel(&context_id, Some(self.now))
                    .expect("this is a server");
            }
            event => panic!("a server got {event:?}"),
        }
    }

    /// Delivers what is under way, closes, and looks whether all was in order.
    fn finish(&mut self) {
        let settle = |stage: &mut Self| {
            for _ in 0..4 {
                stage.deliver(SERVER, usize::MAX);
                stage.deliver(CLIENT, usize::MAX);
            }
        };
        settle(self);
        for context in &self.contexts {
            let was_heard = !self.is_late && self.ends[CLIENT].ledger.is_live(&context.id);
            assert!(
                !was_heard || context.answer == Answer::Going,
                "an end that was not heard"
            );
        }
        let client = &mut self.ends[CLIENT].connection;
        client
            .close(Some(close_code::NORMAL), "", Some(self.now))
            .expect("the code is valid");
        settle(self);
        for index in [CLIENT, SERVER] {
            if self.is_late {
                self.ends[index].connection.handle_eof(None);
                self.take_events(index);
            }
            let closed = self.ends[index].closed.as_ref().expect("both ends are over");
            assert!(closed.clean || self.is_late, "{closed:?}");
        }
    }
}
