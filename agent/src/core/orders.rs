//! What the coordinator says: a new session, and the orders in it.

use std::collections::BTreeMap;

use tracing::{debug, error, info, warn};
use windrow_common::ids::LeaseId;
use windrow_common::sabotage;
use windrow_common::time::Moment;
use windrow_common::wire;
use windrow_common::wire::agent::{EndCause, Ended, Held as WireHeld, Session};
use windrow_common::wire::lease::{Lease, Order, OrderMessage, Stop};

use super::Core;
use super::held::{HeldLease, Record, keys_in};
use super::outbox::Item;
use super::ranges::Ranges;
use crate::executor::{AttemptKey, StopSignal};

impl Core {
    pub(super) fn on_registered(&mut self, session: Session) {
        if session.term < self.held.term {
            // A coordinator that was replaced, or one that does not know yet what it lost: it will.
            let (theirs, seen) = (session.term, self.held.term);
            warn!(theirs, seen, "a coordinator of an older term accepts this agent; asking again");
            self.lose_session();
            return;
        }
        info!(session = session.session, term = session.term, "joined the cluster");
        for fenced in &session.fenced {
            self.fence(fenced);
        }
        self.held.drop_unused_specs();
        self.record(Record::Session);
        self.agree(session.self_fence);
        self.see_term(session.term);
        let items = self.unreported();
        self.outbox.restart(items);
        (self.draining, self.drain_place) = (false, 0);
        self.said_goodbye = false;
        self.session = Some(session);
    }

    /// All that is held is given to others.
    pub(super) fn on_replaced(&mut self) {
        for held in self.held.to_wire() {
            self.fence(&held);
        }
        self.held.drop_unused_specs();
        self.outbox.restart(Vec::new());
    }

    pub(super) fn on_orders(&mut self, place: u64, message: OrderMessage, now: Moment) {
        if message.version > wire::VERSION {
            let (theirs, ours) = (message.version, wire::VERSION);
            error!(theirs, ours, "orders of a newer version are ignored; update this agent");
            return;
        }
        let current = self.session.as_ref().is_some_and(|s| s.session == message.session);
        if !current || message.term < self.held.term {
            debug!(session = message.session, term = message.term, "orders of old are ignored");
            return;
        }
        self.see_term(message.term);
        for (digest, spec) in message.specs {
            self.record(Record::Spec(digest, spec));
        }
        for order in message.orders {
            match order {
                Order::Run(lease) => self.on_run(lease, now),
                Order::Stop(stop) => self.on_stop(&stop, now),
                Order::Confirm { upto } => self.on_confirm(upto),
                Order::Drain => self.on_drain(place, true),
                Order::Undrain => self.on_drain(place, false),
            }
        }
    }

    /// What comes again does not undo what was said after it: the coordinator would give work to an agent
    /// that hands it back, for ever.
    fn on_drain(&mut self, place: u64, draining: bool) {
        if place < self.drain_place {
            debug!(place, draining, "a late order to take work or none is ignored");
            return;
        }
        (self.draining, self.drain_place) = (draining, place);
        if draining {
            self.return_waiting(None);
        }
    }

    /// Written down, so that a coordinator of a lower term is refused after a restart as well.
    fn see_term(&mut self, term: u64) {
        if term > self.held.term {
            self.record(Record::Term(term));
        }
    }

    fn on_run(&mut self, lease: Lease, now: Moment) {
        let id = lease.id;
        if id <= self.held.last_lease && !sabotage::is("repeated-lease-taken") {
            debug!(lease = %id, "a repeated lease is ignored");
            return;
        }
        if self.held.spec(lease.spec).is_none() {
            // Without the lease in the next registration the coordinator sees that it is not held,
            // and with a new session it sends the spec again.
            warn!(lease = %id, "a lease names a spec that was not sent; registering again");
            self.record(Record::Highest(id));
            self.lose_session();
            return;
        }
        self.record(Record::Accepted(lease));
        self.enqueue(id, now);
    }

    fn on_stop(&mut self, stop: &Stop, now: Moment) {
        let Some(held) = self.held.leases.get(&stop.lease) else { return };
        let waiting = held.waiting.clone().remove(&stop.children);
        let running = keys_in(&held.running, &stop.children);
        let job = held.lease.job;
        for child in waiting.indices() {
            let ended = Ended {
                lease: stop.lease,
                job,
                child,
                started_at: None,
                ended_at: now.wall,
                exit_code: None,
                cause: EndCause::Stopped,
                reason: None,
                log_bytes: 0,
                containers: Vec::new(),
            };
            self.record(Record::Ended(ended));
            self.outbox.push(Item::Ended(AttemptKey { lease: stop.lease, child }));
        }
        self.leave_queue_if_empty(stop.lease);
        if running.is_empty() {
            return;
        }
        let mut children = Ranges::default();
        for &child in &running {
            children.insert(child);
        }
        self.record(Record::Stopping { lease: stop.lease, children: children.to_vec() });
        for child in running {
            let key = AttemptKey { lease: stop.lease, child };
            self.end(key, EndCause::Stopped, None, None, now);
        }
    }

    fn on_confirm(&mut self, upto: u64) {
        let mut done: BTreeMap<LeaseId, Vec<(u32, u32)>> = BTreeMap::new();
        let early = u64::from(sabotage::is("confirmed-too-early"));
        for item in self.outbox.confirm(upto + early) {
            match item {
                Item::Started(_) | Item::Leaving => {}
                Item::Ended(key) => done.entry(key.lease).or_default().push((key.child, 1)),
                Item::Returned(lease, children) => done.entry(lease).or_default().extend(children),
            }
        }
        for (lease, children) in done {
            let mut joined = Ranges::default();
            joined.insert_all(&children);
            self.record(Record::Forgotten { lease, children: joined.to_vec() });
        }
    }

    /// Drops children that the coordinator gave up: somebody else runs them, or nobody shall.
    fn fence(&mut self, fenced: &WireHeld) {
        let Some(held) = self.held.leases.get(&fenced.lease) else { return };
        for child in keys_in(&held.running, &fenced.children) {
            let key = AttemptKey { lease: fenced.lease, child };
            warn!(lease = %key.lease, child, "the coordinator gave this attempt up; it is killed");
            self.attempts.change(key, |attempt| attempt.fenced = true);
            if !sabotage::is("fenced-attempt-goes-on") {
                self.output.stops.push((key, StopSignal::Kill));
            }
        }
        let (lease, children) = (fenced.lease, fenced.children.clone());
        self.record(Record::Forgotten { lease, children });
        self.leave_queue_if_empty(lease);
    }

    pub(super) fn leave_queue_if_empty(&mut self, lease: LeaseId) {
        if self.held.leases.get(&lease).is_none_or(|held| held.waiting.is_empty()) {
            self.queue.remove(&lease);
        }
    }

    /// The first reports of a session: everything the coordinator may not know.
    fn unreported(&self) -> Vec<Item> {
        let running = self.attempts.iter().map(|(key, _)| Item::Started(*key));
        let mut items: Vec<_> = running.collect();
        for held in self.held.leases.values() {
            let HeldLease { lease, ended, returned, .. } = held;
            let key = |&child: &u32| AttemptKey { lease: lease.id, child };
            items.extend(ended.keys().map(key).map(Item::Ended));
            if !returned.is_empty() {
                items.push(Item::Returned(lease.id, returned.to_vec()));
            }
        }
        items
    }
}
