//! The client's part of a connection: its contexts, their timers and their ends. What comes for them is in `receive.rs`.

use super::arriving::Arriving;
use super::event::{Event, Failure, failure_code};
use super::ids::{IdMap, shrink};
use super::inner::Outlet;
use super::joint::Joint;
use super::stream::Stream;
use super::tombstones::Tombstones;
use crate::context::{ClientAction, ClientContext, ClientEvent};
use crate::message::Envelopes;

pub(super) struct Client<Owner, Buffer> {
    /// In boxes: the table has room to spare, which is not to cost whole contexts.
    pub(super) contexts: IdMap<Box<Context<Owner>>>,
    pub(super) ended: Tombstones,
    pub(super) envelopes: Envelopes,
    /// The chunk whose frame is arriving, where it is decoded as it comes.
    pub(super) arriving: Option<Box<Arriving<Buffer>>>,
    pub(super) joint: Joint,
    pub(super) opened: u64,
    pub(super) inactivity_timeout_s: Option<f64>,
    /// No inactivity timer is due before this time; infinite where none runs.
    pub(super) due_at: f64,
}

pub(super) struct Context<Owner> {
    pub(super) life: ClientContext,
    /// None once the end of the connection was told.
    pub(super) owner: Option<Owner>,
    /// Place in the order of opening.
    pub(super) order: u64,
    /// Something was sent for it, so that the server may know it.
    pub(super) is_known: bool,
    /// Its id stands in a message as it is, and in no other way.
    pub(super) has_plain_id: bool,
    /// Small neighbouring chunks come as one piece.
    pub(super) joins: bool,
    pub(super) audio: Stream,
}

impl<Owner, Buffer> Client<Owner, Buffer> {
    pub(super) fn new(inactivity_timeout_s: Option<f64>) -> Self {
        Self {
            contexts: IdMap::default(),
            ended: Tombstones::default(),
            envelopes: Envelopes::default(),
            arriving: None,
            joint: Joint::default(),
            opened: 0,
            inactivity_timeout_s,
            due_at: f64::INFINITY,
        }
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.contexts.values().filter_map(|context| context.owner.as_ref())
    }

    /// Lets go of all that the host has lent, at the end.
    pub(super) fn release(&mut self) {
        self.arriving = None;
        for context in self.contexts.values_mut() {
            context.owner = None;
        }
    }

    pub(super) fn due_at(&self) -> Option<f64> {
        Some(self.due_at).filter(|at| at.is_finite())
    }

    /// The socket is gone. Owners stay until the events were drained: letting go of one may run foreign code.
    pub(super) fn handle_lost(&mut self, now: f64) {
        for context in self.contexts.values_mut() {
            context.life.apply(ClientEvent::Lost, now);
        }
        self.due_at = f64::INFINITY;
    }

    /// Fails every context whose inactivity time is over; returns whether there was one.
    pub(super) fn handle_timeout(
        &mut self,
        now: f64,
        outlet: &mut Outlet,
        events: &mut Vec<Event<Owner, Buffer>>,
    ) -> bool {
        self.ended.expire(now);
        let Some(timeout_s) = self.inactivity_timeout_s.filter(|_| now >= self.due_at) else {
            return false;
        };
        let mut late = Vec::new();
        self.due_at = f64::INFINITY;
        for (id, context) in &self.contexts {
            match context.life.deadline(timeout_s) {
                Some(deadline) if deadline <= now => late.push((context.order, id.clone())),
                Some(deadline) => self.due_at = self.due_at.min(deadline),
                None => {}
            }
        }
        late.sort_unstable();
        for (_, id) in &late {
            let failure = Failure {
                code: Some(failure_code::INACTIVITY.to_owned()),
                message: format!("nothing came for {timeout_s} s, though the server owed an answer"),
                ..Failure::default()
            };
            self.fail_locally(&id.0, ClientEvent::Inactive, failure, now, outlet, events);
        }
        !late.is_empty()
    }

    /// What we found ourselves ends the context, and the server is told to stop.
    pub(super) fn fail_locally(
        &mut self,
        id: &str,
        event: ClientEvent,
        failure: Failure,
        now: f64,
        outlet: &mut Outlet,
        events: &mut Vec<Event<Owner, Buffer>>,
    ) {
        let Some(context) = self.contexts.get_mut(id.as_bytes()) else {
            return;
        };
        if context.life.apply(event, now) == ClientAction::FailAndCancel && context.is_known {
            outlet.cancel(id);
        }
        let owner = self.end(id, now);
        events.extend(owner.map(|owner| Event::Failed {
            owner,
            failure: Box::new(failure),
        }));
    }

    /// Takes the owner of a context that has just ended; its id is remembered for a while.
    pub(super) fn end(&mut self, id: &str, now: f64) -> Option<Owner> {
        let (id, context) = self.contexts.remove_entry(id.as_bytes())?;
        shrink(&mut self.contexts);
        self.ended.insert(id, context.life.state(), now);
        context.owner
    }
}
