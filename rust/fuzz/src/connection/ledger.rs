//! What the events of a connection may be, given what was told and commanded before.

use std::collections::HashMap;

use voxwire_audio::Format;
use voxwire_core::connection::{Event, UNUSABLE_MESSAGES, failure_code};
use voxwire_core::error::close_code;
use voxwire_core::frame::Role;

pub(super) type Seen = Event<u32, Vec<u8>>;

/// The contexts that were opened, by owner, and whether all is over.
pub(super) struct Ledger {
    role: Role,
    messages: bool,
    live: HashMap<u32, Live>,
    pub(super) unusable_in_a_row: u32,
    pub(super) is_closed: bool,
}

struct Live {
    context_id: String,
    format: Format,
    frames: usize,
}

impl Ledger {
    pub(super) fn new(role: Role, messages: bool) -> Self {
        Self {
            role,
            messages,
            live: HashMap::new(),
            unusable_in_a_row: 0,
            is_closed: false,
        }
    }

    pub(super) fn open(&mut self, owner: u32, context_id: &str, format: Format) {
        assert!(!self.is_live(context_id), "a context was opened twice");
        let live = Live {
            context_id: context_id.to_owned(),
            format,
            frames: 0,
        };
        self.live.insert(owner, live);
    }

    pub(super) fn is_live(&self, context_id: &str) -> bool {
        self.live.values().any(|live| live.context_id == context_id)
    }

    /// The user ended a context; nothing more may come of it.
    pub(super) fn stop(&mut self, context_id: &str) {
        self.live.retain(|_, live| live.context_id != context_id);
    }

    /// Takes what happened; panics where it cannot have.
    pub(super) fn take(&mut self, event: &Seen) {
        assert!(!self.is_closed, "after the end: {event:?}");
        let is_client = self.messages && self.role == Role::Client;
        let is_server = self.messages && self.role == Role::Server;
        match event {
            Event::Audio {
                owner, data, start_s, ..
            } => {
                let live = self.live.get_mut(owner).expect("audio of a context that is not live");
                let frame_bytes = live.format.frame_bytes();
                assert!(
                    !data.is_empty() && data.len().is_multiple_of(frame_bytes),
                    "{} bytes of audio",
                    data.len()
                );
                let expected_s = live.frames as f64 / f64::from(live.format.sample_rate);
                assert!(
                    (start_s - expected_s).abs() < 1e-9,
                    "audio at {start_s} s instead of {expected_s} s"
                );
                live.frames += data.len() / frame_bytes;
            }
            Event::Timestamps { owner, items, .. } => {
                assert!(self.live.contains_key(owner), "times of a context that is not live");
                assert!(
                    items
                        .iter()
                        .all(|(_, start_s, end_s)| start_s.is_finite() && end_s.is_finite())
                );
            }
            Event::FlushDone { owner, .. } => {
                assert!(self.live.contains_key(owner), "a flush of a context that is not live");
            }
            Event::Finished { owner, .. } => {
                assert!(self.live.remove(owner).is_some(), "a context ended that is not live");
            }
            Event::Failed { owner, failure } => {
                assert!(self.live.remove(owner).is_some(), "a context failed that is not live");
                let ours = [
                    failure_code::INVALID_MESSAGE,
                    failure_code::INVALID_AUDIO,
                    failure_code::INACTIVITY,
                ];
                let is_ours = failure.code.as_deref().is_some_and(|code| ours.contains(&code));
                assert!(failure.remote || is_ours, "{failure:?}");
                assert!(
                    failure.message.chars().count() <= 1000,
                    "a message of {} bytes",
                    failure.message.len()
                );
            }
            Event::Text(_) | Event::Binary(_) => assert!(!self.messages, "a plain message of a protocol end"),
            Event::Request { .. } | Event::Cancel { .. } => {
                assert!(is_server, "a request at a client");
                self.unusable_in_a_row = 0;
            }
            Event::Unusable { last, .. } => {
                assert!(is_server, "an unusable message at a client");
                self.unusable_in_a_row += 1;
                assert_eq!(
                    *last,
                    self.unusable_in_a_row == UNUSABLE_MESSAGES,
                    "the last of too many is not the last"
                );
                assert!(
                    self.unusable_in_a_row <= UNUSABLE_MESSAGES,
                    "too many unusable messages"
                );
            }
            Event::Closed(closed) => {
                self.is_closed = true;
                self.live.clear();
                assert!(closed.error.is_none() || !closed.clean, "{closed:?}");
                let codes = [
                    close_code::PROTOCOL_ERROR,
                    close_code::INVALID_DATA,
                    close_code::POLICY,
                    close_code::TOO_BIG,
                    close_code::ABNORMAL,
                ];
                assert!(closed.error.is_none() || codes.contains(&closed.code), "{closed:?}");
                assert!(
                    closed.timed_out.is_none() || closed.code == close_code::ABNORMAL,
                    "{closed:?}"
                );
            }
        }
        assert!(is_client || self.live.is_empty());
    }
}
